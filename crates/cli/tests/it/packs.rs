//! `northstar pack`, `query` for several metrics, `kpi tree` and `lineage`: from an
//! empty project to answers.

use serde_json::{Value, json};

use crate::suite::{Suite, success, text};

const EVENTS: &str = "\
event,user,at,plan,amount
Order Paid,ada,2026-02-01T08:00:00Z,pro,10
Order Paid,bob,2026-02-05T08:00:00Z,free,20
Order Paid,ada,2026-02-10T08:00:00Z,pro,30
Order Paid,cleo,2026-03-01T08:00:00Z,free,60
Order Paid,ada,2026-03-05T08:00:00Z,pro,20
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

/// In the wrong order: drivers before what they drive.
const CHARTERS: &str = "
kind: Kpi
metadata: {name: orders}
spec:
  metric: orders-per-buyer
  pillar: sales
  layer: driver
  owner: shop
  unit: orders
  direction: increase
  baseline: {value: 1, start_time: 2026-01-01, end_time: 2026-02-01}
  target: {value: 2, due_time: 2026-12-31}
  guardrails: [{metric: average-order-value, direction: increase, margin: 0.1}]
  review_time: 2026-06-01
  window_days: 28
  lever: reminders
  drives: [clv]
---
kind: Kpi
metadata: {name: clv}
spec:
  metric: historic-clv
  pillar: sales
  layer: outcome
  owner: shop
  unit: EUR
  direction: increase
  baseline: {value: 30, start_time: 2026-01-01, end_time: 2026-02-01}
  target: {value: 60, due_time: 2026-12-31}
  guardrails: [{metric: buyers, direction: increase, margin: 0.1}]
  review_time: 2026-06-01
  window_days: 28
---
kind: Pillar
metadata: {name: sales}
spec: {title: Sales, levers: [reminders]}
";

const MOVERS: &str = "
kind: Automation
metadata: {name: reminder}
spec:
  description: Reminds buyers, because they come back when reminded.
  kpi: orders
  pillar: sales
  owner: shop
  guardrails: [{metric: buyers, margin: 0.1}]
  holdout: 0.5
  sunset_time: 2099-12-31
  trigger: {event: Order Paid}
  actions: [{emit_event: {event: Reminder Due}}]
  outcome_window: 7d
---
kind: Threshold
metadata: {name: few-orders}
spec:
  owner: shop
  kpi: orders
  condition: {type: below, value: 1}
  every: 1d
  decision: {action: investigate}
";

#[test]
fn a_pack_is_applied_asked_and_traced() {
    let suite = Suite::start();
    let packs = suite.json(["pack", "list", "--json"]);
    let names: Vec<_> =
        packs.as_array().expect("a list").iter().map(|pack| &pack["name"]).collect();
    assert_eq!(names, ["clv", "pipeline", "product", "saas-revenue", "service-level", "support"]);
    let would = |settings: &[&str]| {
        suite.json([&["pack", "apply", "clv", "--dry-run", "--json"], settings].concat())
    };
    let dry = would(&[]);
    let needs = |in_log: bool| {
        let properties = json!([{ "property": "amount", "in_log": in_log }]);
        json!([{ "event": "Order Paid", "in_log": in_log, "properties": properties }])
    };
    assert_eq!((&dry["needs"], &dry["would"][0]["outcome"]), (&needs(false), &json!("created")));
    let applied = suite.json(["pack", "apply", "clv", "--json"]);
    let outcomes = |applied: &Value| -> Vec<String> {
        let applied = applied["applied"].as_array().expect("a list");
        applied.iter().map(|one| one["outcome"].as_str().expect("an outcome").to_owned()).collect()
    };
    assert!(outcomes(&applied).iter().all(|outcome| outcome == "created"), "{applied}");
    let again = suite.json(["pack", "apply", "clv", "--json"]);
    assert!(outcomes(&again).iter().all(|outcome| outcome == "unchanged"), "{again}");
    let shown = suite.json(["pack", "show", "clv", "--set", "order=Bought", "--json"]);
    assert_eq!(shown[0]["spec"]["definition"]["event"], "Bought");
    for arguments in [
        ["pack", "show", "clv", "--set", "colour=red"],
        ["pack", "show", "clv", "--set", "order=it's"],
    ] {
        let output = suite.command(arguments).output().expect("northstar runs");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    }

    let events = suite.file("events.csv", EVENTS);
    let mapping = suite.file("mapping.yaml", MAPPING);
    suite.run(["import", text(&events), "--mapping", text(&mapping)]);
    let dry = would(&["--set", "order=Order Paid"]);
    assert_eq!((&dry["needs"], &dry["would"][0]["outcome"]), (&needs(true), &json!("unchanged")));
    let dry = would(&["--set", "amount=price"]);
    let changed = dry["would"].as_array().expect("a list").iter();
    assert_eq!(changed.filter(|one| one["outcome"] == "configured").count(), 4, "{dry}");
    assert_eq!(dry["needs"][0]["properties"], json!([{ "property": "price", "in_log": false }]));
    let told = suite.command(["pack", "apply", "clv", "--dry-run"]).output();
    let told = String::from_utf8(told.expect("northstar runs").stdout).expect("text");
    assert!(told.contains("Metric revenue would be unchanged"), "{told}");
    let range = ["--from", "2026-02-01", "--to", "2026-04-01"];
    let ask = |arguments: &[&str]| {
        suite.json(["query"].iter().chain(arguments).chain(&range).chain(&["--json"]).copied())
    };
    // One metric keeps its form.
    let plain = ask(&["historic-clv", "--grain", "month"]);
    let values: Vec<_> =
        plain["rows"].as_array().expect("rows").iter().map(|row| row["value"].clone()).collect();
    assert_eq!(values, [json!(30.0), json!(140.0 / 3.0)]);
    assert_eq!(plain["metric"], "historic-clv");
    let compared = ask(&[
        "revenue",
        "--grain",
        "month",
        "--compare",
        "previous-month",
        "--having",
        "value > 70",
    ]);
    assert_eq!(compared["rows"].as_array().expect("rows").len(), 1);
    assert_eq!(compared["rows"][0]["value"], 80.0);
    assert_eq!(compared["rows"][0]["previous_value"], 60.0);
    assert_eq!(compared["rows"][0]["change"], 20.0);
    // Several stand side by side.
    let several = ask(&["revenue,buyers", "--by", "plan", "--order", "-buyers", "--limit", "1"]);
    assert_eq!(several["rows"][0]["dimensions"]["plan"], "free");
    assert_eq!(several["rows"][0]["values"]["revenue"]["value"], 80.0);
    assert_eq!(several["rows"][0]["values"]["buyers"]["value"], 2.0);
    assert_eq!(several["rows"][1]["dimensions"]["plan"], "$other");
    assert_eq!(several["rows"][1]["values"]["revenue"]["value"], 60.0);
    assert_eq!(several["rows"][1]["values"]["buyers"]["value"], Value::Null);
    assert_eq!(several["metrics"][1]["metric"], "buyers");
    let table = suite
        .command(["query", "revenue,buyers", "--by", "plan"].iter().chain(&range).copied())
        .output()
        .expect("northstar runs");
    success(&table);
    assert!(String::from_utf8_lossy(&table.stdout).contains("buyers"));

    suite.apply("charters.yaml", CHARTERS);
    let tree = suite.json(["kpi", "tree", "--json"]);
    assert_eq!(tree["pillars"][0]["kpis"][0]["name"], "clv");
    assert_eq!(tree["pillars"][0]["kpis"][0]["driven_by"], json!(["orders"]));
    let drawn = suite.command(["kpi", "tree"]).output().expect("northstar runs");
    success(&drawn);
    let drawn = String::from_utf8_lossy(&drawn.stdout).into_owned();
    assert!(drawn.contains("└─ orders (driver, orders-per-buyer), pulls \"reminders\""), "{drawn}");
    let below = suite.json(["lineage", "--kpi", "clv", "--json"]);
    assert_eq!(below["events"], json!(["Order Paid"]));
    assert_eq!(below["properties"], json!(["Order Paid/amount"]));
    let above = suite.json(["lineage", "--event", "Order Paid", "--property", "amount", "--json"]);
    assert_eq!(above["kpis"], json!(["clv", "orders"]));
    suite.apply("movers.yaml", MOVERS);
    let moved = suite.json(["lineage", "--kpi", "orders", "--json"]);
    assert_eq!(moved["automations"], json!(["reminder"]));
    assert_eq!(moved["thresholds"], json!(["few-orders"]));
    let moves = json!({"kind": "automation", "name": "reminder", "role": "moves",
        "from_kind": "kpi", "from_name": "orders", "state": "draft"});
    assert!(moved["links"].as_array().expect("links").contains(&moves), "{moved}");
    let unused = suite.command(["lineage", "--event", "Nothing"]).output().expect("it runs");
    success(&unused);
    assert_eq!(String::from_utf8_lossy(&unused.stdout), "Nothing that is defined reads it.\n");
    let output = suite.command(["lineage"]).output().expect("northstar runs");
    assert_eq!(output.status.code(), Some(2), "names nothing");
}
