//! Each kind: the domain's spec, and the calls that store and fetch it. The
//! services' own `convert` modules translate, so that a document means what the
//! service means.

use chrono::Utc;
use northstar_client::Clients;
use northstar_domain::Violation;
use northstar_proto::{approvals, automations, experiments, ingestion, metrics};
// Their messages lie in the packages of others.
use northstar_proto::ingestion as subjects;
use northstar_proto::metrics as cohorts;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Document, Kind, Mode, Summary, retention, source, threshold, webhook_source};

/// What a document says, in the domain's words.
#[derive(Clone, Debug)]
pub enum Spec {
    /// See [`Kind::Source`].
    Source(northstar_domain::source::SourceSpec),
    /// See [`Kind::Contract`].
    Contract(northstar_domain::contract::ContractSpec),
    /// See [`Kind::IdentityPolicy`].
    IdentityPolicy(northstar_domain::identity::IdentityPolicy),
    /// See [`Kind::ConsentPolicy`].
    ConsentPolicy(northstar_domain::consent_policy::ConsentPolicy),
    /// See [`Kind::Cohort`].
    Cohort(northstar_domain::cohort::Cohort),
    /// See [`Kind::Activity`].
    Activity(northstar_domain::activity::Activity),
    /// See [`Kind::Pillar`].
    Pillar(northstar_domain::pillar::Pillar),
    /// See [`Kind::Metric`].
    Metric(northstar_domain::metric::Metric),
    /// See [`Kind::Kpi`].
    Kpi(northstar_domain::kpi::Kpi),
    /// See [`Kind::Policy`].
    Policy(northstar_domain::policy::PolicySpec),
    /// See [`Kind::RetentionPolicy`].
    RetentionPolicy(northstar_domain::retention::RetentionSpec),
    /// See [`Kind::Automation`].
    Automation(northstar_domain::automation::Spec),
    /// See [`Kind::Threshold`].
    Threshold(northstar_domain::threshold::Threshold),
    /// See [`Kind::Experiment`].
    Experiment(northstar_domain::experiment::ExperimentSpec),
    /// See [`Kind::WebhookSource`].
    WebhookSource(northstar_domain::webhook::WebhookSourceSpec),
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
            Kind::Source => Self::Source(body(text)?),
            Kind::Contract => Self::Contract(body(text)?),
            Kind::IdentityPolicy => Self::IdentityPolicy(body(text)?),
            Kind::ConsentPolicy => Self::ConsentPolicy(body(text)?),
            Kind::Cohort => Self::Cohort(body(text)?),
            Kind::Activity => Self::Activity(body(text)?),
            Kind::Pillar => Self::Pillar(body(text)?),
            Kind::Metric => Self::Metric(body(text)?),
            Kind::Kpi => Self::Kpi(body(text)?),
            Kind::Policy => Self::Policy(body(text)?),
            Kind::RetentionPolicy => Self::RetentionPolicy(body(text)?),
            Kind::Automation => Self::Automation(body(text)?),
            Kind::Threshold => Self::Threshold(body(text)?),
            Kind::Experiment => Self::Experiment(body(text)?),
            Kind::WebhookSource => Self::WebhookSource(body(text)?),
        })
    }

    /// Everything that is wrong with it as far as it can be told without a
    /// server.
    pub fn violations(&self, name: &str) -> Vec<Violation> {
        let mut found = match self {
            Self::Source(spec) => return spec.violations(name),
            Self::RetentionPolicy(spec) => return spec.violations(name),
            Self::Contract(spec) => return spec.violations(name),
            Self::IdentityPolicy(spec) => spec.violations().into_iter().collect(),
            Self::ConsentPolicy(spec) => spec.violations().into_iter().collect(),
            Self::Cohort(spec) => spec.violations().into_iter().collect(),
            Self::Activity(spec) => spec.violations().into_iter().collect(),
            Self::Pillar(spec) => spec.violations().into_iter().collect(),
            Self::Metric(spec) => spec.violations().into_iter().collect(),
            Self::Kpi(spec) => spec.violations().into_iter().collect::<Vec<_>>(),
            Self::Policy(spec) => spec.violations().into_iter().collect(),
            Self::Automation(spec) => {
                let checked =
                    northstar_domain::automation::Definition::check(name, spec.clone(), Utc::now());
                return checked.err().unwrap_or_default().into_iter().collect();
            }
            Self::Threshold(spec) => spec.violations().into_iter().collect(),
            Self::Experiment(spec) => spec.violations().into_iter().collect(),
            Self::WebhookSource(spec) => spec.violations(),
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
            // Null means off, so it is said.
            Self::Source(spec) => return serde_json::to_value(spec),
            Self::Contract(spec) => serde_json::to_value(spec),
            Self::IdentityPolicy(spec) => serde_json::to_value(spec),
            Self::ConsentPolicy(spec) => serde_json::to_value(spec),
            Self::Cohort(spec) => serde_json::to_value(spec),
            Self::Activity(spec) => serde_json::to_value(spec),
            Self::Pillar(spec) => serde_json::to_value(spec),
            Self::Metric(spec) => serde_json::to_value(spec),
            Self::Kpi(spec) => serde_json::to_value(spec),
            Self::Policy(spec) => serde_json::to_value(spec),
            Self::RetentionPolicy(spec) => serde_json::to_value(spec),
            Self::Automation(spec) => serde_json::to_value(spec),
            Self::Threshold(spec) => serde_json::to_value(spec),
            Self::Experiment(spec) => serde_json::to_value(spec),
            Self::WebhookSource(spec) => serde_json::to_value(spec),
        }?;
        if let Some(fields) = json.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        Ok(json)
    }

    pub(super) fn owner(&self) -> String {
        match self {
            Self::Source(spec) => spec.owner.clone(),
            Self::Contract(spec) => spec.owner.clone(),
            Self::IdentityPolicy(spec) => spec.owner.clone(),
            Self::ConsentPolicy(spec) => spec.owner.clone(),
            Self::Cohort(spec) => spec.owner.clone(),
            Self::Activity(spec) => spec.owner.clone(),
            Self::Pillar(spec) => spec.owner.clone(),
            Self::Metric(spec) => spec.owner.clone(),
            Self::Kpi(spec) => spec.owner.clone(),
            Self::Policy(spec) => spec.owner.clone(),
            Self::RetentionPolicy(spec) => spec.owner.clone(),
            Self::Automation(spec) => spec.owner.clone(),
            Self::Threshold(spec) => spec.owner.clone(),
            Self::Experiment(spec) => spec.owner.clone(),
            Self::WebhookSource(spec) => spec.owner.clone(),
        }
    }
}

impl Spec {
    /// Creates or replaces the definition of a name.
    pub async fn send(
        &self,
        clients: &Clients,
        name: &str,
        etag: &str,
        mode: Mode,
    ) -> anyhow::Result<()> {
        match self {
            Self::Source(spec) => source::apply(clients, name, etag, spec, mode).await,
            Self::Contract(spec) => contract::apply(clients, name, etag, spec, mode).await,
            Self::IdentityPolicy(spec) => {
                identity_policy::apply(clients, name, etag, spec, mode).await
            }
            Self::ConsentPolicy(spec) => {
                consent_policy::apply(clients, name, etag, spec, mode).await
            }
            Self::Cohort(spec) => cohort::apply(clients, name, etag, spec, mode).await,
            Self::Activity(spec) => activity::apply(clients, name, etag, spec, mode).await,
            Self::Pillar(spec) => pillar::apply(clients, name, etag, spec, mode).await,
            Self::Metric(spec) => metric::apply(clients, name, etag, spec, mode).await,
            Self::Kpi(spec) => kpi::apply(clients, name, etag, spec, mode).await,
            Self::RetentionPolicy(spec) => retention::apply(clients, name, etag, spec, mode).await,
            Self::Policy(spec) => policy::apply(clients, name, etag, spec, mode).await,
            Self::Automation(spec) => automation::apply(clients, name, etag, spec, mode).await,
            Self::Threshold(spec) => threshold::apply(clients, name, etag, spec, mode).await,
            Self::Experiment(spec) => experiment::apply(clients, name, etag, spec, mode).await,
            Self::WebhookSource(spec) => {
                webhook_source::apply(clients, name, etag, spec, mode).await
            }
        }
    }
}

/// The definition of a name.
pub async fn get(clients: &Clients, kind: Kind, name: &str) -> anyhow::Result<Document> {
    match kind {
        Kind::Source => source::get(clients, name).await,
        Kind::Contract => contract::get(clients, name).await,
        Kind::IdentityPolicy => identity_policy::get(clients, name).await,
        Kind::ConsentPolicy => consent_policy::get(clients, name).await,
        Kind::Cohort => cohort::get(clients, name).await,
        Kind::Activity => activity::get(clients, name).await,
        Kind::Pillar => pillar::get(clients, name).await,
        Kind::Metric => metric::get(clients, name).await,
        Kind::Kpi => kpi::get(clients, name).await,
        Kind::RetentionPolicy => retention::get(clients, name).await,
        Kind::Policy => policy::get(clients, name).await,
        Kind::Automation => automation::get(clients, name).await,
        Kind::Threshold => threshold::get(clients, name).await,
        Kind::Experiment => experiment::get(clients, name).await,
        Kind::WebhookSource => webhook_source::get(clients, name).await,
    }
}

/// Every definition of a kind, by name.
pub async fn list(clients: &Clients, kind: Kind) -> anyhow::Result<Vec<Document>> {
    match kind {
        Kind::Source => source::list(clients).await,
        Kind::Contract => contract::list(clients).await,
        Kind::IdentityPolicy => identity_policy::list(clients).await,
        Kind::ConsentPolicy => consent_policy::list(clients).await,
        Kind::Cohort => cohort::list(clients).await,
        Kind::Activity => activity::list(clients).await,
        Kind::Pillar => pillar::list(clients).await,
        Kind::Metric => metric::list(clients).await,
        Kind::Kpi => kpi::list(clients).await,
        Kind::RetentionPolicy => retention::list(clients).await,
        Kind::Policy => policy::list(clients).await,
        Kind::Automation => automation::list(clients).await,
        Kind::Threshold => threshold::list(clients).await,
        Kind::Experiment => experiment::list(clients).await,
        Kind::WebhookSource => webhook_source::list(clients).await,
    }
}

/// The calls of one kind: the same three everywhere, under each kind's names.
macro_rules! calls {
    (
        $module:ident: $kind:ident($spec:ty) at $service:ident,
        $apply:ident $ApplyRequest:ident, $get:ident $GetRequest:ident,
        $list:ident $ListRequest:ident $items:ident,
        to $to:expr, from $from:expr, state $state:expr $(,)?
    ) => {
        mod $module {
            use $service::v1 as pb;

            use super::*;

            pub(super) async fn apply(
                clients: &Clients,
                name: &str,
                etag: &str,
                spec: &$spec,
                mode: Mode,
            ) -> anyhow::Result<()> {
                let to: fn(&str, &$spec) -> anyhow::Result<pb::$kind> = $to;
                let mut message = to(name, spec)?;
                message.etag = etag.to_owned();
                let request = pb::$ApplyRequest {
                    $module: Some(message),
                    validate_only: mode == Mode::Check,
                    request_id: uuid::Uuid::new_v4().to_string(),
                };
                clients.$service().$apply(request).await?;
                Ok(())
            }

            pub(super) async fn get(clients: &Clients, name: &str) -> anyhow::Result<Document> {
                let request = pb::$GetRequest { name: name.to_owned() };
                let response = clients.$service().$get(request).await?.into_inner();
                document(response.$module.unwrap_or_default())
            }

            pub(super) async fn list(clients: &Clients) -> anyhow::Result<Vec<Document>> {
                let mut documents = Vec::new();
                let mut page_token = String::new();
                loop {
                    let request = pb::$ListRequest { page_size: 1000, page_token };
                    let page = clients.$service().$list(request).await?.into_inner();
                    for message in page.$items {
                        documents.push(document(message)?);
                    }
                    page_token = page.next_page_token;
                    if page_token.is_empty() {
                        return Ok(documents);
                    }
                }
            }

            fn document(message: pb::$kind) -> anyhow::Result<Document> {
                let from: fn(pb::$kind) -> anyhow::Result<$spec> = $from;
                let state: fn(&pb::$kind) -> String = $state;
                let (name, etag, state) =
                    (message.name.clone(), message.etag.clone(), state(&message));
                let spec = Spec::$kind(from(message)?);
                let owner = spec.owner();
                Ok(Document {
                    kind: Kind::$kind,
                    place: format!("{} {name}", Kind::$kind),
                    name,
                    etag,
                    spec,
                    summary: Summary { owner, state },
                })
            }
        }
    };
}

calls! {
    contract: Contract(northstar_domain::contract::ContractSpec) at ingestion,
    apply_contract ApplyContractRequest, get_contract GetContractRequest,
    list_contracts ListContractsRequest contracts,
    to |name, spec| Ok(northstar_ingestion::convert::contract_to_proto(name, spec)),
    from |message| Ok(northstar_ingestion::convert::contract_from_proto(&message).map_err(unreadable)?.1),
    state |_| String::new(),
}
calls! {
    identity_policy: IdentityPolicy(northstar_domain::identity::IdentityPolicy) at subjects,
    apply_identity_policy ApplyIdentityPolicyRequest, get_identity_policy GetIdentityPolicyRequest,
    list_identity_policies ListIdentityPoliciesRequest identity_policies,
    to |name, policy| Ok(subjects::v1::IdentityPolicy {
        name: name.to_owned(),
        ..northstar_ingestion::subjects::identity_policy_to_proto(policy)
    }),
    from |message| {
        let read = northstar_ingestion::subjects::identity_policy_from_proto(&message);
        read.map_err(|found| unreadable(found.as_slice().to_vec()))
    },
    state |_| String::new(),
}
calls! {
    consent_policy: ConsentPolicy(northstar_domain::consent_policy::ConsentPolicy) at subjects,
    apply_consent_policy ApplyConsentPolicyRequest, get_consent_policy GetConsentPolicyRequest,
    list_consent_policies ListConsentPoliciesRequest consent_policies,
    to |name, policy| Ok(subjects::v1::ConsentPolicy {
        name: name.to_owned(),
        ..northstar_ingestion::subjects::consent_policy_to_proto(policy)
    }),
    from |message| {
        let read = northstar_ingestion::subjects::consent_policy_from_proto(&message);
        read.map_err(|found| unreadable(found.as_slice().to_vec()))
    },
    state |_| String::new(),
}
calls! {
    cohort: Cohort(northstar_domain::cohort::Cohort) at cohorts,
    apply_cohort ApplyCohortRequest, get_cohort GetCohortRequest,
    list_cohorts ListCohortsRequest cohorts,
    to |name, spec| Ok(northstar_metrics::convert::cohort::to_proto(name, 0, "", spec)),
    from |message| {
        let received = northstar_metrics::convert::cohort::from_proto(message);
        if received.violations.is_empty() {
            Ok(received.document)
        } else {
            Err(unreadable(received.violations))
        }
    },
    state |message| format!("version {}", message.version),
}
calls! {
    activity: Activity(northstar_domain::activity::Activity) at metrics,
    apply_activity ApplyActivityRequest, get_activity GetActivityRequest,
    list_activities ListActivitiesRequest activities,
    to |name, spec| Ok(northstar_metrics::convert::activity::to_proto(name, 0, "", spec)),
    from |message| Ok(northstar_metrics::convert::activity::from_proto(message).document),
    state |message| {
        let version = format!("version {}", message.version);
        if message.default { format!("{version}, default") } else { version }
    },
}
calls! {
    pillar: Pillar(northstar_domain::pillar::Pillar) at metrics,
    apply_pillar ApplyPillarRequest, get_pillar GetPillarRequest,
    list_pillars ListPillarsRequest pillars,
    to |name, spec| Ok(northstar_metrics::convert::pillar::to_proto(name, "", spec)),
    from |message| Ok(northstar_metrics::convert::pillar::from_proto(message).document),
    state |_| String::new(),
}
calls! {
    metric: Metric(northstar_domain::metric::Metric) at metrics,
    apply_metric ApplyMetricRequest, get_metric GetMetricRequest,
    list_metrics ListMetricsRequest metrics,
    to |name, spec| Ok(northstar_metrics::convert::metric::to_proto(name, 0, "", spec)),
    from |message| Ok(northstar_metrics::convert::metric::from_proto(message).document),
    state |message| format!("version {}", message.version),
}
calls! {
    kpi: Kpi(northstar_domain::kpi::Kpi) at metrics,
    apply_kpi ApplyKpiRequest, get_kpi GetKpiRequest,
    list_kpis ListKpisRequest kpis,
    to |name, spec| Ok(northstar_metrics::convert::kpi::to_proto(name, "", spec)),
    from |message| Ok(northstar_metrics::convert::kpi::from_proto(message).document),
    state |_| String::new(),
}
calls! {
    policy: Policy(northstar_domain::policy::PolicySpec) at approvals,
    apply_policy ApplyPolicyRequest, get_policy GetPolicyRequest,
    list_policies ListPoliciesRequest policies,
    to |name, spec| {
        let policy = northstar_domain::policy::Policy { name: name.parse()?, spec: spec.clone() };
        Ok(northstar_approvals::convert::policy_to_proto(&policy, String::new()))
    },
    from |message| {
        let policy = northstar_approvals::convert::policy_from_proto(message);
        Ok(policy.map_err(unreadable)?.spec)
    },
    state |_| String::new(),
}
calls! {
    automation: Automation(northstar_domain::automation::Spec) at automations,
    apply_automation ApplyAutomationRequest, get_automation GetAutomationRequest,
    list_automations ListAutomationsRequest automations,
    to |name, spec| Ok(northstar_automations::convert::spec_to_proto(name, spec)),
    from |message| Ok(northstar_automations::convert::spec_from_proto(message).0),
    state |message| lower(message.state().as_str_name(), "AUTOMATION_STATE_"),
}
calls! {
    experiment: Experiment(northstar_domain::experiment::ExperimentSpec) at experiments,
    apply_experiment ApplyExperimentRequest, get_experiment GetExperimentRequest,
    list_experiments ListExperimentsRequest experiments,
    to |name, spec| {
        let draft = northstar_domain::experiment::Experiment::draft(name.parse()?, spec.clone());
        Ok(northstar_experiments::convert::experiment_to_proto(&draft, String::new()))
    },
    from |message| {
        let read = northstar_experiments::convert::experiment_from_proto(message);
        Ok(read.map_err(unreadable)?.1)
    },
    state |message| lower(message.state().as_str_name(), "EXPERIMENT_STATE_"),
}

/// The value of an enum as people read it.
fn lower(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).to_ascii_lowercase()
}

/// The service sent a definition that this program cannot read: it is newer.
pub(super) fn unreadable(violations: impl IntoIterator<Item = Violation>) -> anyhow::Error {
    let texts: Vec<_> = violations.into_iter().map(|violation| violation.to_string()).collect();
    anyhow::anyhow!("the definition cannot be read by this version: {}", texts.join("; "))
}
