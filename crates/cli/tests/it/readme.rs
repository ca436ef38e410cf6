//! What the README prints works as printed.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use northstar_proto::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorSet};

use crate::datasets::folder;
use crate::suite::{NORTHSTAR, Suite, success};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn readme() -> String {
    std::fs::read_to_string(repository().join("README.md")).expect("README.md")
}

/// The blocks of one language from a heading on, as they are printed.
fn blocks(language: &str, heading: &str) -> Vec<String> {
    let readme = readme();
    let from = readme.find(heading).unwrap_or_else(|| panic!("no heading {heading}"));
    blocks_of(&readme[from..], language)
}

/// The blocks of one language.
fn blocks_of(mut rest: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let opening = format!("\n```{language}\n");
    while let Some(at) = rest.find(&opening) {
        let body = &rest[at + opening.len()..];
        let end = body.find("```").expect("every block ends");
        blocks.push(body[..end].to_owned());
        rest = &body[end..];
    }
    blocks
}

/// The one program in a language.
fn program(language: &str) -> String {
    let found: [String; 1] = blocks(language, "## Calling it from another service")
        .try_into()
        .unwrap_or_else(|found: Vec<String>| panic!("{} programs in {language}", found.len()));
    let [program] = found;
    program
}

/// The commands of a console block without what they print: a line after `$ ` with those that it goes on in, because a
/// quote is open or it ends with a backslash, and what a here-document holds.
fn commands(block: &str) -> String {
    let mut script = String::new();
    let (mut in_document, mut goes_on) = (false, false);
    let mut quotes = 0;
    for line in block.lines() {
        let command = line.strip_prefix("$ ");
        if in_document || goes_on || command.is_some() {
            script.push_str(command.unwrap_or(line));
            script.push('\n');
        }
        if in_document {
            in_document = line != "YAML";
        } else if goes_on || command.is_some() {
            in_document = line.ends_with("<<'YAML'");
            quotes += if in_document { 0 } else { line.matches('\'').count() };
            goes_on = quotes % 2 == 1 || line.ends_with('\\');
        }
    }
    script
}

/// The walkthroughs as one script, after the block that starts the suite.
fn walkthroughs() -> String {
    let all = blocks("console", "### From a file to a KPI");
    let scripts: Vec<String> = all.iter().map(|block| commands(block)).collect();
    assert!(scripts.len() >= 4, "{} walkthroughs", scripts.len());
    scripts.concat()
}

/// A shell in the suite's folder that finds `northstar` and the suite.
fn shell(suite: &Suite, script: &str) -> Command {
    let (address, key) = suite.address_and_key();
    let programs = Path::new(NORTHSTAR).parent().expect("a folder").display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("bash");
    shell
        .args(["-e", "-o", "pipefail", "-c", script])
        .current_dir(suite.folder())
        .env("PATH", format!("{programs}:{path}"))
        .env("NORTHSTAR_CONTEXT", suite.context())
        .env("NORTHSTAR_ADDRESS", address)
        .env("NORTHSTAR_API_KEY", key)
        .env_remove("DATABASE_URL");
    shell
}

fn run(suite: &Suite, script: &str) -> Output {
    let output = shell(suite, script).output().expect("bash runs");
    success(&output);
    output
}

/// Copies the data that the walkthroughs name; false, said on standard error, where it is absent.
fn bring_data(suite: &Suite) -> bool {
    for (set, file) in [("retentioneering_ecom", "ecom.csv.gz"), ("cookie_cats", "cookie_cats.csv")]
    {
        let Some(folder) = folder(set) else { return false };
        std::fs::copy(folder.join(file), suite.folder().join(file)).expect("a copy");
    }
    true
}

#[test]
fn the_walkthroughs_and_the_programs_that_go_on_from_them_work_as_printed() {
    let suite = Suite::start();
    if !bring_data(&suite) {
        return;
    }
    let output = run(&suite, &walkthroughs());
    let printed = String::from_utf8_lossy(&output.stdout);
    let told = String::from_utf8_lossy(&output.stderr);
    for expected in
        ["31,106 accepted", "cart-reminder is active", "short-checkout is rolled_back", "valid: "]
    {
        assert!(printed.contains(expected), "no {expected:?} in {printed}\n{told}");
    }
    std::os::unix::fs::symlink(repository().join("proto"), suite.folder().join("proto"))
        .expect("a link");
    python(&suite);
    typescript(&suite);
}

/// A tool that comes from a registry; `None`, said on standard error, where it cannot be had. With
/// `NORTHSTAR_REQUIRE_SDKS=1` that is a failure.
fn fetched(folder: &str, ready: &str, script: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache =
        cache.or_else(|| std::env::home_dir().map(|home| home.join(".cache"))).expect("a home");
    let folder = cache.join("northstar/readme").join(folder);
    std::fs::create_dir_all(&folder).expect("a cache folder");
    if folder.join(ready).exists() {
        return Some(folder);
    }
    let output = Command::new("bash").args(["-e", "-c", script]).current_dir(&folder).output();
    match output {
        Ok(output) if output.status.success() => Some(folder),
        failed => {
            let required = std::env::var("NORTHSTAR_REQUIRE_SDKS").is_ok_and(|value| value == "1");
            assert!(!required, "{script}: {failed:?}");
            writeln!(io::stderr(), "skipped: {script} does not work here: {failed:?}")
                .expect("standard error is open");
            None
        }
    }
}

fn python(suite: &Suite) {
    let install =
        "python3 -m venv --clear . && bin/pip install --quiet grpcio-tools==1.85.1 && touch ready";
    let Some(tools) = fetched("python-grpcio-1.85.1", "ready", install) else { return };
    suite.file("scorecard.py", &program("python"));
    let generate = "python -m grpc_tools.protoc -I proto --python_out=. --grpc_python_out=. $(find -L proto -name '*.proto')";
    assert!(
        readme().replace('\n', " ").contains(&generate.replace("find -L", "find")),
        "the README generates another way"
    );
    let script =
        format!("export PATH={}/bin:$PATH; {generate}; python scorecard.py", tools.display());
    let printed = run(suite, &script).stdout;
    assert!(String::from_utf8_lossy(&printed).contains("buyers"), "{printed:?}");
}

fn typescript(suite: &Suite) {
    let install = "npm install --silent --no-audit --no-fund --prefix . @grpc/grpc-js@1.14.7 @grpc/proto-loader@0.8.1 tsx@4.23.15 && touch ready";
    let Some(tools) = fetched("node-grpc-js-1.14.7", "ready", install) else { return };
    suite.file("ingest.ts", &program("ts"));
    let script = format!(
        "ln -s {}/node_modules node_modules; npx --no-install tsx ingest.ts",
        tools.display()
    );
    let printed = run(suite, &script).stdout;
    assert!(
        String::from_utf8_lossy(&printed).contains("ACCEPTED"),
        "{}",
        String::from_utf8_lossy(&printed)
    );
}

#[test]
fn the_rust_program_is_the_example_that_is_compiled() {
    let example = repository().join("crates/client/examples/query.rs");
    let example = std::fs::read_to_string(example).expect("the example");
    assert!(example.ends_with(&program("rust,ignore")), "the README and the example differ");
}

/// `start_time` as Go's generator writes it: `StartTime`.
fn go_name(field: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    field.split('_').map(capital).collect()
}

#[test]
fn the_names_of_the_go_program_are_those_of_the_contract() {
    let program = program("go");
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("descriptors").file;
    let metrics = files
        .iter()
        .find(|file| file.package() == "northstar.metrics.v1" && !file.service.is_empty())
        .expect("the contract of metrics");
    let service = metrics.service.first().expect("a service");
    assert!(program.contains(&format!("metricsv1.New{}Client(", service.name())), "{program}");
    assert!(service.method.iter().any(|method| program.contains(&format!(").{}(", method.name()))));
    let fields_of = |name: &str| -> Vec<String> {
        let message: Option<&DescriptorProto> =
            metrics.message_type.iter().find(|message| message.name() == name);
        message.expect(name).field.iter().map(|field| go_name(field.name())).collect()
    };
    let written = program
        .split_once("QueryMetricRequest{")
        .and_then(|(_, rest)| rest.split_once("})"))
        .expect("a request")
        .0;
    for field in written.split(", ").filter_map(|part| part.trim().split_once(": ")) {
        assert!(fields_of("QueryMetricRequest").contains(&field.0.to_owned()), "{field:?}");
    }
    for (message, getter) in
        [("QueryMetricResponse", "Rows"), ("MetricRow", "BucketTime"), ("MetricRow", "Value")]
    {
        assert!(
            program.contains(&format!("Get{getter}()"))
                && fields_of(message).contains(&getter.to_owned())
        );
    }
    let grain = metrics.enum_type.iter().find(|found| found.name() == "Grain").expect("Grain");
    assert!(
        grain
            .value
            .iter()
            .any(|value| program.contains(&format!("metricsv1.Grain_{},", value.name())))
    );
}

/// The console blocks below a heading of the README of ingestion, up to the next heading.
fn ingestion_blocks(heading: &str) -> Vec<String> {
    let path = repository().join("services/ingestion/README.md");
    let readme = std::fs::read_to_string(path).expect("the README of ingestion");
    let (_, section) = readme
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("no heading {heading}"));
    let end = ["\n# ", "\n## "].iter().filter_map(|next| section.find(next)).min();
    blocks_of(&section[..end.unwrap_or(section.len())], "console")
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
    for heading in ["## Segment", "## CloudEvents", "## OpenTelemetry"] {
        let (block, commands) = ingestion_block(heading);
        assert!(commands.contains("http://127.0.0.1:8080"), "{commands}");
        let here = commands.replace("http://127.0.0.1:8080", &address);
        let output = run(&suite, &format!("KEY={key}\n{}", here.replace("curl ", "curl -sS ")));
        prints_as_shown(&block, &output.stdout);
    }
    suite.file("signing-secret.txt", "whsec_c2VjcmV0IG9mIHRoZSBleGFtcGxl");
    let (_, webhooks) = ingestion_block("## Webhooks");
    let printed = run(&suite, &webhooks).stdout;
    assert!(String::from_utf8_lossy(&printed).contains("hubspot-deals"), "{printed:?}");
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
