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
use northstar_store::audit;
use sqlx::Connection as _;

use crate::database::Database;
use crate::failure::{self, ConfigError};

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
    /// What the environment says about the services.
    pub settings: Settings,
}

/// Configuration of the services, read and checked before anything is started.
pub struct Settings {
    server: Config,
    approvals: northstar_approvals::Config,
    ingestion: northstar_ingestion::Config,
    metrics: northstar_metrics::Config,
    experiments: northstar_experiments::Config,
    automations: northstar_automations::Config,
}

impl Settings {
    /// Reads the environment; what automations may do is given, because it can also
    /// be said by flags.
    ///
    /// # Errors
    /// [`ConfigError`] or [`northstar_server::InvalidConfig`] for what cannot be used.
    pub fn read(automations: northstar_automations::Config) -> anyhow::Result<Self> {
        let settings = Self {
            server: from_environment()?,
            approvals: from_environment()?,
            ingestion: from_environment()?,
            metrics: from_environment()?,
            experiments: from_environment()?,
            automations,
        };
        settings.ingestion.check()?;
        settings.automations.check()?;
        Ok(settings)
    }
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
        let settings = options.settings;
        // Services call each other with a key that lives as long as the process, and
        // nowhere but in it.
        let suite_key = ApiKeySecret::generate(Role::Admin, &mut rand::rng());
        let config = Config {
            grpc_listen: options.grpc_listen,
            http_listen: options.http_listen,
            database: northstar_store::Config {
                database_url: Some(database.url.clone()),
                ..settings.server.database
            },
            database_url_file: None,
            suite_key: Some(Secret::from(suite_key.reveal().to_owned())),
            suite_key_file: None,
            ingestion_url: None,
            metrics_url: None,
            experiments_url: None,
            approvals_url: None,
            automations_url: None,
            data_dir: options.data_dir.join("segments"),
            ..settings.server
        };
        let started = Host::start(config, async move |context| {
            Ok(vec![
                northstar_approvals::build(settings.approvals, context.clone()).await?,
                northstar_ingestion::build(settings.ingestion, context.clone()).await?,
                northstar_metrics::build(settings.metrics, context.clone()).await?,
                northstar_experiments::build(settings.experiments, context.clone()).await?,
                northstar_automations::build(settings.automations, context).await?,
            ])
        });
        match started.await {
            Ok(host) => Ok(Self { host, database }),
            Err(error) => {
                // The private cluster does not outlive a suite that did not start.
                if let Err(error) = database.close().await {
                    tracing::warn!(
                        error = &*error as &dyn std::error::Error,
                        "the private postgresql does not stop"
                    );
                }
                Err(error)
            }
        }
    }

    /// Waits until serving ends, which it does by itself only when something
    /// failed.
    ///
    /// # Errors
    /// What failed.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        self.host.ended().await
    }

    /// Closes the database of a suite whose serving has ended.
    ///
    /// # Errors
    /// When the database does not stop.
    pub async fn close(self) -> anyhow::Result<()> {
        self.database.close().await
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
    let mut tx = connection.begin().await?;
    access::insert_api_key(&mut tx, &key, &secret.sha256()).await?;
    let detail = serde_json::json!({"after": {"principal": key.principal, "role": key.role}});
    let entry = audit::NewEntry {
        project,
        // Whoever owns the database, which no key says.
        actor: "northstar",
        action: "api_key.create",
        resource: &format!("api_keys/{}", key.id),
        detail: &detail,
        at: key.created_at,
    };
    audit::append(&mut tx, &entry).await?;
    tx.commit().await?;
    Ok(secret.reveal().to_owned())
}

/// A service's configuration as its own command line would have it without
/// arguments: environment first, then defaults.
///
/// # Errors
/// [`ConfigError`] when a variable cannot be used.
pub fn from_environment<C: clap::Args>() -> anyhow::Result<C> {
    let command = C::augment_args(clap::Command::new("northstar"));
    let parsed = command
        .try_get_matches_from(["northstar"])
        .and_then(|matches| C::from_arg_matches(&matches));
    parsed.map_err(|error| {
        let variable = failure::variable(&C::augment_args(clap::Command::new("")), &error);
        ConfigError::new(failure::naming(variable.as_deref(), &northstar_server::sentence(&error)))
    })
}
