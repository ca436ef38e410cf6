//! Waits for an answer that will be there in a moment without going to sleep.
//!
//! A thread that sleeps is woken late where a processor that has nothing to do is
//! handed back to a host, which may take longer than the commit that was waited for.

use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

/// The output of a future that is looked at again and again for some time, other tasks
/// in between, and waited for afterwards.
pub(crate) async fn eagerly<F: Future>(future: F, most: Duration) -> F::Output {
    let mut future = pin!(future);
    let start = Instant::now();
    while start.elapsed() < most {
        if let Poll::Ready(output) = futures::poll!(future.as_mut()) {
            return output;
        }
        tokio::task::yield_now().await;
    }
    future.await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_takes_longer_is_waited_for() {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let other = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            answer.send(7)
        });
        assert_eq!(eagerly(answered, Duration::from_micros(50)).await, Ok(7));
        other.await.unwrap().unwrap();
        assert_eq!(eagerly(async { 8 }, Duration::from_secs(1)).await, 8);
        assert_eq!(eagerly(async { 9 }, Duration::ZERO).await, 9);
    }
}
