//! `northstar up` as a child process, and commands against it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// The binary under test.
pub const NORTHSTAR: &str = env!("CARGO_BIN_EXE_northstar");

/// A suite in a process of its own; killed with the value.
pub struct Suite {
    child: Option<Child>,
    folder: TempDir,
    database_url: Option<String>,
}

impl Suite {
    /// Starts over a private cluster.
    pub fn start() -> Self {
        Self::start_over(None)
    }

    /// Starts over the given database.
    pub fn start_over(database_url: Option<String>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut suite = Self { child: None, folder, database_url };
        suite.restart();
        suite
    }

    /// Starts it again, after it was killed.
    pub fn restart(&mut self) {
        let mut command = Command::new(NORTHSTAR);
        command
            .args(["up", "--ready-json", "--grpc-listen", "127.0.0.1:0"])
            .args(["--http-listen", "127.0.0.1:0", "--data-dir"])
            .arg(self.folder.path().join("data"))
            .env("NORTHSTAR_CONTEXT", self.context())
            .env_remove("DATABASE_URL")
            .stdout(Stdio::piped());
        if let Some(url) = &self.database_url {
            command.args(["--database-url", url]);
        }
        let mut child = command.spawn().expect("northstar starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("standard output is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let ready: Value = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("not ready: {line:?}, {:?}", child.wait()));
        assert!(ready["grpc"].is_string() && ready["http"].is_string(), "{ready}");
        self.child = Some(child);
    }

    /// Kills it as the kernel would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the process can be killed");
            child.wait().expect("the process ends");
        }
    }

    /// The context file that it wrote.
    pub fn context(&self) -> PathBuf {
        self.folder.path().join("context.json")
    }

    /// The folder of its files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its gRPC address and the key of its administrator.
    pub fn address_and_key(&self) -> (String, String) {
        let context = std::fs::read(self.context()).expect("the context file");
        let context: Value = serde_json::from_slice(&context).expect("the context file is JSON");
        let text = |name: &str| context[name].as_str().expect(name).to_owned();
        (text("grpc"), text("api_key"))
    }

    /// Its address for HTTP.
    pub fn http(&self) -> String {
        let context = std::fs::read(self.context()).expect("the context file");
        let context: Value = serde_json::from_slice(&context).expect("the context file is JSON");
        context["http"].as_str().expect("an address").to_owned()
    }

    /// A file in the suite's folder.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("the file can be written");
        path
    }

    /// A command against the suite, not yet run.
    pub fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(NORTHSTAR);
        command.args(arguments).env("NORTHSTAR_CONTEXT", self.context()).env_remove("DATABASE_URL");
        command
    }

    /// Runs a command that must succeed, and reads its JSON.
    pub fn json<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Value {
        let output = self.command(arguments).output().expect("northstar runs");
        success(&output);
        serde_json::from_slice(&output.stdout).expect("one JSON document")
    }

    /// Runs a command that must succeed.
    pub fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) {
        success(&self.command(arguments).output().expect("northstar runs"));
    }

    /// Applies documents.
    pub fn apply(&self, name: &str, yaml: &str) {
        let path = self.file(name, yaml);
        self.run(["apply", text(&path)]);
    }
}

impl Drop for Suite {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // A clean stop also stops the private cluster.
        let stopped = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        if stopped.is_err() {
            let _ = child.kill();
        }
        let _ = child.wait();
    }
}

/// A path as text.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("a test's path is UTF-8")
}

/// The output of a command that must have succeeded.
pub fn success(output: &Output) {
    assert!(
        output.status.success(),
        "{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
