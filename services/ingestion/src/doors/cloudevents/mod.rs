//! CloudEvents 1.0 over HTTP, in all three content modes.
//!
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md>

mod binary;
mod message;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode, header};
use northstar_server::Caller;
use northstar_server::door::{Body, Door, Limits, Refusal};
use northstar_server::status::{Failure, invalid_field};
use serde_json::json;
use serde_json::value::RawValue;

use self::message::read;
use super::{Message, result_to_json, source};
use crate::arrivals::Undated;
use crate::sender::Sender;
use crate::service::Ingestion;

/// The one route.
pub(super) fn door(ingestion: Ingestion) -> Door<Ingestion> {
    Door::new(ingestion).limits(Limits::default()).post("/v1/cloudevents", receive)
}

async fn receive(
    State(ingestion): State<Ingestion>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let messages = messages(&headers, body.bytes())?;
    let source = source(&caller, &headers);
    let results = ingestion
        .take_in(Sender::from(&caller), source, Undated::AtReceipt, messages.into_iter())
        .await
        .map_err(Failure::from)?;
    let results: Vec<_> =
        results.iter().enumerate().map(|(index, result)| result_to_json(index, result)).collect();
    Ok(axum::Json(json!({ "results": results })).into_response())
}

/// The content mode follows from the content type, as the specification has it.
fn messages(headers: &HeaderMap, body: &[u8]) -> Result<Vec<Message>, Refusal> {
    let content_type = media_type(headers);
    match content_type.as_str() {
        "application/cloudevents+json" => Ok(vec![read(parse::<&RawValue>(body)?.get())]),
        "application/cloudevents-batch+json" => {
            let batch: Vec<&RawValue> = parse(body)?;
            Ok(batch.into_iter().map(|raw| read(raw.get())).collect())
        }
        other if other.starts_with("application/cloudevents") => Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            invalid_field(
                header::CONTENT_TYPE.as_str(),
                "events and batches of events are read as JSON: send application/cloudevents+json \
                 or application/cloudevents-batch+json",
            ),
        )),
        _ if headers.contains_key("ce-specversion") => Ok(vec![binary::read(headers, body)]),
        _ => Err(invalid_field(
            "ce-specversion",
            "without this header the content type must be application/cloudevents+json or \
             application/cloudevents-batch+json",
        )
        .into()),
    }
}

/// The content type in lower case, without its parameters.
fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

fn parse<'a, T: serde::Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| invalid_field("body", error.to_string()).into())
}
