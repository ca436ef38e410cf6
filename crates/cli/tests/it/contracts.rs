//! `northstar contract`, `quarantine` and `audit`: as producers' CI and people
//! run them.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::generated::{
    CheckoutEvent, CheckoutEventAddress, CheckoutEventLinesItem, CheckoutEventPlan,
};
use crate::suite::{NORTHSTAR, Suite, success, text};

const CONTRACTS: &str = "
kind: Contract
metadata: {name: checkout-event}
spec:
  schema_version: 1-2-0
  mode: observe
  owner: shop
  description: |
    Somebody paid.

    The \"type\" is that of the shop.
  unplanned_properties: observe
  json_schema:
    type: object
    required: [plan, total, lines, note]
    properties:
      plan: {enum: [pro, free, 2-for-1], description: What was bought.}
      total: {type: number}
      lines:
        type: array
        items: {$ref: '#/$defs/line'}
      note: {type: [string, 'null']}
      type: {type: string}
      address:
        type: object
        properties: {city: {type: string}, self: {type: boolean}}
      counts: {type: object, additionalProperties: {type: integer}}
      anything: {}
    $defs:
      line: {type: object, required: [sku], properties: {sku: {type: string}}}
";

fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(NORTHSTAR)
        .args(arguments)
        .current_dir(folder)
        .env("NORTHSTAR_CONTEXT", folder.join("none.json"))
        .output()
        .expect("northstar runs")
}

fn contracts() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("contracts.yaml"), CONTRACTS).expect("a file");
    folder
}

/// Holds one event with these properties against the contracts.
fn test_properties(folder: &Path, properties: &Value) {
    let event = json!({
        "name": "checkout-event", "user_id": "u1", "properties": properties,
        "occurred_time": "2026-03-01T12:00:00Z",
    });
    std::fs::write(folder.join("one.jsonl"), event.to_string()).expect("a file");
    success(&run(folder, &["contract", "test", "contracts.yaml", "--events", "one.jsonl"]));
}

fn whole_event() -> Value {
    json!({
        "plan": "2-for-1", "total": 12.5, "lines": [{"sku": "a"}], "note": null,
        "address": {"city": "Ulm", "self": true}, "counts": {"a": 1},
    })
}

#[test]
fn a_producer_learns_which_lines_break_a_contract() {
    let folder = contracts();
    let good = json!({"name": "checkout-event", "user_id": "u1", "properties": whole_event()});
    let mut broken = good.clone();
    broken["properties"]["total"] = json!("12.5");
    let mut unplanned = good.clone();
    unplanned["properties"]["extra"] = json!(1);
    let unknown = json!({"name": "unknown", "user_id": "u1"});
    let lines = [
        good.to_string(),
        broken.to_string(),
        String::new(),
        "{".to_owned(),
        unplanned.to_string(),
        unknown.to_string(),
    ];
    std::fs::write(folder.path().join("events.jsonl"), lines.join("\n")).expect("a file");
    let arguments = ["contract", "test", "contracts.yaml", "--events", "events.jsonl", "--json"];
    let output = run(folder.path(), &arguments);
    assert_eq!(output.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let told: Vec<(u64, &str)> = found["violations"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|violation| {
            (violation["line"].as_u64().unwrap_or(0), violation["reason"].as_str().unwrap_or(""))
        })
        .collect();
    let expected = [
        (2, "schema_violation"),
        (4, "not_an_event"),
        (5, "unplanned_property"),
        (6, "unplanned_event"),
    ];
    assert_eq!(told, expected);
    assert_eq!(found["events"], 5);

    let text = run(folder.path(), &arguments[..5]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("events.jsonl:2: schema_violation properties.total:"), "{text}");

    // What the contract observes is accepted when it is served.
    let mut served = arguments.to_vec();
    served.extend(["--as-served", "--unplanned-events", "observe"]);
    let output = run(folder.path(), &served);
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(found["violations"].as_array().map(Vec::len), Some(1));
    test_properties(folder.path(), &whole_event());
}

fn generated(folder: &Path, language: &str) -> String {
    let arguments = ["contract", "codegen", "contracts.yaml", "--lang", language, "--out", "out"];
    success(&run(folder, &arguments));
    let file = match language {
        "rust" => "events.rs",
        "typescript" => "events.ts",
        _ => "events.py",
    };
    std::fs::read_to_string(folder.join("out").join(file)).expect("the module")
}

/// The module lies in this folder and is compiled with this test; it is what the
/// command writes.
#[test]
fn types_for_rust_compile_and_build_a_valid_event() {
    let folder = contracts();
    let written = generated(folder.path(), "rust");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/generated/mod.rs");
    if std::env::var_os("NORTHSTAR_WRITE_GOLDEN").is_some() {
        std::fs::write(&golden, &written).expect("the golden file");
    }
    let compiled = std::fs::read_to_string(golden).expect("the golden file");
    let bare = |text: &str| {
        text.split_whitespace().collect::<String>().replace(",}", "}").replace(",)", ")")
    };
    assert_eq!(
        bare(&written),
        bare(&compiled),
        "run this test with NORTHSTAR_WRITE_GOLDEN=1 and look at the difference"
    );
    let event = CheckoutEvent {
        plan: CheckoutEventPlan::Pro,
        total: 12.5,
        lines: vec![CheckoutEventLinesItem { sku: "a".to_owned() }],
        note: None,
        type_: None,
        address: Some(CheckoutEventAddress { city: Some("Ulm".to_owned()), self_: Some(true) }),
        counts: None,
        anything: None,
    };
    assert_eq!(CheckoutEvent::EVENT_NAME, "checkout-event");
    let properties = event.to_properties().expect("JSON");
    assert_eq!(properties["$schema_version"], "1-2-0");
    assert_eq!(properties["note"], Value::Null);
    test_properties(folder.path(), &properties);
    let read: CheckoutEvent = serde_json::from_value(properties).expect("the same event");
    assert_eq!(read, event);
}

/// Runs a program that may not be on this machine; says so when it is not.
fn tool(program: &str, folder: &Path, arguments: &[&str]) -> Option<Output> {
    match Command::new(program).args(arguments).current_dir(folder).output() {
        Ok(output) => Some(output),
        Err(error) => {
            let note = format!("skipped: {program} is not here ({error})\n");
            std::io::Write::write_all(&mut std::io::stderr(), note.as_bytes()).expect("stderr");
            None
        }
    }
}

#[test]
fn types_for_python_run_and_build_a_valid_event() {
    let folder = contracts();
    generated(folder.path(), "python");
    let program = "
import json, sys
sys.path.insert(0, 'out')
from events import CheckoutEvent, CheckoutEventAddress, CheckoutEventLinesItem
event = CheckoutEvent(plan='2-for-1', total=12.5, lines=[CheckoutEventLinesItem(sku='a')], note=None,
                      address=CheckoutEventAddress(city='Ulm', self_=True), counts={'a': 1})
print(json.dumps(event.to_properties()))
";
    let Some(output) = tool("python3", folder.path(), &["-c", program]) else { return };
    success(&output);
    let properties: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let mut expected = whole_event();
    expected["$schema_version"] = json!("1-2-0");
    assert_eq!(properties, expected);
    test_properties(folder.path(), &properties);
    if let Some(output) = tool("mypy", folder.path(), &["--strict", "out/events.py"]) {
        success(&output);
    }
}

#[test]
fn types_for_typescript_compile_and_build_a_valid_event() {
    let folder = contracts();
    generated(folder.path(), "typescript");
    let program = "
import { checkoutEventEvent } from './out/events';
const event = checkoutEventEvent({
  plan: '2-for-1', total: 12.5, lines: [{ sku: 'a' }], note: null,
  address: { city: 'Ulm', self: true }, counts: { a: 1 },
});
declare const console: { log(text: string): void };
console.log(JSON.stringify(event));
";
    std::fs::write(folder.path().join("use.ts"), program).expect("a file");
    let wrong = program.replace("'2-for-1'", "'three'");
    std::fs::write(folder.path().join("wrong.ts"), wrong).expect("a file");
    let options = ["--strict", "--target", "es2020", "--module", "commonjs", "--outDir", "js"];
    let compile =
        |file: &'static str| tool("tsc", folder.path(), &[&[file], options.as_slice()].concat());
    let Some(output) = compile("use.ts") else { return };
    success(&output);
    let refused = compile("wrong.ts").expect("it was here a moment ago");
    assert!(!refused.status.success(), "a wrong plan does not compile");
    let Some(output) = tool("node", folder.path(), &["js/use.js"]) else { return };
    success(&output);
    let event: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(event["event"], "checkout-event");
    test_properties(folder.path(), &event["properties"]);
}

#[test]
fn a_broken_producer_is_mended_from_the_command_line() {
    let suite = Suite::start();
    suite.apply("contracts.yaml", &CONTRACTS.replace("mode: observe", "mode: quarantine"));
    let rows = "user,at,plan\nu1,2026-01-01T00:00:00Z,pro\nu2,2026-01-01T00:00:00Z,free\n";
    let csv = suite.file("orders.csv", rows);
    let mapping = suite.file(
        "mapping.yaml",
        "source: shop\nevent: {value: checkout-event}\nuser_id: {column: user}\n\
         occurred_time: {column: at}\nproperties:\n  plan: {column: plan}\n",
    );
    let done = suite.json(["import", text(&csv), "--mapping", text(&mapping), "--json"]);
    assert_eq!(done["quarantined"], 2, "{done}");

    let listed = suite.json(["quarantine", "--reason", "schema_violation", "--json"]);
    assert_eq!(listed["counts"]["schema_violation"], 2);
    let id = listed["events"][0]["id"].as_str().expect("an id").to_owned();
    let found = suite.json(["quarantine", "get", &id, "--json"]);
    assert_eq!(found["check"]["field"], "properties.total");
    let set = r#"{"properties": {"total": 3.5, "lines": [], "note": null}}"#;
    let patch =
        ["quarantine", "patch", "--where", "properties.plan == 'pro'", "--set", set, "--json"];
    // A merge patch takes null as absent, and the contract wants a note.
    let patched = suite.json(patch);
    assert_eq!(
        (&patched["changed"], &patched["last_check"]["field"]),
        (&json!(1), &json!("properties.note"))
    );
    let set = set.replace("null", "\"gift\"");
    let patched = suite.json(["quarantine", "patch", &id, "--set", &set, "--json"]);
    assert_eq!(patched["last_check"]["outcome"], "accepted", "{patched}");
    let tried = suite.json(["quarantine", "replay", "--all", "--dry-run", "--json"]);
    assert_eq!((&tried["changed"], &tried["matched"]), (&json!(1), &json!(2)));
    let replayed = suite.json(["quarantine", "replay", "--all", "--json"]);
    assert_eq!((&replayed["changed"], &replayed["kpis_unknown"]), (&json!(1), &json!("")));
    let why = ["quarantine", "discard", "--source", "shop", "--why", "never mind", "--json"];
    assert_eq!(suite.json(why)["changed"], 1);
    let states = ["quarantine", "list", "--state", "replayed", "--state", "discarded", "--json"];
    assert_eq!(suite.json(states)["events"].as_array().map(Vec::len), Some(2));

    let inferred = suite.json(["contract", "infer", "checkout-event", "--json"]);
    assert_eq!(inferred["spec"]["json_schema"]["properties"]["total"]["type"], "number");
    let versions = suite.json(["contract", "versions", "checkout-event", "--json"]);
    assert_eq!(versions[0]["document"]["spec"]["schema_version"], "1-2-0");

    // What happened is written down, and can be checked without the suite.
    let file = suite.file("audit.jsonl", "");
    suite.run(["audit", "export", text(&file)]);
    let verified = suite.json(["audit", "verify", text(&file), "--json"]);
    assert_eq!(verified["valid"], true);
    let online = suite.json(["audit", "verify", "--json"]);
    assert_eq!(online["head_hash"], verified["head_hash"]);
    let exported = std::fs::read_to_string(&file).expect("the export");
    assert!(exported.contains("quarantine.replay") && exported.contains("contract.apply"));
    let forged = suite.file("forged.jsonl", &exported.replacen("never mind", "well done", 1));
    let output = suite.command(["audit", "verify", text(&forged)]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let cut: Vec<&str> = exported.lines().skip(1).collect();
    let cut = suite.file("cut.jsonl", &cut[..cut.len() - 1].join("\n"));
    suite.run(["audit", "verify", text(&cut)]);
    let head = online["head_hash"].as_str().expect("a hash");
    let output = suite.command(["audit", "verify", text(&cut), "--head", head]).output();
    assert_eq!(output.expect("it runs").status.code(), Some(1), "its end was cut off");
}
