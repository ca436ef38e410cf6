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
use crate::sealing::{self, SealingKey};

impl Notes {
    /// Seals the values kept aside, if there is a key. Where they cannot be sealed
    /// they are not kept.
    pub(crate) fn seal(&mut self, project: ProjectId, key: Option<&SealingKey>) {
        let (Some(key), Some(omitted)) = (key, &self.omitted) else { return };
        self.sealed = sealing::seal(Some(key), &owner(project, &self.name), omitted);
        if self.sealed.is_none() {
            tracing::error!("there are no random numbers: values kept aside are lost");
            self.omitted = Some(without_values(omitted));
        }
    }
}

/// The names alone.
fn without_values(omitted: &str) -> String {
    let names: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(omitted).unwrap_or_default();
    let nothing = names.into_iter().map(|(name, _)| (name, serde_json::Value::Null));
    serde_json::Value::Object(nothing.collect()).to_string()
}

/// Whose the values are: no webhook source has such a name.
fn owner(project: ProjectId, event: &str) -> String {
    format!("aside/{}/{event}", project.0)
}

/// The values that a note kept aside, as JSON text; `None` when they are sealed with
/// another key.
pub(crate) fn unsealed(
    note: &Note,
    project: ProjectId,
    key: Option<&SealingKey>,
) -> Option<String> {
    match &note.sealed {
        None => Some(note.omitted.clone().unwrap_or_default()),
        Some(sealed) => sealing::open(key, &owner(project, &note.name), sealed),
    }
}

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
        let Notes { name, observed, late, validated_with, omitted, sealed, .. } = &**notes;
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
                omitted: omitted.clone().filter(|_| sealed.is_none()),
                sealed: sealed.clone(),
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

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::sealing::KEY_BYTES;

    #[test]
    fn values_kept_aside_open_for_their_event_and_their_project_alone() {
        let key = SealingKey::parse(&STANDARD.encode([7; KEY_BYTES])).unwrap();
        let omitted = Some(r#"{"email":"ada@x.io"}"#.to_owned());
        let mut noted = Notes { name: "Signed Up".to_owned(), omitted, ..Notes::default() };
        noted.seal(ProjectId(1), Some(&key));
        let sealed = noted.sealed.clone().unwrap();
        assert!(!sealed.windows(3).any(|part| part == b"ada"));
        let note = |name: &str| Note {
            position: 1,
            name: name.to_owned(),
            late: false,
            validated_with: None,
            omitted: None,
            sealed: Some(sealed.clone()),
        };
        let open = |name: &str, project, key| unsealed(&note(name), ProjectId(project), key);
        assert_eq!(open("Signed Up", 1, Some(&key)), noted.omitted);
        assert_eq!(open("Signed Up", 2, Some(&key)), None);
        assert_eq!(open("Other", 1, Some(&key)), None);
        assert_eq!(open("Signed Up", 1, None), None);
        assert_eq!(without_values(r#"{"email":"ada@x.io"}"#), r#"{"email":null}"#);
    }
}
