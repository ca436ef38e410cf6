//! Writes down what contracts note about accepted events, in the transaction
//! that appends them.

use std::collections::BTreeMap;

use northstar_domain::ProjectId;
use northstar_domain::event::Reason;
use northstar_proto::ingestion::v1 as pb;
use northstar_store::ingestion::contracts::{self, Counts};
use northstar_store::ingestion::notes::{self, Note};
use northstar_store::{PgConnection, Result};

use crate::batch::{Batch, Item};
use crate::judge::Notes;
use crate::plan::Plan;

/// Keeps notes about the new events, and adds to what their contracts count.
pub(crate) async fn note(
    connection: &mut PgConnection,
    batches: &[Batch],
    plan: &Plan,
    positions: &[i64],
) -> Result<()> {
    let mut counts: BTreeMap<(ProjectId, &str), Counts> = BTreeMap::new();
    let mut kept: BTreeMap<ProjectId, Vec<Note>> = BTreeMap::new();
    for (new, position) in plan.new.iter().zip(positions) {
        let batch = &batches[new.batch];
        let Item::Accept { notes: Some(notes), .. } = &batch.items[new.item] else { continue };
        let Notes { name, observed, late, validated_with, omitted, withheld: _, properties: _ } =
            &**notes;
        let count = counts.entry((batch.project, name)).or_default();
        count.observed += i64::from(*observed);
        count.late += i64::from(*late);
        count.omitted += i64::from(omitted.is_some());
        count.superseded += i64::from(validated_with.is_some());
        if *late || validated_with.is_some() || omitted.is_some() {
            kept.entry(batch.project).or_default().push(Note {
                position: *position,
                name: name.clone(),
                late: *late,
                validated_with: validated_with.map(|version| version.to_string()),
                omitted: omitted.clone(),
            });
        }
    }
    for (project, noted) in kept {
        notes::insert(connection, project, &noted).await?;
    }
    for ((project, name), counts) in counts {
        contracts::count(connection, project, name, counts).await?;
    }
    Ok(())
}

/// The answer for an accepted event, with the reason for which it was flagged or
/// changed.
pub(crate) fn flagged(item: &Item, result: pb::EventResult) -> pb::EventResult {
    let Item::Accept { notes: Some(notes), .. } = item else { return result };
    let (reason, message) = if let Some(omitted) = &notes.omitted {
        (Reason::OmittedProperties, told(omitted, &notes.withheld))
    } else if let Some(version) = notes.validated_with {
        (Reason::SupersededContract, format!("accepted by version {version} of its contract"))
    } else if notes.late {
        (Reason::Late, "happened longer ago than its contract expects".to_owned())
    } else {
        return result;
    };
    pb::EventResult { reason: reason.as_str().to_owned(), message, ..result }
}

/// The names of the properties that were left out, not their values.
fn told(omitted: &str, withheld: &[String]) -> String {
    let omitted: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(omitted).unwrap_or_default();
    let aside: Vec<String> =
        omitted.keys().filter(|name| !withheld.contains(name)).cloned().collect();
    [("kept aside: ", aside.as_slice()), ("not kept without consent: ", withheld)]
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{what}{}", names.join(", ")))
        .collect::<Vec<_>>()
        .join("; ")
}
