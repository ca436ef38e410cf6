//! An import that is killed loses nothing and doubles nothing.

use std::fmt::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rand::Rng as _;
use serde_json::json;

use crate::suite::{Suite, success, text};

const ROWS: usize = 8_000;

fn events() -> String {
    let mut csv = "user,event,at,amount\n".to_owned();
    for row in 0..ROWS {
        let (minute, second) = (row / 60 % 60, row % 60);
        let hour = row / 3600;
        writeln!(
            csv,
            "u{},view,2026-01-0{}T{hour:02}:{minute:02}:{second:02}Z,{}",
            row % 500,
            1 + row % 9,
            row
        )
        .expect("a string grows");
    }
    csv
}

fn mapping(source: &str) -> String {
    format!(
        "source: {source}\n\
         event: {{column: event}}\n\
         user_id: {{column: user}}\n\
         occurred_time: {{column: at}}\n\
         properties:\n  amount: {{column: amount, type: int}}\n"
    )
}

const VIEWS: &str = "\
kind: Metric
metadata: {name: views}
spec: {definition: {type: count, event: view}}
";

#[test]
fn a_killed_import_run_again_has_every_row_exactly_once() {
    let mut suite = Suite::start();
    suite.apply("views.yaml", VIEWS);
    let file = suite.file("events.csv", &events());
    let whole = {
        let mapping = suite.file("whole.yaml", &mapping("whole"));
        let started = Instant::now();
        let summary = suite.json(["import", text(&file), "--mapping", text(&mapping), "--json"]);
        assert_eq!(summary["accepted"], json!(ROWS));
        started.elapsed()
    };

    let mut rng = rand::rng();
    for round in 0..20 {
        let source = format!("round-{round}");
        let mapping = suite.file(&format!("{source}.yaml"), &mapping(&source));
        let import = ["import", text(&file), "--mapping", text(&mapping), "--json"];
        let mut child = suite
            .command(import)
            .args(["--batch", "200"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("northstar runs");
        std::thread::sleep(rng.random_range(Duration::ZERO..whole));
        // Now the suite, now the import.
        if round % 2 == 0 {
            suite.kill();
        }
        child.kill().expect("the import can be killed");
        child.wait().expect("the import ends");
        if round % 2 == 0 {
            suite.restart();
        }

        let summary = suite.json(import);
        let (accepted, duplicate) = (&summary["accepted"], &summary["duplicate"]);
        let sum = accepted.as_u64().zip(duplicate.as_u64()).map(|(a, d)| a + d);
        assert_eq!(sum, Some(ROWS as u64), "round {round}: {summary}");
        let again = suite.json(import);
        assert_eq!(again["duplicate"], json!(ROWS), "round {round}: {again}");
        assert_eq!(again["accepted"], json!(0), "round {round}: {again}");

        let filter = format!("event.source == '{source}'");
        let views = suite.json([
            "query",
            "views",
            "--from",
            "2026-01-01",
            "--to",
            "2026-02-01",
            "--where",
            &filter,
            "--json",
        ]);
        assert_eq!(views["rows"][0]["value"], json!(ROWS as f64), "round {round}: {views}");
    }

    let sources = suite.json(["sources", "--json"]);
    for source in sources["sources"].as_array().expect("sources") {
        let count = |name: &str| source[name].as_u64().unwrap_or_default();
        assert_eq!(
            count("received"),
            count("accepted") + count("duplicate") + count("quarantined") + count("rejected"),
            "{source}"
        );
        assert_eq!(count("accepted"), ROWS as u64, "{source}");
    }
}

#[test]
fn rows_that_are_no_events_are_reported_with_lines_and_kept() {
    let suite = Suite::start();
    let file = suite.file(
        "events.csv",
        "user,event,at,amount\nu1,view,2026-01-01,1\n,view,2026-01-01,1\nu2,view,soon,1\nu3,view,2026-01-02,\"x\"\n",
    );
    let mapping = suite.file("mapping.yaml", &mapping("web"));
    let arguments = ["import", text(&file), "--mapping", text(&mapping), "--json"];
    let summary = suite.json(arguments);
    assert_eq!(summary["read"], json!(4));
    assert_eq!(summary["accepted"], json!(1));
    assert_eq!(summary["quarantined"], json!(3));
    let bad: Vec<_> = summary["bad_rows"]
        .as_array()
        .expect("bad rows")
        .iter()
        .map(|bad| (bad["line"].as_u64(), bad["reason"].as_str(), bad["field"].as_str()))
        .collect();
    assert_eq!(
        bad,
        [
            (Some(3), Some("missing_actor"), Some("user")),
            (Some(4), Some("invalid_timestamp"), Some("at")),
            (Some(5), Some("invalid_value"), Some("amount")),
        ]
    );
    let again = suite.json(arguments);
    assert_eq!((&again["accepted"], &again["duplicate"]), (&json!(0), &json!(4)), "{again}");

    let waiting = suite.json(["quarantine", "--json"]);
    assert_eq!(waiting["counts"]["missing_actor"], json!(1));
    assert_eq!(waiting["counts"]["invalid_timestamp"], json!(1));
}

#[test]
fn a_mapping_that_does_not_fit_the_file_says_so() {
    let suite = Suite::start();
    let file = suite.file("events.csv", "who,what\nu1,view\n");
    let mapping = suite.file("mapping.yaml", &mapping("web"));
    let output = suite
        .command(["import", text(&file), "--mapping", text(&mapping)])
        .output()
        .expect("northstar runs");
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("no column") && error.contains("who, what"), "{error}");
    success(&suite.command(["sources"]).output().expect("northstar runs"));
}
