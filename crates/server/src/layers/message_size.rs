//! Refuses a request message larger than allowed before it is read.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use northstar_proto::errors::v1::ErrorReason;
use tonic::Status;

use crate::status::failure;

/// Bytes before each message: a compression flag and a big-endian length,
/// <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.
const PREFIX_BYTES: usize = 5;

pub(super) async fn limit(State(limit): State<usize>, request: Request, next: Next) -> Response {
    next.run(request.map(|body| Body::new(Limited { body, messages: Messages::new(limit) }))).await
}

/// A request body that fails at the first message beyond the limit; tonic makes
/// the failure the call's status.
struct Limited {
    body: Body,
    messages: Messages,
}

impl http_body::Body for Limited {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && let Err(bytes) = this.messages.take(data)
        {
            return Poll::Ready(Some(Err(too_large(bytes, this.messages.limit).into())));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn too_large(bytes: usize, limit: usize) -> Status {
    failure(
        ErrorReason::BatchTooLarge,
        format!("the message has {bytes} bytes, {limit} are allowed; send smaller batches"),
    )
    .metadata("bytes", bytes.to_string())
    .metadata("limit", limit.to_string())
    .into()
}

/// Follows message boundaries through arbitrary pieces of a body.
struct Messages {
    limit: usize,
    prefix: [u8; PREFIX_BYTES],
    prefix_read: usize,
    left_of_message: usize,
}

impl Messages {
    fn new(limit: usize) -> Self {
        Self { limit, prefix: [0; PREFIX_BYTES], prefix_read: 0, left_of_message: 0 }
    }

    /// Follows one piece; fails with the length of a message beyond the limit.
    fn take(&mut self, mut piece: &[u8]) -> Result<(), usize> {
        while !piece.is_empty() {
            let inside = self.left_of_message.min(piece.len());
            self.left_of_message -= inside;
            piece = &piece[inside..];

            let of_prefix = (PREFIX_BYTES - self.prefix_read).min(piece.len());
            self.prefix[self.prefix_read..self.prefix_read + of_prefix]
                .copy_from_slice(&piece[..of_prefix]);
            self.prefix_read += of_prefix;
            piece = &piece[of_prefix..];

            if self.prefix_read == PREFIX_BYTES {
                let [_, a, b, c, d] = self.prefix;
                let length = u32::from_be_bytes([a, b, c, d]) as usize;
                if length > self.limit {
                    return Err(length);
                }
                self.prefix_read = 0;
                self.left_of_message = length;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
        bytes.extend(vec![255; length]);
        bytes
    }

    #[test]
    fn boundaries_are_found_however_the_body_is_cut() {
        let body = [message(3), message(0), message(7), message(11)].concat();
        for piece in 1..=body.len() {
            let mut messages = Messages::new(10);
            let outcome: Result<(), usize> =
                body.chunks(piece).try_for_each(|piece| messages.take(piece));
            assert_eq!(outcome, Err(11), "in pieces of {piece}");

            let mut messages = Messages::new(11);
            let outcome: Result<(), usize> =
                body.chunks(piece).try_for_each(|piece| messages.take(piece));
            assert_eq!(outcome, Ok(()), "in pieces of {piece}");
        }
    }
}
