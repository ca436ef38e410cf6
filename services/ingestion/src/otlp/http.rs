//! OTLP over HTTP: the same requests as protobuf or JSON, by path.
//!
//! <https://opentelemetry.io/docs/specs/otlp/#otlphttp>

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use northstar_proto::ERROR_DOMAIN;
use northstar_proto::errors::v1::ErrorReason;
use northstar_server::Caller;
use northstar_server::door::{Body, Door, Limits, Refusal};
use northstar_server::status::{Failure, failure, invalid_field};
use prost::Message as _;
use serde_json::json;

use super::logs::Logs;
use super::metrics::Metrics;
use super::traces::Traces;
use super::{Signal, export};
use crate::service::Ingestion;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// The door. Browsers export telemetry too, so it is open to scripts.
pub(crate) fn door(ingestion: Ingestion) -> Door<Ingestion> {
    Door::new(ingestion)
        .limits(Limits::default())
        .cors()
        .refusals(worded)
        .post("/v1/traces", answer::<Traces>)
        .post("/v1/metrics", answer::<Metrics>)
        .post("/v1/logs", answer::<Logs>)
}

/// How a body is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Encoding {
    Protobuf,
    Json,
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        let media_type = value.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case(PROTOBUF) {
            Some(Self::Protobuf)
        } else if media_type.eq_ignore_ascii_case(JSON) {
            Some(Self::Json)
        } else {
            None
        }
    }
}

async fn answer<S: Signal + 'static>(
    State(ingestion): State<Ingestion>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let encoding = Encoding::of(&headers).ok_or_else(|| {
        Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            invalid_field("content-type", format!("must be {PROTOBUF} or {JSON}")),
        )
    })?;
    let request: S::Request = match encoding {
        Encoding::Protobuf => S::Request::decode(body.bytes().clone())
            .map_err(|error| invalid_field("body", format!("is not OTLP: {error}")))?,
        Encoding::Json => {
            let refused =
                |problem: String| invalid_field("body", format!("is not OTLP in JSON: {problem}"));
            // The reader takes lists for objects, field by field.
            if !body.bytes().trim_ascii_start().starts_with(b"{") {
                return Err(refused("it is no object".to_owned()).into());
            }
            let request =
                serde_json::from_slice(body.bytes()).map_err(|error| refused(error.to_string()))?;
            match S::passed_over(&request) {
                Some(problem) => return Err(refused(problem).into()),
                None => request,
            }
        }
    };
    let response = export::<S>(&ingestion, &caller, request).await.map_err(Failure::from)?;
    let (content_type, bytes) = match encoding {
        Encoding::Protobuf => (PROTOBUF, response.encode_to_vec()),
        // What is not set is left out, as protobuf's JSON has it.
        Encoding::Json if response == S::Response::default() => (JSON, b"{}".to_vec()),
        Encoding::Json => (
            JSON,
            serde_json::to_vec(&response).map_err(|error| {
                tracing::error!(error = &error as &dyn std::error::Error, "answer not written");
                failure(ErrorReason::Internal, "the call failed; the server's log says why")
            })?,
        ),
    };
    let mut answer = Response::new(bytes.into());
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    Ok(answer)
}

/// A refusal as `google.rpc.Status` in the encoding of the request.
fn worded(headers: &HeaderMap, refusal: &Refusal) -> Response {
    let failure = refusal.failure();
    let status = tonic::Status::from(failure.clone());
    match Encoding::of(headers) {
        Some(Encoding::Protobuf) => {
            // The details of a gRPC status are the encoded google.rpc.Status.
            refusal.worded(refusal.status(), PROTOBUF, status.details().to_vec())
        }
        Some(Encoding::Json) | None => {
            let mut details = vec![json!({
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": failure.reason().as_str_name(),
                "domain": ERROR_DOMAIN,
            })];
            if let Some(delay) = failure.retry_delay() {
                details.push(json!({
                    "@type": "type.googleapis.com/google.rpc.RetryInfo",
                    "retryDelay": format!("{}s", delay.as_secs_f64()),
                }));
            }
            let body = json!({
                "code": status.code() as i32,
                "message": status.message(),
                "details": details,
            });
            refusal.worded(refusal.status(), JSON, body.to_string())
        }
    }
}
