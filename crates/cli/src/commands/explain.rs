//! `northstar explain`: how a number came about, down to the events.

use northstar_proto::metrics::v1 as pb;
use prost_types::value::Kind;
use serde::Serialize;
use serde_json::Value;

use super::behind::Subject;
use super::cell::{Cell, subject_text};
use super::query::Provenance;
use crate::connection::Connection;
use crate::{output, time};

/// Explain a number: its definition in words, its events, and what was left out.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  northstar explain revenue --from 2026-01-01 --to 2026-02-01
  northstar explain checkout --from 2026-01-01 --to 2026-02-01 --grain day --bucket 2026-01-05 \\
      --limit 100 --json")]
pub struct Explain {
    #[command(flatten)]
    cell: Cell,
    /// Most events to print; 0 means all.
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// Only events after this position of the log.
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    after: i64,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer {
    value: Option<f64>,
    numerator: Option<f64>,
    denominator: Option<f64>,
    definitions: Vec<Definition>,
    subjects: i64,
    total_events: i64,
    excluded: Vec<Excluded>,
    events: Vec<Event>,
    provenance: Option<Provenance>,
}

#[derive(Serialize)]
struct Definition {
    metric: String,
    words: String,
}

#[derive(Serialize)]
struct Excluded {
    reason: String,
    events: i64,
}

#[derive(Serialize)]
struct Event {
    position: i64,
    name: String,
    source: String,
    subject: Option<Subject>,
    #[serde(skip_serializing_if = "String::is_empty")]
    account_id: String,
    time: Option<String>,
    roles: Vec<String>,
    properties: Value,
}

/// Runs the command.
pub async fn run(command: Explain, connection: &Connection) -> anyhow::Result<()> {
    let request = pb::ExplainRequest {
        cell: Some(command.cell.to_proto()?),
        after_position: command.after,
        limit: command.limit.into(),
    };
    let mut parts = connection.clients()?.evidence().explain(request).await?.into_inner();
    let (mut explanation, mut events) = (pb::Explanation::default(), Vec::new());
    while let Some(part) = parts.message().await? {
        explanation = part.explanation.unwrap_or(explanation);
        events.extend(part.events);
    }
    if command.json {
        output::json(&answer(explanation, events))
    } else {
        print(&explanation, &events)
    }
}

fn answer(explanation: pb::Explanation, events: Vec<pb::ContributingEvent>) -> Answer {
    let row = explanation.row.unwrap_or_default();
    let definitions = explanation.definitions.into_iter();
    let excluded = explanation
        .excluded
        .iter()
        .map(|excluded| Excluded { reason: reason(excluded), events: excluded.events });
    Answer {
        value: row.value,
        numerator: row.numerator,
        denominator: row.denominator,
        definitions: definitions
            .map(|definition| Definition { metric: definition.metric, words: definition.words })
            .collect(),
        subjects: explanation.subjects,
        total_events: explanation.events,
        excluded: excluded.collect(),
        events: events
            .into_iter()
            .map(|event| Event {
                position: event.position,
                time: time::text(event.effective_time.as_ref()),
                name: event.name,
                source: event.source,
                subject: event.subject.map(Subject::from),
                account_id: event.account_id,
                roles: event.roles,
                properties: object(event.properties.unwrap_or_default()),
            })
            .collect(),
        provenance: explanation.provenance.map(Provenance::from),
    }
}

fn reason(excluded: &pb::ExcludedEvents) -> String {
    let name = excluded.reason().as_str_name().trim_start_matches("EXCLUSION_REASON_");
    name.to_ascii_lowercase()
}

fn print(explanation: &pb::Explanation, events: &[pb::ContributingEvent]) -> anyhow::Result<()> {
    for definition in &explanation.definitions {
        output::line(format!("{}: {}.", definition.metric, definition.words))?;
    }
    let row = explanation.row.clone().unwrap_or_default();
    let parts = match (row.numerator, row.denominator) {
        (Some(above), Some(below)) => {
            format!(" = {} / {}", output::number(above), output::number(below))
        }
        _ => String::new(),
    };
    output::line(format!("value {}{parts}", output::optional(row.value)))?;
    let rows = events.iter().map(|event| {
        [
            event.position.to_string(),
            time::text(event.effective_time.as_ref()).unwrap_or_default(),
            event.name.clone(),
            subject_text(event.subject.as_ref()),
            event.roles.join(", "),
        ]
    });
    output::line(output::table(&["position", "time", "event", "subject", "role"], rows))?;
    output::line(format!(
        "{} events of {} subjects, {} shown",
        output::number(explanation.events as f64),
        output::number(explanation.subjects as f64),
        output::number(events.len() as f64),
    ))?;
    let excluded: Vec<String> = explanation
        .excluded
        .iter()
        .filter(|excluded| excluded.events > 0)
        .map(|excluded| format!("{} {}", output::number(excluded.events as f64), reason(excluded)))
        .collect();
    if !excluded.is_empty() {
        output::line(format!("left out: {}", excluded.join(", ")))?;
    }
    if let Some(provenance) = &explanation.provenance {
        output::line(format!(
            "log position {}, digest {}",
            provenance.log_position,
            provenance.digest.get(..12).unwrap_or_default(),
        ))?;
    }
    Ok(())
}

fn object(of: prost_types::Struct) -> Value {
    Value::Object(of.fields.into_iter().map(|(name, value)| (name, json(value))).collect())
}

fn json(value: prost_types::Value) -> Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => value.into(),
        // Whole numbers read as such.
        Some(Kind::NumberValue(number)) if number.fract() == 0.0 && number.abs() < 9e15 => {
            Value::from(number as i64)
        }
        Some(Kind::NumberValue(number)) => number.into(),
        Some(Kind::StringValue(text)) => text.into(),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(json).collect(),
        Some(Kind::StructValue(of)) => object(of),
    }
}
