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
        pieces.into_iter().take_while(|_| workers.begin_piece()).map(work).for_each(take);
        return;
    }
    let slots: Vec<Mutex<Option<T>>> =
        pieces.into_iter().map(|piece| Mutex::new(Some(piece))).collect();
    let next = AtomicUsize::new(0);
    // Number of the result whose turn it is, and results whose turn has not come.
    let taking = Mutex::new((0_usize, BTreeMap::new(), &mut take));
    let worker = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(slot) = slots.get(number).filter(|_| workers.begin_piece()) else { return };
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
    use crate::limits::{Cancel, Limits, Use};

    /// Pieces that were worked on, and counted, by so many threads when the third takes the question back.
    fn worked_after_the_third(threads: usize) -> [u64; 2] {
        let cancel = Cancel::default();
        let limits = Limits { cancel: Some(cancel.clone()), ..Limits::default() };
        let mind = Use::of(&limits);
        let worked = AtomicUsize::new(0);
        run(Workers::new(threads, &mind), (0..500).collect(), |number: u32| {
            worked.fetch_add(1, Ordering::Relaxed);
            if number == 2 {
                cancel.cancel();
            }
            // Nobody gets past the piece that takes the question back.
            while number > 2 && !cancel.is_cancelled() {
                std::hint::spin_loop();
            }
        });
        assert!(mind.check().is_err());
        [worked.into_inner() as u64, cancel.pieces()]
    }

    #[test]
    fn a_question_that_is_taken_back_begins_no_further_piece() {
        assert_eq!(worked_after_the_third(1), [3, 3]);
        let [worked, counted] = worked_after_the_third(4);
        assert_eq!(worked, counted);
        // Three more threads may have had one in hand.
        assert!((3..=6).contains(&worked), "{worked} of 500");
    }

    #[test]
    fn results_come_in_the_order_of_the_pieces() {
        let doubled = run(3, (0..500).collect(), |number: u32| number * 2);
        assert_eq!(doubled, (0..500).map(|number| number * 2).collect::<Vec<_>>());
    }
}
