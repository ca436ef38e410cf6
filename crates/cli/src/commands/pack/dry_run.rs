//! What applying a pack would do, and whether the log has what its metrics read.

use std::collections::BTreeMap;

use anyhow::Context as _;
use northstar_client::Clients;
use northstar_domain::ResourceName;
use northstar_metrics::packs;
use northstar_proto::ingestion::v1 as pb;
use serde::Serialize;
use tonic::Code;

use super::Applied;
use crate::documents::{self, Document, Mode, Outcome, Spec};
use crate::output;

/// An event that the pack reads.
#[derive(Serialize)]
struct Event {
    event: String,
    /// Whether the log has one.
    in_log: bool,
    properties: Vec<Property>,
}

/// A property of it that the pack reads.
#[derive(Serialize)]
struct Property {
    property: String,
    /// Whether one of the newest events of the name has it.
    in_log: bool,
}

/// Tells what would be created or changed, and what is missing. Writes nothing.
pub async fn run(
    clients: &Clients,
    pack: &str,
    documents: Vec<Document>,
    json: bool,
) -> anyhow::Result<()> {
    let needs = needs(&documents)?;
    let mut would = Vec::new();
    for document in documents {
        let outcome = outcome(clients, &document).await.with_context(|| document.title())?;
        would.push(Applied { kind: document.kind, name: document.name, outcome });
    }
    let mut events = Vec::new();
    for (event, properties) in needs {
        events.push(look(clients, event, properties).await?);
    }
    if json {
        return output::json(&serde_json::json!({
            "pack": pack,
            "dry_run": true,
            "would": would,
            "needs": events,
        }));
    }
    for Applied { kind, name, outcome } in &would {
        output::line(format!("{kind} {name} would be {}", outcome.as_str()))?;
    }
    output::line(table(&events))?;
    let missing = events.iter().filter(|event| !event.in_log).count();
    output::note(match missing {
        0 => "nothing was written".to_owned(),
        missing => format!(
            "nothing was written; {missing} of {} events are not in the log: send them, or name yours with --set",
            events.len()
        ),
    });
    Ok(())
}

/// Checked by the service where the document stands on no other, which may not be there yet.
async fn outcome(clients: &Clients, document: &Document) -> anyhow::Result<Outcome> {
    let stands_on_others = match &document.spec {
        Spec::Metric(metric) => !metric.parts().is_empty() || metric.activity().is_some(),
        _ => false,
    };
    if stands_on_others {
        documents::outcome(clients, document).await
    } else {
        documents::apply(clients, document, Mode::Check).await
    }
}

/// Every event that the documents read, and its properties.
fn needs(documents: &[Document]) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let (mut metrics, mut activities) = (Vec::new(), Vec::new());
    for document in documents {
        let name: ResourceName = document.name.parse()?;
        match &document.spec {
            Spec::Metric(metric) => metrics.push((name, metric.clone())),
            Spec::Activity(activity) => activities.push((name, activity.clone())),
            _ => {}
        }
    }
    let needs = packs::needs(metrics, activities).into_iter();
    Ok(needs.map(|(event, properties)| (event, properties.into_iter().collect())).collect())
}

/// Whether the newest events of a name have what is read.
async fn look(clients: &Clients, event: String, properties: Vec<String>) -> anyhow::Result<Event> {
    let request = pb::InferContractRequest { name: event.clone(), ..Default::default() };
    let schema = match clients.contracts().infer_contract(request).await {
        Ok(found) => Some(found.into_inner().contract.unwrap_or_default().json_schema),
        Err(status) if status.code() == Code::NotFound => None,
        Err(status) => return Err(status).with_context(|| format!("events {event:?}")),
    };
    let schema = schema.as_deref().map(serde_json::from_str::<serde_json::Value>).transpose()?;
    let has = |path: &str| {
        let mut schema = schema.as_ref();
        for part in path.split('.') {
            schema = schema.and_then(|schema| schema.get("properties")?.get(part));
        }
        schema.is_some()
    };
    let properties = properties
        .into_iter()
        .map(|property| Property { in_log: has(&property), property })
        .collect();
    Ok(Event { in_log: schema.is_some(), event, properties })
}

fn table(events: &[Event]) -> String {
    let word = |in_log: bool| if in_log { "yes" } else { "missing" }.to_owned();
    let rows = events.iter().flat_map(|event| {
        let own = [event.event.clone(), String::new(), word(event.in_log)];
        let properties = event.properties.iter().map(move |property| {
            [event.event.clone(), property.property.clone(), word(property.in_log)]
        });
        std::iter::once(own).chain(properties)
    });
    output::table(&["event", "property", "in the log"], rows)
}
