//! The Segment tracking API, as the SDKs of Segment and RudderStack call it.
//!
//! <https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/>

mod message;
mod pixel;
mod settings;

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Query, State};
use axum::response::{IntoResponse as _, Response};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use northstar_proto::errors::v1::ErrorReason;
use northstar_proto::ingestion::v1 as pb;
use northstar_server::Caller;
use northstar_server::door::{Body, Door, Keys, Limits, Refusal};
use northstar_server::status::{Failure, failure, invalid_field};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use self::message::{Envelope, Kind, read};
use super::{Message, result_to_json, source};
use crate::arrivals::Undated;
use crate::sender::Sender;
use crate::service::Ingestion;

/// Most bytes of an event, as Segment documents it.
pub(super) const MAX_EVENT_BYTES: usize = 32 * 1024;
/// Most bytes of a request, decompressed.
const MAX_REQUEST_BYTES: usize = 500 * 1024;

/// The routes. SDKs in browsers use the short ones, `t` for `track`.
pub(super) fn door(ingestion: Ingestion) -> Door<Ingestion> {
    let limits = Limits {
        body_bytes: MAX_REQUEST_BYTES,
        decoded_bytes: MAX_REQUEST_BYTES,
        ..Limits::default()
    };
    let mut door = Door::new(ingestion).limits(limits).cors().refusals(word);
    for (kind, routes) in Kind::ROUTES {
        for route in routes {
            door = door.post(route, move |State(ingestion), caller, keys, headers, body| {
                single(ingestion, kind, caller, keys, headers, body)
            });
        }
    }
    for (kind, route) in Kind::PIXELS {
        door = door.get(route, move |State(ingestion), caller, keys, headers, image| {
            pixel::pixel(ingestion, kind, caller, keys, headers, image)
        });
    }
    door.post("/v1/batch", batch)
        .post("/v1/b", batch)
        .post("/beacon/v1/batch", batch)
        .post("/v1/import", import)
        .get("/v1/projects/{write_key}/settings", settings::of_segment)
        .get("/sourceConfig", settings::of_rudderstack)
        .get("/sourceConfig/", settings::of_rudderstack)
}

/// Refusals in Segment's words. Beyond the size limits it answers 400.
fn word(_: &HeaderMap, refusal: &Refusal) -> Response {
    let status = match refusal.status() {
        StatusCode::PAYLOAD_TOO_LARGE => StatusCode::BAD_REQUEST,
        status => status,
    };
    let failure = refusal.failure();
    let mut error = refusal.to_json();
    error["code"] = status.as_u16().into();
    let body = json!({
        "success": false,
        // Where the SDKs look.
        "code": failure.reason().as_str_name(),
        "message": failure.message(),
        "error": error,
    });
    refusal.worded(status, "application/json", body.to_string())
}

/// The key in a query: a beacon cannot send headers.
#[derive(Default, Deserialize)]
struct Beacon {
    #[serde(rename = "writeKey")]
    write_key: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Beacon {
    type Rejection = Infallible;

    /// A query that cannot be read holds no key.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Query::try_from_uri(&parts.uri).map_or_else(|_| Self::default(), |Query(beacon)| beacon))
    }
}

/// The key within a body; a field of another type is no key.
#[derive(Deserialize)]
struct Signed<'a> {
    #[serde(borrow, rename = "writeKey")]
    write_key: Option<&'a RawValue>,
}

/// What a batch has around its messages.
#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    batch: Vec<&'a RawValue>,
    #[serde(borrow)]
    context: Option<&'a RawValue>,
    #[serde(borrow)]
    integrations: Option<&'a RawValue>,
    #[serde(borrow, rename = "sentAt")]
    sent_at: Option<&'a RawValue>,
}

/// `/v1/track` and its like: the body is one message.
async fn single(
    ingestion: Ingestion,
    kind: Kind,
    caller: Option<Caller>,
    keys: Keys,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let caller = caller_of(caller, None, &keys, &body).await?;
    let raw: &RawValue = parse(body.bytes())?;
    let raw = raw.get();
    check_size(raw)?;
    let message = read(raw, Some(kind), &Envelope::default());
    deliver(&ingestion, &caller, &headers, std::iter::once(message)).await
}

fn check_size(message: &str) -> Result<(), Refusal> {
    let bytes = message.len();
    if bytes > MAX_EVENT_BYTES {
        return Err(failure(
            ErrorReason::BatchTooLarge,
            format!("the event is {bytes} bytes long, at most {MAX_EVENT_BYTES} are taken"),
        )
        .metadata("limit", MAX_EVENT_BYTES.to_string())
        .into());
    }
    Ok(())
}

/// Many messages, sent soon after they happened.
async fn batch(
    State(ingestion): State<Ingestion>,
    caller: Option<Caller>,
    beacon: Beacon,
    keys: Keys,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let caller = caller_of(caller, beacon.write_key, &keys, &body).await?;
    let batch: Batch<'_> = parse(body.bytes())?;
    let sent_at = batch.sent_at.map(RawValue::get).and_then(|raw| serde_json::from_str(raw).ok());
    let envelope = Envelope { sent_at, ..Envelope::default() };
    deliver(&ingestion, &caller, &headers, messages(&batch, envelope)?.into_iter()).await
}

/// Many messages of long ago: nothing is concluded from when they are sent.
async fn import(
    State(ingestion): State<Ingestion>,
    caller: Option<Caller>,
    keys: Keys,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let caller = caller_of(caller, None, &keys, &body).await?;
    let batch: Batch<'_> = parse(body.bytes())?;
    let envelope = Envelope { historical: true, ..Envelope::default() };
    deliver(&ingestion, &caller, &headers, messages(&batch, envelope)?.into_iter()).await
}

/// Who sends, by the key of a header, of the query or of the body; a body that
/// cannot be read holds none.
async fn caller_of(
    caller: Option<Caller>,
    beacon: Option<String>,
    keys: &Keys,
    body: &Body,
) -> Result<Caller, Refusal> {
    if let Some(caller) = caller {
        return Ok(caller);
    }
    let key = beacon.or_else(|| key_within(body.bytes()));
    keys.caller(key.as_deref()).await
}

/// The key in a message or a batch; what cannot be read holds none.
fn key_within(body: &[u8]) -> Option<String> {
    parse::<Signed<'_>>(body).ok()?.write_key.and_then(text)
}

async fn deliver(
    ingestion: &Ingestion,
    caller: &Caller,
    headers: &HeaderMap,
    messages: impl Iterator<Item = Message> + Send,
) -> Result<Response, Refusal> {
    let source = source(caller, headers);
    let taken = ingestion.take_in(Sender::from(caller), source, Undated::AtReceipt, messages);
    Ok(answer(&taken.await.map_err(Failure::from)?))
}

fn messages(batch: &Batch<'_>, envelope: Envelope) -> Result<Vec<Message>, Refusal> {
    let envelope = Envelope {
        context: object("context", batch.context)?,
        integrations: object("integrations", batch.integrations)?,
        ..envelope
    };
    Ok(batch.batch.iter().map(|raw| read(raw.get(), None, &envelope)).collect())
}

fn object(
    field: &'static str,
    raw: Option<&RawValue>,
) -> Result<serde_json::Map<String, serde_json::Value>, Refusal> {
    match raw {
        None => Ok(serde_json::Map::new()),
        Some(raw) if raw.get() == "null" => Ok(serde_json::Map::new()),
        Some(raw) => serde_json::from_str(raw.get())
            .map_err(|error| invalid_field(field, format!("must be an object: {error}")).into()),
    }
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| invalid_field("body", error.to_string()).into())
}

fn text(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

/// What Segment answers, and for those who look, what became of each message
/// that was not accepted.
fn answer(results: &[pb::EventResult]) -> Response {
    let others: Vec<_> = results
        .iter()
        .enumerate()
        .filter(|(_, result)| result.outcome() != pb::EventOutcome::Accepted)
        .map(|(index, result)| result_to_json(index, result))
        .collect();
    let body = if others.is_empty() {
        json!({ "success": true })
    } else {
        json!({ "success": true, "results": others })
    };
    axum::Json(body).into_response()
}
