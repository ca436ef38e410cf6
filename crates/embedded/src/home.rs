//! Where the cluster lives, and as whom: in the data folder whenever the user that runs it can get there.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::user::{self, Account};

/// The folder of one cluster and the user that runs it.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    pub(crate) path: PathBuf,
    /// `None` is ourselves.
    pub(crate) account: Option<Account>,
}

impl Home {
    /// Finds the home of the cluster of `data_dir` (absolute), or makes an empty one.
    pub(crate) fn locate(data_dir: &Path) -> Result<Self, Error> {
        let record = data_dir.join("postgres.location");
        if let Ok(text) = fs::read_to_string(&record) {
            let path = PathBuf::from(text.trim_end_matches('\n'));
            if !path.is_dir() {
                return Err(Error::Lost { record, home: path });
            }
            let account = user::choose(&path)?;
            return Ok(Self { path, account });
        }
        let inside = data_dir.join("postgres");
        let account = user::choose(&inside)?;
        let Some(other) = &account else {
            make(&inside, None)?;
            return Ok(Self { path: inside, account });
        };
        let_pass(data_dir, other)?;
        if user::can_enter(data_dir, other) {
            make(&inside, Some(other))?;
            return Ok(Self { path: inside, account });
        }
        if inside.exists() {
            return Err(Error::Barred { home: inside, uid: other.uid });
        }
        let path = elsewhere(data_dir, other)?;
        write_durably(&record, format!("{}\n", path.display()).as_bytes(), None)?;
        Ok(Self { path, account })
    }

    /// The folder that PostgreSQL calls its data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// The file with the password of the superuser.
    pub(crate) fn password_file(&self) -> PathBuf {
        self.path.join("password")
    }

    /// The log of the server.
    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("server.log")
    }

    /// The major version that wrote the cluster; `None` while there is none.
    pub(crate) fn major(&self) -> Option<u32> {
        fs::read_to_string(self.data().join("PG_VERSION")).ok()?.trim().parse().ok()
    }

    /// The password of the superuser.
    pub(crate) fn password(&self) -> Result<String, Error> {
        let path = self.password_file();
        let text = fs::read_to_string(&path).map_err(|_| Error::NoPassword(path))?;
        Ok(text.trim_end().to_owned())
    }
}

/// Sixteen hexadecimal digits that stand for a path, the same in every release.
pub(crate) fn fingerprint(path: &Path) -> String {
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(path.as_os_str().as_encoded_bytes()))
}

/// Makes a folder that only `account` can use, unless it is there.
pub(crate) fn make(path: &Path, account: Option<&Account>) -> Result<(), Error> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => {}
        Err(error) => return Err(Error::file("create", path)(error)),
    }
    user::give(path, account)
}

/// Writes a file that is whole or absent after a crash, readable by its owner only.
pub(crate) fn write_durably(
    path: &Path,
    content: &[u8],
    account: Option<&Account>,
) -> Result<(), Error> {
    let draft = path.with_extension("draft");
    let _ = fs::remove_file(&draft); // of a process that was killed while it wrote
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(&draft)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .map_err(Error::file("write", &draft))?;
    user::give(&draft, account)?;
    fs::rename(&draft, path).map_err(Error::file("write", path))
}

/// Lets `account` pass through the data folder, if that folder is the only obstacle.
fn let_pass(data_dir: &Path, account: &Account) -> Result<(), Error> {
    let above = data_dir.parent().unwrap_or(data_dir);
    if user::can_enter(data_dir, account) || !user::can_enter(above, account) {
        return Ok(());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mut permissions =
            fs::metadata(data_dir).map_err(Error::file("read", data_dir))?.permissions();
        permissions.set_mode(permissions.mode() | 0o001);
        fs::set_permissions(data_dir, permissions)
            .map_err(Error::file("open a way through", data_dir))?;
    }
    Ok(())
}

/// A home outside the data folder, for a user that cannot get there.
fn elsewhere(data_dir: &Path, account: &Account) -> Result<PathBuf, Error> {
    let name = fingerprint(data_dir);
    let system = Path::new("/var/lib/northstar");
    if fs::create_dir_all(system).is_ok() && user::can_enter(system, account) {
        let path = system.join(&name);
        make(&path, Some(account))?;
        return Ok(path);
    }
    // Anybody may make folders here, so the name must be one that nobody could have taken before.
    let temporary = std::env::temp_dir();
    let shared =
        if user::can_enter(&temporary, account) { temporary } else { PathBuf::from("/tmp") };
    let path = shared.join(format!("northstar-{name}-{:08x}", rand::random::<u32>()));
    make(&path, Some(account))?;
    Ok(path)
}
