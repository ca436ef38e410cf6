//! The folder of an export and its manifest.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use super::Format;

const NAME: &str = "manifest.json";
/// Ends the names of files that are not complete.
const TEMPORARY: &str = ".part";
const VERSION: u32 = 1;

/// What a folder holds. Every position between the first and the last file is
/// covered, with or without an event that passed the filter.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this document: 1.
    version: u32,
    /// What the files are.
    format: Format,
    /// CEL condition on events; empty for all.
    filter: String,
    /// First position.
    pub from_position: i64,
    /// Complete files, in the order of their positions.
    pub files: Vec<File>,
}

/// A complete file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its name within the folder.
    pub name: String,
    /// First position it covers.
    pub first_position: i64,
    /// Last position it covers.
    pub last_position: i64,
    /// Events in it.
    pub events: u64,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its content, in hex.
    pub sha256: String,
}

impl Manifest {
    /// A manifest without files.
    pub fn new(format: Format, from_position: i64, filter: &str) -> Self {
        let filter = filter.to_owned();
        Self { version: VERSION, format, filter, from_position, files: Vec::new() }
    }

    /// The first position that is not covered.
    pub fn next_position(&self) -> i64 {
        self.files.last().map_or(self.from_position, |last| last.last_position + 1)
    }

    /// Events of all files.
    pub fn events(&self) -> u64 {
        self.files.iter().map(|file| file.events).sum()
    }
}

/// The folder of an export.
pub struct Folder(PathBuf);

impl Folder {
    /// Opens a folder, which is made when it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("{}", path.display()))?;
        Ok(Self(path.to_owned()))
    }

    /// The path of a file, and the one it has until it is complete.
    pub fn paths(&self, name: &str) -> (PathBuf, PathBuf) {
        (self.0.join(name), self.0.join(format!("{name}{TEMPORARY}")))
    }

    /// Goes on with the export that the folder holds, or begins the wanted one.
    /// Incomplete files are removed. Unless its first position was said, it is the
    /// one that the folder has.
    ///
    /// # Errors
    /// When the folder holds another export, or one of its files is not there
    /// whole.
    pub fn resume(&self, mut wanted: Manifest, explicit: bool) -> anyhow::Result<Manifest> {
        let path = self.0.join(NAME);
        let found = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice::<Manifest>(&bytes)
                .with_context(|| format!("{} is not a manifest", path.display()))?,
            Err(error) if error.kind() == ErrorKind::NotFound => wanted.clone(),
            Err(error) => return Err(error).with_context(|| format!("{}", path.display())),
        };
        if !explicit {
            wanted.from_position = found.from_position;
        }
        let same = Manifest { files: Vec::new(), ..found.clone() };
        if same != wanted {
            bail!(
                "{} holds another export: {:?} from position {} with the filter {:?}; take \
                 another folder",
                self.0.display(),
                found.format,
                found.from_position,
                found.filter
            );
        }
        for file in &found.files {
            let path = self.0.join(&file.name);
            let bytes = fs::metadata(&path).map(|metadata| metadata.len());
            if bytes.with_context(|| format!("{}", path.display()))? != file.bytes {
                bail!("{} is not the file that the manifest lists; remove both", path.display());
            }
        }
        self.remove_incomplete(&found)?;
        Ok(found)
    }

    /// A kill leaves a temporary file, or a complete one that the manifest does
    /// not list yet.
    fn remove_incomplete(&self, manifest: &Manifest) -> anyhow::Result<()> {
        for entry in fs::read_dir(&self.0).with_context(|| format!("{}", self.0.display()))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let ours = name.starts_with("events-")
                && (name.ends_with(TEMPORARY) || name.ends_with(manifest.format.extension()));
            let listed = manifest.files.iter().any(|file| file.name == name);
            if ours && !listed || name == format!("{NAME}{TEMPORARY}") {
                fs::remove_file(entry.path())
                    .with_context(|| format!("{}", entry.path().display()))?;
            }
        }
        Ok(())
    }

    /// Replaces the manifest.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, manifest: &Manifest) -> anyhow::Result<()> {
        let (path, draft) = self.paths(NAME);
        let mut file = fs::File::create(&draft).with_context(|| format!("{}", draft.display()))?;
        file.write_all(&serde_json::to_vec_pretty(manifest)?)?;
        file.sync_all()?;
        self.publish(&draft, &path)
    }

    /// Gives a file that is on disk its name.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn publish(&self, draft: &Path, path: &Path) -> anyhow::Result<()> {
        fs::rename(draft, path).with_context(|| format!("{}", path.display()))?;
        // The name is on disk too.
        fs::File::open(&self.0)?.sync_all()?;
        Ok(())
    }
}
