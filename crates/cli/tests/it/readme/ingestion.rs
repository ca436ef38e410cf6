//! The examples of the README of ingestion.

use super::markdown::{blocks_of, commands, shown};
use super::root::{link_contracts, run_python};
use super::{readme, run};
use crate::suite::Suite;

/// The console blocks below a heading of the README of ingestion, up to the next heading.
fn ingestion_blocks(heading: &str) -> Vec<String> {
    ingestion_blocks_of(heading, "console")
}

/// The blocks of a language below a heading.
fn ingestion_blocks_of(heading: &str, language: &str) -> Vec<String> {
    let readme = readme("services/ingestion/README.md");
    let (_, section) = readme
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("no heading {heading}"));
    let end = ["\n# ", "\n## "].iter().filter_map(|next| section.find(next)).min();
    blocks_of(&section[..end.unwrap_or(section.len())], language)
}

/// The one block below a heading, and its commands.
fn ingestion_block(heading: &str) -> (String, String) {
    let found: [String; 1] = ingestion_blocks(heading)
        .try_into()
        .unwrap_or_else(|found: Vec<String>| panic!("{} blocks below {heading}", found.len()));
    let [block] = found;
    let commands = commands(&block);
    (block, commands)
}

/// Whether a command printed what the block shows, but for positions, which depend on what came before.
fn prints_as_shown(block: &str, printed: &[u8]) {
    let without_positions = |line: &str| {
        let (before, after) = line.split_once("\"position\":").unwrap_or((line, ""));
        format!("{before}{}", after.trim_start_matches(|digit: char| digit.is_ascii_digit()))
    };
    let shown = block.lines().last().expect("what it prints");
    let printed = String::from_utf8_lossy(printed);
    let last = printed.lines().last().unwrap_or_default();
    assert_eq!(without_positions(last), without_positions(shown), "{printed}");
}

#[test]
fn the_examples_of_the_doors_work_as_printed() {
    let suite = Suite::start();
    let key = run(&suite, &ingestion_block("# HTTP doors").1).stdout;
    let key = String::from_utf8_lossy(&key);
    let key =
        key.split_whitespace().find(|word| word.starts_with("ns_")).expect("a key").to_owned();
    let address = suite.http();
    for heading in ["## Segment", "## Images", "## CloudEvents", "## OpenTelemetry"] {
        let blocks = ingestion_blocks(heading);
        assert!(!blocks.is_empty(), "{heading} has no example");
        for block in blocks {
            let commands = commands(&block);
            assert!(commands.contains("http://127.0.0.1:8080"), "{commands}");
            let here = commands.replace("http://127.0.0.1:8080", &address);
            let here = here.replace("curl ", "curl -sS ");
            let output = run(&suite, &format!("KEY={key}\n{here}"));
            if !shown(&block).is_empty() {
                prints_as_shown(&block, &output.stdout);
            }
        }
    }
    suite.file("signing-secret.txt", "whsec_c2VjcmV0IG9mIHRoZSBleGFtcGxl");
    let (_, webhooks) = ingestion_block("## Webhooks");
    let printed = run(&suite, &webhooks).stdout;
    assert!(String::from_utf8_lossy(&printed).contains("hubspot-deals"), "{printed:?}");
}

#[test]
fn the_program_of_the_grpc_doors_prints_what_it_says() {
    let suite = Suite::start();
    let one = |language: &str| -> String {
        let [found] = ingestion_blocks_of("# The gRPC doors", language)
            .try_into()
            .unwrap_or_else(|found: Vec<String>| panic!("{} blocks of {language}", found.len()));
        found
    };
    link_contracts(&suite);
    let Some(printed) = run_python(&suite, &one("python")) else { return };
    assert_eq!(printed, one("text"));
}

/// Sends Segment messages as a source that is not named after the key.
fn send(suite: &Suite, source: &str, messages: &[serde_json::Value]) {
    suite.file("batch.json", &serde_json::json!({ "batch": messages }).to_string());
    let script = format!(
        "curl -sS --fail-with-body --user \"$NORTHSTAR_API_KEY:\" -H 'northstar-source: {source}' \
         {}/v1/import --json @batch.json",
        suite.http()
    );
    assert_eq!(run(suite, &script).stdout, br#"{"success":true}"#);
}

#[test]
fn the_examples_about_contracts_quarantine_and_groups_work_as_printed() {
    let suite = Suite::start();
    let message = |id: u32, plan: &str| {
        serde_json::json!({
            "type": "track", "messageId": format!("m{id}"), "event": "Signed Up",
            "userId": format!("u{id}"), "timestamp": "2026-03-02T12:00:00Z",
            "properties": {"plan": plan},
        })
    };
    send(&suite, "web", &[message(1, "pro"), message(2, "free"), message(3, "pro")]);
    let event = serde_json::json!({
        "name": "Signed Up", "user_id": "u4", "occurred_time": "2026-03-02T12:00:00Z",
        "properties": {"plan": "free"},
    });
    suite.file("events.jsonl", &event.to_string());
    run(
        &suite,
        &ingestion_blocks("# Contracts").iter().map(|block| commands(block)).collect::<String>(),
    );
    assert!(suite.folder().join("src/events").exists());
    run(&suite, &ingestion_block("# Quarantine").1);

    let (_, sources) = ingestion_block("# Sources: freshness and completeness");
    // With 1 it says that a source is breached.
    run(
        &suite,
        &sources.replace("northstar sources --check", "northstar sources --check || test $? = 1"),
    );
    let (_, groups) = ingestion_block("# Consumer groups with members");
    let tail = groups.lines().next().expect("a command");
    // It follows the log until it is stopped.
    run(&suite, &groups.replace(tail, &format!("timeout -s INT 5 {tail} || test $? = 124")));
    let (_, out) = ingestion_block("# Events out");
    let (_, file) = out.split_once("import archive/").expect("a file");
    let file = file.split_whitespace().next().expect("its name");
    run(&suite, &out.replace(file, "events-*.parquet"));
    let (_, retention) = ingestion_block("# Retention");
    // Which would start a second suite.
    let here: Vec<&str> = retention.lines().filter(|line| !line.ends_with(" &")).collect();
    run(&suite, &here.join("\n"));
}

#[test]
fn the_examples_about_subjects_work_as_printed() {
    let suite = Suite::start();
    let message = |id: u32, user: &str| {
        serde_json::json!({
            "type": "track", "messageId": format!("m{id}"), "event": "Seen", "userId": user,
            "anonymousId": format!("phone-{id}"), "timestamp": "2026-03-02T12:00:00Z",
        })
    };
    send(&suite, "web", &[message(1, "ada"), message(2, "ada-2"), message(3, "bea")]);
    let (_, subjects) = ingestion_block("# Subjects");
    // The number of the merge is another one here.
    assert!(subjects.contains("subject unmerge 17 "), "{subjects}");
    let number = "$(northstar subject history ada --json | python3 -c 'import json, sys; \
                  print(next(fact[\"id\"] for fact in json.load(sys.stdin) if fact[\"verb\"] == \"merge\"))')";
    let printed =
        run(&suite, &subjects.replace("unmerge 17 ", &format!("unmerge {number} "))).stdout;
    let printed = String::from_utf8_lossy(&printed);
    assert!(printed.contains("erasure ") && printed.contains("ticket 4711"), "{printed}");
    let exported = std::fs::read_to_string(suite.folder().join("ada.jsonl")).expect("the export");
    assert!(exported.lines().count() > 2, "{exported}");
}
