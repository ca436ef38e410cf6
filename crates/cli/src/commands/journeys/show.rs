//! What the answers have in common when they are shown.

use std::future::Future;

use northstar_proto::metrics::v1 as pb;
use serde_json::{Value, json};
use tonic::Status;

use crate::commands::query::Provenance;
use crate::{output, time};

/// Subjects of one page.
const PAGE: i32 = 1_000;

/// A share for people.
pub fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), |share| format!("{:.1} %", share * 100.0))
}

/// Seconds for people: the largest unit that leaves a number above one.
pub fn seconds(seconds: f64) -> String {
    for (unit, name) in [(86_400.0, "d"), (3_600.0, "h"), (60.0, "min")] {
        if seconds >= unit {
            return format!("{:.1} {name}", seconds / unit);
        }
    }
    format!("{seconds:.1} s")
}

/// The median for people.
pub fn median(times: Option<&pb::JourneyTimes>) -> String {
    times.map_or_else(|| "–".to_owned(), |times| seconds(times.p50_seconds))
}

/// Values of the breakdowns for people.
pub fn place(dimensions: &std::collections::BTreeMap<String, String>, names: &[String]) -> String {
    let values: Vec<&str> =
        names.iter().map(|name| dimensions.get(name).map_or("–", String::as_str)).collect();
    values.join(", ")
}

/// Times as JSON.
pub fn times(times: Option<&pb::JourneyTimes>) -> Value {
    let Some(times) = times else { return Value::Null };
    json!({
        "count": times.count,
        "mean_seconds": times.mean_seconds,
        "min_seconds": times.min_seconds,
        "p25_seconds": times.p25_seconds,
        "p50_seconds": times.p50_seconds,
        "p75_seconds": times.p75_seconds,
        "p90_seconds": times.p90_seconds,
        "p95_seconds": times.p95_seconds,
        "max_seconds": times.max_seconds,
    })
}

/// An instant as JSON.
pub fn instant(instant: Option<&prost_types::Timestamp>) -> Value {
    time::text(instant).map_or(Value::Null, Value::String)
}

/// Which period a message is about, as JSON.
pub fn period(period: pb::JourneyPeriod) -> &'static str {
    if period == pb::JourneyPeriod::Compared { "compared" } else { "current" }
}

/// Provenance as JSON.
pub fn provenance(provenance: Option<pb::Provenance>) -> anyhow::Result<Value> {
    Ok(serde_json::to_value(provenance.map(Provenance::from))?)
}

/// The line below a table that says where its numbers come from.
pub fn origin(provenance: Option<&pb::Provenance>) -> anyhow::Result<()> {
    if let Some(provenance) = provenance {
        output::line(format!(
            "log position {}, {} events scanned, {} quarantined left out, digest {}",
            provenance.log_position,
            output::number(provenance.scanned_events as f64),
            provenance.excluded_quarantined_events,
            provenance.digest.get(..12).unwrap_or_default(),
        ))?;
    }
    Ok(())
}

/// A page of subjects, whichever question it is behind.
pub struct Page {
    pub subjects: Vec<pb::Subject>,
    pub next: String,
    pub total: i64,
}

/// Shows every subject of a list, page by page: a JSON object a line, or a table.
pub async fn subjects<F>(json: bool, mut page: impl FnMut(i32, String) -> F) -> anyhow::Result<()>
where
    F: Future<Output = Result<Page, Status>>,
{
    let mut token = String::new();
    loop {
        let Page { subjects, next, total } = page(PAGE, token).await?;
        if json {
            for subject in subjects {
                output::json_line(&json!({ "kind": subject.kind, "value": subject.value }))?;
            }
        } else {
            let rows = subjects.into_iter().map(|subject| [subject.kind, subject.value]);
            output::line(output::table(&["kind", "subject"], rows))?;
        }
        if next.is_empty() {
            output::note(format!("{total} subjects"));
            return Ok(());
        }
        token = next;
    }
}
