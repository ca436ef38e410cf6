//! Answers for people, or as JSON.

use northstar_proto::ingestion::v1 as pb;

use super::identified::text;
use super::shown::{ShownErasure, ShownFact, ShownSide};
use crate::{output, time};

pub(super) fn erased(erasure: &ShownErasure, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(erasure);
    }
    output::line(format!(
        "erasure {} is {}: {} identifiers, {} events, {} archived in {} files, {} quarantined",
        erasure.id,
        erasure.state,
        erasure.identifiers,
        output::number(erasure.events as f64),
        output::number(erasure.archived_events as f64),
        erasure.archived_files,
        erasure.quarantined,
    ))?;
    if !erasure.problem.is_empty() {
        output::line(format!("it does not get on: {}", erasure.problem))?;
    }
    if erasure.followers.is_empty() {
        return Ok(());
    }
    let rows = erasure.followers.iter().map(|follower| {
        [
            follower.service.clone(),
            if follower.done { "done" } else { "not yet" }.to_owned(),
            follower.records.to_string(),
            follower.note.clone(),
        ]
    });
    output::line(output::table(&["service", "state", "records", "note"], rows))?;
    Ok(())
}

pub(super) fn preview(found: pb::PreviewMergeResponse, json: bool) -> anyhow::Result<()> {
    let (from, to) = (
        ShownSide::from(found.from.unwrap_or_default()),
        ShownSide::from(found.to.unwrap_or_default()),
    );
    if json {
        return output::json(&serde_json::json!({
            "from": from,
            "to": to,
            "already_one": found.already_one,
            "changed_identifiers": found.changed_identifiers,
            "affected_kpis": found.kpis_known.then_some(&found.affected_kpis),
            "log_position": found.log_position,
        }));
    }
    if found.already_one {
        output::line(format!("both are {} already", to.subject))?;
        return Ok(());
    }
    for (word, side) in [("merged away", &from), ("stays", &to)] {
        output::line(format!(
            "{word}: {}, {} more identifiers, {} events{}",
            side.subject,
            side.identifiers.len(),
            output::number(side.events as f64),
            match (&side.first_event, &side.last_event) {
                (Some(first), Some(last)) => format!(" from {first} to {last}"),
                _ => String::new(),
            }
        ))?;
    }
    output::line(format!("{} identifiers would change", found.changed_identifiers))?;
    output::line(match (found.kpis_known, found.affected_kpis.as_slice()) {
        (false, _) => "which kpis may move is not known: metrics cannot be asked".to_owned(),
        (true, []) => "no kpi may move".to_owned(),
        (true, kpis) => format!("kpis that may move: {}", kpis.join(", ")),
    })?;
    Ok(())
}

pub(super) fn said_now(
    fact: Option<pb::IdentityFact>,
    subject: Option<&pb::Identifier>,
    version: i64,
    json: bool,
) -> anyhow::Result<()> {
    let (fact, subject) = (ShownFact::from(fact.unwrap_or_default()), text(subject));
    if json {
        return output::json(&serde_json::json!({
            "fact": fact,
            "subject": subject,
            "identity_map_version": version,
        }));
    }
    output::line(format!("{} is {subject} now, map version {version}", fact.from))?;
    Ok(())
}

pub(super) fn history(facts: Vec<ShownFact>, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(&facts);
    }
    let rows = facts.into_iter().map(|fact| {
        let by =
            if fact.actor.is_empty() { format!("event {}", fact.position) } else { fact.actor };
        let verb =
            if fact.undoes > 0 { format!("{} {}", fact.verb, fact.undoes) } else { fact.verb };
        [
            fact.id.to_string(),
            verb,
            fact.from,
            fact.to,
            fact.effective.unwrap_or_default(),
            by,
            fact.reason,
            fact.refusal,
        ]
    });
    let header = ["id", "says", "from", "to", "effective", "by", "reason", "without effect"];
    output::line(output::table(&header, rows))?;
    Ok(())
}

pub(super) fn decision(state: &pb::ConsentState) -> &'static str {
    match state.decision() {
        pb::ConsentDecision::Granted => "granted",
        pb::ConsentDecision::Denied => "denied",
        pb::ConsentDecision::Unspecified => "not said",
    }
}

pub(super) fn consent(found: pb::GetConsentResponse, json: bool) -> anyhow::Result<()> {
    if json {
        let states: Vec<_> = found
            .states
            .iter()
            .map(|state| {
                serde_json::json!({
                    "purpose": state.purpose,
                    "decision": decision(state),
                    "effective": time::text(state.effective_time.as_ref()),
                    "actor": state.actor,
                })
            })
            .collect();
        return output::json(&serde_json::json!({
            "subject": text(found.subject.as_ref()),
            "states": states,
            "may_analyse": found.may_analyse,
            "may_act": found.may_act,
        }));
    }
    let may = |may: bool| if may { "may" } else { "may not" };
    output::line(format!(
        "{} {} be counted and {} be acted on",
        text(found.subject.as_ref()),
        may(found.may_analyse),
        may(found.may_act)
    ))?;
    let rows = found.states.iter().map(|state| {
        [
            state.purpose.clone(),
            decision(state).to_owned(),
            time::text(state.effective_time.as_ref()).unwrap_or_default(),
            state.actor.clone(),
        ]
    });
    output::line(output::table(&["purpose", "consent", "since", "recorded by"], rows))?;
    Ok(())
}
