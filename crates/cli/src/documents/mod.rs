//! Definitions as YAML documents: `{kind, metadata: {name}, spec}`, as
//! Kubernetes shapes its resources, with the domain's words in the spec.

mod kinds;
mod order;
mod read;
mod retention;
mod source;
mod threshold;
mod webhook_source;

use std::fmt;
use std::str::FromStr;

use northstar_client::Clients;
use northstar_domain::Violation;
use northstar_ingestion::contract_check::{ContractSet, UnusableContract};
use serde::Serialize;
use tonic::Code;

pub use kinds::Spec;
pub use order::in_order;

/// What a document defines, in the order in which kinds depend on each other.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Kind {
    /// What a source owes: how soon, how many.
    Source,
    /// The rule that events of one name keep.
    Contract,
    /// Which identifiers subjects have.
    IdentityPolicy,
    /// Purposes and regions.
    ConsentPolicy,
    /// A set of subjects.
    Cohort,
    /// What "active" means.
    Activity,
    /// A vision pillar.
    Pillar,
    /// How a number is computed.
    Metric,
    /// A metric plus its charter.
    Kpi,
    /// Who decides.
    Policy,
    /// How long events stay in the database.
    RetentionPolicy,
    /// Trigger, condition, actions.
    Automation,
    /// When a number asks for a decision.
    Threshold,
    /// A question and how it will be answered.
    Experiment,
    /// What another system sends and how it becomes events.
    WebhookSource,
}

impl Kind {
    /// Every kind, in order of dependence.
    pub const ALL: [Self; 15] = [
        Self::Source,
        Self::Contract,
        Self::IdentityPolicy,
        Self::ConsentPolicy,
        Self::Cohort,
        Self::Activity,
        Self::Pillar,
        Self::Metric,
        Self::Kpi,
        Self::Policy,
        Self::RetentionPolicy,
        Self::Automation,
        Self::Threshold,
        Self::Experiment,
        Self::WebhookSource,
    ];

    /// The kind as documents write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "Source",
            Self::Contract => "Contract",
            Self::IdentityPolicy => "IdentityPolicy",
            Self::ConsentPolicy => "ConsentPolicy",
            Self::Cohort => "Cohort",
            Self::Activity => "Activity",
            Self::Pillar => "Pillar",
            Self::Metric => "Metric",
            Self::Kpi => "Kpi",
            Self::Policy => "Policy",
            Self::RetentionPolicy => "RetentionPolicy",
            Self::Automation => "Automation",
            Self::Threshold => "Threshold",
            Self::Experiment => "Experiment",
            Self::WebhookSource => "WebhookSource",
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(text)).ok_or_else(
            || {
                let all: Vec<_> = Self::ALL.iter().map(|kind| kind.as_str()).collect();
                format!("{text:?} is not a kind; use one of {}", all.join(", "))
            },
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One definition.
#[derive(Clone, Debug)]
pub struct Document {
    /// What it defines.
    pub kind: Kind,
    /// Its name; for a contract, the name of the event, for a source, the name that
    /// its producers send.
    pub name: String,
    /// The version it replaces, when the document insists on one.
    pub etag: String,
    /// What it says.
    pub spec: Spec,
    /// For lists.
    pub summary: Summary,
    place: String,
}

/// What a list shows of a definition.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Who answers for it.
    pub owner: String,
    /// Where it is in its life, for kinds that have one.
    pub state: String,
}

/// What applying a document did.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was not there before.
    Created,
    /// It was there and said something else.
    Configured,
    /// It was there and said the same.
    Unchanged,
}

impl Outcome {
    /// The word `kubectl apply` uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        }
    }
}

/// Whether applying writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Check everything, write nothing.
    Check,
    /// Write.
    Write,
}

impl Document {
    /// Reads every document of a text. `origin` names it in errors.
    ///
    /// # Errors
    /// When a document is not valid YAML, has an unknown kind or field; the
    /// message names the line.
    pub fn read_all(text: &str, origin: &str) -> anyhow::Result<Vec<Self>> {
        read::read_all(text, origin)
    }

    /// Kind and name, for people.
    pub fn title(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }

    /// Where it was read: file and line.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Everything that is wrong with it as far as it can be told without a
    /// server.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = self.spec.violations(&self.name);
        if let (Spec::Contract(spec), true) = (&self.spec, found.is_empty()) {
            let compiled = ContractSet::compile([(self.name.clone(), spec.clone())], None);
            let unusable = |error: UnusableContract| Violation::new("json_schema", error.problem);
            found.extend(compiled.err().map(unusable));
        }
        found
    }

    /// The document as JSON.
    ///
    /// # Errors
    /// Never in practice: specs serialise.
    pub fn to_json(&self) -> anyhow::Result<serde_json::Value> {
        Ok(serde_json::json!({
            "kind": self.kind.as_str(),
            "metadata": { "name": self.name },
            "spec": self.spec.to_json()?,
        }))
    }

    /// The document as YAML, always written the same way.
    ///
    /// # Errors
    /// Never in practice: specs serialise.
    pub fn to_yaml(&self) -> anyhow::Result<String> {
        Ok(serde_norway::to_string(&self.to_json()?)?)
    }
}

/// Creates or replaces a definition.
///
/// # Errors
/// When the service refuses it; every field that is wrong is named.
pub async fn apply(clients: &Clients, document: &Document, mode: Mode) -> anyhow::Result<Outcome> {
    let violations = document.violations();
    if !violations.is_empty() {
        let texts: Vec<_> = violations.iter().map(|found| format!("\n  {found}")).collect();
        anyhow::bail!("{} cannot be applied:{}", document.title(), texts.concat());
    }
    let outcome = outcome(clients, document).await?;
    if outcome != Outcome::Unchanged {
        document.spec.send(clients, &document.name, &document.etag, mode).await?;
    }
    Ok(outcome)
}

/// What applying a document would do, as far as what is defined tells.
///
/// # Errors
/// When the service cannot be asked.
pub async fn outcome(clients: &Clients, document: &Document) -> anyhow::Result<Outcome> {
    Ok(match fetch(clients, document.kind, &document.name).await? {
        None => Outcome::Created,
        Some(before) if before.to_yaml()? == document.to_yaml()? => Outcome::Unchanged,
        Some(_) => Outcome::Configured,
    })
}

/// The definition of a name, if there is one.
///
/// # Errors
/// When the service cannot be asked.
pub async fn fetch(clients: &Clients, kind: Kind, name: &str) -> anyhow::Result<Option<Document>> {
    match kinds::get(clients, kind, name).await {
        Ok(document) => Ok(Some(document)),
        Err(error) => match error.downcast_ref::<tonic::Status>() {
            Some(status) if status.code() == Code::NotFound => Ok(None),
            _ => Err(error),
        },
    }
}

/// Every definition of a kind, by name.
///
/// # Errors
/// When the service cannot be asked.
pub async fn fetch_all(clients: &Clients, kind: Kind) -> anyhow::Result<Vec<Document>> {
    kinds::list(clients, kind).await
}
