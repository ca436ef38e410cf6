//! The folder of the segment files, and its id, by which the manifest in
//! Postgres knows it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use northstar_domain::ProjectId;
use uuid::Uuid;

/// A folder that this process alone uses.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    id: Uuid,
    /// Holds the lock for as long as the folder is in use.
    _lock: File,
}

impl Folder {
    /// Opens the folder `segments` inside the data folder, and makes it when it
    /// is absent.
    pub(crate) fn open(data_dir: &Path) -> anyhow::Result<Self> {
        let path = data_dir.join("segments");
        fs::create_dir_all(&path)
            .with_context(|| format!("cannot create the folder {}", path.display()))?;
        let id_path = path.join("folder-id");
        let context = || format!("cannot use {}", id_path.display());
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&id_path)
            .with_context(context)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "the folder {} is used by another process; give each its own data folder",
                path.display()
            ),
            Err(TryLockError::Error(error)) => return Err(error).with_context(context),
        }
        let mut text = String::new();
        file.read_to_string(&mut text).with_context(context)?;
        // An id that was cut short by a crash is replaced: its segments are made
        // again from the log.
        let id = match text.trim().parse() {
            Ok(id) => id,
            Err(_) => {
                let id = Uuid::now_v7();
                fs::write(&id_path, format!("{id}\n")).with_context(context)?;
                file.flush().with_context(context)?;
                id
            }
        };
        Ok(Self { path, id, _lock: file })
    }

    pub(crate) fn id(&self) -> Uuid {
        self.id
    }

    /// The folder of a project's segments.
    pub(crate) fn project(&self, project: ProjectId) -> PathBuf {
        self.path.join(project.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::Folder;

    #[test]
    fn a_folder_keeps_its_id_and_is_used_by_one_process_at_a_time() {
        let data = tempfile::tempdir().unwrap();
        let first = Folder::open(data.path()).unwrap();
        let refusal = Folder::open(data.path()).unwrap_err().to_string();
        assert!(refusal.contains("another process"), "{refusal}");
        let id = first.id();
        drop(first);
        assert_eq!(Folder::open(data.path()).unwrap().id(), id);
    }
}
