//! `northstar subject`: who is who, and what they agreed to.

mod export;
mod identified;
mod print;
mod shown;

use std::time::Duration;

use anyhow::{Context as _, bail};
use northstar_proto::ingestion::v1 as pb;

use self::export::export;
pub use self::identified::Identified;
use self::identified::text;
use self::print::{consent, erased, history, preview, said_now};
use self::shown::{ShownErasure, ShownFact};
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
  northstar subject merge ada-2 ada --reason \"ticket 4711\" --request
  northstar subject unmerge 17 --reason \"ticket 4712: two people after all\"
  northstar subject link anonymous_id:phone-1 ada --reason \"signed in on it\"
  northstar subject history ada
  northstar subject unlink anonymous_id:kiosk ada --reason \"a shared device\"
  northstar subject consent ada --deny analytics --reason \"mail of 3 March\"
  northstar subject export ada --reason \"ticket 4713\" > subject.jsonl
  northstar subject erase ada --reason \"GDPR article 17\" --proof \"ticket 4714\" --yes
  northstar subject erasures")]
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
        /// Ask people to decide about it, and merge nothing yet.
        #[arg(long, conflicts_with = "decision")]
        request: bool,
        /// The approved decision request about it, where the identity policy has people
        /// decide.
        #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
        decision: String,
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

/// Between two looks at an erasure that is waited for.
const PAUSE: Duration = Duration::from_millis(250);

fn since(text: Option<&str>) -> anyhow::Result<Option<prost_types::Timestamp>> {
    text.map(|text| time::parse(text, chrono_tz::UTC).map(time::timestamp)).transpose()
}

fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
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
        Subject::Merge { from, to, reason, request: true, json, .. } => {
            let request = pb::RequestMergeRequest {
                from: Some(from.into()),
                to: Some(to.into()),
                reason,
                request_id: request_id(),
            };
            let asked = subjects.request_merge(request).await?.into_inner();
            if json {
                return output::json(&serde_json::json!({
                    "decision_request": asked.decision_request,
                }));
            }
            preview(asked.preview.unwrap_or_default(), false)?;
            output::line(format!(
                "asked as {}; once it is approved, merge with --decision {}",
                asked.decision_request, asked.decision_request
            ))?;
            Ok(())
        }
        Subject::Merge { from, to, reason, decision, json, .. } => {
            let request = pb::MergeSubjectsRequest {
                from: Some(from.into()),
                to: Some(to.into()),
                reason,
                request_id: request_id(),
                decision_request: decision,
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
            while !no_wait && erasure.state() != pb::ErasureState::Done {
                tokio::time::sleep(PAUSE).await;
                let request = pb::GetErasureRequest { erasure_id: erasure.erasure_id.clone() };
                let response = subjects.get_erasure(request).await?.into_inner();
                erasure = response.erasure.context("the server named no erasure")?;
                let (done, all) = (erasure.position as f64, erasure.last_position as f64);
                match erasure.state() {
                    pb::ErasureState::Running => output::note(format!(
                        "{} of {} events looked at, {} archived files written anew",
                        output::number(done),
                        output::number(all),
                        erasure.archived_files,
                    )),
                    pb::ErasureState::Following => output::note(format!(
                        "the log is done; {} other services have followed",
                        ShownErasure::from(erasure.clone()).reach(),
                    )),
                    pb::ErasureState::Unspecified | pb::ErasureState::Done => {}
                }
                if !erasure.problem.is_empty() {
                    output::note(format!("it does not get on: {}", erasure.problem));
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
                let reach = erasure.reach();
                [
                    erasure.id,
                    erasure.state,
                    erasure.requested.unwrap_or_default(),
                    erasure.actor,
                    erasure.reason,
                    (erasure.events + erasure.archived_events).to_string(),
                    reach,
                    erasure.problem,
                ]
            });
            let header =
                ["id", "state", "requested", "by", "reason", "events", "followed", "problem"];
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
    if !northstar_domain::identity::may_be_linked(&found.subject) {
        output::note("it stands for nobody: it stays on its events and is never linked");
    }
    Ok(())
}
