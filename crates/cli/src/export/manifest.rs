//! Where an export lies, and its manifest.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use northstar_archive::Archive;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::Format;

const NAME: &str = "manifest.json";
/// Ends the names of files that are not complete.
const TEMPORARY: &str = ".part";
const VERSION: u32 = 1;

/// What the place holds. Every position between the first and the last file is
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
    /// Its name within the place.
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

/// Where an export lies.
pub enum Place {
    /// A folder of this machine.
    Folder(PathBuf),
    /// What an archive may be, a bucket above all. Files are written here first.
    Archive {
        /// The place.
        archive: Archive,
        /// Its URL, as it was given.
        url: String,
        /// Where files are until they are complete.
        drafts: TempDir,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::Archive { url, .. } => f.write_str(url),
        }
    }
}

impl Place {
    /// Opens the place of this path or URL. A folder is made when it is not there.
    ///
    /// # Errors
    /// When it cannot be made, or the URL is none of an archive.
    pub fn open(to: &str) -> anyhow::Result<Self> {
        if to.contains("://") {
            let drafts = TempDir::new().context("no temporary folder")?;
            return Ok(Self::Archive { archive: Archive::open(to)?, url: to.to_owned(), drafts });
        }
        let path = PathBuf::from(to);
        fs::create_dir_all(&path).with_context(|| to.to_owned())?;
        Ok(Self::Folder(path))
    }

    /// The path that a file has until it is complete.
    pub fn draft(&self, name: &str) -> PathBuf {
        match self {
            Self::Folder(path) => path.join(format!("{name}{TEMPORARY}")),
            Self::Archive { drafts, .. } => drafts.path().join(name),
        }
    }

    /// Goes on with the export that lies here, or begins the wanted one. What is
    /// not listed is removed. Unless its first position was said, it is the one
    /// that the export has.
    ///
    /// # Errors
    /// When another export lies here, or one of its files is not there whole.
    pub async fn resume(&self, mut wanted: Manifest, explicit: bool) -> anyhow::Result<Manifest> {
        let found = match self.read(NAME).await? {
            Some(bytes) => serde_json::from_slice::<Manifest>(&bytes)
                .with_context(|| format!("{NAME} of {self} is not a manifest"))?,
            None => wanted.clone(),
        };
        if !explicit {
            wanted.from_position = found.from_position;
        }
        let same = Manifest { files: Vec::new(), ..found.clone() };
        if same != wanted {
            bail!(
                "{self} holds another export: {:?} from position {} with the filter {:?}; take \
                 another folder",
                found.format,
                found.from_position,
                found.filter
            );
        }
        let sizes = self.sizes().await?;
        for file in &found.files {
            if sizes.get(&file.name) != Some(&file.bytes) {
                bail!(
                    "{} of {self} is not the file that the manifest lists; remove both",
                    file.name
                );
            }
        }
        self.remove_incomplete(&found, sizes.keys()).await?;
        Ok(found)
    }

    /// A kill leaves a temporary file, or a complete one that the manifest does
    /// not list yet.
    async fn remove_incomplete(
        &self,
        manifest: &Manifest,
        names: impl Iterator<Item = &String>,
    ) -> anyhow::Result<()> {
        for name in names {
            let ours = name.starts_with("events-")
                && (name.ends_with(TEMPORARY) || name.ends_with(manifest.format.extension()));
            let listed = manifest.files.iter().any(|file| file.name == *name);
            if ours && !listed || *name == format!("{NAME}{TEMPORARY}") {
                self.remove(name).await?;
            }
        }
        Ok(())
    }

    /// Replaces the manifest.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn save(&self, manifest: &Manifest) -> anyhow::Result<()> {
        let draft = self.draft(NAME);
        let mut file = fs::File::create(&draft).with_context(|| format!("{}", draft.display()))?;
        file.write_all(&serde_json::to_vec_pretty(manifest)?)?;
        file.sync_all()?;
        self.publish(&draft, NAME).await
    }

    /// Gives a complete file its name, for good.
    ///
    /// # Errors
    /// When it cannot be renamed or sent.
    pub async fn publish(&self, draft: &Path, name: &str) -> anyhow::Result<()> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(name);
                fs::rename(draft, &path).with_context(|| format!("{}", path.display()))?;
                // The name is on disk too.
                fs::File::open(folder)?.sync_all()?;
            }
            Self::Archive { archive, .. } => {
                let content = fs::read(draft).with_context(|| format!("{}", draft.display()))?;
                archive
                    .put(name, content.into())
                    .await
                    .with_context(|| format!("{self} does not take {name}"))?;
                fs::remove_file(draft).with_context(|| format!("{}", draft.display()))?;
            }
        }
        Ok(())
    }

    async fn read(&self, name: &str) -> anyhow::Result<Option<Vec<u8>>> {
        match self {
            Self::Folder(folder) => match fs::read(folder.join(name)) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error).with_context(|| format!("{name} of {self}")),
            },
            Self::Archive { archive, .. } => {
                let found =
                    archive.find(name).await.with_context(|| format!("{self} cannot be read"))?;
                Ok(found.map(Vec::from))
            }
        }
    }

    /// What lies here, with sizes in bytes.
    async fn sizes(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let folder = match self {
            Self::Archive { archive, .. } => {
                let sizes = archive.sizes().await;
                return Ok(sizes
                    .with_context(|| format!("{self} cannot be listed"))?
                    .into_iter()
                    .collect());
            }
            Self::Folder(folder) => folder,
        };
        let mut sizes = BTreeMap::new();
        for entry in fs::read_dir(folder).with_context(|| format!("{self}"))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            sizes.insert(name, entry.metadata()?.len());
        }
        Ok(sizes)
    }

    async fn remove(&self, name: &str) -> anyhow::Result<()> {
        match self {
            Self::Folder(folder) => fs::remove_file(folder.join(name))
                .with_context(|| format!("{name} of {self} cannot be removed")),
            Self::Archive { archive, .. } => Archive::delete(&archive.location(name)?)
                .await
                .with_context(|| format!("{name} of {self} cannot be removed")),
        }
    }
}
