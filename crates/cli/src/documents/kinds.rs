//! Each kind: the domain's spec, and the calls that store and fetch it. The
//! services' own `convert` modules translate, so that a document means what the
//! service means.

use northstar_client::Clients;
use northstar_domain::Violation;
use northstar_proto::{approvals, automations, experiments, ingestion, metrics};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Document, Kind, Mode, Summary};

/// What a document says, in the domain's words.
#[derive(Clone, Debug)]
pub enum Spec {
    /// See [`Kind::Contract`].
    Contract(northstar_domain::contract::ContractSpec),
    /// See [`Kind::Pillar`].
    Pillar(northstar_domain::pillar::Pillar),
    /// See [`Kind::Metric`].
    Metric(northstar_domain::metric::Metric),
    /// See [`Kind::Kpi`].
    Kpi(northstar_domain::kpi::Kpi),
    /// See [`Kind::Policy`].
    Policy(northstar_domain::policy::PolicySpec),
    /// See [`Kind::Automation`].
    Automation(northstar_domain::automation::AutomationSpec),
    /// See [`Kind::Experiment`].
    Experiment(northstar_domain::experiment::ExperimentSpec),
}

/// A document of which only the spec is looked at.
#[derive(Deserialize)]
struct Body<S> {
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    #[serde(rename = "metadata")]
    _metadata: IgnoredAny,
    spec: S,
}

fn body<S: serde::de::DeserializeOwned>(text: &str) -> Result<S, serde_norway::Error> {
    serde_norway::from_str::<Body<S>>(text).map(|body| body.spec)
}

impl Spec {
    /// Reads the spec of a document of a kind.
    ///
    /// # Errors
    /// When it has an unknown field or a value of the wrong form.
    pub fn read(kind: Kind, text: &str) -> Result<Self, serde_norway::Error> {
        Ok(match kind {
            Kind::Contract => Self::Contract(body(text)?),
            Kind::Pillar => Self::Pillar(body(text)?),
            Kind::Metric => Self::Metric(body(text)?),
            Kind::Kpi => Self::Kpi(body(text)?),
            Kind::Policy => Self::Policy(body(text)?),
            Kind::Automation => Self::Automation(body(text)?),
            Kind::Experiment => Self::Experiment(body(text)?),
        })
    }

    /// Everything that is wrong with it as far as it can be told without a
    /// server.
    pub fn violations(&self, name: &str) -> Vec<Violation> {
        let mut found = match self {
            Self::Contract(spec) => return spec.violations(name),
            Self::Pillar(spec) => spec.violations(),
            Self::Metric(spec) => spec.violations(),
            Self::Kpi(spec) => spec.violations(),
            Self::Policy(spec) => spec.violations().as_slice().to_vec(),
            Self::Automation(spec) => spec.violations(),
            Self::Experiment(spec) => spec.violations(),
        };
        if let Err(error) = name.parse::<northstar_domain::ResourceName>() {
            found.insert(0, Violation::new("metadata.name", error.to_string()));
        }
        found
    }

    /// The spec as JSON, without what is not said.
    ///
    /// # Errors
    /// Never in practice: specs serialise.
    pub fn to_json(&self) -> serde_json::Result<serde_json::Value> {
        let mut json = match self {
            Self::Contract(spec) => serde_json::to_value(spec),
            Self::Pillar(spec) => serde_json::to_value(spec),
            Self::Metric(spec) => serde_json::to_value(spec),
            Self::Kpi(spec) => serde_json::to_value(spec),
            Self::Policy(spec) => serde_json::to_value(spec),
            Self::Automation(spec) => serde_json::to_value(spec),
            Self::Experiment(spec) => serde_json::to_value(spec),
        }?;
        if let Some(fields) = json.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        Ok(json)
    }

    fn owner(&self) -> String {
        match self {
            Self::Contract(spec) => spec.owner.clone(),
            Self::Pillar(spec) => spec.owner.clone(),
            Self::Metric(spec) => spec.owner.clone(),
            Self::Kpi(spec) => spec.owner.clone(),
            Self::Policy(spec) => spec.owner.clone(),
            Self::Automation(spec) => spec.owner.clone(),
            Self::Experiment(spec) => spec.owner.clone(),
        }
    }
}
