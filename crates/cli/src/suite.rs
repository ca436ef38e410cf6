//! The whole suite in one process: every service on one gRPC and one HTTP
//! listener, over one database.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use chrono::{SubsecRound as _, Utc};
use northstar_client::Clients;
use northstar_domain::{ApiKeyId, ApiKeySecret, ProjectId, Role};
use northstar_server::{Config, Host, Secret};
use northstar_store::access::{self, ApiKey};
use sqlx::Connection as _;

use crate::database::Database;

/// How to start the suite.
pub struct Options {
    /// Where the private cluster, the segments and the credentials live.
    pub data_dir: PathBuf,
    /// The database to use instead of a private cluster.
    pub database_url: Option<String>,
    /// Address of the gRPC listener; port 0 is the system's choice.
    pub grpc_listen: SocketAddr,
    /// Address of the HTTP listener.
    pub http_listen: SocketAddr,
    /// What the automations service may do.
    pub automations: northstar_automations::Config,
}

/// The running suite.
pub struct Suite {
    host: Host,
    database: Database,
}

impl Suite {
    /// Opens the database and serves every service.
    ///
    /// # Errors
    /// When the database is not to be had or an address is taken.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&options.data_dir)
            .with_context(|| format!("the data folder {}", options.data_dir.display()))?;
        let database = Database::open(options.database_url.as_deref(), &options.data_dir).await?;
        let mut config = Config {
            grpc_listen: options.grpc_listen,
            http_listen: options.http_listen,
            ..Config::default()
        };
        config.database.database_url = Some(database.url.clone());
        config.data_dir = options.data_dir.join("segments");
        // Services call each other with a key that lives as long as the process.
        let suite_key = ApiKeySecret::generate(Role::Admin, &mut rand::rng());
        config.suite_key = Some(Secret::from(suite_key.reveal().to_owned()));
        let automations = options.automations;
        let host = Host::start(config, async move |context| {
            Ok(vec![
                northstar_approvals::build(defaults(), context.clone()).await?,
                northstar_ingestion::build(defaults(), context.clone()).await?,
                northstar_metrics::build(defaults(), context.clone()).await?,
                northstar_experiments::build(defaults(), context.clone()).await?,
                northstar_automations::build(automations, context).await?,
            ])
        })
        .await?;
        Ok(Self { host, database })
    }

    /// The gRPC address as a URL.
    pub fn grpc(&self) -> String {
        format!("http://{}", self.host.grpc)
    }

    /// The HTTP address as a URL.
    pub fn http(&self) -> String {
        format!("http://{}", self.host.http)
    }

    /// Clients with an API key.
    ///
    /// # Errors
    /// When the key cannot be sent.
    pub fn clients(&self, api_key: &str) -> anyhow::Result<Clients> {
        Ok(Clients::connect(&self.grpc(), api_key)?)
    }

    /// A project by name, made if it is not there.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn ensure_project(&self, name: &str) -> anyhow::Result<ProjectId> {
        let mut connection = sqlx::PgConnection::connect(&self.database.url).await?;
        Ok(access::ensure_project(&mut connection, name).await?)
    }

    /// Makes an API key. Whoever runs the suite owns its database and needs no
    /// key to make the first one.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn create_api_key(
        &self,
        project: ProjectId,
        principal: &str,
        role: Role,
    ) -> anyhow::Result<String> {
        let mut connection = sqlx::PgConnection::connect(&self.database.url).await?;
        create_api_key(&mut connection, project, principal, role).await
    }

    /// Whether a secret is that of a working key.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn knows(&self, secret: &str) -> anyhow::Result<bool> {
        let mut connection = sqlx::PgConnection::connect(&self.database.url).await?;
        let hash = ApiKeySecret::sha256_of(secret);
        Ok(access::find_api_key(&mut connection, &hash).await?.is_some())
    }

    /// Drains, stops and closes the database.
    ///
    /// # Errors
    /// When a service failed or the database does not stop.
    pub async fn stop(self) -> anyhow::Result<()> {
        let stopped = self.host.stop().await;
        self.database.close().await?;
        stopped
    }
}

/// Makes an API key in a database.
///
/// # Errors
/// When the database cannot be reached.
pub async fn create_api_key(
    connection: &mut sqlx::PgConnection,
    project: ProjectId,
    principal: &str,
    role: Role,
) -> anyhow::Result<String> {
    let secret = ApiKeySecret::generate(role, &mut rand::rng());
    let key = ApiKey {
        id: ApiKeyId::generate(),
        project: Some(project),
        principal: principal.to_owned(),
        role,
        created_at: Utc::now().trunc_subsecs(6),
        revoked_at: None,
    };
    access::insert_api_key(connection, &key, &secret.sha256()).await?;
    Ok(secret.reveal().to_owned())
}

/// A service's configuration as its own command line would have it without
/// arguments: environment first, then defaults.
pub fn defaults<C: clap::Args>() -> C {
    let command = C::augment_args(clap::Command::new("northstar"));
    let matches = command.get_matches_from(["northstar"]);
    // Every argument of a service has a default, which its own tests check.
    match C::from_arg_matches(&matches) {
        Ok(config) => config,
        Err(error) => error.exit(),
    }
}
