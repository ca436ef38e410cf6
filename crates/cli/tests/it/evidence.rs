//! `northstar cohort`, `behind`, `explain` and `restatements`, as the README of
//! metrics shows them.

use serde_json::json;

use crate::suite::{Suite, text};

const EVENTS: &str = "\
event,user,device,at,plan,amount
visit,ada,,2026-03-01T10:00:00Z,free,
visit,ada,,2026-03-02T10:00:00Z,,
visit,ada,,2026-03-03T10:00:00Z,,
paid,ada,,2026-03-04T10:00:00Z,pro,10
visit,grace,,2026-03-02T10:00:00Z,pro,
visit,linus,,2026-03-03T10:00:00Z,free,
paid,,phone,2026-03-04T11:00:00Z,pro,5
";

const MAPPING: &str = "
source: shop
event: {column: event}
user_id: {column: user}
anonymous_id: {column: device}
occurred_time: {column: at}
properties:
  plan: {column: plan}
  amount: {column: amount, type: int}
";

const DEFINITIONS: &str = "
kind: Metric
metadata: {name: revenue}
spec: {owner: growth, definition: {type: sum, event: paid, property: amount}}
---
kind: Cohort
metadata: {name: regulars}
spec:
  owner: growth
  rule:
    all:
      - did: {event: visit, at_least: 3}
      - not: {did: {event: refunded}}
---
kind: Cohort
metadata: {name: pro}
spec:
  owner: growth
  rule: {property: {name: plan, where: properties.plan == \"pro\"}}
---
kind: Cohort
metadata: {name: friends}
spec: {owner: growth, list: {}}
";

#[test]
fn cohorts_and_evidence_are_asked_for_on_the_command_line() {
    let suite = Suite::start();
    let (events, mapping) = (suite.file("events.csv", EVENTS), suite.file("mapping.yaml", MAPPING));
    suite.run(["import", text(&events), "--mapping", text(&mapping)]);
    let definitions = suite.file("definitions.yaml", DEFINITIONS);
    suite.run(["validate", text(&definitions)]);
    suite.run(["cohort", "apply", text(&definitions)]);
    suite.run(["cohort", "list"]);
    assert_eq!(suite.json(["cohort", "list", "--json"]).as_array().expect("a list").len(), 3);
    let document = suite.json(["cohort", "get", "regulars", "--json"]);
    assert_eq!(document["spec"]["rule"]["all"][0]["did"]["at_least"], 3);

    let members = |name: &str| {
        let at = ["--at", "2026-03-05", "--json"];
        let found = suite.json([&["cohort", "members", name][..], &at[..]].concat());
        let members = found["members"].as_array().expect("members");
        assert_eq!(found["total"], members.len());
        members.iter().map(|member| member["value"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(members("regulars"), ["ada"]);
    assert_eq!(members("pro"), ["phone", "ada", "grace"]);
    let sizes = suite.json([
        "cohort",
        "size",
        "pro",
        "--from",
        "2026-03-01",
        "--at",
        "2026-03-05",
        "--json",
    ]);
    let sizes: Vec<_> =
        sizes["sizes"].as_array().expect("sizes").iter().map(|at| &at["members"]).collect();
    assert_eq!(sizes, [0, 1, 1, 3]);
    suite.run(["cohort", "size", "pro"]);
    suite.run(["cohort", "members", "pro", "--limit", "1"]);
    let list = suite.file("friends.txt", "grace\n\nanonymous_id:phone\nstranger\n");
    let uploaded = suite.json(["cohort", "upload", "friends", text(&list), "--json"]);
    assert_eq!(uploaded, json!({"cohort": "friends", "members": 3}));
    let kept = suite.json(["cohort", "snapshot", "friends", "friends-then", "--json"]);
    assert_eq!(kept, json!({"cohort": "friends-then", "members": 3}));
    suite.run(["cohort", "upload", "friends", text(&list), "--remove"]);
    assert_eq!(members("friends-then").len(), 3);
    assert_eq!(members("friends").len(), 0);
    assert_eq!(
        suite.json(["cohort", "delete", "friends", "--json"]),
        json!({"deleted": "friends"})
    );

    let range = ["--from", "2026-03-01", "--to", "2026-04-01"];
    let question = |command: &str, more: &[&str]| {
        suite.json([&[command, "revenue"][..], &range[..], more].concat())
    };
    let by_cohort = question("query", &["--by", "cohort.regulars", "--json"]);
    let parts: Vec<_> = by_cohort["rows"].as_array().expect("rows").iter().collect();
    assert_eq!(parts[0]["dimensions"], json!({"cohort.regulars": "in"}));
    assert_eq!((&parts[0]["value"], &parts[1]["value"]), (&json!(10.0), &json!(5.0)));
    let narrowed = question("query", &["--cohort", "regulars", "--keep", "--json"]);
    assert_eq!(narrowed["rows"][0]["value"], 10.0);

    let behind = question("behind", &["--json"]);
    assert_eq!((&behind["value"], &behind["total"]), (&json!(15.0), &json!(2)));
    let day = ["--grain", "day", "--bucket", "2026-03-04", "--by", "plan", "--is", "plan=pro"];
    let explained = question("explain", &[&day[..], &["--json"]].concat());
    assert_eq!(explained["definitions"][0]["words"], "The sum of amount over \"paid\" events");
    assert_eq!(explained["events"][1]["subject"]["kind"], "anonymous_id");
    assert_eq!(explained["events"][0]["properties"]["amount"], 10);
    let digest = |of: &serde_json::Value| of["provenance"]["digest"].clone();
    let asked = question("query", &["--grain", "day", "--by", "plan", "--json"]);
    assert_eq!(digest(&explained), digest(&asked));
    for command in ["behind", "explain"] {
        suite.run([&[command, "revenue"][..], &range[..], &day[..]].concat());
        let no_bucket = [&[command, "revenue"][..], &range[..], &["--grain", "day"]].concat();
        let refused = suite.command(no_bucket).output().expect("northstar runs");
        assert_eq!(refused.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("--bucket is missing"));
    }
    suite.run(["restatements"]);
    assert_eq!(suite.json(["restatements", "--metric", "revenue", "--json"]), json!([]));
}
