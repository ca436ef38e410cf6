//! What a subject agreed to, recorded by a person and read by whoever acts.

use std::collections::BTreeMap;

use northstar_domain::ProjectId;
use northstar_domain::Violations;
use northstar_domain::consent_policy::{ConsentPolicy, DataUse, Word, Words, is_purpose, may};
use northstar_domain::identity::Identifier;
use northstar_proto::ingestion::v1 as pb;
use northstar_server::Caller;
use northstar_server::idempotent::Mutation;
use northstar_store::ingestion::consent::{self as store, NewWord};
use northstar_store::ingestion::identity as facts;
use northstar_store::{PgConnection, audit};

use super::Subjects;
use super::convert::{effective_time, identifier, identifier_to_proto, reason, refused};
use super::statements::current_version;
use crate::convert::time_to_proto;
use crate::error::Error;
use crate::identity::{Subject, policy, subject_of};

const RECORD: &str = "/northstar.ingestion.v1.SubjectsService/RecordConsent";
const MOST_PURPOSES: usize = 50;

pub(super) async fn record_consent(
    service: &Subjects,
    caller: &Caller,
    request: &pb::RecordConsentRequest,
) -> Result<pb::RecordConsentResponse, Error> {
    let identifier = identifier("identifier", request.identifier.as_ref())?;
    let now = service.clock.now();
    let effective_at = effective_time(request.effective_time.as_ref(), now)?;
    let reason = reason(&request.reason)?;
    check_purposes(request)?;
    let mutation = Mutation::new(caller, RECORD, &request.request_id, request)?;
    let project = caller.project;
    let mut transaction = service.pool.begin().await.map_err(northstar_store::Error::from)?;
    if let Some(answer) = mutation.find_answer(&mut transaction).await? {
        return Ok(answer);
    }
    let version = facts::lock(&mut transaction, project).await?;
    if !policy(&mut transaction, project).await?.knows(&identifier.kind) {
        let problem = format!("the identity policy does not name the kind {}", identifier.kind);
        return Err(Error::invalid("identifier.kind", problem));
    }
    let words: Vec<NewWord> =
        [(&request.granted_purposes, true), (&request.denied_purposes, false)]
            .into_iter()
            .flat_map(|(purposes, granted)| purposes.iter().map(move |purpose| (purpose, granted)))
            .map(|(purpose, granted)| NewWord {
                identifier: identifier.clone(),
                purpose: purpose.clone(),
                granted,
                effective_at,
                position: None,
            })
            .collect();
    let consent_version =
        store::add(&mut transaction, project, &words, now, &caller.principal, reason).await?;
    let detail = serde_json::json!({
        "identifier_kind": identifier.kind,
        "granted": request.granted_purposes,
        "denied": request.denied_purposes,
        "reason": reason,
    });
    let entry = audit::NewEntry {
        project,
        actor: &caller.principal,
        action: "consent.record",
        resource: &format!("consent-facts/{consent_version}"),
        detail: &detail,
        at: now,
    };
    audit::append(&mut transaction, &entry).await?;
    let subject = subject_of(&mut transaction, project, &identifier, version).await?;
    let states = states(&mut transaction, service, project, &subject).await?;
    let response = pb::RecordConsentResponse { states: states.into_states(), consent_version };
    mutation.save_answer(&mut transaction, &response, now).await?;
    transaction.commit().await.map_err(northstar_store::Error::from)?;
    Ok(response)
}

fn check_purposes(request: &pb::RecordConsentRequest) -> Result<(), Error> {
    let mut found = Violations::new();
    for (field, purposes) in [
        ("granted_purposes", &request.granted_purposes),
        ("denied_purposes", &request.denied_purposes),
    ] {
        found.require(purposes.len() <= MOST_PURPOSES, field, "at most 50 are allowed");
        for (index, purpose) in purposes.iter().enumerate() {
            if !is_purpose(purpose) {
                found.push(format!("{field}[{index}]"), "is not the name of a purpose");
            }
        }
    }
    if request.granted_purposes.is_empty() && request.denied_purposes.is_empty() {
        found.push("granted_purposes", "say at least one purpose that is granted or denied");
    }
    if request.granted_purposes.iter().any(|purpose| request.denied_purposes.contains(purpose)) {
        found.push("denied_purposes", "names a purpose that is granted too");
    }
    found.or(()).map_err(|found| refused(&found))
}

pub(super) async fn get_consent(
    service: &Subjects,
    project: ProjectId,
    request: &pb::GetConsentRequest,
) -> Result<pb::GetConsentResponse, Error> {
    let identifier = identifier("identifier", request.identifier.as_ref())?;
    let mut connection = service.pool.acquire().await.map_err(northstar_store::Error::from)?;
    let version = current_version(&mut connection, project).await?;
    let subject = subject_of(&mut connection, project, &identifier, version).await?;
    let states = states(&mut connection, service, project, &subject).await?;
    Ok(pb::GetConsentResponse {
        subject: Some(identifier_to_proto(&subject.name)),
        may_analyse: may(&states.policy, DataUse::Analyse, &states.words),
        may_act: may(&states.policy, DataUse::Act, &states.words),
        states: states.into_states(),
    })
}

/// The last words of a subject, of whichever of its identifiers they are.
pub(super) struct States {
    policy: ConsentPolicy,
    words: Words,
    actors: BTreeMap<String, String>,
}

pub(super) async fn states(
    connection: &mut PgConnection,
    service: &Subjects,
    project: ProjectId,
    subject: &Subject,
) -> Result<States, Error> {
    let identifiers: Vec<Identifier> = subject.identifiers();
    let policy = service.contracts.of(project).await?.consent.clone();
    let (mut words, mut actors) = (Words::new(), BTreeMap::new());
    for last in store::last_words(connection, project, &identifiers).await? {
        let word = Word { at: last.effective_at, granted: last.granted };
        let known = words.get(&last.purpose).copied();
        let holds = known.map_or(word, |known: Word| known.or_later(word));
        if known != Some(holds) {
            words.insert(last.purpose.clone(), holds);
            actors.insert(last.purpose, last.actor);
        }
    }
    Ok(States { policy, words, actors })
}

impl States {
    pub(super) fn into_states(self) -> Vec<pb::ConsentState> {
        let mut states: BTreeMap<String, pb::ConsentState> = self
            .policy
            .purposes
            .into_iter()
            .map(|purpose| {
                let state =
                    pb::ConsentState { purpose: purpose.name.clone(), ..Default::default() };
                (purpose.name, state)
            })
            .collect();
        for (purpose, word) in self.words {
            let decision = if word.granted {
                pb::ConsentDecision::Granted
            } else {
                pb::ConsentDecision::Denied
            };
            let actor = self.actors.get(&purpose).cloned().unwrap_or_default();
            let state = pb::ConsentState {
                purpose: purpose.clone(),
                decision: decision.into(),
                effective_time: Some(time_to_proto(word.at)),
                actor,
            };
            states.insert(purpose, state);
        }
        states.into_values().collect()
    }
}
