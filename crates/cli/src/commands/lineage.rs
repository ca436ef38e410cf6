//! `northstar lineage`: what a number is computed from, and what an event is used
//! for, up to the automations and experiments that are to move it.

use std::collections::BTreeMap;

use northstar_client::Clients;
use northstar_proto::metrics::v1 as pb;
use northstar_proto::{automations, experiments};
use pb::get_lineage_request::Subject;
use serde::Serialize;

use crate::connection::Connection;
use crate::output;

/// Show what a KPI, metric, activity, cohort or threshold is computed from, and
/// what a KPI, metric, activity, cohort, event or property is used for.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  northstar lineage --kpi activation
  northstar lineage --metric activation-rate --json
  northstar lineage --event \"Signed Up\"
  northstar lineage --event Paid --property amount
  northstar lineage --cohort power-users
  northstar lineage --threshold activation-drop

Automations and experiments are shown beside the KPIs and metrics that they are to
move, or must not harm.")]
#[command(group = clap::ArgGroup::new("subject").args(["kpi", "metric", "activity", "cohort", "threshold", "event", "property"]).required(true).multiple(true))]
pub struct Lineage {
    /// Name of a KPI.
    #[arg(long, conflicts_with_all = ["metric", "activity", "cohort", "threshold", "event", "property"])]
    kpi: Option<String>,
    /// Name of a metric.
    #[arg(long, conflicts_with_all = ["activity", "cohort", "threshold", "event", "property"])]
    metric: Option<String>,
    /// Name of an activity.
    #[arg(long, conflicts_with_all = ["cohort", "threshold", "event", "property"])]
    activity: Option<String>,
    /// Name of a cohort.
    #[arg(long, conflicts_with_all = ["threshold", "event", "property"])]
    cohort: Option<String>,
    /// Name of a threshold.
    #[arg(long, conflicts_with_all = ["event", "property"])]
    threshold: Option<String>,
    /// Name of an event.
    #[arg(long)]
    event: Option<String>,
    /// Property of the event; of any event without one.
    #[arg(long)]
    property: Option<String>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer {
    kpis: Vec<String>,
    metrics: Vec<String>,
    activities: Vec<String>,
    events: Vec<String>,
    properties: Vec<String>,
    cohorts: Vec<String>,
    thresholds: Vec<String>,
    automations: Vec<String>,
    experiments: Vec<String>,
    contract_versions: BTreeMap<String, String>,
    links: Vec<Link>,
}

#[derive(Serialize)]
struct Link {
    kind: String,
    name: String,
    role: String,
    from_kind: String,
    from_name: String,
    /// Of an automation or experiment.
    #[serde(skip_serializing_if = "String::is_empty")]
    state: String,
}

/// Runs the command.
pub async fn run(command: Lineage, connection: &Connection) -> anyhow::Result<()> {
    let subjects = [
        command.kpi.map(Subject::Kpi),
        command.metric.map(Subject::Metric),
        command.activity.map(Subject::Activity),
        command.cohort.map(Subject::Cohort),
        command.threshold.map(Subject::Threshold),
        command.event.map(Subject::Event),
    ];
    let subject = subjects.into_iter().flatten().next();
    let request = pb::GetLineageRequest { subject, property: command.property.unwrap_or_default() };
    let clients = connection.clients()?;
    let response = clients.metrics().get_lineage(request).await?.into_inner();
    let mut answer = answer(response);
    add_automations(&mut answer, &clients).await?;
    add_experiments(&mut answer, &clients).await?;
    if command.json {
        return output::json(&answer);
    }
    if answer.links.is_empty() {
        output::line("Nothing that is defined reads it.")?;
        return Ok(());
    }
    let rows = answer.links.into_iter().map(|link| {
        let name = match link.state.as_str() {
            "" => link.name,
            state => format!("{} ({state})", link.name),
        };
        [link.kind, name, link.role, link.from_kind, link.from_name]
    });
    output::line(output::table(&["kind", "name", "by", "from", "name"], rows))?;
    for (event, version) in &answer.contract_versions {
        output::line(format!("{event} keeps contract version {version}"))?;
    }
    Ok(())
}

/// What automations are to move, and must not harm.
async fn add_automations(answer: &mut Answer, clients: &Clients) -> anyhow::Result<()> {
    let mut page_token = String::new();
    loop {
        let request = automations::v1::ListAutomationsRequest { page_size: 1000, page_token };
        let page = clients.automations().list_automations(request).await?.into_inner();
        for automation in page.automations {
            let state = automation.state().as_str_name().trim_start_matches("AUTOMATION_STATE_");
            let state = state.to_ascii_lowercase();
            let guardrails = automation.guardrails.into_iter().map(|guardrail| guardrail.metric);
            let found = answer.act("automation", &automation.name, &state, |act| {
                act.on("moves", "kpi", automation.kpi);
                guardrails.for_each(|metric| act.on("guardrail", "metric", metric));
            });
            if found {
                answer.automations.push(automation.name);
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(());
        }
    }
}

/// The same of experiments.
async fn add_experiments(answer: &mut Answer, clients: &Clients) -> anyhow::Result<()> {
    let mut page_token = String::new();
    loop {
        let request = experiments::v1::ListExperimentsRequest { page_size: 1000, page_token };
        let page = clients.experiments().list_experiments(request).await?.into_inner();
        for experiment in page.experiments {
            let state = experiment.state().as_str_name().trim_start_matches("EXPERIMENT_STATE_");
            let state = state.to_ascii_lowercase();
            let guardrails = experiment.guardrails.into_iter().map(|guardrail| guardrail.metric);
            let found = answer.act("experiment", &experiment.name, &state, |act| {
                act.on("moves", "metric", experiment.primary_metric);
                guardrails.for_each(|metric| act.on("guardrail", "metric", metric));
            });
            if found {
                answer.experiments.push(experiment.name);
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(());
        }
    }
}

/// Links from one automation or experiment to what the answer speaks of.
struct Act<'a> {
    answer: &'a mut Answer,
    kind: &'a str,
    name: &'a str,
    state: &'a str,
}

impl Act<'_> {
    fn on(&mut self, role: &str, from_kind: &str, from_name: String) {
        let known = if from_kind == "kpi" { &self.answer.kpis } else { &self.answer.metrics };
        if known.contains(&from_name) {
            self.answer.links.push(Link {
                kind: self.kind.to_owned(),
                name: self.name.to_owned(),
                role: role.to_owned(),
                from_kind: from_kind.to_owned(),
                from_name,
                state: self.state.to_owned(),
            });
        }
    }
}

impl Answer {
    /// Adds the links of an automation or experiment; whether there were any.
    fn act(&mut self, kind: &str, name: &str, state: &str, add: impl FnOnce(&mut Act<'_>)) -> bool {
        let before = self.links.len();
        add(&mut Act { answer: self, kind, name, state });
        self.links.len() > before
    }
}

fn answer(response: pb::GetLineageResponse) -> Answer {
    let kind = |kind: pb::LineageKind| {
        kind.as_str_name().trim_start_matches("LINEAGE_KIND_").to_ascii_lowercase()
    };
    let links = response.links.into_iter().map(|link| Link {
        kind: kind(link.kind()),
        from_kind: kind(link.from_kind()),
        name: link.name,
        role: link.role,
        from_name: link.from_name,
        state: String::new(),
    });
    Answer {
        links: links.collect(),
        kpis: response.kpis,
        metrics: response.metrics,
        activities: response.activities,
        events: response.events,
        properties: response.properties,
        cohorts: response.cohorts,
        thresholds: response.thresholds,
        automations: Vec::new(),
        experiments: Vec::new(),
        contract_versions: response.contract_versions,
    }
}
