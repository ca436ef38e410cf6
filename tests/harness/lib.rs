//! The suite in this process, on ports of the system's choice, over a database
//! of its own: what every journey begins with.

pub mod http;
pub mod log;

use chrono::{SubsecRound as _, Utc};
use northstar_client::Clients;
use northstar_domain::{ApiKeyId, ApiKeySecret, ProjectId, Role};
use northstar_server::{Config, Host};
use northstar_store::access::{self, ApiKey};
use northstar_testkit::TestDatabase;

/// Every service, served; gone with the value.
pub struct Suite {
    /// Where it is served, and how it stops.
    pub host: Host,
    /// Its database.
    pub database: TestDatabase,
    /// The project that keys are made for.
    pub project: ProjectId,
    suite_key: String,
    _segments: tempfile::TempDir,
}

impl Suite {
    /// Starts every service.
    ///
    /// # Panics
    /// When there is no Postgres to be had or a service does not start.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts every service with a changed configuration.
    ///
    /// # Panics
    /// As [`Suite::start`].
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let database = TestDatabase::create(&northstar_store::MIGRATOR).await;
        let segments = tempfile::tempdir().expect("a temporary folder");
        let suite_key = ApiKeySecret::generate(Role::Admin, &mut rand::rng());
        let mut config =
            Config::for_tests(database.url(), suite_key.reveal(), segments.path().to_owned());
        change(&mut config);
        let host = Host::start(config, async |context| {
            Ok(vec![
                northstar_approvals::build(defaults(), context.clone()).await?,
                northstar_ingestion::build(defaults(), context.clone()).await?,
                northstar_metrics::build(defaults(), context.clone()).await?,
                northstar_experiments::build(defaults(), context.clone()).await?,
                northstar_automations::build(defaults(), context).await?,
            ])
        })
        .await
        .expect("the suite starts");
        let mut connection = database.pool().acquire().await.expect("a connection");
        let project = access::find_project(&mut connection, "default")
            .await
            .expect("the database answers")
            .expect("migrations make the default project");
        drop(connection);
        let suite_key = suite_key.reveal().to_owned();
        Self { host, database, project, suite_key, _segments: segments }
    }

    /// Makes a key of a role for a principal of that name.
    pub async fn key(&self, principal: &str, role: Role) -> String {
        let secret = ApiKeySecret::generate(role, &mut rand::rng());
        let key = ApiKey {
            id: ApiKeyId::generate(),
            project: Some(self.project),
            principal: principal.to_owned(),
            role,
            created_at: Utc::now().trunc_subsecs(6),
            revoked_at: None,
        };
        let mut connection = self.database.pool().acquire().await.expect("a connection");
        access::insert_api_key(&mut connection, &key, &secret.sha256())
            .await
            .expect("the key is stored");
        secret.reveal().to_owned()
    }

    /// Clients of a principal with a role.
    pub async fn clients(&self, principal: &str, role: Role) -> Clients {
        let key = self.key(principal, role).await;
        self.host.clients(&key).expect("a key can be sent")
    }

    /// A service of the suite, in the project that keys are made for.
    ///
    /// # Panics
    /// When the key cannot be sent.
    pub fn machine(&self) -> Clients {
        let clients = self.host.clients(&self.suite_key).expect("a key can be sent");
        clients.for_project(self.project.0)
    }

    /// Stops every service.
    pub async fn stop(self) {
        self.host.stop().await.expect("the suite stops");
    }
}

/// A service's configuration without arguments.
pub fn defaults<C: clap::Args>() -> C {
    let matches = C::augment_args(clap::Command::new("test")).get_matches_from(["test"]);
    C::from_arg_matches(&matches).expect("every argument of a service has a default")
}
