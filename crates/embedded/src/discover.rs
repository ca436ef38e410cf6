//! Finds the programs of PostgreSQL on the machine.

use std::cmp::Reverse;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::command::{command, run};
use crate::error::Looked;
use crate::user::Account;

/// The oldest major version that Northstar's SQL runs on.
pub(crate) const OLDEST_MAJOR: u32 = 15;

/// Where distributions and installers put the programs; `*` stands for the version.
const PLACES: [&str; 11] = [
    "usr/lib/postgresql/*/bin",                          // Debian, Ubuntu
    "usr/pgsql-*/bin",                  // Red Hat, Fedora, SUSE from postgresql.org
    "usr/libexec/postgresql*",          // Alpine
    "usr/lib/postgresql*/bin",          // SUSE
    "usr/lib64/postgresql-*/bin",       // Gentoo
    "usr/local/pgsql/bin",              // built from source
    "opt/homebrew/opt/postgresql*/bin", // Homebrew on Apple silicon
    "usr/local/opt/postgresql*/bin",    // Homebrew on Intel
    "home/linuxbrew/.linuxbrew/opt/postgresql*/bin", // Homebrew on Linux
    "Applications/Postgres.app/Contents/Versions/*/bin", // Postgres.app
    "Program Files/PostgreSQL/*/bin",   // the installer of EnterpriseDB
];

/// The programs of one PostgreSQL.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    pub(crate) dir: PathBuf,
    pub(crate) major: u32,
}

impl Binaries {
    /// The path of one program.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        program(&self.dir, name)
    }
}

/// The version that is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// For a new cluster: any that Northstar supports.
    Supported,
    /// For an existing cluster: the major version that wrote it.
    Exactly(u32),
}

impl Wanted {
    fn accepts(self, major: u32) -> bool {
        match self {
            Self::Supported => major >= OLDEST_MAJOR,
            Self::Exactly(wanted) => major == wanted,
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Supported => write!(formatter, "{OLDEST_MAJOR} or newer"),
            Self::Exactly(major) => {
                write!(formatter, "{major} (the version that wrote the data folder)")
            }
        }
    }
}

/// Where to look; separate from the environment so that tests can look at an empty machine.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    pub(crate) path: Option<OsString>,
    pub(crate) root: PathBuf,
    pub(crate) cache: PathBuf,
}

impl Search {
    /// The machine as it is, with downloads kept in `cache`.
    pub(crate) fn machine(cache: PathBuf) -> Self {
        let root = if cfg!(windows) { r"C:\" } else { "/" };
        Self { path: std::env::var_os("PATH"), root: root.into(), cache }
    }

    /// The first usable PostgreSQL, or everything that was looked at.
    pub(crate) async fn find(
        &self,
        wanted: Wanted,
        account: Option<&Account>,
    ) -> Result<Binaries, Vec<Looked>> {
        let mut looked = Vec::new();
        let folders: Vec<PathBuf> = self.path.iter().flat_map(std::env::split_paths).collect();
        match folders.iter().find(|dir| program(dir, "pg_ctl").is_file()) {
            Some(dir) => match check(dir, wanted, account).await {
                Ok(found) => return Ok(found),
                Err(passed_over) => looked.push(passed_over),
            },
            None => looked
                .push(Looked { place: "PATH".into(), outcome: "no folder holds pg_ctl".into() }),
        }
        match self.ask_pg_config(&folders).await {
            Ok(dir) => match check(&dir, wanted, account).await {
                Ok(found) => return Ok(found),
                Err(passed_over) => looked.push(passed_over),
            },
            Err(outcome) => looked.push(Looked { place: "pg_config --bindir".into(), outcome }),
        }
        for pattern in PLACES {
            let dirs = expand(&self.root, pattern);
            if dirs.is_empty() {
                looked.push(Looked {
                    place: self.root.join(pattern).display().to_string(),
                    outcome: "no such folder".into(),
                });
            }
            for dir in dirs {
                match check(&dir, wanted, account).await {
                    Ok(found) => return Ok(found),
                    Err(passed_over) => looked.push(passed_over),
                }
            }
        }
        let dirs = expand(&self.cache, "*/bin");
        if dirs.is_empty() {
            looked.push(Looked {
                place: self.cache.display().to_string(),
                outcome: "nothing downloaded yet".into(),
            });
        }
        for dir in dirs {
            match check(&dir, wanted, account).await {
                Ok(found) => return Ok(found),
                Err(passed_over) => looked.push(passed_over),
            }
        }
        Err(looked)
    }

    async fn ask_pg_config(&self, folders: &[PathBuf]) -> Result<PathBuf, String> {
        let pg_config =
            folders.iter().map(|dir| program(dir, "pg_config")).find(|path| path.is_file());
        let pg_config = pg_config.ok_or("no folder of PATH holds pg_config")?;
        let mut ask = command(&pg_config, &self.root, None);
        ask.arg("--bindir");
        let answer = run(ask).await.map_err(|error| chain(&error))?;
        Ok(PathBuf::from(answer.trim()))
    }
}

/// Whether `dir` holds a PostgreSQL of a wanted version that `account` can run.
pub(crate) async fn check(
    dir: &Path,
    wanted: Wanted,
    account: Option<&Account>,
) -> Result<Binaries, Looked> {
    let passed_over = |outcome: String| Looked { place: dir.display().to_string(), outcome };
    for name in ["pg_ctl", "initdb", "postgres"] {
        if !program(dir, name).is_file() {
            return Err(passed_over(format!("no {name} in it")));
        }
    }
    let folder = if cfg!(unix) { Path::new("/") } else { dir };
    let mut ask = command(&program(dir, "postgres"), folder, account);
    ask.arg("--version");
    let answer = run(ask).await.map_err(|error| passed_over(chain(&error)))?;
    let major = parse_major(&answer)
        .ok_or_else(|| passed_over(format!("it calls itself {:?}", answer.trim())))?;
    if !wanted.accepts(major) {
        return Err(passed_over(format!("it is version {major}")));
    }
    Ok(Binaries { dir: dir.to_owned(), major })
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn program(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)` is 15, and `postgres (PostgreSQL) 18beta1` is 18.
fn parse_major(version: &str) -> Option<u32> {
    let number = version.split_once("(PostgreSQL) ")?.1;
    let digits = number.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(number.len());
    number[..digits].parse().ok()
}

/// The folders under `root` that match `pattern`, highest version first.
fn expand(root: &Path, pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else {
        return Some(root.join(pattern)).filter(|dir| dir.is_dir()).into_iter().collect();
    };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let mut found: Vec<(Reverse<Vec<u64>>, PathBuf)> = std::fs::read_dir(root.join(parent))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.strip_prefix(prefix)?;
            let dir = entry.path().join(after.trim_start_matches('/'));
            dir.is_dir().then(|| (Reverse(numbers(version)), dir))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, dir)| dir).collect()
}

/// The numbers in a name, so that 9.6 sorts below 15 and 17.10 above 17.9.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_what_the_server_calls_itself() {
        assert_eq!(parse_major("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n"), Some(15));
        assert_eq!(parse_major("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(parse_major("postgres (EnterpriseDB) 15"), None);
    }

    #[test]
    fn the_highest_version_comes_first() {
        let root = tempfile::tempdir().unwrap();
        for version in ["9.6", "15", "17.9", "17.10"] {
            std::fs::create_dir_all(root.path().join("lib").join(version).join("bin")).unwrap();
        }
        std::fs::create_dir_all(root.path().join("lib/16")).unwrap();
        let names: Vec<String> = expand(root.path(), "lib/*/bin")
            .iter()
            .map(|dir| dir.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["17.10", "17.9", "15", "9.6"]);
    }

    #[tokio::test]
    async fn an_empty_machine_lists_every_place_looked_at() {
        let root = tempfile::tempdir().unwrap();
        let search = Search {
            path: Some(root.path().into()),
            root: root.path().into(),
            cache: root.path().join("cache"),
        };
        let looked = search.find(Wanted::Supported, None).await.unwrap_err();
        let places: Vec<&str> = looked.iter().map(|looked| looked.place.as_str()).collect();
        assert_eq!(places.len(), PLACES.len() + 3);
        assert_eq!(places[0], "PATH");
        assert_eq!(places[1], "pg_config --bindir");
        assert!(
            places.iter().any(|place| place.ends_with("usr/lib/postgresql/*/bin")),
            "{places:?}"
        );
        assert!(places.iter().any(|place| place.ends_with("cache")), "{places:?}");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_version_that_did_not_write_the_cluster_is_passed_over() {
        use std::os::unix::fs::PermissionsExt as _;

        let root = tempfile::tempdir().unwrap();
        for version in [16, 17] {
            let bin = root.path().join(format!("usr/lib/postgresql/{version}/bin"));
            std::fs::create_dir_all(&bin).unwrap();
            for name in ["pg_ctl", "initdb", "postgres"] {
                let script = format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version}.1'\n");
                std::fs::write(bin.join(name), script).unwrap();
                std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755))
                    .unwrap();
            }
        }
        let search =
            Search { path: None, root: root.path().into(), cache: root.path().join("cache") };
        assert_eq!(search.find(Wanted::Supported, None).await.unwrap().major, 17);
        assert_eq!(search.find(Wanted::Exactly(16), None).await.unwrap().major, 16);
        let looked = search.find(Wanted::Exactly(15), None).await.unwrap_err();
        assert!(looked.iter().any(|looked| looked.outcome == "it is version 17"), "{looked:?}");
    }
}
