//! Reads a request's body within its limits.

use std::time::Duration;

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use northstar_proto::errors::v1::ErrorReason;
use tokio::time::{Instant, timeout, timeout_at};

use super::Refusal;
use super::decode::{Decoding, Encoding, Stop};
use super::layers::OfDoor;
use super::room::{Sender, Share};
use crate::Caller;
use crate::status::{Failure, failure, invalid_field};

/// Most bytes of a refused body that are read, and most time that it takes.
const MAX_DISCARDED_BYTES: usize = 16 * 1024 * 1024;
const MAX_DISCARD_TIME: Duration = Duration::from_secs(2);

/// What a body may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most bytes as sent.
    pub body_bytes: usize,
    /// Most bytes once decompressed.
    pub decoded_bytes: usize,
    /// Most time from the headers to the last byte.
    pub read_time: Duration,
}

impl Default for Limits {
    /// 4 MiB, compressed or not, within 30 seconds.
    fn default() -> Self {
        let bytes = 4 * 1024 * 1024;
        Self { body_bytes: bytes, decoded_bytes: bytes, read_time: Duration::from_secs(30) }
    }
}

/// A whole body, decompressed. It holds its share of the memory for bodies
/// until it is dropped, so keep it until the request is answered.
///
/// It is refused with 413 beyond the door's [`Limits`], 408 when it takes too
/// long, 415 in an encoding other than gzip, deflate and zstd, 400 when it is
/// not what its encoding says, and 429 when all bodies together take what they
/// may ([`crate::Config::http_bodies_mebibytes`]).
pub struct Body {
    bytes: Bytes,
    _share: Share,
}

impl Body {
    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let (parts, mut body) = request.into_parts();
        let read = Self::read(&parts, &mut body).await;
        if let Err(refusal) = &read
            && refusal.status() != StatusCode::REQUEST_TIMEOUT
        {
            discard(body).await;
        }
        read
    }
}

impl Body {
    async fn read(parts: &Parts, body: &mut axum::body::Body) -> Result<Self, Refusal> {
        let OfDoor { limits, room, .. } = OfDoor::of(&parts.extensions)?.clone();
        let deadline = Instant::now() + limits.read_time;
        let encoding = encoding(&parts.headers)?;
        if declared_length(&parts.headers).is_some_and(|length| length > limits.body_bytes) {
            return Err(too_large("bytes", limits.body_bytes));
        }
        let stopped = |stop| match stop {
            Stop::TooLarge => too_large("bytes once decompressed", limits.decoded_bytes),
            Stop::NoRoom => no_room().into(),
            Stop::Malformed => Refusal::from(invalid_field(
                "content-encoding",
                "the body is not compressed as this header says",
            )),
        };
        let known = parts.extensions.get::<Caller>().is_some();
        let sender = if known { Sender::Caller } else { Sender::Stranger };
        let mut decoding = Decoding::new(encoding, limits.decoded_bytes, room.share(sender));
        let mut read = 0;
        loop {
            let frame = timeout_at(deadline, body.frame()).await.map_err(|_| too_slow(limits))?;
            let Some(frame) = frame else { break };
            // The client is gone or speaks no HTTP; nobody reads this answer.
            let frame = frame.map_err(|error| {
                Refusal::from(invalid_field("body", format!("could not be read: {error}")))
            })?;
            let Ok(piece) = frame.into_data() else { continue };
            read += piece.len();
            if read > limits.body_bytes {
                return Err(too_large("bytes", limits.body_bytes));
            }
            decoding.take(&piece).map_err(stopped)?;
        }
        let (bytes, share) = decoding.finish().map_err(stopped)?;
        Ok(Self { bytes: bytes.into(), _share: share })
    }
}

/// Reads what is left of a refused body, so that a client that is still sending
/// hears why: closing a connection with bytes unread would take the answer back.
/// Not beyond reason.
pub(super) async fn discard(mut body: axum::body::Body) {
    let discarding = async {
        let mut left = MAX_DISCARDED_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    // Whoever takes longer has to do without.
    let _ = timeout(MAX_DISCARD_TIME, discarding).await;
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    let name = headers.get(header::CONTENT_ENCODING).map_or(&b""[..], |name| name.as_bytes());
    Encoding::parse(name).ok_or_else(|| {
        let known = Encoding::KNOWN;
        Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            invalid_field("content-encoding", format!("must be one of {known}, or absent")),
        )
    })
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(what: &str, limit: usize) -> Refusal {
    failure(
        ErrorReason::BatchTooLarge,
        format!("the body holds more than {limit} {what}; send less at once"),
    )
    .metadata("limit", limit.to_string())
    .into()
}

fn too_slow(limits: Limits) -> Refusal {
    let seconds = limits.read_time.as_secs();
    Refusal::new(
        StatusCode::REQUEST_TIMEOUT,
        failure(
            ErrorReason::DeadlineExceeded,
            format!("the body did not come within {seconds} seconds; nothing was written"),
        ),
    )
}

fn no_room() -> Failure {
    failure(
        ErrorReason::Overloaded,
        "too many bodies are being read; nothing was written, send it again",
    )
    .metadata("limit", "http_bodies")
}
