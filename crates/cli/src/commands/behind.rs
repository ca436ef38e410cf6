//! `northstar behind`: the subjects behind a number.

use northstar_proto::metrics::v1 as pb;
use serde::Serialize;

use super::cell::{Cell, subject_text};
use super::query::Provenance;
use crate::connection::Connection;
use crate::output;

/// List the subjects behind a number.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  northstar behind weekly-active-users --from 2026-01-05 --to 2026-01-12
  northstar behind revenue --from 2026-01-01 --to 2026-04-01 --grain month --bucket 2026-02-01 \\
      --by plan --is plan=pro --limit 100 --json")]
pub struct Behind {
    #[command(flatten)]
    cell: Cell,
    /// Most subjects to print; 0 means all.
    #[arg(long, default_value_t = 0)]
    limit: u32,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer {
    value: Option<f64>,
    total: i64,
    subjects: Vec<Subject>,
    provenance: Option<Provenance>,
}

/// A subject as JSON.
#[derive(Serialize)]
pub struct Subject {
    kind: String,
    value: String,
}

impl From<pb::Subject> for Subject {
    fn from(pb::Subject { kind, value }: pb::Subject) -> Self {
        Self { kind, value }
    }
}

/// Runs the command.
pub async fn run(command: Behind, connection: &Connection) -> anyhow::Result<()> {
    let request = pb::ListSubjectsRequest {
        cell: Some(command.cell.to_proto()?),
        after: None,
        limit: command.limit.into(),
    };
    let mut parts = connection.clients()?.evidence().list_subjects(request).await?.into_inner();
    let (mut summary, mut subjects) = (pb::SubjectsSummary::default(), Vec::new());
    while let Some(part) = parts.message().await? {
        summary = part.summary.unwrap_or(summary);
        subjects.extend(part.subjects);
    }
    let value = summary.row.and_then(|row| row.value);
    let total = summary.subjects;
    if command.json {
        return output::json(&Answer {
            value,
            total,
            subjects: subjects.into_iter().map(Subject::from).collect(),
            provenance: summary.provenance.map(Provenance::from),
        });
    }
    let shown = subjects.len();
    let rows = subjects.iter().map(|subject| [subject_text(Some(subject))]);
    output::line(output::table(&["subject"], rows))?;
    output::line(format!(
        "value {}, {} subjects behind it, {} shown",
        output::optional(value),
        output::number(total as f64),
        output::number(shown as f64),
    ))?;
    Ok(())
}
