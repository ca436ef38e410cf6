//! The folder of public data, which is not part of the repository.

use std::{env, fs, path::PathBuf};

use serde_json::Value;

/// The path of a file in the data folder, or `None` with a message when the folder is not there.
#[expect(clippy::print_stderr, reason = "a skipped test must say that it was skipped")]
pub fn path(relative: &str) -> Option<PathBuf> {
    let folder = env::var_os("NORTHSTAR_TEST_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")),
        PathBuf::from,
    );
    if !folder.is_dir() {
        eprintln!(
            "skipped: no test data in {}; set NORTHSTAR_TEST_DATA to run this test",
            folder.display()
        );
        return None;
    }
    Some(folder.join(relative))
}

/// A JSON document of the data folder.
pub fn json(relative: &str) -> Option<Value> {
    let path = path(relative)?;
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// The number behind a key.
#[track_caller]
pub fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("no number {key} in {value}"))
}

/// The two ends behind a key.
#[track_caller]
pub fn ends(value: &Value) -> (f64, f64) {
    match value.as_array().map(Vec::as_slice) {
        Some([low, high]) => (low.as_f64().expect("a number"), high.as_f64().expect("a number")),
        _ => panic!("{value} is not an interval"),
    }
}
