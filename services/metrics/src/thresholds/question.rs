//! The question that people are asked, and what its answer rests on.

use chrono::{DateTime, Utc};
use northstar_domain::threshold::{Observation, Subject};
use northstar_domain::timestamp;
use northstar_proto::approvals::v1::{
    CreateDecisionRequestRequest, DecisionKind, DecisionRequest, Evidence,
};
use northstar_proto::metrics::v1 as pb;
use northstar_store::metrics::threshold::Logged;
use serde_json::{Value, json};

use super::evaluate::Watched;
use crate::Result;
use crate::dataset::View;
use crate::provenance::to_json as provenance_json;

/// Observations shown, so that people see where the newest comes from.
const SERIES: u32 = 12;
/// Longest summary that approvals takes, in bytes.
pub(super) const SUMMARY_LIMIT: usize = 1_000;

/// The question about an episode. What would become of an automation's definition is
/// added to it afterwards.
pub(super) fn question(
    watched: &Watched,
    view: &View,
    logged: &Logged,
    provenance: &pb::Provenance,
) -> Result<CreateDecisionRequestRequest> {
    let at = logged.evaluated_at;
    let newest = logged.observations.last();
    let segment = newest.and_then(|newest| newest.segment.as_deref());
    let series = watched.series(view, segment, SERIES, at)?;
    let guardrails = watched.guardrails(view, at)?;
    let (target, subject) = target(watched);
    let decision = &watched.rules.decision;
    let mut evidence = vec![
        fact("value", value(watched, logged), &subject_of(watched)),
        fact("series", json!(series), &subject_of(watched)),
        fact("threshold", json!(watched.stored.document), &threshold_of(watched)),
        fact("definition", definition(watched), &format!("metrics/{}", watched.metric)),
        fact(
            "provenance",
            provenance_json(provenance),
            &format!("log position {}", provenance.log_position),
        ),
    ];
    if watched.kpi.is_some() {
        let told: Vec<_> = guardrails.iter().map(guardrail).collect();
        evidence.push(fact("guardrails", json!(told), &subject_of(watched)));
    }
    Ok(CreateDecisionRequestRequest {
        decision_request: Some(DecisionRequest {
            action: format!("{target}.{}", decision.action.as_str()),
            subject,
            summary: summary(watched, logged),
            diff_json: json!({
                "action": decision.action,
                "automation": decision.automation,
                "threshold": watched.stored.name,
                "episode": logged.state_after.episode,
            })
            .to_string(),
            evidence,
            kind: kind(watched).into(),
            owner: watched.stored.document.owner.clone(),
            ..DecisionRequest::default()
        }),
        ..CreateDecisionRequestRequest::default()
    })
}

/// What is approved is carried out; everything else is for the owner to look into.
fn kind(watched: &Watched) -> DecisionKind {
    if watched.rules.decision.is_carried_out() { DecisionKind::Change } else { DecisionKind::Task }
}

/// Why the question of an episode is not needed any more.
pub(super) fn recovery(watched: &Watched, logged: &Logged) -> String {
    let seen = logged.observations.last().map(|newest| seen(watched, newest)).unwrap_or_default();
    format!(
        "recovered before anybody decided: {seen} is not {} any more (threshold {}, episode {})",
        watched.rules.condition.describe(),
        watched.stored.name,
        logged.state_after.episode,
    )
}

/// What would be decided about: the first word of the action, and the resource.
fn target(watched: &Watched) -> (&'static str, String) {
    let automation = &watched.rules.decision.automation;
    match &watched.rules.subject {
        _ if !automation.is_empty() => ("automation", format!("automations/{automation}")),
        Subject::Kpi(_) => ("kpi", subject_of(watched)),
        Subject::Metric(_) => ("metric", subject_of(watched)),
    }
}

fn subject_of(watched: &Watched) -> String {
    match &watched.rules.subject {
        Subject::Kpi(name) => format!("kpis/{name}"),
        Subject::Metric(name) => format!("metrics/{name}"),
    }
}

fn threshold_of(watched: &Watched) -> String {
    format!("thresholds/{}", watched.stored.name)
}

pub(super) fn fact(title: &str, json: Value, source: &str) -> Evidence {
    Evidence { title: title.to_owned(), json: json.to_string(), source: source.to_owned() }
}

fn summary(watched: &Watched, logged: &Logged) -> String {
    let decision = &watched.rules.decision;
    let what = match decision.automation.as_str() {
        "" => format!("{} {}", decision.action.as_str(), subject_of(watched)),
        automation => format!("{} automation {automation}", decision.action.as_str()),
    };
    let seen = logged.observations.last().map(|newest| seen(watched, newest)).unwrap_or_default();
    let often = match watched.rules.of {
        1 => String::new(),
        of => format!(", {} of the last {of}", logged.breaches),
    };
    let mut text = format!(
        "{what}: {seen} is {}{often} (threshold {}, episode {})",
        watched.rules.condition.describe(),
        watched.stored.name,
        logged.state_after.episode,
    );
    let end = text.floor_char_boundary(SUMMARY_LIMIT);
    text.truncate(end);
    text
}

/// A value in words: `activation 0.1 of plan pro from 2026-03-04 to 2026-03-05`.
fn seen(watched: &Watched, newest: &Observation) -> String {
    let name = match &watched.rules.subject {
        Subject::Kpi(name) | Subject::Metric(name) => name,
    };
    let value = newest.value.map_or_else(|| "no value".to_owned(), |value| format!("{value}"));
    let of = match (&watched.rules.breakdown, &newest.segment) {
        (Some(breakdown), Some(segment)) => format!(" of {} {segment}", breakdown.by),
        (Some(breakdown), None) => format!(" without {}", breakdown.by),
        (None, _) => String::new(),
    };
    let (start, end) = (timestamp::format(newest.start), timestamp::format(newest.end));
    format!("{name} {value}{of} from {start} to {end}")
}

fn value(watched: &Watched, logged: &Logged) -> Value {
    let newest = logged.observations.last();
    let time = |time: DateTime<Utc>| timestamp::format(time);
    json!({
        "value": newest.and_then(|newest| newest.value),
        "reference": newest.and_then(|newest| newest.reference),
        "spread": newest.and_then(|newest| newest.spread),
        "segment": newest.and_then(|newest| newest.segment.clone()),
        "sample": newest.map(|newest| newest.sample),
        "start_time": newest.map(|newest| time(newest.start)),
        "end_time": newest.map(|newest| time(newest.end)),
        "unit": watched.kpi.as_ref().map(|kpi| kpi.document.unit.clone()),
        "condition": watched.rules.condition.describe(),
        "breaches": logged.breaches,
        "of": watched.rules.of,
        "evaluation_time": time(logged.evaluated_at),
        "command": command(watched, newest),
    })
}

/// What shows the value again.
fn command(watched: &Watched, newest: Option<&Observation>) -> String {
    let Some(newest) = newest else {
        return format!("northstar threshold get {}", watched.stored.name);
    };
    let by = watched.rules.breakdown.as_ref();
    let by = by.map(|breakdown| format!(" --by {}", breakdown.by)).unwrap_or_default();
    format!(
        "northstar query {} --from {} --to {}{by}",
        watched.metric,
        timestamp::format(newest.start),
        timestamp::format(newest.end),
    )
}

fn definition(watched: &Watched) -> Value {
    json!({
        "metric": watched.metric,
        "version": watched.metric_version,
        "definitions": watched.metrics,
        "kpi": watched.kpi.as_ref().map(|kpi| &kpi.document),
    })
}

fn guardrail(guardrail: &pb::GuardrailValue) -> Value {
    json!({
        "metric": guardrail.metric,
        "value": guardrail.value,
        "baseline": guardrail.baseline,
        "breached": guardrail.breached,
    })
}
