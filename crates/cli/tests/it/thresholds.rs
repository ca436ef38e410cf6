//! `northstar threshold` and `northstar report`, as people run them.

use std::process::Output;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use serde_json::Value;

use crate::suite::{Suite, success, text};

const DOCUMENTS: &str = "
kind: Pillar
metadata: {name: growth}
spec: {title: Growth, owner: head of growth}
---
kind: Metric
metadata: {name: visits}
spec: {definition: {type: count, event: Visited}}
---
kind: Kpi
metadata: {name: visits}
spec:
  metric: visits
  pillar: growth
  layer: outcome
  owner: growth
  unit: visits
  direction: increase
  baseline: {value: 100, start_time: 2026-01-01, end_time: 2026-02-01}
  target: {value: 150, due_time: 2099-12-31}
  guardrails: [{metric: visits, direction: increase, margin: 0.1}]
  review_time: 2099-06-01
  window_days: 7
---
kind: Threshold
metadata: {name: few-visits}
spec:
  owner: growth
  kpi: visits
  condition: {type: decrease, amount: 0.5, scale: relative, versus: baseline}
  every: 1m
  cool_down: 7d
  decision: {action: investigate}
";

fn output(suite: &Suite, arguments: &[&str]) -> Output {
    suite.command(arguments.iter().copied()).output().expect("northstar runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

#[test]
fn a_threshold_is_applied_watched_replayed_and_reported() {
    let suite = Suite::start();
    let yesterday = (Utc::now() - TimeDelta::days(1)).format("%Y-%m-%dT%H:%M:%SZ");
    let rows: String = (0..3).map(|user| format!("Visited,user {user},{yesterday}\n")).collect();
    let csv = suite.file("visits.csv", &format!("event,user_id,time\n{rows}"));
    let mapping = suite.file(
        "mapping.yaml",
        "{source: web, event: {column: event}, user_id: {column: user_id}, \
         occurred_time: {column: time}}",
    );
    suite.run(["import", text(&csv), "--mapping", text(&mapping)]);
    let documents = suite.file("documents.yaml", DOCUMENTS);
    suite.run(["validate", text(&documents)]);
    suite.run(["apply", text(&documents)]);
    let again = output(&suite, &["apply", text(&documents)]);
    assert!(stdout(&again).contains("Threshold few-visits unchanged"), "{}", stdout(&again));
    assert!(stdout(&output(&suite, &["export"])).contains("kind: Threshold"));

    let mut status = Value::Null;
    for _ in 0..600 {
        status = suite.json(["threshold", "get", "few-visits", "--json"]);
        if status["decision_request"].is_string() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!((&status["phase"], &status["episode"]), (&"open".into(), &1.into()), "{status}");
    let id = status["decision_request"].as_str().expect("a decision request");
    let shown = suite.json(["decision", "show", id, "--json"]);
    assert_eq!(shown["action"], "kpi.investigate");
    let list = suite.json(["threshold", "list", "--json"]);
    assert_eq!(list[0]["watches"], "KPI visits");

    let log = suite.json(["threshold", "log", "few-visits", "--effects", "--json"]);
    assert_eq!((&log[0]["effect"], &log[0]["value"]), (&"raise".into(), &3.0.into()), "{log}");
    let table = output(&suite, &["threshold", "log", "few-visits"]);
    assert!(stdout(&table).contains("raise"), "{}", stdout(&table));
    for arguments in [
        &["threshold", "replay", "few-visits", "--json"][..],
        &["threshold", "replay", "few-visits", "--recompute", "--json"],
    ] {
        let replayed = suite.json(arguments.iter().copied());
        assert_eq!(replayed["different"], Value::Array(Vec::new()), "{replayed}");
    }
    // A draft is tried out before it is applied.
    let draft = suite.file("draft.yaml", &DOCUMENTS[DOCUMENTS.rfind("kind:").expect("a kind")..]);
    let tried = suite.json(["threshold", "evaluate", "--file", text(&draft), "--json"]);
    assert_eq!((&tried["reading"], &tried["effect"]), (&"breached".into(), &"raise".into()));
    suite.run(["threshold", "pause", "few-visits", "--reason", "enough seen"]);
    let paused = suite.json(["threshold", "get", "few-visits", "--json"]);
    assert_eq!(paused["paused"], "enough seen");
    suite.run(["threshold", "resume", "few-visits"]);

    let today = Utc::now().format("%Y-%m-%d").to_string();
    suite.run(["report", "note", "growth", "a quiet week", "--week", &today]);
    let weekly = output(&suite, &["report", "weekly", "--week", &today]);
    success(&weekly);
    assert!(stdout(&weekly).contains("a quiet week"), "{}", stdout(&weekly));
    let file = suite.folder().join("report.html");
    suite.run(["report", "executive", "--format", "html", "--output", text(&file)]);
    let html = std::fs::read_to_string(&file).expect("the report");
    assert!(html.starts_with("<!doctype html>") && html.contains("head of growth"), "{html}");
    let json = suite.json(["report", "executive", "--json"]);
    assert_eq!(json["units"][0]["controls"].as_array().map(Vec::len), Some(3), "{json}");

    suite.run(["threshold", "delete", "few-visits"]);
    let gone = output(&suite, &["threshold", "get", "few-visits"]);
    assert_eq!(gone.status.code(), Some(1));
}
