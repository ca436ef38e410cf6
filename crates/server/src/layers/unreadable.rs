//! Bytes that are no message of the method are the caller's mistake, and say so.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use tonic::{Code, Status};

use super::refuse;
use crate::status::invalid_field;

/// How the codec's complaint begins; tonic makes it INTERNAL without details.
const COMPLAINT: &str = "failed to decode Protobuf message";
/// Most characters of a complaint: it names every level on the way to the fault.
const MAX_CHARS: usize = 300;

pub(super) async fn blame(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    match Status::from_header_map(response.headers()) {
        Some(status) if is_complaint(&status) => {
            let message = status.message();
            let end = message.char_indices().nth(MAX_CHARS).map_or(message.len(), |(end, _)| end);
            refuse(invalid_field("request", format!("is no message: {}", &message[..end])))
        }
        _ => response,
    }
}

fn is_complaint(status: &Status) -> bool {
    status.code() == Code::Internal && status.message().starts_with(COMPLAINT)
}
