//! Pieces of work on a few threads, results in the order of the pieces.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
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
    let mut results = Vec::with_capacity(pieces.len());
    run_into(workers, pieces, work, |result| results.push(result));
    results
}

/// Runs `work` over every piece and hands the results to `take`, one at a time and in the order of the pieces, while
/// the work goes on: no more of them wait than threads have run ahead.
pub(crate) fn run_into<'a, T: Send, R: Send>(
    workers: impl Into<Workers<'a>>,
    pieces: Vec<T>,
    work: impl Fn(T) -> R + Sync,
    mut take: impl FnMut(R) + Send,
) {
    let workers = workers.into();
    if workers.threads <= 1 || pieces.len() <= 1 {
        pieces.into_iter().take_while(|_| !workers.should_stop()).map(work).for_each(take);
        return;
    }
    let slots: Vec<Mutex<Option<T>>> =
        pieces.into_iter().map(|piece| Mutex::new(Some(piece))).collect();
    let next = AtomicUsize::new(0);
    // Number of the result whose turn it is, and results whose turn has not come.
    let taking = Mutex::new((0_usize, BTreeMap::new(), &mut take));
    let worker = || {
        while !workers.should_stop() {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(slot) = slots.get(number) else { return };
            let piece = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(piece) = piece {
                let result = work(piece);
                let mut taking = taking.lock().unwrap_or_else(PoisonError::into_inner);
                let (turn, waiting, take) = &mut *taking;
                waiting.insert(number, result);
                while let Some(result) = waiting.remove(&*turn) {
                    (**take)(result);
                    *turn += 1;
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..workers.threads.min(slots.len()) {
            scope.spawn(worker);
        }
        worker();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_pieces() {
        let doubled = run(3, (0..500).collect(), |number: u32| number * 2);
        assert_eq!(doubled, (0..500).map(|number| number * 2).collect::<Vec<_>>());
    }
}
