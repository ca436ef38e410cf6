//! `northstar lineage`: what a number is computed from, and what an event is used
//! for.

use std::collections::BTreeMap;

use northstar_proto::metrics::v1 as pb;
use pb::get_lineage_request::Subject;
use serde::Serialize;

use crate::connection::Connection;
use crate::output;

/// Show what a KPI, metric or activity is computed from, or what an event or
/// property is used for.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  northstar lineage --kpi activation
  northstar lineage --metric activation-rate --json
  northstar lineage --event \"Signed Up\"
  northstar lineage --event Paid --property amount")]
#[command(group = clap::ArgGroup::new("subject").args(["kpi", "metric", "activity", "event", "property"]).required(true).multiple(true))]
pub struct Lineage {
    /// Name of a KPI.
    #[arg(long, conflicts_with_all = ["metric", "activity", "event", "property"])]
    kpi: Option<String>,
    /// Name of a metric.
    #[arg(long, conflicts_with_all = ["activity", "event", "property"])]
    metric: Option<String>,
    /// Name of an activity.
    #[arg(long, conflicts_with_all = ["event", "property"])]
    activity: Option<String>,
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
}

/// Runs the command.
pub async fn run(command: Lineage, connection: &Connection) -> anyhow::Result<()> {
    let subject = match (command.kpi, command.metric, command.activity, command.event) {
        (Some(kpi), ..) => Some(Subject::Kpi(kpi)),
        (None, Some(metric), ..) => Some(Subject::Metric(metric)),
        (None, None, Some(activity), _) => Some(Subject::Activity(activity)),
        (None, None, None, event) => event.map(Subject::Event),
    };
    let request = pb::GetLineageRequest { subject, property: command.property.unwrap_or_default() };
    let response = connection.clients()?.metrics().get_lineage(request).await?.into_inner();
    let answer = answer(response);
    if command.json {
        return output::json(&answer);
    }
    let rows = answer
        .links
        .into_iter()
        .map(|link| [link.kind, link.name, link.role, link.from_kind, link.from_name]);
    output::line(output::table(&["kind", "name", "by", "from", "name"], rows))?;
    for (event, version) in &answer.contract_versions {
        output::line(format!("{event} keeps contract version {version}"))?;
    }
    Ok(())
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
    });
    Answer {
        links: links.collect(),
        kpis: response.kpis,
        metrics: response.metrics,
        activities: response.activities,
        events: response.events,
        properties: response.properties,
        contract_versions: response.contract_versions,
    }
}
