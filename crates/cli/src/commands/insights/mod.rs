//! `northstar impact`, `anomalies`, `attribute` and `clv`: the questions behind a number.

pub mod anomalies;
pub mod attribute;
pub mod clv;
pub mod impact;

use std::collections::BTreeMap;

use anyhow::Context as _;
use chrono_tz::Tz;
use northstar_proto::metrics::v1 as pb;
use prost_types::{Duration, Timestamp};
use serde_json::{Value, json};

use crate::commands::query::Provenance;
use crate::{output, time};

/// The range of a question.
#[derive(clap::Args)]
pub struct Range {
    /// Start, inclusive: a date (midnight in the zone) or an RFC 3339 time.
    #[arg(long)]
    from: String,
    /// End, exclusive.
    #[arg(long)]
    to: String,
}

impl Range {
    fn start(&self, zone: Tz) -> anyhow::Result<Option<Timestamp>> {
        Ok(Some(time::timestamp(time::parse(&self.from, zone)?)))
    }

    fn end(&self, zone: Tz) -> anyhow::Result<Option<Timestamp>> {
        Ok(Some(time::timestamp(time::parse(&self.to, zone)?)))
    }
}

/// A length of time on the wire.
fn duration(text: Option<&str>) -> anyhow::Result<Option<Duration>> {
    let Some(text) = text else { return Ok(None) };
    let length = northstar_domain::duration::parse(text)?;
    Ok(Some(Duration { seconds: length.num_seconds(), nanos: length.subsec_nanos() }))
}

/// An event, or `event where CEL`.
fn selector(text: &str) -> pb::EventSelector {
    let (event, filter) = text.split_once(" where ").unwrap_or((text, ""));
    pb::EventSelector { event: event.trim().to_owned(), filter: filter.trim().to_owned() }
}

fn effect(effect: Option<&pb::EffectEstimate>) -> Value {
    effect.map_or(Value::Null, |effect| {
        json!({
            "estimate": effect.estimate,
            "standard_error": effect.standard_error,
            "ci_low": effect.ci_low,
            "ci_high": effect.ci_high,
            "p_value": effect.p_value,
        })
    })
}

/// An estimate with its interval, for people.
fn effect_text(effect: Option<&pb::EffectEstimate>) -> String {
    effect.map_or_else(
        || "–".to_owned(),
        |effect| {
            format!(
                "{} ({} to {})",
                output::number(effect.estimate),
                output::number(effect.ci_low),
                output::number(effect.ci_high)
            )
        },
    )
}

/// A share in percent, for people.
fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), |share| format!("{:.1} %", 100.0 * share))
}

/// `plan = pro, country = de`, for people.
fn named(values: &BTreeMap<String, String>) -> String {
    if values.is_empty() {
        return "(none)".to_owned();
    }
    let values: Vec<String> =
        values.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    values.join(", ")
}

fn provenance(provenance: Option<pb::Provenance>) -> anyhow::Result<Value> {
    serde_json::to_value(provenance.map(Provenance::from)).context("provenance as JSON")
}

/// The last line for people: where the numbers come from.
fn footer(provenance: Option<&pb::Provenance>) -> anyhow::Result<()> {
    let Some(provenance) = provenance else { return Ok(()) };
    output::line(format!(
        "log position {}, {} events scanned, digest {}",
        provenance.log_position,
        output::number(provenance.scanned_events as f64),
        provenance.digest.get(..12).unwrap_or_default(),
    ))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_may_carry_a_condition() {
        let plain = selector("Report Shared");
        assert_eq!((plain.event.as_str(), plain.filter.as_str()), ("Report Shared", ""));
        let narrowed = selector("Paid where properties.plan == 'pro'");
        assert_eq!(narrowed.event, "Paid");
        assert_eq!(narrowed.filter, "properties.plan == 'pro'");
    }
}
