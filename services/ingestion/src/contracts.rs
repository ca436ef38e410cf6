//! Contracts, compiled and at hand.
//!
//! A process keeps the compiled contracts of every project it receives events
//! for. A change made through this process holds for the next request; one made
//! through another is noticed within a second, by the version that every change
//! raises.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use northstar_domain::ProjectId;
use northstar_domain::consent_policy::ConsentPolicy;
use northstar_domain::contract::ContractMode;
use northstar_domain::event::{Fault, Reason};
use northstar_store::ingestion::contracts as store;
use northstar_store::ingestion::subject_policies::{self, Kind, Stored};
use northstar_store::{PgPool, Result};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// Most characters of a violation's message: it may quote the event.
const MAX_MESSAGE_CHARS: usize = 300;

/// A compiled JSON Schema.
pub(crate) struct Validator(jsonschema::Validator);

impl Validator {
    /// Compiles a JSON Schema 2020-12. References lead nowhere outside of it,
    /// and patterns run in linear time, so look-around and back-references are
    /// refused.
    pub(crate) fn compile(schema: &Value) -> Result<Self, String> {
        jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            .offline()
            .with_pattern_options(jsonschema::PatternOptions::regex())
            .should_validate_formats(true)
            .build(schema)
            .map(Self)
            .map_err(|error| shortened(&format!("not a JSON Schema 2020-12: {error}")))
    }

    /// The first way in which properties break the schema.
    pub(crate) fn check(&self, properties: &Value) -> Result<(), Fault> {
        self.0.validate(properties).map_err(|error| {
            let mut field = String::from("properties");
            for step in error.instance_path().as_str().split('/').skip(1) {
                field.push('.');
                field.push_str(&step.replace("~1", "/").replace("~0", "~"));
            }
            if let jsonschema::error::ValidationErrorKind::Required {
                property: Value::String(missing),
            } = error.kind()
            {
                field.push('.');
                field.push_str(missing);
            }
            Fault::new(Reason::SchemaViolation, field, shortened(&error.to_string()))
        })
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// A contract, compiled.
pub(crate) struct Compiled {
    /// What happens to an event that breaks it.
    pub(crate) mode: ContractMode,
    /// The rule.
    pub(crate) validator: Validator,
}

/// The contracts of one project at one version, by event name.
#[derive(Default)]
pub(crate) struct ProjectContracts {
    version: i64,
    by_name: HashMap<String, Compiled>,
    /// What must be said before anything is kept.
    pub(crate) consent: ConsentPolicy,
}

impl ProjectContracts {
    /// The contract of an event name.
    pub(crate) fn get(&self, name: &str) -> Option<&Compiled> {
        self.by_name.get(name)
    }
}

/// The contracts of every project this process receives events for.
#[derive(Clone)]
pub(crate) struct Contracts {
    pool: PgPool,
    projects: Arc<RwLock<HashMap<ProjectId, Arc<ProjectContracts>>>>,
}

impl Contracts {
    pub(crate) fn new(pool: PgPool) -> Self {
        Self { pool, projects: Arc::default() }
    }

    /// The contracts of a project.
    pub(crate) async fn of(&self, project: ProjectId) -> Result<Arc<ProjectContracts>> {
        let known = self
            .projects
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&project)
            .map(Arc::clone);
        match known {
            Some(contracts) => Ok(contracts),
            None => self.reload(project).await,
        }
    }

    /// Reads a project's contracts again.
    pub(crate) async fn reload(&self, project: ProjectId) -> Result<Arc<ProjectContracts>> {
        let mut connection = self.pool.acquire().await?;
        // The version first: a change in between is then noticed by its version.
        let version = store::version(&mut connection, project).await?;
        let mut by_name = HashMap::new();
        for contract in store::all(&mut connection, project).await? {
            match Validator::compile(&contract.spec.json_schema) {
                Ok(validator) => {
                    let compiled = Compiled { mode: contract.spec.mode, validator };
                    by_name.insert(contract.name, compiled);
                }
                // It was compiled before it was stored, by another version.
                Err(problem) => tracing::error!(
                    contract.name,
                    project.id = project.0,
                    problem,
                    "a stored contract does not compile and is not enforced"
                ),
            }
        }
        let consent: Option<Stored<ConsentPolicy>> =
            subject_policies::find(&mut connection, project, Kind::Consent).await?;
        let consent = consent.map(|stored| stored.policy).unwrap_or_default();
        let contracts = Arc::new(ProjectContracts { version, by_name, consent });
        let mut projects = self.projects.write().unwrap_or_else(PoisonError::into_inner);
        let newest = projects.entry(project).or_insert_with(|| Arc::clone(&contracts));
        if newest.version <= contracts.version {
            *newest = contracts;
        }
        Ok(Arc::clone(newest))
    }

    /// Follows changes made through other processes until `shutdown`.
    pub(crate) async fn follow(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        while shutdown.run_until_cancelled(tokio::time::sleep(REFRESH_INTERVAL)).await.is_some() {
            if let Err(error) = self.refresh().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "contracts could not be refreshed"
                );
            }
        }
        Ok(())
    }

    async fn refresh(&self) -> Result<()> {
        let versions = store::versions(&mut *self.pool.acquire().await?).await?;
        for (project, version) in versions {
            let outdated = self
                .projects
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .get(&project)
                .is_some_and(|known| known.version != version);
            if outdated {
                self.reload(project).await?;
            }
        }
        Ok(())
    }
}
