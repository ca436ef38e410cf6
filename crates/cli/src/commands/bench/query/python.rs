//! The Python that generates the data set and holds the peers: one that is
//! named, or an environment that the bench makes in its cache.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use tokio::process::Command;

use crate::output;

/// What the generator and the peers need.
const PACKAGES: [&str; 4] = ["duckdb==2.0.0", "chdb==4.4.0", "pyarrow==26.0.1", "numpy"];
/// What proves that they are there.
const IMPORTS: &str = "import duckdb, chdb, pyarrow, numpy";

/// A Python with the packages that the bench needs.
#[derive(Clone, Debug)]
pub(super) struct Python {
    program: PathBuf,
}

impl Python {
    /// The Python that is named, or that of the environment in the cache, which
    /// is made when it is not there. `None`, with a word why, when neither works:
    /// the bench then has numbers of its own only.
    ///
    /// # Errors
    /// When the one that is named lacks a package.
    pub(super) async fn find(named: Option<&Path>, cache: &Path) -> anyhow::Result<Option<Self>> {
        if let Some(program) = named {
            let python = Self { program: program.to_owned() };
            python.check().await.with_context(|| {
                format!("{} must have {}", program.display(), PACKAGES.join(" "))
            })?;
            return Ok(Some(python));
        }
        let environment = cache.join("venv");
        let python = Self { program: environment.join("bin/python") };
        if python.check().await.is_ok() {
            return Ok(Some(python));
        }
        output::note(format!("installing {} into {}", PACKAGES.join(" "), environment.display()));
        match python.install(&environment).await {
            Ok(()) => Ok(Some(python)),
            Err(problem) => {
                output::note(format!(
                    "WARNING: no peers to compare with: {problem:#}. Install python3 with pip and a network, or \
                     name a Python that has the packages with --python."
                ));
                Ok(None)
            }
        }
    }

    async fn install(&self, environment: &Path) -> anyhow::Result<()> {
        let mut make = Command::new("python3");
        make.args(["-m", "venv"]).arg(environment);
        self.run(make).await.context("python3 -m venv")?;
        let mut install = Command::new(&self.program);
        install.args(["-m", "pip", "install", "--quiet"]).args(PACKAGES);
        self.run(install).await.context("pip install")?;
        self.check().await
    }

    async fn check(&self) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        command.args(["-c", IMPORTS]);
        self.run(command).await
    }

    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Runs a command to its end; what it says goes nowhere unless it fails.
    pub(super) async fn run(&self, mut command: Command) -> anyhow::Result<()> {
        let program = command.as_std().get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).kill_on_drop(true);
        let done = command.output().await.context(program)?;
        let said = String::from_utf8_lossy(&done.stderr);
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        ensure!(done.status.success(), "{}: {last}", done.status);
        Ok(())
    }
}
