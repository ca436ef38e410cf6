//! Pieces of work on a few threads, results in the order of the pieces.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use crate::limits::Workers;

/// Events below which starting a thread costs more than it saves.
pub(crate) const WORTH_A_THREAD: u64 = 50_000;

/// Runs `work` over every piece; pieces that are not begun when the question is taken back have no result.
pub(crate) fn run<'a, T: Send, R: Send>(
    workers: impl Into<Workers<'a>>,
    pieces: Vec<T>,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let workers = workers.into();
    if workers.threads <= 1 || pieces.len() <= 1 {
        return pieces.into_iter().take_while(|_| !workers.should_stop()).map(work).collect();
    }
    let slots: Vec<Mutex<(Option<T>, Option<R>)>> =
        pieces.into_iter().map(|piece| Mutex::new((Some(piece), None))).collect();
    let next = AtomicUsize::new(0);
    let worker = || {
        while let Some(slot) = slots.get(next.fetch_add(1, Ordering::Relaxed))
            && !workers.should_stop()
        {
            let piece = slot.lock().unwrap_or_else(PoisonError::into_inner).0.take();
            if let Some(piece) = piece {
                let result = work(piece);
                slot.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(result);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..workers.threads.min(slots.len()) {
            scope.spawn(worker);
        }
        worker();
    });
    slots
        .into_iter()
        .filter_map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner).1)
        .collect()
}
