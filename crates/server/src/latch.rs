//! What a service waits for before it is ready, beside its database.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Keeps a service from being ready until it is released, for example while a
/// cache is filled. A cheap clone: hand one to [`crate::Service::latch`], keep
/// the other.
#[derive(Clone, Debug)]
pub struct Latch {
    reason: &'static str,
    released: Arc<AtomicBool>,
}

impl Latch {
    /// A closed latch. The reason is what `/health/readyz` says meanwhile, for
    /// example `segments are being built`.
    pub fn new(reason: &'static str) -> Self {
        Self { reason, released: Arc::new(AtomicBool::new(false)) }
    }

    /// Releases the latch for good.
    pub fn release(&self) {
        self.released.store(true, Ordering::Release);
    }

    /// Why the service is not ready, until the latch is released.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        (!self.released.load(Ordering::Acquire)).then_some(self.reason)
    }
}
