//! Who runs the server: ourselves, or another user when we are root, which PostgreSQL refuses.

use std::path::Path;

use crate::Error;

/// A user of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The user that runs the server whose folder is `home` (which may not exist yet); `None` is ourselves.
///
/// # Errors
/// [`Error::NotOwner`] when `home` is another user's and we are not root; [`Error::NoUser`] when we are root and there is
/// no user to become.
#[cfg(unix)]
pub(crate) fn choose(home: &Path) -> Result<Option<Account>, Error> {
    use std::os::unix::fs::MetadataExt as _;

    use nix::unistd::{User, geteuid};

    let owner = std::fs::metadata(home)
        .ok()
        .map(|metadata| Account { uid: metadata.uid(), gid: metadata.gid() });
    let ourselves = geteuid();
    match owner {
        Some(owner) if !ourselves.is_root() && owner.uid != ourselves.as_raw() => {
            return Err(Error::NotOwner { home: home.to_owned(), owner: owner.uid });
        }
        Some(owner) if ourselves.is_root() && owner.uid != 0 => return Ok(Some(owner)),
        _ if !ourselves.is_root() => return Ok(None),
        _ => {}
    }
    let user =
        ["postgres", "nobody"].into_iter().find_map(|name| User::from_name(name).ok().flatten());
    let user = user.ok_or(Error::NoUser)?;
    Ok(Some(Account { uid: user.uid.as_raw(), gid: user.gid.as_raw() }))
}

/// The user that runs the server: always ourselves, since there is no root to refuse.
#[cfg(not(unix))]
pub(crate) fn choose(_home: &Path) -> Result<Option<Account>, Error> {
    Ok(None)
}

/// Gives a file or folder to `account`.
pub(crate) fn give(path: &Path, account: Option<&Account>) -> Result<(), Error> {
    #[cfg(unix)]
    if let Some(account) = account {
        std::os::unix::fs::chown(path, Some(account.uid), Some(account.gid))
            .map_err(Error::file("change the owner of", path))?;
    }
    #[cfg(not(unix))]
    let _ = (path, account);
    Ok(())
}

/// Whether `account` can enter `folder`: tried, not computed, so that access lists and mounts count too.
#[cfg(unix)]
pub(crate) fn can_enter(folder: &Path, account: &Account) -> bool {
    let probe = crate::command::command(Path::new("/bin/sh"), folder, Some(account))
        .args(["-c", ":"])
        .status();
    probe.is_ok_and(|status| status.success())
}

/// Whether `account` can enter `folder`: yes, as it is ourselves.
#[cfg(not(unix))]
pub(crate) fn can_enter(_folder: &Path, _account: &Account) -> bool {
    true
}
