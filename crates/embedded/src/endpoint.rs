//! Where the server listens, and how a client gets there.

use std::fmt;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

use crate::home::{self, Home};
use crate::options::Listen;
use crate::{Error, user};

/// The superuser of the cluster.
pub(crate) const SUPERUSER: &str = "postgres";

/// Names the socket file; nothing listens on this port.
const SOCKET_PORT: u16 = 5432;

/// The longest path of a Unix socket, in bytes, without the closing zero of `sun_path`.
const SOCKET_PATH_LIMIT: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// A Unix socket in `dir`.
    Socket { dir: PathBuf, port: u16 },
    /// A port on 127.0.0.1.
    Loopback { port: u16 },
}

impl Endpoint {
    /// Chooses where a server about to start shall listen.
    pub(crate) fn choose(home: &Home, listen: Listen) -> Result<Self, Error> {
        if cfg!(unix) && listen == Listen::Private {
            return Ok(Self::Socket { dir: socket_folder(home)?, port: SOCKET_PORT });
        }
        let free =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let port = free.map_err(Error::file("find a free port on", Path::new("127.0.0.1")))?.port();
        Ok(Self::Loopback { port })
    }

    /// Removes the folder of the socket if it is not the home. The server must have stopped.
    pub(crate) fn tidy(&self, home: &Home) {
        if let Self::Socket { dir, .. } = self
            && *dir != home.path
        {
            // Only an empty folder goes; one that stays does no harm.
            let _ = std::fs::remove_dir(dir);
        }
    }

    /// The address of `database` as a URL.
    pub(crate) fn url(&self, database: &str, password: &str) -> String {
        let mut url = Url::parse("postgres://localhost").expect("a constant URL");
        // Neither can fail: the URL has a host and is not a file.
        let _ = url.set_username(SUPERUSER);
        let _ = url.set_password(Some(password));
        url.path_segments_mut().expect("the URL has a host").push(database);
        match self {
            Self::Socket { dir, port } => {
                let _ = url.set_port(Some(*port));
                url.query_pairs_mut().append_pair("host", &dir.to_string_lossy());
            }
            Self::Loopback { port } => {
                let _ = url.set_host(Some("127.0.0.1"));
                let _ = url.set_port(Some(*port));
            }
        }
        url.query_pairs_mut().append_pair("sslmode", "disable");
        // A plus sign means a space to a browser and itself to libpq; `%20` means a space to both.
        url.as_str().replace('+', "%20")
    }

    /// The same for sqlx.
    pub(crate) fn connect_options(&self, database: &str, password: &str) -> PgConnectOptions {
        let options = PgConnectOptions::new_without_pgpass()
            .username(SUPERUSER)
            .password(password)
            .database(database)
            .ssl_mode(PgSslMode::Disable);
        match self {
            Self::Socket { dir, port } => options.socket(dir).port(*port),
            Self::Loopback { port } => options.host("127.0.0.1").port(*port),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket { dir, port } => write!(formatter, "{}/.s.PGSQL.{port}", dir.display()),
            Self::Loopback { port } => write!(formatter, "127.0.0.1:{port}"),
        }
    }
}

/// The home itself if the path of the socket fits, else a private folder under the temporary folder.
fn socket_folder(home: &Home) -> Result<PathBuf, Error> {
    if fits(&home.path) {
        return Ok(home.path.clone());
    }
    let name = format!("northstar-{}", home::fingerprint(&home.path));
    let mut shortest = home.path.clone();
    for shared in [std::env::temp_dir(), PathBuf::from("/tmp")] {
        let dir = shared.join(&name);
        if dir.as_os_str().len() < shortest.as_os_str().len() {
            shortest.clone_from(&dir);
        }
        let reachable =
            home.account.as_ref().is_none_or(|account| user::can_enter(&shared, account));
        if fits(&dir) && reachable {
            make_private(&dir, home)?;
            return Ok(dir);
        }
    }
    Err(Error::SocketPath { dir: shortest, limit: SOCKET_PATH_LIMIT })
}

/// Whether a socket in `dir` has a path that the system takes and that can be written into the configuration and a URL.
fn fits(dir: &Path) -> bool {
    let file = dir.join(format!(".s.PGSQL.{SOCKET_PORT}"));
    file.to_str()
        .is_some_and(|path| path.len() <= SOCKET_PATH_LIMIT && !path.contains(char::is_control))
}

/// Makes the folder for the user that runs the server. One that is there already must be that user's and closed to
/// others, since anybody can make folders under the temporary folder.
fn make_private(dir: &Path, home: &Home) -> Result<(), Error> {
    if !dir.exists() {
        return home::make(dir, home.account.as_ref());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = std::fs::symlink_metadata(dir).map_err(Error::file("read", dir))?;
        let owner = home
            .account
            .as_ref()
            .map_or_else(|| nix::unistd::geteuid().as_raw(), |account| account.uid);
        if !metadata.is_dir() || metadata.uid() != owner || metadata.mode() & 0o077 != 0 {
            return Err(Error::SocketFolder(dir.to_owned()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    #[test]
    fn the_url_of_a_socket_survives_strange_folders_and_passwords() {
        let endpoint = Endpoint::Socket { dir: "/tmp/a b+c%20/é&x=y".into(), port: 5432 };
        let url = endpoint.url("north star", "p@ss:/?#[]%+ w");
        assert!(!url.contains(' '), "{url}");
        let options = PgConnectOptions::from_str(&url).unwrap();
        assert_eq!(options.get_socket().unwrap(), Path::new("/tmp/a b+c%20/é&x=y"));
        assert_eq!(options.get_username(), SUPERUSER);
        assert_eq!(options.get_database(), Some("north star"));
        assert_eq!(options.get_port(), 5432);
    }

    #[test]
    fn a_path_of_107_bytes_fits_and_108_does_not() {
        let name = "/.s.PGSQL.5432".len();
        let dir = |bytes: usize| PathBuf::from(format!("/{}", "x".repeat(bytes - name - 1)));
        assert!(fits(&dir(SOCKET_PATH_LIMIT)));
        assert!(!fits(&dir(SOCKET_PATH_LIMIT + 1)));
    }
}
