//! What a question may use, and how whoever asked takes it back.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::{
    error::{Error, Result},
    kernels::WORTH_A_THREAD,
};

/// Takes questions back: those that are under way stop at their next piece of work, with
/// [`Error::Cancelled`](crate::Error::Cancelled). Clones are of one and the same.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<Told>);

#[derive(Debug, Default)]
struct Told {
    cancelled: AtomicBool,
    pieces: AtomicU64,
}

impl Cancel {
    /// Nobody waits for the answer any more.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether nobody waits for the answer any more.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Relaxed)
    }

    /// Pieces of work that were begun for its questions so far: no more once they are taken back.
    pub fn pieces(&self) -> u64 {
        self.0.pieces.load(Ordering::Relaxed)
    }
}

/// What the questions to one view may use.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limits {
    pub cancel: Option<Cancel>,
    /// Most bytes of what is neither events nor kept between questions; `None` is unlimited.
    pub memory: Option<u64>,
    /// Folder for what does not fit in there.
    pub folder: Option<Arc<Path>>,
}

impl Limits {
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(Cancel::is_cancelled)
    }
}

/// What one question has used of its limits.
#[derive(Debug)]
pub(crate) struct Use<'a> {
    limits: &'a Limits,
    /// Whether the answer alone outgrew the memory, or there is a fault.
    exceeded: AtomicBool,
    /// What went wrong while partial results were written or read.
    fault: Mutex<Option<Error>>,
}

impl<'a> Use<'a> {
    pub(crate) fn of(limits: &'a Limits) -> Self {
        Self { limits, exceeded: AtomicBool::new(false), fault: Mutex::new(None) }
    }

    /// Fails when the answer may lack parts: the question was taken back, the answer is too large, or partial results
    /// could not be written or read.
    pub(crate) fn check(&self) -> Result<()> {
        if self.limits.is_cancelled() {
            return Err(Error::Cancelled);
        }
        if let Some(fault) = self.fault.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(fault);
        }
        match self.limits.memory {
            Some(bytes) if self.exceeded.load(Ordering::Relaxed) => {
                Err(Error::AnswerTooLarge { bytes })
            }
            _ => Ok(()),
        }
    }
}

/// The threads that work on a question, and what they mind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Workers<'a> {
    pub threads: usize,
    mind: Option<&'a Use<'a>>,
}

impl<'a> Workers<'a> {
    pub(crate) fn new(threads: usize, mind: &'a Use<'a>) -> Self {
        Self { threads, mind: Some(mind) }
    }

    /// The same, or one where the work on so many events is not worth more.
    #[must_use]
    pub(crate) fn worth(self, events: u64) -> Self {
        let threads = if events < WORTH_A_THREAD { 1 } else { self.threads.max(1) };
        Self { threads, ..self }
    }

    /// Whether the work is in vain.
    #[inline]
    pub(crate) fn should_stop(&self) -> bool {
        self.mind
            .is_some_and(|mind| mind.limits.is_cancelled() || mind.exceeded.load(Ordering::Relaxed))
    }

    /// Whether to begin one more piece of the work.
    #[inline]
    pub(crate) fn begin_piece(&self) -> bool {
        if self.should_stop() {
            return false;
        }
        if let Some(cancel) = self.mind.and_then(|mind| mind.limits.cancel.as_ref()) {
            cancel.0.pieces.fetch_add(1, Ordering::Relaxed);
        }
        true
    }

    /// Notes how many bytes the answer takes so far; stops the work when that is too much.
    pub(crate) fn answer_takes(&self, bytes: u64) {
        if let Some(mind) = self.mind
            && mind.limits.memory.is_some_and(|most| bytes > most)
        {
            mind.exceeded.store(true, Ordering::Relaxed);
        }
    }

    /// The memory that the question may use, in bytes, and a folder for what does not fit; `None` when it may use all.
    pub(crate) fn memory(&self) -> Option<(u64, &'a Path)> {
        let limits = self.mind?.limits;
        limits.memory.zip(limits.folder.as_deref())
    }

    /// Ends the work with an error.
    pub(crate) fn fail(&self, error: Error) {
        if let Some(mind) = self.mind {
            mind.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            mind.exceeded.store(true, Ordering::Relaxed);
        }
    }

    /// In how many passes, one after the other, to do work that would take so many bytes at once.
    pub(crate) fn passes(&self, bytes: u64) -> u32 {
        match self.mind.and_then(|mind| mind.limits.memory) {
            Some(most) => u32::try_from(bytes.div_ceil(most.max(1))).unwrap_or(u32::MAX).max(1),
            None => 1,
        }
    }
}

/// Threads that mind nothing.
impl From<usize> for Workers<'_> {
    fn from(threads: usize) -> Self {
        Self { threads, mind: None }
    }
}
