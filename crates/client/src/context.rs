//! What a call hands on to the calls made on its behalf.

use std::future::Future;
use std::time::{Duration, Instant};

use opentelemetry::Context as TraceContext;
use tonic::metadata::{Ascii, MetadataValue};

tokio::task_local! {
    static CURRENT: RequestContext;
}

/// The request that is being handled, as far as calls made on its behalf need
/// to know it. The server sets it for the task that handles the request; a task
/// spawned from there inherits it with [`RequestContext::current`] and
/// [`RequestContext::scope`]:
///
/// ```
/// # use northstar_client::RequestContext;
/// # async fn work() {}
/// # async fn handler() {
/// let context = RequestContext::current().unwrap_or_default();
/// tokio::spawn(context.scope(work()));
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct RequestContext {
    /// The caller's `authorization` metadata, marked sensitive.
    pub authorization: Option<MetadataValue<Ascii>>,
    /// The caller's project.
    pub project: Option<i32>,
    /// The id of the request.
    pub request_id: Option<MetadataValue<Ascii>>,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
    /// The trace the request belongs to; used where no tracing span is entered.
    pub trace: TraceContext,
}

impl RequestContext {
    /// The context of the request this task is handling.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// Runs a future on behalf of this request.
    pub fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, future)
    }

    /// Runs a function on behalf of this request.
    pub fn sync_scope<T>(self, function: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, function)
    }

    /// How long the caller still waits; `None` without a deadline, zero when it
    /// has passed.
    pub fn remaining(&self, now: Instant) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(now))
    }
}
