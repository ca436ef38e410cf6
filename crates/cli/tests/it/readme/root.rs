//! The walkthroughs and the programs of the README of the repository.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::Command;

use northstar_proto::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorSet};

use super::markdown::{blocks_of, commands, shown};
use super::{readme, repository, run};
use crate::datasets::folder;
use crate::suite::Suite;

/// The blocks of one language from a heading on, as they are printed.
fn blocks(language: &str, heading: &str) -> Vec<String> {
    let readme = readme("README.md");
    let from = readme.find(heading).unwrap_or_else(|| panic!("no heading {heading}"));
    blocks_of(&readme[from..], language)
}

/// The one program in a language.
fn program(language: &str) -> String {
    let found: [String; 1] = blocks(language, "## Calling it from another service")
        .try_into()
        .unwrap_or_else(|found: Vec<String>| panic!("{} programs in {language}", found.len()));
    let [program] = found;
    program
}

/// The walkthroughs, after the block that starts the suite.
fn walkthroughs() -> Vec<String> {
    let all = blocks("console", "### From a file to a KPI");
    assert!(all.len() >= 9, "{} walkthroughs", all.len());
    all
}

/// A line without how long something took.
fn without_seconds(line: &str) -> String {
    match (line.split_once("rows read in "), line.split_once(" s: ")) {
        (Some((before, _)), Some((_, after))) => format!("{before}rows read: {after}"),
        _ => line.to_owned(),
    }
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
    let walkthroughs = walkthroughs();
    let script: String = walkthroughs.iter().map(|block| commands(block)).collect();
    let output = run(&suite, &script);
    let printed = [output.stdout, output.stderr].concat();
    let printed: Vec<String> =
        String::from_utf8_lossy(&printed).lines().map(without_seconds).collect();
    for line in walkthroughs.iter().flat_map(|block| shown(block)) {
        assert!(printed.contains(&without_seconds(line)), "no {line:?} in {printed:#?}");
    }
    let printed = printed.join("\n");
    for expected in [
        "cart-reminder is active",
        "short-checkout is rolled_back",
        "27 events of 7 subjects",
        "per subject over 14 days, against ",
        "subjects held out by chance",
        "automations/cart-reminder is now approved",
        "a quiet launch of the new catalogue",
        "channel organic makes up 68 % of the change",
        "valid: ",
    ] {
        assert!(printed.contains(expected), "no {expected:?} in {printed}");
    }
    link_contracts(&suite);
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

/// Puts the contracts where the programs look for them.
pub(super) fn link_contracts(suite: &Suite) {
    std::os::unix::fs::symlink(repository().join("proto"), suite.folder().join("proto"))
        .expect("a link");
}

fn python(suite: &Suite) {
    let Some(printed) = run_python(suite, &program("python")) else { return };
    assert!(printed.contains("buyers"), "{printed:?}");
}

/// Runs a Python program with the generated modules, whose contracts lie in the suite's folder, and returns what it
/// prints; `None`, said on standard error, where the generator cannot be had.
pub(super) fn run_python(suite: &Suite, program: &str) -> Option<String> {
    let install =
        "python3 -m venv --clear . && bin/pip install --quiet grpcio-tools==1.85.1 && touch ready";
    let tools = fetched("python-grpcio-1.85.1", "ready", install)?;
    suite.file("program.py", program);
    let generate = "python -m grpc_tools.protoc -I proto --python_out=. --grpc_python_out=. $(find -L proto -name '*.proto')";
    assert!(
        readme("README.md").replace('\n', " ").contains(&generate.replace("find -L", "find")),
        "the README generates another way"
    );
    let script =
        format!("export PATH={}/bin:$PATH; {generate}; python program.py", tools.display());
    Some(String::from_utf8_lossy(&run(suite, &script).stdout).into_owned())
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
