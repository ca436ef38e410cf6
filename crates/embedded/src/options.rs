//! What the caller decides about a cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// How the server listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listen {
    /// A private Unix socket, or a random loopback port where Unix sockets do not exist.
    #[default]
    Private,
    /// A random port on 127.0.0.1, for clients that cannot use a Unix socket.
    Loopback,
}

/// How to find, place and tune a cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data folder of Northstar; created if absent. One live Northstar per folder.
    pub data_dir: PathBuf,
    /// The folder with `initdb`, `pg_ctl` and `postgres`. When set, no other place is looked at.
    pub bin_dir: Option<PathBuf>,
    /// Whether PostgreSQL may be downloaded when none is found.
    pub download: bool,
    /// Where downloads are kept; `None` is the cache folder of the user (`/var/cache/northstar` for root, since
    /// another user has to run the programs).
    pub cache_dir: Option<PathBuf>,
    /// How the server listens.
    pub listen: Listen,
    settings: BTreeMap<String, String>,
}

impl Options {
    /// Options for a cluster in `data_dir`: programs looked for everywhere, download allowed, private socket.
    ///
    /// Settings: `shared_buffers` 256MB, `max_connections` 100, `wal_compression` on, `max_wal_size` 2GB, times in UTC;
    /// everything else, durability included, is PostgreSQL's default.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let defaults = [
            ("cluster_name", "northstar"),
            ("log_line_prefix", "%m [%p] %q%a %d "),
            ("log_timezone", "UTC"),
            ("max_connections", "100"),
            ("max_wal_size", "2GB"),
            ("shared_buffers", "256MB"),
            ("timezone", "UTC"),
            ("wal_compression", "on"),
        ];
        Self {
            data_dir: data_dir.into(),
            bin_dir: None,
            download: true,
            cache_dir: None,
            listen: Listen::Private,
            settings: defaults.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        }
    }

    /// Sets a parameter of the server, as in `postgresql.conf`. It takes effect when the server starts; a server that is
    /// adopted keeps what it was started with. Where the server listens is not a setting but [`Options::listen`].
    #[must_use]
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.insert(name.into(), value.into());
        self
    }

    /// All parameters that differ from PostgreSQL's defaults, sorted by name.
    pub fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}
