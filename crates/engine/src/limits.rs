//! What a question may use, and how whoever asked takes it back.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Takes questions back: those that are under way stop at their next piece of work, with
/// [`Error::Cancelled`](crate::Error::Cancelled). Clones are of one and the same.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Nobody waits for the answer any more.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether nobody waits for the answer any more.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a question may use.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limits {
    pub cancel: Option<Cancel>,
}

impl Limits {
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(Cancel::is_cancelled)
    }
}

/// The threads that work on a question, and what they mind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Workers<'a> {
    pub threads: usize,
    limits: Option<&'a Limits>,
}

impl<'a> Workers<'a> {
    pub(crate) fn new(threads: usize, limits: &'a Limits) -> Self {
        Self { threads, limits: Some(limits) }
    }

    /// Whether the work is in vain.
    #[inline]
    pub(crate) fn should_stop(&self) -> bool {
        self.limits.is_some_and(Limits::is_cancelled)
    }
}

/// Threads that mind nothing.
impl From<usize> for Workers<'_> {
    fn from(threads: usize) -> Self {
        Self { threads, limits: None }
    }
}
