//! What the command says to input it cannot use, and that no row is lost without a word.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::run::{analyze, report};

struct Table {
    _folder: TempDir,
    path: PathBuf,
}

fn table(name: &str, text: &str) -> Table {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(name);
    fs::write(&path, text).expect("a writable folder");
    Table { _folder: folder, path }
}

/// The exit code and error text of a run that must fail.
#[track_caller]
fn refusal(table: &Table, arguments: &[&str]) -> (i32, String) {
    let mut all = vec!["--variant", "arm", "--control", "a", "--metric", "y"];
    all.extend_from_slice(arguments);
    let output = analyze(&table.path, &all);
    assert!(!output.status.success() && output.stdout.is_empty());
    (output.status.code().expect("an exit code"), String::from_utf8(output.stderr).expect("text"))
}

#[test]
fn an_unknown_column_or_control_lists_what_there_is() {
    let (code, text) = refusal(&table("t.csv", "group,y\na,1\nb,0\n"), &[]);
    assert_eq!(code, 1);
    assert!(text.contains("t.csv: there is no column 'arm'; the columns are group, y"), "{text}");

    let (_, text) = refusal(&table("t.csv", "arm,y\nb,1\nc,0\n"), &[]);
    assert!(
        text.contains(
            "no row has 'a' in column 'arm', so there is no control; its values are 'b', 'c'"
        ),
        "{text}"
    );

    let (_, text) = refusal(&table("t.csv", "arm,y\na,1\na,0\n"), &[]);
    assert!(text.contains("nothing to compare the control with"), "{text}");
}

#[test]
fn a_wrong_argument_is_a_usage_error() {
    let table = table("t.csv", "arm,y\na,1\nb,0\n");
    let (code, text) = refusal(&table, &["--weights", "a=0.5,b=0.6"]);
    assert_eq!(code, 2);
    assert!(text.contains("the weights sum to 1.1"), "{text}");
    let (code, _) = refusal(&table, &["--confidence", "95"]);
    assert_eq!(code, 2);
}

#[test]
fn a_variant_without_a_weight_is_named() {
    let (code, text) =
        refusal(&table("t.csv", "arm,y\na,1\nb,0\nc,1\n"), &["--weights", "a=0.5,b=0.5"]);
    assert_eq!(code, 1);
    assert!(
        text.contains("--weights says nothing of the variant 'c', which 1 rows have"),
        "{text}"
    );
}

#[test]
fn bad_rows_are_refused_with_their_lines_or_counted_on_request() {
    let table = table("t.csv", "arm,y\na,1\na,abc\nb,0,0\na,0\nb,1\nb,\"1\n");
    let (code, text) = refusal(&table, &[]);
    assert_eq!(code, 1);
    for part in [
        "3 of 6 rows cannot be used",
        "t.csv:3: 'abc' in column 'y' is not a number",
        "t.csv:4: 3 fields where the header has 2",
        "t.csv:7: the quote that opens field 2 is never closed",
        "--skip-bad-rows",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let report = report(&table.path, "arm", "a", "y", &["--skip-bad-rows"]);
    assert_eq!(
        report["rows"],
        json!({"read": 6, "used": 3, "missing_variant": 0, "missing_metric": 0, "bad": 3})
    );
    assert!(notes(&report).contains("3 rows could not be read"));
}

fn notes(report: &Value) -> String {
    report["notes"].to_string()
}

#[test]
fn rows_without_variant_or_metric_are_counted() {
    let table = table("t.csv", "arm,y\na,1\n,1\na,\nb,NA\nb,0\n  ,0\n");
    let report = report(&table.path, "arm", "a", "y", &[]);
    assert_eq!(
        report["rows"],
        json!({"read": 6, "used": 2, "missing_variant": 2, "missing_metric": 2, "bad": 0})
    );
    assert_eq!(
        report["variants"][0],
        json!({
            "name": "a", "n": 1, "mean": 1.0, "sum": 1.0, "assigned": 2,
            "wilson": {"ci_low": report["variants"][0]["wilson"]["ci_low"], "ci_high": 1.0},
        })
    );
    assert!(notes(&report).contains("2 rows have no variant"));
    assert!(notes(&report).contains("2 rows have a variant but no value"));
}

#[test]
fn the_kind_is_inferred_from_the_values_and_can_be_named() {
    let words = table("t.csv", "arm,y\na,Yes\nb,no\na,TRUE\nb,false\na,no\nb,1\n");
    assert_eq!(report(&words.path, "arm", "a", "y", &[])["kind"], "proportion");
    assert_eq!(report(&words.path, "arm", "a", "y:mean", &[])["kind"], "mean");

    let amounts = table("t.csv", "arm,y\na,1\nb,0\na,0\nb,2\n");
    assert_eq!(report(&amounts.path, "arm", "a", "y", &[])["kind"], "mean");
    let (_, text) = refusal(&amounts, &["--metric", "y:proportion"]);
    assert!(text.contains("cannot be used multiple times"), "{text}");
    let output =
        analyze(&amounts.path, &["--variant", "arm", "--control", "a", "--metric", "y:proportion"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("t.csv:5: 2 in column 'y' is no yes or no"), "{text}");

    let (_, text) = refusal(&table("t.csv", "arm,y\na,yes\nb,5\n"), &[]);
    assert!(text.contains("t.csv:3: 5 in column 'y', which has yes or no in line 2"), "{text}");
}

#[test]
fn what_does_not_exist_is_null_with_a_reason() {
    let table = table("t.csv", "arm,y\na,0\na,0\nb,1\nb,1\n");
    let report = report(&table.path, "arm", "a", "y", &[]);
    let comparison = &report["comparisons"][0];
    assert_eq!(comparison["absolute"]["estimate"], 1.0);
    assert_eq!(comparison["absolute"]["ci_low"], Value::Null);
    assert_eq!(
        comparison["absolute"]["reason"],
        "no arm varies, so the difference has no standard error"
    );
    assert_eq!(comparison["relative"]["estimate"], Value::Null);
    assert_eq!(
        comparison["relative"]["reason"],
        "the control's value is zero, so a relative effect does not exist"
    );
    assert!(comparison["proportion"]["newcombe"]["ci_low"].is_number());
}

#[test]
fn a_broken_split_raises_the_alarm() {
    let text = format!("arm,y\n{}{}", "a,1\na,0\n".repeat(300), "b,1\nb,0\n".repeat(200));
    let table = table("t.csv", &text);
    let equal = report(&table.path, "arm", "a", "y", &[]);
    assert_eq!(equal["srm"]["alarm"], true);
    assert!(notes(&equal).contains("sample ratio mismatch"));
    let planned = report(&table.path, "arm", "a", "y", &["--weights", "a=3,b=2"]);
    assert_eq!(planned["srm"]["p_value"], 1.0);
    // A planned variant that never arrived is part of the check.
    let lost = report(&table.path, "arm", "a", "y", &["--weights", "a=0.4,b=0.3,c=0.3"]);
    assert_eq!((&lost["srm"]["df"], &lost["srm"]["alarm"]), (&json!(2), &json!(true)));
}

#[test]
fn an_identifier_is_not_taken_for_a_variant() {
    let rows: String = (0..60).map(|id| format!("{id},1\n")).collect();
    let (_, text) = refusal(&table("t.csv", &format!("arm,y\n{rows}")), &[]);
    assert!(text.contains("t.csv:52: column 'arm' has more than 50 different values"), "{text}");
}

#[test]
fn json_lines_and_other_delimiters_give_the_same_answer() {
    let csv = table("t.csv", "arm,y\na,1\nb,0\na,3\nb,5\na,2\nb,8\n");
    let semicolons = table("t.txt", "arm;y\na;1\nb;0\na;3\nb;5\na;2\nb;8\n");
    let bars = table("t.csv", "arm|y\na|1\nb|0\na|3\nb|5\na|2\nb|8\n");
    let lines = table(
        "t.jsonl",
        "{\"arm\":\"a\",\"y\":1}\n{\"arm\":\"b\",\"y\":0}\n{\"arm\":\"a\",\"y\":3}\n{\"arm\":\"b\",\"y\":5}\n{\"y\":2,\"arm\":\"a\"}\n{\"arm\":\"b\",\"y\":8}\n",
    );
    let expected = report(&csv.path, "arm", "a", "y", &[])["comparisons"].clone();
    for (table, more) in [(&semicolons, &[][..]), (&bars, &["--delimiter", "|"]), (&lines, &[])] {
        assert_eq!(
            report(&table.path, "arm", "a", "y", more)["comparisons"],
            expected,
            "{}",
            table.path.display()
        );
    }
}

#[test]
fn people_get_a_table() {
    let table = table("t.csv", "arm,y\na,1\nb,0\na,0\nb,1\nb,1\n");
    let output = analyze(&table.path, &["--variant", "arm", "--control", "a", "--metric", "y"]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success());
    for part in [
        "y (proportion) by arm, against 'a', 95 % intervals; 5 of 5 rows",
        "66.67 %",
        "16.67 pp [",
        "33.33 % [",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}
