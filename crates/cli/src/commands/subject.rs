//! `northstar subject`: who is who, and what they agreed to.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};

use northstar_domain::identity::Identifier;
use northstar_proto::ingestion::v1 as pb;
use serde::Serialize;

use crate::connection::Connection;
use crate::{output, time};

/// Show, link, merge and unmerge subjects, and their consent.
#[derive(clap::Subcommand)]
#[command(after_help = "\
An identifier is KIND:VALUE; without a kind it is a user id.

Examples:
  northstar subject show ada
  northstar subject show anonymous_id:phone-1 --known 2026-03-01
  northstar subject preview ada-2 ada
  northstar subject merge ada-2 ada --reason \"ticket 4711: the same person\"
  northstar subject unmerge 17 --reason \"ticket 4712: two people after all\"
  northstar subject unlink anonymous_id:kiosk ada --reason \"a shared device\"
  northstar subject consent ada --deny analytics --reason \"mail of 3 March\"
  northstar subject export ada --reason \"ticket 4713\" > subject.jsonl
  northstar subject erase ada --reason \"GDPR article 17\" --proof \"ticket 4714\" --yes")]
pub enum Subject {
    /// Show whose an identifier is, now or as it was known before.
    Show {
        /// The identifier.
        identifier: String,
        /// At this version of the identity map.
        #[arg(long, default_value_t = 0, conflicts_with = "known")]
        version: i64,
        /// As it was known at this date or time.
        #[arg(long)]
        known: Option<String>,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Tell what a merge would bring together; write nothing.
    Preview {
        /// Any identifier of the subject to be merged away.
        from: Identified,
        /// Any identifier of the subject that stays.
        to: Identified,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Make one subject part of another.
    Merge {
        /// Any identifier of the subject to be merged away.
        from: Identified,
        /// Any identifier of the subject that stays.
        to: Identified,
        /// Why.
        #[arg(long)]
        reason: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Take a merge back.
    Unmerge {
        /// Id of the merge, from `northstar subject history`.
        fact: i64,
        /// Why.
        #[arg(long)]
        reason: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Say that two identifiers are one subject's.
    Link {
        /// One.
        from: Identified,
        /// The other.
        to: Identified,
        /// Why.
        #[arg(long)]
        reason: String,
        /// Since when: a date or a time; now when absent.
        #[arg(long)]
        since: Option<String>,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Say that two identifiers are not one subject's, whatever events say.
    Unlink {
        /// One.
        from: Identified,
        /// The other.
        to: Identified,
        /// Why.
        #[arg(long)]
        reason: String,
        /// Since when: a date or a time; now when absent.
        #[arg(long)]
        since: Option<String>,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// List everything that was said about a subject's identifiers.
    History {
        /// Any identifier of the subject.
        identifier: Identified,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Show what a subject agreed to, or record what it says.
    Consent {
        /// Any identifier of the subject.
        identifier: Identified,
        /// A purpose it agrees to; may be repeated.
        #[arg(long, requires = "reason")]
        grant: Vec<String>,
        /// A purpose it refuses or withdraws; may be repeated.
        #[arg(long, requires = "reason")]
        deny: Vec<String>,
        /// Where the person said so.
        #[arg(long)]
        reason: Option<String>,
        /// When: a date or a time; now when absent.
        #[arg(long)]
        since: Option<String>,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Forget a subject: remove what is personal of all its events. It can not be
    /// undone.
    Erase {
        /// Any identifier of the subject.
        identifier: Identified,
        /// Why. It is kept for ever and must not name the subject.
        #[arg(long)]
        reason: String,
        /// How it is known that the subject asked. It is kept for ever and must not
        /// name the subject.
        #[arg(long)]
        proof: String,
        /// Do it; without, only tell what would be erased.
        #[arg(long)]
        yes: bool,
        /// Do not wait until it is done.
        #[arg(long)]
        no_wait: bool,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// List erasures, oldest first.
    Erasures {
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Write everything that is held about a subject as JSON Lines.
    Export {
        /// Any identifier of the subject.
        identifier: Identified,
        /// Why. It is audited.
        #[arg(long)]
        reason: String,
    },
}

/// How far an erasure is.
#[derive(Serialize)]
struct ShownErasure {
    id: String,
    state: String,
    actor: String,
    reason: String,
    proof: String,
    requested: Option<String>,
    finished: Option<String>,
    last_position: i64,
    position: i64,
    identifiers: i64,
    events: i64,
    quarantined: i64,
}

impl From<pb::Erasure> for ShownErasure {
    fn from(erasure: pb::Erasure) -> Self {
        Self {
            state: lower(erasure.state().as_str_name(), "ERASURE_STATE_"),
            requested: time::text(erasure.request_time.as_ref()),
            finished: time::text(erasure.finish_time.as_ref()),
            id: erasure.erasure_id,
            actor: erasure.actor,
            reason: erasure.reason,
            proof: erasure.proof,
            last_position: erasure.last_position,
            position: erasure.position,
            identifiers: erasure.identifiers,
            events: erasure.events,
            quarantined: erasure.quarantined,
        }
    }
}

/// Between two looks at an erasure that is waited for.
const PAUSE: Duration = Duration::from_millis(250);

/// An identifier on the command line.
#[derive(Clone, Debug)]
pub struct Identified(Identifier);

impl std::str::FromStr for Identified {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let has_kind = text.split_once(':').is_some_and(|(kind, _)| {
            kind.parse::<northstar_domain::identity::IdentifierKind>().is_ok()
        });
        let full = if has_kind { text.to_owned() } else { format!("user_id:{text}") };
        full.parse()
            .map(Self)
            .map_err(|error: northstar_domain::identity::InvalidIdentifier| error.to_string())
    }
}

impl From<Identified> for pb::Identifier {
    fn from(from: Identified) -> Self {
        Self { kind: from.0.kind.to_string(), value: from.0.value }
    }
}

fn text(identifier: Option<&pb::Identifier>) -> String {
    identifier.map(|found| format!("{}:{}", found.kind, found.value)).unwrap_or_default()
}

fn since(text: Option<&str>) -> anyhow::Result<Option<prost_types::Timestamp>> {
    text.map(|text| time::parse(text, chrono_tz::UTC).map(time::timestamp)).transpose()
}

fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

#[derive(Serialize)]
struct ShownFact {
    id: i64,
    verb: String,
    from: String,
    to: String,
    effective: Option<String>,
    recorded: Option<String>,
    position: i64,
    actor: String,
    reason: String,
    undoes: i64,
    refusal: String,
}

impl From<pb::IdentityFact> for ShownFact {
    fn from(fact: pb::IdentityFact) -> Self {
        Self {
            id: fact.fact_id,
            verb: lower(fact.verb().as_str_name(), "IDENTITY_VERB_"),
            from: text(fact.from.as_ref()),
            to: text(fact.to.as_ref()),
            effective: time::text(fact.effective_time.as_ref()),
            recorded: time::text(fact.record_time.as_ref()),
            position: fact.position,
            actor: fact.actor,
            reason: fact.reason,
            undoes: fact.undoes_fact_id,
            refusal: fact.refusal,
        }
    }
}

fn lower(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).to_ascii_lowercase()
}

#[derive(Serialize)]
struct ShownSide {
    subject: String,
    identifiers: Vec<String>,
    events: i64,
    events_by_name: BTreeMap<String, i64>,
    first_event: Option<String>,
    last_event: Option<String>,
}

impl From<pb::MergeSide> for ShownSide {
    fn from(side: pb::MergeSide) -> Self {
        Self {
            subject: text(side.subject.as_ref()),
            identifiers: side.identifiers.iter().map(|found| text(Some(found))).collect(),
            events: side.events,
            events_by_name: side.events_by_name,
            first_event: time::text(side.first_event_time.as_ref()),
            last_event: time::text(side.last_event_time.as_ref()),
        }
    }
}

/// Runs the command.
pub async fn run(command: Subject, connection: &Connection) -> anyhow::Result<()> {
    let mut subjects = connection.clients()?.subjects();
    match command {
        Subject::Show { identifier, version, known, json } => {
            show(connection, &identifier, version, known.as_deref(), json).await
        }
        Subject::Preview { from, to, json } => {
            let request = pb::PreviewMergeRequest { from: Some(from.into()), to: Some(to.into()) };
            preview(subjects.preview_merge(request).await?.into_inner(), json)
        }
        Subject::Merge { from, to, reason, json } => {
            let request = pb::MergeSubjectsRequest {
                from: Some(from.into()),
                to: Some(to.into()),
                reason,
                request_id: request_id(),
            };
            let merged = subjects.merge_subjects(request).await?.into_inner();
            let fact = ShownFact::from(merged.fact.unwrap_or_default());
            let subject = text(merged.subject.as_ref());
            if json {
                return output::json(&serde_json::json!({
                    "fact": fact,
                    "subject": subject,
                    "changed_identifiers": merged.changed_identifiers,
                    "identity_map_version": merged.identity_map_version,
                }));
            }
            output::line(format!(
                "{} is {subject} now: {} identifiers changed, map version {}; take it back with \
                 `northstar subject unmerge {}`",
                fact.from, merged.changed_identifiers, merged.identity_map_version, fact.id
            ))?;
            Ok(())
        }
        Subject::Unmerge { fact, reason, json } => {
            let request =
                pb::UnmergeSubjectsRequest { fact_id: fact, reason, request_id: request_id() };
            let taken_back = subjects.unmerge_subjects(request).await?.into_inner();
            let fact = ShownFact::from(taken_back.fact.unwrap_or_default());
            if json {
                return output::json(&serde_json::json!({
                    "fact": fact,
                    "changed_identifiers": taken_back.changed_identifiers,
                    "identity_map_version": taken_back.identity_map_version,
                }));
            }
            output::line(format!(
                "{} and {} are apart again: {} identifiers changed, map version {}",
                fact.from, fact.to, taken_back.changed_identifiers, taken_back.identity_map_version
            ))?;
            Ok(())
        }
        Subject::Link { from, to, reason, since: at, json } => {
            let request = pb::LinkIdentifiersRequest {
                from: Some(from.into()),
                to: Some(to.into()),
                reason,
                effective_time: since(at.as_deref())?,
                request_id: request_id(),
            };
            let said = subjects.link_identifiers(request).await?.into_inner();
            said_now(said.fact, said.subject.as_ref(), said.identity_map_version, json)
        }
        Subject::Unlink { from, to, reason, since: at, json } => {
            let request = pb::UnlinkIdentifiersRequest {
                from: Some(from.into()),
                to: Some(to.into()),
                reason,
                effective_time: since(at.as_deref())?,
                request_id: request_id(),
            };
            let said = subjects.unlink_identifiers(request).await?.into_inner();
            said_now(said.fact, said.subject.as_ref(), said.identity_map_version, json)
        }
        Subject::History { identifier, json } => {
            let mut facts: Vec<ShownFact> = Vec::new();
            let mut page_token = String::new();
            loop {
                let request = pb::ListIdentityFactsRequest {
                    identifier: Some(identifier.clone().into()),
                    page_size: 1_000,
                    page_token,
                };
                let page = subjects.list_identity_facts(request).await?.into_inner();
                facts.extend(page.facts.into_iter().map(ShownFact::from));
                page_token = page.next_page_token;
                if page_token.is_empty() {
                    break;
                }
            }
            history(facts, json)
        }
        Subject::Consent { identifier, grant, deny, reason, since: at, json } => {
            if !grant.is_empty() || !deny.is_empty() {
                let request = pb::RecordConsentRequest {
                    identifier: Some(identifier.clone().into()),
                    granted_purposes: grant,
                    denied_purposes: deny,
                    reason: reason.unwrap_or_default(),
                    effective_time: since(at.as_deref())?,
                    request_id: request_id(),
                };
                subjects.record_consent(request).await?;
            }
            let request = pb::GetConsentRequest { identifier: Some(identifier.into()) };
            consent(subjects.get_consent(request).await?.into_inner(), json)
        }
        Subject::Erase { identifier, reason, proof, yes, no_wait, json } => {
            if !yes {
                let text = identifier.0.to_string();
                show(connection, &text, 0, None, json).await?;
                bail!("nothing was erased: look at what would be, and say --yes");
            }
            let request = pb::EraseSubjectRequest {
                identifier: Some(identifier.into()),
                reason,
                proof,
                request_id: request_id(),
            };
            let response = subjects.erase_subject(request).await?.into_inner();
            let mut erasure = response.erasure.context("the server named no erasure")?;
            while !no_wait && erasure.state() == pb::ErasureState::Running {
                tokio::time::sleep(PAUSE).await;
                let request = pb::GetErasureRequest { erasure_id: erasure.erasure_id.clone() };
                let response = subjects.get_erasure(request).await?.into_inner();
                erasure = response.erasure.context("the server named no erasure")?;
                let (done, all) = (erasure.position as f64, erasure.last_position as f64);
                if erasure.state() == pb::ErasureState::Running {
                    output::note(format!(
                        "{} of {} events looked at",
                        output::number(done),
                        output::number(all)
                    ));
                }
            }
            erased(&ShownErasure::from(erasure), json)
        }
        Subject::Erasures { json } => {
            let mut erasures: Vec<ShownErasure> = Vec::new();
            let mut page_token = String::new();
            loop {
                let request = pb::ListErasuresRequest { page_size: 1_000, page_token };
                let page = subjects.list_erasures(request).await?.into_inner();
                erasures.extend(page.erasures.into_iter().map(ShownErasure::from));
                page_token = page.next_page_token;
                if page_token.is_empty() {
                    break;
                }
            }
            if json {
                return output::json(&erasures);
            }
            let rows = erasures.into_iter().map(|erasure| {
                [
                    erasure.id,
                    erasure.state,
                    erasure.requested.unwrap_or_default(),
                    erasure.actor,
                    erasure.reason,
                    erasure.events.to_string(),
                ]
            });
            let header = ["id", "state", "requested", "by", "reason", "events"];
            output::line(output::table(&header, rows))?;
            Ok(())
        }
        Subject::Export { identifier, reason } => {
            let summary = export(connection, identifier, reason).await?;
            let sent = summary.context("the export was cut off before its end")?;
            output::note(format!(
                "{} facts, {} events, {} quarantined events",
                sent.facts, sent.events, sent.quarantined_events
            ));
            Ok(())
        }
    }
}

/// Everything that is held about a subject, a line each.
async fn export(
    connection: &Connection,
    identifier: Identified,
    reason: String,
) -> anyhow::Result<Option<pb::ExportSummary>> {
    use pb::export_subject_response::Item;
    let request = pb::ExportSubjectRequest { identifier: Some(identifier.into()), reason };
    let mut subjects = connection.clients()?.subjects();
    let mut pieces = subjects.export_subject(request).await?.into_inner();
    let mut summary = None;
    while let Some(piece) = pieces.message().await? {
        let line = match piece.item {
            Some(Item::Subject(subject)) => serde_json::json!({
                "kind": "subject",
                "subject": text(subject.subject.as_ref()),
                "identifiers": subject.identifiers.iter().map(|found| text(Some(found))).collect::<Vec<_>>(),
            }),
            Some(Item::Fact(fact)) => {
                serde_json::json!({ "kind": "fact", "fact": ShownFact::from(fact) })
            }
            Some(Item::Consent(state)) => serde_json::json!({
                "kind": "consent",
                "purpose": state.purpose,
                "decision": decision(&state),
                "effective": time::text(state.effective_time.as_ref()),
                "actor": state.actor,
            }),
            Some(Item::Event(logged)) => {
                let event = logged.event.unwrap_or_default();
                serde_json::json!({
                    "kind": "event",
                    "position": logged.position,
                    "source": logged.source,
                    "received": time::text(logged.received_time.as_ref()),
                    "effective": time::text(logged.effective_time.as_ref()),
                    "event": shown_event(event),
                })
            }
            Some(Item::QuarantinedEvent(waiting)) => serde_json::json!({
                "kind": "quarantined_event",
                "id": waiting.quarantine_id,
                "source": waiting.source,
                "reason": waiting.reason,
                "received": time::text(waiting.received_time.as_ref()),
                "event": waiting.event.map(shown_event),
                "raw": String::from_utf8_lossy(&waiting.raw),
            }),
            Some(Item::Summary(sent)) => {
                summary = Some(sent);
                serde_json::json!({
                    "kind": "summary",
                    "facts": sent.facts,
                    "events": sent.events,
                    "quarantined_events": sent.quarantined_events,
                    "log_position": sent.log_position,
                })
            }
            None => bail!("the server sent a piece that this version does not know"),
        };
        output::json_line(&line)?;
    }
    Ok(summary)
}

fn shown_event(event: pb::Event) -> serde_json::Value {
    let properties: serde_json::Map<_, _> =
        event.properties.into_iter().map(|(name, value)| (name, json_value(value))).collect();
    serde_json::json!({
        "message_id": event.message_id,
        "name": event.name,
        "user_id": event.user_id,
        "anonymous_id": event.anonymous_id,
        "account_id": event.account_id,
        "occurred": time::text(event.occurred_time.as_ref()),
        "properties": properties,
    })
}

fn json_value(value: pb::Value) -> serde_json::Value {
    use pb::value::Kind;
    match value.kind {
        None => serde_json::Value::Null,
        Some(Kind::StringValue(text)) => text.into(),
        Some(Kind::IntValue(number)) => number.into(),
        Some(Kind::DoubleValue(number)) => number.into(),
        Some(Kind::BoolValue(truth)) => truth.into(),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(json_value).collect(),
        Some(Kind::StructValue(object)) => object
            .fields
            .into_iter()
            .map(|(name, value)| (name, json_value(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

fn erased(erasure: &ShownErasure, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(erasure);
    }
    output::line(format!(
        "erasure {} is {}: {} identifiers, {} events, {} quarantined",
        erasure.id,
        erasure.state,
        erasure.identifiers,
        output::number(erasure.events as f64),
        erasure.quarantined,
    ))?;
    Ok(())
}

async fn show(
    connection: &Connection,
    identifier: &str,
    version: i64,
    known: Option<&str>,
    json: bool,
) -> anyhow::Result<()> {
    let mut request = pb::ResolveSubjectRequest {
        identifier: identifier.to_owned(),
        identity_map_version: version,
        as_known_time: since(known)?,
        ..Default::default()
    };
    if let Ok(Identified(found)) = identifier.parse()
        && identifier.contains(':')
    {
        (request.identifier_kind, request.identifier) = (found.kind.to_string(), found.value);
    }
    let found = connection.clients()?.ingestion().resolve_subject(request).await?.into_inner();
    let subject = format!("{}:{}", found.subject_kind, found.subject);
    if json {
        return output::json(&serde_json::json!({
            "subject": subject,
            "identifiers": found.identifiers,
            "identity_map_version": found.identity_map_version,
        }));
    }
    output::line(format!("{subject} (map version {})", found.identity_map_version))?;
    for other in &found.identifiers {
        output::line(format!("  {other}"))?;
    }
    Ok(())
}

fn preview(found: pb::PreviewMergeResponse, json: bool) -> anyhow::Result<()> {
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

fn said_now(
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

fn history(facts: Vec<ShownFact>, json: bool) -> anyhow::Result<()> {
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

fn decision(state: &pb::ConsentState) -> &'static str {
    match state.decision() {
        pb::ConsentDecision::Granted => "granted",
        pb::ConsentDecision::Denied => "denied",
        pb::ConsentDecision::Unspecified => "not said",
    }
}

fn consent(found: pb::GetConsentResponse, json: bool) -> anyhow::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_without_a_kind_is_a_user() {
        let of = |text: &str| text.parse::<Identified>().unwrap().0.to_string();
        assert_eq!(of("ada"), "user_id:ada");
        assert_eq!(of("anonymous_id:phone"), "anonymous_id:phone");
        assert_eq!(of("Org:7"), "user_id:Org:7");
        assert!("email:".parse::<Identified>().is_err());
    }
}
