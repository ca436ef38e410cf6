//! The log as files: whole, once each, whatever happens in between.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;

use northstar_testkit::Bucket;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::suite::{Suite, success, text};

const ROWS: usize = 6_000;

/// A suite with events of two sources, one of which nests.
fn filled() -> Suite {
    let suite = Suite::start();
    let lines: String = (0..ROWS)
        .map(|row| {
            let at =
                format!("2026-01-02T{:02}:{:02}:{:02}.5Z", row / 3600, row / 60 % 60, row % 60);
            format!("{{\"u\":\"u{}\",\"e\":\"view\",\"at\":\"{at}\",\"n\":{row}}}\n", row % 97)
        })
        .collect();
    let file = suite.file("events.jsonl", &lines);
    for source in ["web", "app"] {
        let mapping = format!(
            "source: {source}\nevent: {{column: e}}\nuser_id: {{column: u}}\n\
             occurred_time: {{column: at}}\n\
             properties:\n  n: {{column: n, type: int}}\n  share: {{column: n, type: float}}\n"
        );
        let mapping = suite.file(&format!("{source}.yaml"), &mapping);
        suite.run(["import", text(&file), "--mapping", text(&mapping)]);
    }
    suite
}

fn manifest(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("manifest.json")).expect("a manifest"))
        .expect("JSON")
}

/// Checks that files are what the manifest says, without a gap, and returns
/// their paths.
fn checked(folder: &Path, events: usize) -> Vec<String> {
    let manifest = manifest(folder);
    let mut next = 1;
    let mut total = 0;
    let mut paths = Vec::new();
    for file in manifest["files"].as_array().expect("files") {
        let name = file["name"].as_str().expect("a name");
        let content = fs::read(folder.join(name)).expect("the file is there");
        assert_eq!(file["bytes"], json!(content.len()), "{name}");
        assert_eq!(file["sha256"], json!(hex::encode(Sha256::digest(&content))), "{name}");
        assert_eq!(file["first_position"], json!(next), "{name}");
        next = file["last_position"].as_i64().expect("a position") + 1;
        total += file["events"].as_u64().expect("a count");
        paths.push(text(&folder.join(name)).to_owned());
    }
    assert_eq!(total, events as u64);
    let files = fs::read_dir(folder).expect("the folder").count();
    assert_eq!(files, paths.len() + 1, "nothing but the files and the manifest");
    paths
}

#[test]
fn an_export_imported_again_adds_nothing() {
    let suite = filled();
    let folder = tempfile::tempdir().expect("a folder");
    for format in ["parquet", "jsonl"] {
        let to = folder.path().join(format);
        let export = ["events", "export", "--to", text(&to), "--format", format, "--json"];
        let summary = suite.json(export.into_iter().chain(["--rows", "5000"]));
        assert_eq!(summary["events"], json!(2 * ROWS));
        let paths = checked(&to, 2 * ROWS);
        assert!(paths.len() >= 2, "{paths:?}");
        let mut read = 0;
        for path in &paths {
            let summary = suite.json(["import", path, "--json"]);
            assert_eq!(summary["read"], summary["duplicate"], "{summary}");
            read += summary["read"].as_u64().expect("a count");
        }
        assert_eq!(read, 2 * ROWS as u64);
    }
    let sources = suite.json(["sources", "--json"]);
    let accepted: BTreeMap<&str, &Value> = sources["sources"]
        .as_array()
        .expect("sources")
        .iter()
        .map(|source| (source["name"].as_str().expect("a name"), &source["accepted"]))
        .collect();
    assert_eq!((accepted["web"], accepted["app"]), (&json!(ROWS), &json!(ROWS)));

    // An empty suite gets all of it.
    let other = Suite::start();
    let parquet = folder.path().join("parquet");
    for path in checked(&parquet, 2 * ROWS) {
        let summary = other.json(["import", &path, "--json"]);
        assert_eq!(summary["read"], summary["accepted"], "{summary}");
    }

    // What is no export says what is missing.
    let csv = suite.file("plain.csv", "a,b\n1,2\n");
    let refused = suite.command(["import", text(&csv)]).output().expect("northstar runs");
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && message.contains("--mapping"), "{message}");
}

/// Sends JSON to a path of the HTTP listener and returns the answer.
fn post(suite: &Suite, path: &str, content_type: &str, body: &str) -> String {
    let (http, (_, key)) = (suite.http(), suite.address_and_key());
    let address = http.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).expect("the listener answers");
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         authorization: Bearer {key}\r\ncontent-type: {content_type}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("the request is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer in UTF-8");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer
}

#[test]
fn events_that_came_without_a_time_are_known_when_they_are_imported_again() {
    let suite = Suite::start();
    let message =
        r#"{"messageId": "m1", "userId": "u1", "event": "Opened", "properties": {"n": 1}}"#;
    post(&suite, "/v1/track", "application/json", message);
    let event = r#"{"specversion": "1.0", "id": "1", "source": "/b", "type": "t", "subject": "u"}"#;
    post(&suite, "/v1/cloudevents", "application/cloudevents+json", event);

    let folder = tempfile::tempdir().expect("a folder");
    for format in ["parquet", "jsonl"] {
        let to = folder.path().join(format);
        suite.run(["events", "export", "--to", text(&to), "--format", format]);
        for path in checked(&to, 2) {
            let summary = suite.json(["import", &path, "--json"]);
            assert_eq!(summary["duplicate"], json!(2), "{summary}");
        }
    }
    // What the suite told of itself is left out, and said to be.
    let lines = checked(&folder.path().join("jsonl"), 2);
    let told = fs::read_to_string(&lines[0]).expect("lines").replace("\"admin\"", "\"northstar\"");
    let told = suite.file("told.jsonl", &told);
    let summary = suite.json(["import", text(&told), "--json"]);
    assert_eq!((&summary["read"], &summary["left_out"]), (&json!(2), &json!(2)), "{summary}");
    // The producers' own second deliveries, too.
    let again = post(&suite, "/v1/track", "application/json", message);
    assert!(again.contains("duplicate"), "{again}");

    // A suite that has them from the export knows the producers when they try again.
    let other = Suite::start();
    for path in checked(&folder.path().join("parquet"), 2) {
        let summary = other.json(["import", &path, "--json"]);
        assert_eq!(summary["accepted"], json!(2), "{summary}");
    }
    let headers = other.json(["events", "list", "--limit", "1"]);
    let source = headers["source"].as_str().expect("a source");
    assert_eq!(source, "admin");
    let again = post(&other, "/v1/track", "application/json", message);
    assert!(again.contains("duplicate"), "{again}");
}

#[test]
fn a_killed_export_run_again_has_every_event_exactly_once() {
    let suite = filled();
    let folder = tempfile::tempdir().expect("a folder");
    let to = folder.path().join("out");
    let arguments = ["events", "export", "--to", text(&to), "--rows", "1000", "--format", "jsonl"];
    let mut killed = 0;
    for round in 0..12_u64 {
        let mut child = suite
            .command(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("northstar starts");
        // Sooner and later, from before the first file to after the last.
        std::thread::sleep(std::time::Duration::from_millis(40 + round * 35));
        if child.try_wait().expect("the child is known").is_none() {
            killed += 1;
        }
        child.kill().ok();
        child.wait().expect("the child ends");
    }
    assert!(killed > 0, "every export was over before it was killed");
    success(&suite.command(arguments).output().expect("northstar runs"));
    let mut positions = Vec::new();
    for path in checked(&to, 2 * ROWS) {
        for line in fs::read_to_string(path).expect("text").lines() {
            let event: Value = serde_json::from_str(line).expect("JSON");
            positions.push(event["position"].as_u64().expect("a position"));
        }
    }
    assert_eq!(positions, (1..=2 * ROWS as u64).collect::<Vec<_>>());

    // Later events are added; another export does not go into the same folder.
    let late = suite.file(
        "late.yaml",
        "source: late\nevent: {column: e}\nuser_id: {column: u}\n\
                                        occurred_time: {column: at}\n",
    );
    let line = suite.file("late.jsonl", "{\"u\":\"a\",\"e\":\"x\",\"at\":\"2026-01-03\"}\n");
    suite.run(["import", text(&line), "--mapping", text(&late)]);
    let summary = suite.json(arguments.into_iter().chain(["--json"]));
    assert_eq!((&summary["events"], &summary["kept_events"]), (&json!(1), &json!(2 * ROWS)));
    let other = arguments.into_iter().chain(["--filter", "event.name == 'x'"]);
    let refused = suite.command(other).output().expect("northstar runs");
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(message.contains("another export"), "{message}");
}

/// Fetches an export into a folder, checks it, and returns the paths of its files.
fn fetched(bucket: &Bucket, prefix: &str, events: usize) -> (tempfile::TempDir, Vec<String>) {
    let folder = tempfile::tempdir().expect("a folder");
    for name in bucket.names() {
        let file = name.strip_prefix(prefix).expect("nothing else is in the bucket");
        let content = bucket.content(&name).expect("an object");
        fs::write(folder.path().join(file), content).expect("a file");
    }
    let paths = checked(folder.path(), events);
    (folder, paths)
}

#[test]
fn an_export_into_a_bucket_goes_on_where_it_was_killed() {
    let suite = filled();
    for format in ["parquet", "jsonl"] {
        let bucket = Bucket::start();
        let to = "s3://exports/shop";
        let arguments =
            ["events", "export", "--to", to, "--rows", "1000", "--format", format, "--json"];
        let export = || {
            let mut command = suite.command(arguments);
            command.envs(bucket.environment());
            command
        };
        let mut killed = 0;
        for round in 0..8_u64 {
            let mut child =
                export().stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a start");
            std::thread::sleep(std::time::Duration::from_millis(30 + round * 40));
            if child.try_wait().expect("the child is known").is_none() {
                killed += 1;
            }
            child.kill().ok();
            child.wait().expect("the child ends");
        }
        assert!(killed > 0, "every export was over before it was killed");
        // As a kill between a file and the manifest leaves it.
        let stray = format!("exports/shop/events-000000000777-000000000999.{format}");
        bucket.put(&stray, b"not listed");
        success(&export().output().expect("northstar runs"));
        assert!(!bucket.names().contains(&stray), "{:?}", bucket.names());
        let (_folder, paths) = fetched(&bucket, "exports/shop/", 2 * ROWS);
        assert!(paths.len() >= 2, "{paths:?}");
        for path in &paths {
            let summary = suite.json(["import", path, "--json"]);
            assert_eq!(summary["read"], summary["duplicate"], "{summary}");
        }
        // Run again, it adds nothing.
        let again = export().output().expect("northstar runs");
        let summary: Value = serde_json::from_slice(&again.stdout).expect("one JSON document");
        assert_eq!((&summary["events"], &summary["kept_events"]), (&json!(0), &json!(2 * ROWS)));
    }
    // Without its key a bucket refuses, and the message says whose place it is.
    let bucket = Bucket::start();
    let mut command = suite.command(["events", "export", "--to", "s3://exports/shop"]);
    command.envs(bucket.environment()).env("AWS_ACCESS_KEY_ID", "nobody");
    let refused = command.output().expect("northstar runs");
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && message.contains("s3://exports/shop"), "{message}");
    let wrong = suite.command(["events", "export", "--to", "ftp://host/a"]).output();
    let message = String::from_utf8_lossy(&wrong.expect("northstar runs").stderr).into_owned();
    assert!(message.contains("no place for an archive"), "{message}");
}

#[test]
fn a_breached_source_fails_the_check_and_groups_are_looked_after() {
    let suite = filled();
    success(&suite.command(["sources", "--check"]).output().expect("northstar runs"));
    suite.apply(
        "sources.yaml",
        "kind: Source\nmetadata: {name: never}\nspec:\n  owner: nobody\n  events:\n    view:\n\
         \x20     freshness: null\n  volume: {expected: 1, every: {count: 1, period: hour}, \
         error_below: 1}\n---\nkind: Source\nmetadata: {name: web}\nspec:\n  owner: growth\n\
         \x20 freshness: {basis: effective, error_after: {count: 1, period: hour}}\n",
    );
    let found = suite.command(["sources", "--check", "--json"]).output().expect("northstar runs");
    assert_eq!(found.status.code(), Some(1));
    let message = String::from_utf8_lossy(&found.stderr).into_owned();
    assert!(message.contains("web is breached") && !message.contains("never"), "{message}");
    let shown: Value = serde_json::from_slice(&found.stdout).expect("one JSON document");
    let names: Vec<_> = shown["sources"].as_array().expect("sources").iter().collect();
    assert_eq!(names[1]["state"], json!("fresh"), "{names:?}");
    // A document reads back as it was written.
    suite.run([
        "diff",
        text(&suite.file(
            "same.yaml",
            "kind: Source\nmetadata: {name: web}\nspec:\n  \
        owner: growth\n  freshness: {basis: effective, error_after: {count: 1, period: hour}}\n",
        )),
    ]);

    let tail = suite
        .command(["subscription", "tail", "g", "--from", "beginning", "--limit", "5"])
        .output()
        .expect("northstar runs");
    success(&tail);
    assert_eq!(String::from_utf8_lossy(&tail.stdout).lines().count(), 5);
    // The suite has a group of its own.
    let named_g = |groups: &Value| {
        let groups = groups["subscriptions"].as_array().expect("a list");
        groups.iter().find(|group| group["group"] == "g").cloned()
    };
    let groups = suite.json(["subscription", "list", "--json"]);
    assert!(named_g(&groups).is_some(), "{groups}");
    let sought = suite.json(["subscription", "seek", "g", "--to", "now", "--json"]);
    // The change of the source's state may come in between, as an event.
    assert!(sought["position"].as_u64() >= groups["log_position"].as_u64(), "{sought}");
    let groups = suite.json(["subscription", "list", "--json"]);
    let lag = named_g(&groups).expect("the group")["lag_positions"].as_u64();
    assert!(lag <= Some(1), "{groups}");
    suite.run(["subscription", "delete", "g"]);
    let listed = suite.json(["subscription", "list", "--json"]);
    assert_eq!(named_g(&listed), None);
    let list = suite.command(["events", "list", "--limit", "3"]).output().expect("northstar runs");
    assert_eq!(String::from_utf8_lossy(&list.stdout).lines().count(), 3);
}
