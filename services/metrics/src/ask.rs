//! Asking the engine away from the threads that serve calls, for as long as
//! somebody waits for the answer.

#[cfg(test)]
mod abandoned;
#[cfg(test)]
mod held;

use northstar_engine::{Cancel, Snapshot};
use tokio::task::spawn_blocking;

use crate::dataset::View;
use crate::{Error, Result};

/// Takes the question back when it is dropped.
struct TakeBack(Cancel);

impl Drop for TakeBack {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Answers a question.
pub(crate) async fn ask<T, E>(
    snapshot: &Snapshot,
    question: impl FnOnce(&Snapshot) -> Result<T, E> + Send + 'static,
) -> Result<T>
where
    T: Send + 'static,
    E: Send + 'static,
    Error: From<E>,
{
    Ok(attempt(snapshot, question).await??)
}

/// Answers a question, or says what the engine refused. When the caller goes away, or its deadline passes, this
/// future is dropped with the call, and the engine stops at its next piece of
/// work.
pub(crate) async fn attempt<A: Send + 'static>(
    snapshot: &Snapshot,
    question: impl FnOnce(&Snapshot) -> A + Send + 'static,
) -> Result<A> {
    let cancel = Cancel::default();
    let snapshot = snapshot.cancelled_by(&cancel);
    let _take_back = TakeBack(cancel.clone());
    #[cfg(test)]
    let question = move |snapshot: &Snapshot| held::ask(&cancel, || question(snapshot));
    Ok(spawn_blocking(move || question(&snapshot)).await?)
}

/// Answers a question about a view.
pub(crate) async fn ask_view<T: Send + 'static>(
    view: View,
    question: impl FnOnce(&View) -> Result<T> + Send + 'static,
) -> Result<T> {
    let snapshot = view.snapshot.clone();
    ask(&snapshot, move |snapshot| question(&View { snapshot: snapshot.clone(), ..view })).await
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use northstar_engine::{Actor, Dataset, EventRecord, EventSelector, Grain, MetricSpec, Query};

    use super::*;

    fn count() -> Query {
        Query {
            metric: MetricSpec::Count { event: EventSelector::all() },
            from_micros: 0,
            to_micros: 10,
            zone: chrono_tz::UTC,
            grain: Grain::Total,
            breakdowns: Vec::new(),
            filter: None,
            as_of_micros: None,
        }
    }

    fn one_event(folder: &std::path::Path) -> Snapshot {
        let mut dataset = Dataset::new(folder).unwrap();
        let event = EventRecord {
            position: 1,
            name: "signup",
            source: "web",
            actor: Actor { user_id: Some("u1"), anonymous_id: None },
            account_id: None,
            effective_micros: 5,
            sequence: 0,
            properties: &serde_json::json!({}),
        };
        dataset.append([event]).unwrap();
        dataset.snapshot().unwrap()
    }

    #[tokio::test]
    async fn a_question_that_somebody_waits_for_is_answered() {
        let _turn = held::turn().await;
        let folder = tempfile::tempdir().unwrap();
        let answer = ask(&one_event(folder.path()), |snapshot| snapshot.query(&count())).await;
        assert_eq!(answer.unwrap().rows[0].n, 1);
    }

    #[tokio::test]
    async fn a_call_that_is_dropped_stops_the_work() {
        let _turn = held::turn().await;
        let folder = tempfile::tempdir().unwrap();
        let snapshot = one_event(folder.path());
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (go_on, told) = mpsc::channel::<()>();
        let (ended, has_ended) = tokio::sync::oneshot::channel();
        let call = tokio::spawn(async move {
            ask(&snapshot, move |snapshot| {
                begun.send(()).unwrap();
                told.recv().unwrap();
                let answer = snapshot.query(&count());
                ended.send(matches!(answer, Err(northstar_engine::Error::Cancelled))).unwrap();
                answer
            })
            .await
        });
        has_begun.await.unwrap();
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        go_on.send(()).unwrap();
        assert!(has_ended.await.unwrap(), "the engine worked on for nobody");
    }
}
