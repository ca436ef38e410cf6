//! One live Northstar per data folder, by an advisory lock that the kernel releases on death.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::Error;

/// The lock, held until it is dropped.
///
/// The file stays behind: removing it would let a third process lock a new file of the same name while a second still
/// waits on the old one.
#[derive(Debug)]
pub(crate) struct Lock {
    #[expect(dead_code, reason = "held for its lock, which closing the file releases")]
    file: File,
}

impl Lock {
    /// Takes the lock of `data_dir`, which must exist.
    ///
    /// # Errors
    /// [`Error::InUse`] when another process holds it.
    pub(crate) fn take(data_dir: &Path) -> Result<Self, Error> {
        let path = data_dir.join("postgres.lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::file("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The number is a courtesy; the refusal stands without it.
                let _ = file.read_to_string(&mut holder);
                return Err(Error::InUse {
                    data_dir: data_dir.to_owned(),
                    holder: holder.trim().parse().ok(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(Error::file("lock", &path)(source)),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(Error::file("write", &path))?;
        Ok(Self { file })
    }
}
