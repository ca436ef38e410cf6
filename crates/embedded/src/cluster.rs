//! The cluster as its owner sees it: start, use, stop.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use crate::discover::{Binaries, Search, Wanted, check};
use crate::endpoint::Endpoint;
use crate::error::Looked;
use crate::home::Home;
use crate::lock::Lock;
use crate::options::Options;
use crate::postmaster::Server;
use crate::{Error, configure, download};

/// How often a start may be overtaken by another process before it counts as failed.
const ATTEMPTS: u32 = 5;

/// How long dropping a cluster may block for its shutdown.
const DROP_PATIENCE: Duration = Duration::from_secs(10);

/// A running private cluster; stopped when it is dropped, better by [`Cluster::stop`].
#[derive(Debug)]
pub struct Cluster {
    server: Server,
    endpoint: Endpoint,
    password: String,
    pid: u32,
    adopted: bool,
    /// Whether dropping stops the server.
    ours: bool,
    _lock: Lock,
}

impl Cluster {
    /// Starts the cluster of a data folder, makes it first if there is none, or adopts it if its server still runs.
    ///
    /// # Errors
    /// [`Error::NoPostgres`] without PostgreSQL, [`Error::InUse`] when another Northstar lives on the folder,
    /// [`Error::Start`] with the end of the log when the server does not start; see [`Error`] for the others.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let data_dir = &options.data_dir;
        std::fs::create_dir_all(data_dir).map_err(Error::file("create", data_dir))?;
        let data_dir = data_dir.canonicalize().map_err(Error::file("resolve", data_dir))?;
        let lock = Lock::take(&data_dir)?;
        let home = Home::locate(&data_dir)?;
        let binaries = binaries(&options, &home).await?;
        let server = Server { binaries, home };
        configure::remove_drafts(&server.home.path);
        if server.home.major().is_none() {
            configure::initialise(&server).await?;
        }
        let password = server.home.password()?;

        let (adopted, pid, endpoint) = adopt_or_launch(&server, &options, &password).await?;
        let cluster = Self { server, endpoint, password, pid, adopted, ours: true, _lock: lock };
        cluster.server.answers(&cluster.endpoint, &cluster.password).await?;
        tracing::info!(postgres.pid = pid, postgres.address = %cluster.endpoint, postgres.adopted = adopted, "postgresql runs");
        Ok(cluster)
    }

    /// The address of `database` for sqlx, psql and every libpq client. It holds the password: do not log it.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        self.endpoint.url(database, &self.password)
    }

    /// Makes a database unless there is one of that name. Safe to call from several processes at once.
    ///
    /// # Errors
    /// [`Error::Connect`] when the server does not answer or refuses the name (longer than 63 bytes).
    pub async fn create_database(&self, name: &str) -> Result<(), Error> {
        let failed =
            |doing| move |source| Error::Connect { at: self.endpoint.to_string(), doing, source };
        let options = self.endpoint.connect_options("postgres", &self.password);
        let mut connection = options.connect().await.map_err(failed("connect"))?;
        let exists: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
                .bind(name)
                .fetch_one(&mut connection)
                .await
                .map_err(failed("look for the database"))?;
        if !exists {
            // Names cannot be bound; doubling the quotes makes any name one identifier.
            let statement = format!(r#"CREATE DATABASE "{}""#, name.replace('"', r#""""#));
            match sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await {
                Err(error) if !made_meanwhile(&error) => {
                    return Err(failed("create the database")(error));
                }
                _ => {}
            }
        }
        connection.close().await.map_err(failed("close the connection"))
    }

    /// Stops the server (fast shutdown: open transactions are rolled back) and waits for it.
    ///
    /// # Errors
    /// [`Error::Failed`] when it does not stop within two minutes.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.ours = false;
        self.server.stop().await?;
        self.endpoint.tidy(&self.server.home);
        tracing::info!(postgres.pid = self.pid, "stopped postgresql");
        Ok(())
    }

    /// Lets the server run on and gives up the data folder, for the next [`Cluster::start`] to adopt.
    pub fn leave_running(mut self) {
        self.ours = false;
    }

    /// The process id of the server.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether the server was running before, left by a Northstar that was killed.
    #[must_use]
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// The major version of PostgreSQL.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.server.binaries.major
    }

    /// The folder of the cluster: in the data folder unless the user that runs the server cannot get there.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.server.home.path
    }

    /// The log of the server.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.server.home.log()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.ours {
            // Blocks: a process that exits now would leave the server behind. What fails here is adopted next time.
            let _ = self.server.stop_command("fast", DROP_PATIENCE).output();
            self.endpoint.tidy(&self.server.home);
        }
    }
}

/// The programs to run `home` with: given, found, or downloaded.
async fn binaries(options: &Options, home: &Home) -> Result<Binaries, Error> {
    let wanted = home.major().map_or(Wanted::Supported, Wanted::Exactly);
    let account = home.account.as_ref();
    let nothing = |looked| Error::NoPostgres { wanted: wanted.to_string(), looked };
    if let Some(dir) = &options.bin_dir {
        return check(dir, wanted, account).await.map_err(|passed_over| nothing(vec![passed_over]));
    }
    let cache = options.cache_dir.clone().unwrap_or_else(|| download::default_cache(account));
    let mut looked = match Search::machine(cache.clone()).find(wanted, account).await {
        Ok(found) => return Ok(found),
        Err(looked) => looked,
    };
    let outcome = if options.download {
        match download::fetch(&cache, wanted).await {
            Ok(dir) => match check(&dir, wanted, account).await {
                Ok(found) => return Ok(found),
                Err(passed_over) => passed_over.to_string(),
            },
            Err(outcome) => outcome,
        }
    } else {
        "not allowed".to_owned()
    };
    looked.push(Looked { place: "download".into(), outcome });
    Err(nothing(looked))
}

/// Adopts the server that runs, or starts one: whether it was adopted, its process id, and where it listens.
async fn adopt_or_launch(
    server: &Server,
    options: &Options,
    password: &str,
) -> Result<(bool, u32, Endpoint), Error> {
    let mut attempt = 1;
    loop {
        if let Some((pid, endpoint)) = server.adopt(password).await? {
            return Ok((true, pid, endpoint));
        }
        let endpoint = Endpoint::choose(&server.home, options.listen)?;
        configure::write_settings(server, &endpoint, options.settings())?;
        let failure = match server.launch().await {
            Ok(pid) => return Ok((false, pid, endpoint)),
            Err(failure) => failure,
        };
        // Two things may have come between: another program took the random port, or a server appeared that a Northstar
        // had begun to start before it was killed.
        let port_taken =
            matches!(&failure, Error::Start { tail, .. } if tail.contains("could not bind"));
        if attempt == ATTEMPTS || !(port_taken || server.running().await.is_some()) {
            return Err(failure);
        }
        attempt += 1;
    }
}

/// Whether another session made the database between our look and our statement (42P04, or 23505 in the catalogue).
fn made_meanwhile(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|error| error.code())
        .is_some_and(|code| code == "42P04" || code == "23505")
}
