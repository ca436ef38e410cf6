//! Pieces of work on a few threads, results in the order of the pieces.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

/// Events below which starting a thread costs more than it saves.
pub(crate) const WORTH_A_THREAD: u64 = 50_000;

/// Runs `work` over every piece on so many threads.
pub(crate) fn run<T: Send, R: Send>(
    threads: usize,
    pieces: Vec<T>,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    if threads <= 1 || pieces.len() <= 1 {
        return pieces.into_iter().map(work).collect();
    }
    let slots: Vec<Mutex<(Option<T>, Option<R>)>> =
        pieces.into_iter().map(|piece| Mutex::new((Some(piece), None))).collect();
    let next = AtomicUsize::new(0);
    let worker = || {
        while let Some(slot) = slots.get(next.fetch_add(1, Ordering::Relaxed)) {
            let piece = slot.lock().unwrap_or_else(PoisonError::into_inner).0.take();
            if let Some(piece) = piece {
                let result = work(piece);
                slot.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(result);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(slots.len()) {
            scope.spawn(worker);
        }
        worker();
    });
    slots
        .into_iter()
        .filter_map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner).1)
        .collect()
}
