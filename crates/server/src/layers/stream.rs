//! A streamed answer keeps, for as long as it lasts, what its call began with:
//! span, request context, deadline, and the guard against panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use northstar_client::RequestContext;
use tonic::Status;
use tracing::Span;

use super::panic::panicked;
use crate::status::Failure;

/// Ends a stream with a failure, for a deadline or because the process stops.
pub(super) type Ending = Pin<Box<dyn Future<Output = Failure> + Send>>;

/// A response body of a streaming call.
pub(super) struct Streamed {
    pub(super) body: Body,
    pub(super) span: Span,
    pub(super) context: RequestContext,
    pub(super) ending: Option<Ending>,
    pub(super) ended: bool,
}

type Polled = Poll<Option<Result<Frame<Bytes>, axum::Error>>>;

impl Streamed {
    fn poll_body(&mut self, context: &mut Context<'_>) -> Polled {
        let Self { body, span, context: request, .. } = self;
        let poll = || span.in_scope(|| http_body::Body::poll_frame(Pin::new(body), context));
        let polled = catch_unwind(AssertUnwindSafe(|| request.clone().sync_scope(poll)));
        polled.unwrap_or_else(|_| {
            let id = self.context.request_id.as_ref().and_then(|id| id.to_str().ok());
            let failure = self.span.in_scope(|| panicked(id.unwrap_or_default()));
            self.end(failure)
        })
    }

    /// The last frame: trailers with a status. The body is not polled again.
    fn end(&mut self, failure: Failure) -> Polled {
        self.ended = true;
        let mut trailers = HeaderMap::new();
        let status = Status::from(failure);
        if status.add_header(&mut trailers).is_err() {
            trailers.insert(Status::GRPC_STATUS, (status.code() as i32).into());
        }
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

impl http_body::Body for Streamed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        // What is there goes out before the stream ends.
        let polled = this.poll_body(context);
        if polled.is_pending()
            && let Some(ending) = &mut this.ending
            && let Poll::Ready(failure) = ending.as_mut().poll(context)
        {
            return this.end(failure);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use http_body_util::BodyExt as _;
    use northstar_proto::errors::v1::ErrorReason;
    use tonic::Code;
    use tonic_types::StatusExt as _;

    use super::*;
    use crate::status::failure;

    /// Gives its pieces, then panics or waits for ever.
    struct Pieces {
        left: VecDeque<&'static str>,
        panics: bool,
    }

    impl http_body::Body for Pieces {
        type Data = Bytes;
        type Error = axum::Error;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Polled {
            let this = self.get_mut();
            let request = RequestContext::current().expect("no request context");
            assert_eq!(request.project, Some(7));
            match this.left.pop_front() {
                Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece.into())))),
                None if this.panics => panic!("as asked"),
                None => Poll::Pending,
            }
        }
    }

    /// What was sent, and the status in the trailers.
    async fn outcome(panics: bool, ending: Option<Ending>) -> (Bytes, Status) {
        let body = Body::new(Pieces { left: ["a", "b"].into(), panics });
        let context = RequestContext { project: Some(7), ..RequestContext::default() };
        let streamed = Streamed { body, span: Span::none(), context, ending, ended: false };
        let collected = streamed.collect().await.unwrap();
        let trailers = collected.trailers().cloned().unwrap();
        (collected.to_bytes(), Status::from_header_map(&trailers).unwrap())
    }

    #[tokio::test]
    async fn a_stream_that_panics_ends_with_its_own_status() {
        let (sent, status) = outcome(true, None).await;
        assert_eq!(sent, "ab");
        assert_eq!(status.code(), Code::Internal);
        let reason = status.get_error_details().error_info().unwrap().reason.clone();
        assert_eq!(reason, "ERROR_REASON_INTERNAL");
    }

    #[tokio::test]
    async fn a_stream_sends_what_it_has_before_it_is_ended() {
        let ending = async { failure(ErrorReason::DeadlineExceeded, "too late") };
        let (sent, status) = outcome(false, Some(Box::pin(ending))).await;
        assert_eq!(sent, "ab");
        assert_eq!(status.code(), Code::DeadlineExceeded);
    }
}
