//! Other people's SDKs, installed once at the versions that `python.txt` and
//! `package.json` pin, and programs that use them.
//!
//! They live in `${XDG_CACHE_HOME:-~/.cache}/northstar/sdks`. Where Python, npm,
//! Chromium or the network are absent, tests that need them skip and say so;
//! with `NORTHSTAR_REQUIRE_SDKS=1` they fail.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/doors");
/// Longest that a program may take; they take a second or two.
const PATIENCE: Duration = Duration::from_secs(60);

/// A Python that has the packages of `python.txt`.
pub fn python() -> Option<PathBuf> {
    let pins = include_str!("python.txt");
    let folder = installed("python", pins, |folder| {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
        let requirements = Path::new(HERE).join("python.txt");
        let mut pip = Command::new(folder.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        run(pip.arg("--requirement").arg(requirements))
    })?;
    Some(folder.join("bin/python"))
}

/// The folder whose `node_modules` has the packages of `package.json`.
pub fn node() -> Option<PathBuf> {
    let pins = include_str!("package.json");
    installed("node", pins, |folder| {
        run(Command::new("node").arg("--version").stdout(Stdio::null()))?;
        fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        fs::write(folder.join("package.json"), pins).map_err(|error| error.to_string())?;
        let arguments =
            ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"];
        run(Command::new("npm").args(arguments).current_dir(folder).stdout(Stdio::null()))
    })
}

/// Chromium's program.
pub fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .flat_map(|folder| {
            ["chromium", "chromium-browser", "google-chrome"].map(|n| folder.join(n))
        })
        .find(|program| program.is_file());
    if found.is_none() {
        skip("chromium", "it is not on the path; on Debian, install the package chromium");
    }
    found
}

/// Installs what is pinned, unless it is there. Other test processes wait.
fn installed(
    what: &str,
    pins: &str,
    install: impl FnOnce(&Path) -> Result<(), String>,
) -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache"),
        PathBuf::from,
    );
    let sdks = cache.join("northstar/sdks");
    let version: String =
        Sha256::digest(pins).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let folder = sdks.join(format!("{what}-{version}"));
    let outcome = fs::create_dir_all(&sdks)
        .and_then(|()| File::create(sdks.join(format!("{what}.lock"))))
        .and_then(|lock| lock.lock().map(|()| lock))
        .map_err(|error| error.to_string())
        .and_then(|_lock| {
            let done = folder.join("installed");
            if done.exists() {
                return Ok(());
            }
            // What an interrupted installation left.
            let _ = fs::remove_dir_all(&folder);
            install(&folder)?;
            fs::write(done, pins).map_err(|error| error.to_string())
        });
    match outcome {
        Ok(()) => Some(folder),
        Err(why) => {
            skip(what, &why);
            None
        }
    }
}

fn skip(what: &str, why: &str) {
    assert!(
        std::env::var_os("NORTHSTAR_REQUIRE_SDKS").is_none_or(|required| required != "1"),
        "{what} is required and not to be had: {why}"
    );
    writeln!(io::stderr(), "skipped: {what} is not to be had: {why}").expect("standard error");
}

fn run(command: &mut Command) -> Result<(), String> {
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let error = String::from_utf8_lossy(&output.stderr);
            Err(format!("{command:?} failed: {}", error.trim()))
        }
        Err(error) => Err(format!("{command:?} cannot be started: {error}")),
    }
}

/// Runs a program of `doors/sdk` with arguments until it ends.
///
/// # Panics
/// When it fails; with what it said.
pub async fn send(interpreter: &Path, program: &str, folder: Option<&Path>, arguments: &[&str]) {
    let mut command = tokio::process::Command::new(interpreter);
    command.arg(Path::new(HERE).join("sdk").join(program)).args(arguments).kill_on_drop(true);
    // No proxy of the machine's may stand between two programs on loopback.
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
        command.env_remove(name);
    }
    if let Some(folder) = folder {
        command.current_dir(folder);
    }
    let output = tokio::time::timeout(PATIENCE, command.output())
        .await
        .unwrap_or_else(|_| panic!("{program} does not end"))
        .unwrap_or_else(|error| panic!("{program} cannot be started: {error}"));
    assert!(
        output.status.success(),
        "{program} failed:\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
