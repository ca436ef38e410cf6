//! `northstar funnel`, `retention`, `lifecycle` and `paths`, as the README of metrics shows them.

use serde_json::{Value, json};

use crate::suite::{Suite, success, text};

const EVENTS: &str = "\
event,user,at,plan,amount
Signed Up,ada,2026-03-01T10:00:00Z,pro,
Signed Up,bob,2026-03-01T11:00:00Z,free,
Signed Up,cleo,2026-03-02T10:00:00Z,free,
Project Created,ada,2026-03-01T10:05:00Z,,
Project Created,bob,2026-03-01T11:10:00Z,,
Paid,ada,2026-03-02T10:00:00Z,,20
Paid,ada,2026-03-05T10:00:00Z,,5
";

const MAPPING: &str = "
source: shop
event: {column: event}
user_id: {column: user}
occurred_time: {column: at}
properties:
  plan: {column: plan}
  amount: {column: amount, type: int}
";

const RANGE: [&str; 4] = ["--from", "2026-03-01", "--to", "2026-03-04"];

fn counts(steps: &Value) -> Vec<i64> {
    let steps = steps.as_array().expect("steps");
    steps.iter().map(|step| step["count"].as_i64().expect("a count")).collect()
}

#[test]
fn journeys_are_asked_for_on_the_command_line() {
    let suite = Suite::start();
    let (events, mapping) = (suite.file("events.csv", EVENTS), suite.file("mapping.yaml", MAPPING));
    suite.run(["import", text(&events), "--mapping", text(&mapping)]);
    let ask = |arguments: &[&str]| suite.json([arguments, &RANGE[..], &["--json"][..]].concat());
    let show = |arguments: &[&str]| {
        let output = suite.command([arguments, &RANGE[..]].concat()).output();
        let output = output.expect("northstar runs");
        success(&output);
        String::from_utf8(output.stdout).expect("text")
    };

    let steps = ["funnel", "Signed Up", "Project Created", "Paid where properties.amount > 10"];
    let found = ask(&[&steps[..], &["--by", "plan", "--trend", "day"]].concat());
    let rows = found[0]["rows"].as_array().expect("rows");
    assert_eq!(counts(&rows[0]["steps"]), [3, 2, 1]);
    assert_eq!(rows[1]["dimensions"], json!({ "plan": "free" }));
    assert_eq!(found[0]["provenance"]["digest"].as_str().expect("a digest").len(), 64);
    let table = show(&[&steps[..], &["--by", "plan", "--trend", "day", "--times", "1-3"]].concat());
    for expected in ["██", "from previous", "7.5 min", "step 3", "* the window"] {
        assert!(table.contains(expected), "no {expected:?} in {table}");
    }
    let compared = ask(&[&steps[..], &["--window", "none", "--compare", "previous"]].concat());
    assert_eq!(
        (&compared[0]["period"], &compared[1]["period"]),
        (&json!("current"), &json!("compared"))
    );
    let dropped = show(&[&steps[..], &["--dropped", "2", "--json"]].concat());
    assert_eq!(dropped.trim(), r#"{"kind":"user_id","value":"cleo"}"#);

    let dropped = ["--by", "plan", "--dropped", "3", "--group", "plan=free", "--json"];
    let dropped = show(&[&steps[..], &dropped].concat());
    assert_eq!(dropped.trim(), r#"{"kind":"user_id","value":"bob"}"#);

    let triangle = ["retention", "--start", "Signed Up", "--return", "Paid", "--cohorts", "day"];
    let brackets = ["--brackets", "0,1-2,3-7", "--mode", "on-or-before", "--value", "amount"];
    let found = ask(&[&triangle[..], &brackets].concat());
    assert_eq!(found[0]["cohorts"][0]["cells"][1]["value"], 20.0);
    assert_eq!(found[0]["columns"][2]["last"], 7);
    let table = show(&triangle);
    for expected in ["weighted mean", "2026-03-01", "50.0 %", "* not over"] {
        assert!(table.contains(expected), "no {expected:?} in {table}");
    }

    let found = ask(&["lifecycle"]);
    let first = &found[0]["periods"][0];
    assert_eq!((&first["new"], &first["active"]), (&json!(2), &json!(2)));
    assert!(show(&["lifecycle"]).contains("resurrecting"));
    let dormant = ["lifecycle", "--list", "dormant", "--at", "2026-03-02", "--json"];
    assert_eq!(show(&dormant).trim(), r#"{"kind":"user_id","value":"bob"}"#);

    let found = ask(&["paths", "Signed Up", "--depth", "2"]);
    assert_eq!(found[0]["paths"], 3);
    assert!(show(&["paths", "Signed Up"]).contains("Project Created"));
    let ending = ["paths", "Signed Up", "--list", "Signed Up", "--at", "0", "--ending", "--json"];
    assert_eq!(show(&ending).trim(), r#"{"kind":"user_id","value":"cleo"}"#);
}
