//! Holds a question of the tests back until whoever asked it is gone, so that how it ends does not depend on how
//! fast anything is.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use northstar_engine::Cancel;
use tokio::sync::oneshot;

/// The next question to hold, if any.
static NEXT: Mutex<Option<Held>> = Mutex::new(None);
/// Tests that hold questions, or whose questions must not be held, take turns.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// After which nobody is waited for any more, and the question is asked after all.
const PATIENCE: Duration = Duration::from_secs(60);

/// A question that is held.
pub(crate) struct Held {
    is_held: bool,
    begun: oneshot::Sender<()>,
    worked: oneshot::Sender<u64>,
}

/// What the test sees of it.
pub(crate) struct Seen {
    /// That it is about to be asked.
    pub(crate) begun: oneshot::Receiver<()>,
    /// Pieces of work that were begun for it, once it has ended.
    pub(crate) worked: oneshot::Receiver<u64>,
}

/// The right to hold questions.
pub(crate) async fn turn() -> tokio::sync::MutexGuard<'static, ()> {
    TURN.lock().await
}

/// Watches the next question.
pub(crate) fn watch() -> Seen {
    next(false)
}

/// Holds the next question until whoever asked it is gone.
pub(crate) fn hold() -> Seen {
    next(true)
}

/// Holds no further question.
pub(crate) fn release() {
    *NEXT.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

fn next(is_held: bool) -> Seen {
    let (begun, has_begun) = oneshot::channel();
    let (worked, has_worked) = oneshot::channel();
    let held = Held { is_held, begun, worked };
    *NEXT.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
    Seen { begun: has_begun, worked: has_worked }
}

/// Asks, when the question is to be held after its time has come.
pub(crate) fn ask<A>(cancel: &Cancel, question: impl FnOnce() -> A) -> A {
    let Some(held) = NEXT.lock().unwrap_or_else(PoisonError::into_inner).take() else {
        return question();
    };
    // The test may have given up.
    let _ = held.begun.send(());
    let mut waited = Duration::ZERO;
    while held.is_held && !cancel.is_cancelled() && waited < PATIENCE {
        std::thread::sleep(Duration::from_millis(1));
        waited += Duration::from_millis(1);
    }
    let answer = question();
    let _ = held.worked.send(cancel.pieces());
    answer
}
