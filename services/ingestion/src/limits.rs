//! How many events of a source are taken a second, where its document says so:
//! the generic cell rate algorithm
//! (<https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm>), a cell being an
//! event. Each process counts for itself.
//!
//! What was taken is owed time. A request passes while no more is owed than the
//! burst allows, whatever its size, so that none is too large to ever pass; the
//! ones after it wait for the longer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use northstar_domain::ProjectId;
use northstar_domain::source::RateLimit;
use northstar_store::PgPool;
use northstar_store::ingestion::source_documents;
use tokio_util::sync::CancellationToken;

use crate::error::Error;

/// How soon a change made by another process holds here.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

type Sources = HashMap<String, Arc<Limited>>;

/// The limits this process keeps. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Limits(Arc<RwLock<HashMap<ProjectId, Sources>>>);

struct Limited {
    limit: RateLimit,
    /// When all that was taken is paid for; `None` before the first event.
    paid_at: Mutex<Option<Instant>>,
}

impl Limited {
    fn new(limit: RateLimit) -> Arc<Self> {
        Arc::new(Self { limit, paid_at: Mutex::new(None) })
    }

    fn time_for(&self, events: f64) -> Duration {
        Duration::from_secs_f64(events / f64::from(self.limit.events_per_second))
    }

    /// Owes for events, or says how long it takes until they would pass.
    fn take(&self, events: usize, now: Instant, even_so: bool) -> Result<(), Duration> {
        let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        let from = paid_at.map_or(now, |paid_at| paid_at.max(now));
        let slack = self.time_for(f64::from(self.limit.burst()));
        let beyond = (from - now).saturating_sub(slack);
        if !even_so && !beyond.is_zero() {
            return Err(beyond);
        }
        *paid_at = Some(from + self.time_for(events as f64));
        Ok(())
    }
}

impl Limits {
    /// Takes events of a source, unless it has sent too many.
    ///
    /// # Errors
    /// [`Error::Limited`] says when to try again.
    pub(crate) fn take(
        &self,
        project: ProjectId,
        source: &str,
        events: usize,
        now: Instant,
    ) -> Result<(), Error> {
        let Some(limited) = self.find(project, source) else { return Ok(()) };
        limited.take(events, now, false).map_err(|after| Error::Limited {
            source: source.to_owned(),
            events_per_second: limited.limit.events_per_second,
            after,
        })
    }

    /// Counts events of a request of which a part was taken already.
    pub(crate) fn owe(&self, project: ProjectId, source: &str, events: usize, now: Instant) {
        if let Some(limited) = self.find(project, source) {
            // It is taken even so.
            let _ = limited.take(events, now, true);
        }
    }

    fn find(&self, project: ProjectId, source: &str) -> Option<Arc<Limited>> {
        let limits = self.0.read().unwrap_or_else(PoisonError::into_inner);
        limits.get(&project).and_then(|sources| sources.get(source)).cloned()
    }

    /// What a document says now.
    pub(crate) fn set(&self, project: ProjectId, source: &str, limit: Option<RateLimit>) {
        let mut limits = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let sources = limits.entry(project).or_default();
        match limit {
            None => {
                sources.remove(source);
            }
            Some(limit) if sources.get(source).is_some_and(|known| known.limit == limit) => {}
            Some(limit) => {
                sources.insert(source.to_owned(), Limited::new(limit));
            }
        }
    }

    /// What all documents say now; what is owed under the same limit stays.
    fn replace(&self, found: Vec<(ProjectId, String, RateLimit)>) {
        let mut limits = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *limits);
        for (project, source, limit) in found {
            let known = before.get_mut(&project).and_then(|sources| sources.remove(&source));
            let same = known.filter(|known| known.limit == limit);
            let limited = same.unwrap_or_else(|| Limited::new(limit));
            limits.entry(project).or_default().insert(source, limited);
        }
    }

    /// Follows the documents until `shutdown`. A database that is away is waited for.
    pub(crate) async fn follow(
        self,
        pool: PgPool,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        loop {
            match self.look(&pool).await {
                Ok(()) => {}
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "limits of sources could not be read, trying again"
                ),
            }
            let pause = tokio::time::sleep(LOOK_INTERVAL);
            if shutdown.run_until_cancelled(pause).await.is_none() {
                return Ok(());
            }
        }
    }

    async fn look(&self, pool: &PgPool) -> northstar_store::Result<()> {
        let mut connection = pool.acquire().await?;
        self.replace(source_documents::limits(&mut connection).await?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROJECT: ProjectId = ProjectId(1);

    fn limit(events_per_second: u32, burst: u32) -> RateLimit {
        RateLimit { events_per_second, burst: Some(burst) }
    }

    fn limits(limit: RateLimit) -> Limits {
        let limits = Limits::default();
        limits.set(PROJECT, "web", Some(limit));
        limits
    }

    fn refused(taken: Result<(), Error>) -> Option<Duration> {
        match taken {
            Err(Error::Limited { after, .. }) => Some(after),
            _ => None,
        }
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let limits = limits(limit(10, 20));
        let start = Instant::now();
        let take = |events, after| {
            refused(limits.take(PROJECT, "web", events, start + Duration::from_millis(after)))
        };
        assert_eq!(take(20, 0), None);
        assert_eq!(take(1, 0), None, "what is owed is the burst, not more");
        assert_eq!(take(1, 0), Some(Duration::from_millis(100)));
        assert_eq!(take(1, 99), Some(Duration::from_millis(1)));
        assert_eq!(take(1, 100), None);
        assert_eq!(take(1, 100), Some(Duration::from_millis(100)));
        // What was not used is not saved up beyond the burst.
        assert_eq!(take(20, 60_000), None);
        assert_eq!(take(1, 60_000), None);
        assert!(take(1, 60_000).is_some());
    }

    #[test]
    fn a_request_larger_than_the_burst_passes_and_is_paid_for() {
        let limits = limits(limit(10, 1));
        let start = Instant::now();
        let take = |after| {
            let now = start + Duration::from_secs(after);
            refused(limits.take(PROJECT, "web", 10_000, now))
        };
        assert_eq!(take(0), None);
        assert!(take(900).is_some());
        assert_eq!(take(1_000), None);
    }

    #[test]
    fn the_rest_of_a_request_is_taken_and_owed_for() {
        let limits = limits(limit(10, 1));
        let now = Instant::now();
        limits.owe(PROJECT, "web", 11, now);
        limits.owe(PROJECT, "web", 10, now);
        assert_eq!(
            refused(limits.take(PROJECT, "web", 1, now)),
            Some(Duration::from_millis(2_000))
        );
    }

    #[test]
    fn others_are_not_limited_and_a_change_forgives() {
        let limits = limits(limit(1, 1));
        let now = Instant::now();
        let refused = |source| refused(limits.take(PROJECT, source, 100, now)).is_some();
        assert!(!refused("web"));
        assert!(refused("web"));
        assert!(!refused("app") && !refused("app"));

        limits.replace(vec![(PROJECT, "web".to_owned(), limit(1, 1))]);
        assert!(refused("web"), "the same document changes nothing");
        limits.replace(vec![(PROJECT, "web".to_owned(), limit(2, 1))]);
        assert!(!refused("web"));
        assert!(refused("web"));
        limits.set(PROJECT, "web", None);
        assert!(!refused("web") && !refused("web"));
    }
}
