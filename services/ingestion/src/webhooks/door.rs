//! `POST /v1/webhooks/{project}/{name}`: payloads come in.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use http::{HeaderMap, StatusCode};
use northstar_domain::Role;
use northstar_domain::webhook::{Headers, Mapped, Signature, Unreadable};
use northstar_proto::errors::v1::ErrorReason;
use northstar_proto::ingestion::v1 as pb;
use northstar_server::door::{Body, Door, Keys, Limits, Refusal};
use northstar_server::status::{Failure, failure};
use pb::EventOutcome;
use serde_json::{Value, json};

use super::signature::verify;
use super::{Known, Webhooks};
use crate::arrivals::{Arrival, Misfit, Undated};
use crate::convert::{properties_to_proto, time_to_proto};
use crate::doors::{outcome_text, result_to_json};
use crate::sender::Sender;

/// Most bytes of a payload. Stripe, HubSpot and GitHub stay below; what is larger
/// is no notification.
const MAX_PAYLOAD_BYTES: usize = 1 << 20;
/// Time in which a payload must have come.
const READ_TIME: Duration = Duration::from_secs(10);
/// Headers that rules do not see: they are about who sends, not about what.
const HIDDEN_HEADERS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

/// The door.
pub(crate) fn door(webhooks: Webhooks) -> Door<Webhooks> {
    let limits = Limits {
        body_bytes: MAX_PAYLOAD_BYTES,
        decoded_bytes: MAX_PAYLOAD_BYTES,
        read_time: READ_TIME,
    };
    Door::new(webhooks)
        .limits(limits)
        .post("/v1/webhooks/{project}/{name}", receive)
        .get("/v1/webhooks/{project}/{name}", greet)
}

/// Some senders ask with HEAD or GET whether the address answers before they use
/// it. It tells nobody which sources there are.
async fn greet() -> Response {
    Json(json!({ "message": "send webhooks with POST" })).into_response()
}

async fn receive(
    State(webhooks): State<Webhooks>,
    Path((project, name)): Path<(String, String)>,
    keys: Keys,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let known = webhooks.find(&project, &name).await.map_err(Failure::from)?;
    let Some(known) = known else {
        webhooks.count("", "unknown");
        let message = format!("there is no webhook source {name:?} in the project {project:?}");
        return Err(failure(ErrorReason::NotFound, message).into());
    };
    if let Err(refusal) = known.believe(&keys, &headers, body.bytes(), webhooks.now()).await {
        webhooks.count(&name, "refused");
        return Err(refusal);
    }
    webhooks.take(&known, &headers, body.bytes()).await
}

impl Known {
    /// Whether the request comes from the source.
    async fn believe(
        &self,
        keys: &Keys,
        headers: &HeaderMap,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Result<(), Refusal> {
        let signature = &self.source.spec.signature;
        if *signature == (Signature::None {}) {
            let caller = keys.caller_in_headers().await?;
            if caller.project != self.project || !caller.role.allows(Role::Ingest) {
                let message = "the key must be of the source's project and of role ingest";
                let refused = failure(ErrorReason::RoleRequired, message);
                return Err(refused.metadata("required_role", Role::Ingest.as_str()).into());
            }
            return Ok(());
        }
        let accepted: Vec<_> = self
            .secrets
            .iter()
            .filter(|secret| secret.until.is_none_or(|until| now < until))
            .map(|secret| secret.secret.as_str())
            .collect();
        verify(signature, headers, body, &accepted, now).map_err(|disbelief| {
            let message = format!("{}: {disbelief}", signature.scheme());
            failure(ErrorReason::Unauthenticated, message)
                .metadata("scheme", signature.scheme())
                .into()
        })
    }

    /// What the items of a payload become; `None` for those that a rule ignores.
    fn arrivals(&self, headers: &HeaderMap, body: &[u8]) -> Vec<Option<Arrival<Vec<u8>>>> {
        let whole = |unreadable| vec![Some(Arrival { event: Err(unreadable), raw: body.to_vec() })];
        let payload: Value = match serde_json::from_slice(body) {
            Ok(payload) => payload,
            Err(error) => return whole(Misfit::new("invalid_json", "", error.to_string())),
        };
        let mapping = &self.source.spec.mapping;
        let items = match mapping.items(&payload) {
            Ok(items) => items,
            Err(unreadable) => return whole(misfit(unreadable)),
        };
        let visible = visible(headers);
        items
            .into_iter()
            .map(|item| {
                let event = match mapping.read(&payload, item, &visible) {
                    Ok(Mapped::Ignored) => return None,
                    Ok(mapped) => Ok(event(mapped)),
                    Err(unreadable) => Err(misfit(unreadable)),
                };
                // A payload that is its only item is kept as it came, byte by byte.
                let raw = match mapping.each {
                    None => body.to_vec(),
                    Some(_) => item.to_string().into_bytes(),
                };
                Some(Arrival { event, raw })
            })
            .collect()
    }
}

impl Webhooks {
    fn now(&self) -> DateTime<Utc> {
        self.ingestion.clock.now()
    }

    async fn take(
        &self,
        known: &Arc<Known>,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Response, Refusal> {
        let name = &known.source.name;
        let arrivals = known.arrivals(headers, body);
        let ignored: Vec<bool> = arrivals.iter().map(Option::is_none).collect();
        let results = self
            .ingestion
            .take_in(
                Sender::signed(known.project),
                name,
                Undated::Kept,
                arrivals.into_iter().flatten(),
            )
            .await
            .map_err(Failure::from)
            .inspect_err(|_| self.count(name, "failed"))?;
        let mut results = results.iter();
        let mut told = Vec::with_capacity(ignored.len());
        let mut all_in_the_log = true;
        let mut rejected = false;
        for (index, ignored) in ignored.into_iter().enumerate() {
            let Some(result) = (if ignored { None } else { results.next() }) else {
                told.push(json!({ "index": index, "outcome": "ignored" }));
                self.count(name, "ignored");
                continue;
            };
            self.count(name, outcome_text(result.outcome()));
            all_in_the_log &= result.outcome() == EventOutcome::Accepted
                || (result.outcome() == EventOutcome::Duplicate && result.position > 0);
            rejected |= result.outcome() == EventOutcome::Rejected;
            told.push(result_to_json(index, result));
        }
        // A sender that is told of a failure sends the same again, so it is told
        // only what would otherwise be lost.
        let status = match (all_in_the_log, rejected) {
            (true, _) => StatusCode::OK,
            (false, false) => StatusCode::ACCEPTED,
            (false, true) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Ok((status, Json(json!({ "results": told }))).into_response())
    }
}

fn visible(headers: &HeaderMap) -> Headers {
    headers
        .iter()
        .filter(|(name, _)| !HIDDEN_HEADERS.contains(&name.as_str()))
        .filter_map(|(name, value)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        })
        .collect()
}

fn misfit(Unreadable { reason, field, message }: Unreadable) -> Misfit {
    Misfit { message_id: String::new(), reason: reason.into(), field, message }
}

fn event(mapped: Mapped) -> pb::Event {
    match mapped {
        Mapped::Ignored => pb::Event::default(),
        Mapped::Event {
            event,
            message_id,
            user_id,
            anonymous_id,
            account_id,
            occurred_at,
            properties,
        } => pb::Event {
            message_id,
            name: event,
            user_id,
            anonymous_id,
            account_id,
            occurred_time: Some(time_to_proto(occurred_at)),
            properties: properties_to_proto(properties),
            ..pb::Event::default()
        },
    }
}
