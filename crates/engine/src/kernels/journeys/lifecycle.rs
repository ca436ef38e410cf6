//! The lifecycle of subjects: their active periods, in order, compared with the period before.

use serde::{Deserialize, Serialize};

use super::{Ground, collect::Collector, invalid, members::Page};
use crate::{
    calendar::{Buckets, Grain},
    error::Result,
    journeys::{
        Coverage, LifecycleAnswer, LifecycleCell, LifecycleQuery, LifecycleRow, MemberPage, Members,
    },
    kernels::{scan::RunScan, space::BucketCursor},
    query::Lifecycle,
    snapshot::Snapshot,
};

/// What one data set contributes to a lifecycle: merge those of several, then finish.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LifecyclePartial {
    /// Per calendar number of a period.
    periods: std::collections::BTreeMap<i32, Counts>,
    coverage: Coverage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Counts {
    new: u64,
    returning: u64,
    resurrecting: u64,
    dormant: u64,
}

impl Counts {
    fn add(&mut self, state: Lifecycle) {
        match state {
            Lifecycle::New => self.new += 1,
            Lifecycle::Returning => self.returning += 1,
            Lifecycle::Resurrecting => self.resurrecting += 1,
            Lifecycle::Dormant => self.dormant += 1,
        }
    }

    fn merge(&mut self, other: Self) {
        self.new += other.new;
        self.returning += other.returning;
        self.resurrecting += other.resurrecting;
        self.dormant += other.dormant;
    }
}

impl LifecyclePartial {
    /// Adds the contribution of other subjects to the same question; no subject may be in both.
    pub fn merge(&mut self, other: Self) {
        for (period, counts) in other.periods {
            self.periods.entry(period).or_default().merge(counts);
        }
        self.coverage.merge(other.coverage);
    }

    /// The answer.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`](crate::Error::InvalidQuery) when the question contradicts itself.
    pub fn finish(self, query: &LifecycleQuery) -> Result<LifecycleAnswer> {
        let buckets = periods(query)?;
        let as_of = self.coverage.as_of_micros;
        let begun = (0..buckets.len()).filter(|bucket| buckets.start(*bucket) < as_of);
        let rows = begun.map(|bucket| {
            let counts = self.periods.get(&number(query, &buckets, bucket)).copied();
            let Counts { new, returning, resurrecting, dormant } = counts.unwrap_or_default();
            LifecycleRow {
                bucket_start: buckets.start(bucket),
                new,
                returning,
                resurrecting,
                dormant,
                complete: buckets.end(bucket) <= as_of,
            }
        });
        Ok(LifecycleAnswer { rows: rows.collect(), coverage: self.coverage })
    }
}

/// The periods asked for.
fn periods(query: &LifecycleQuery) -> Result<Buckets> {
    let scope = &query.scope;
    Buckets::covering(scope.from_micros, scope.to_micros, scope.zone, query.period)
}

/// Number of a period, whatever else is covered: the calendar's, or the place among the periods asked for where the
/// calendar has none.
fn number(query: &LifecycleQuery, buckets: &Buckets, bucket: usize) -> i32 {
    if query.period == Grain::Hour { bucket as i32 } else { buckets.number(bucket) }
}

struct Kernel<'a> {
    ground: Ground<'a>,
    query: &'a LifecycleQuery,
    scans: Vec<RunScan<'a, u32>>,
    /// The periods asked for.
    asked: Buckets,
    /// Periods from the first event to the end of the range.
    all: Buckets,
    /// Number among `all` of the first period asked for.
    first: usize,
    /// Number among `all` behind the last period asked for that has begun.
    end: usize,
}

impl<'a> Kernel<'a> {
    fn new(snapshot: &'a Snapshot, query: &'a LifecycleQuery, threads: usize) -> Result<Self> {
        if query.period == Grain::Total {
            return Err(invalid(
                "period",
                "is the total; a lifecycle goes by hour, day, week or month",
            ));
        }
        if !query.scope.breakdowns.is_empty() {
            return Err(invalid("breakdowns", "who is dormant has no values to be broken down by"));
        }
        let ground = Ground::new(snapshot, &query.scope, threads)?;
        let scans = ground.scan(&[&query.event])?;
        let asked = periods(query)?;
        let earliest = snapshot.effective_range().map_or(i64::MAX, |(earliest, _)| earliest);
        // One instant before the range, so that the period before it is there.
        let from = earliest.min(asked.start(0).saturating_sub(1));
        let to = asked.end(asked.len() - 1);
        let all = Buckets::covering(from, to, query.scope.zone, query.period)?;
        let first = all.locate(asked.start(0));
        let begun = (0..asked.len()).filter(|at| asked.start(*at) < ground.as_of).count();
        Ok(Self { ground, query, scans, asked, all, first, end: first + begun })
    }

    /// Shows what a subject is in each period asked for.
    fn subject(
        &self,
        subject: u32,
        collector: &mut Collector,
        see: &mut impl FnMut(usize, Lifecycle),
    ) {
        let parts = self.ground.snapshot.index().parts(subject);
        if parts.is_empty() {
            return;
        }
        let known = self.ground.as_of.min(self.all.end(self.all.len() - 1));
        let events = collector.collect(&self.scans, parts, known);
        let mut cursor = BucketCursor::new();
        let mut last = None;
        let asked = self.first..self.end;
        for event in events {
            let period = cursor.locate(&self.all, event.time);
            if last == Some(period) {
                continue;
            }
            let state = match last {
                None => Lifecycle::New,
                Some(last) if last + 1 == period => Lifecycle::Returning,
                Some(last) => {
                    if asked.contains(&(last + 1)) {
                        see(last + 1 - self.first, Lifecycle::Dormant);
                    }
                    Lifecycle::Resurrecting
                }
            };
            if asked.contains(&period) {
                see(period - self.first, state);
            }
            last = Some(period);
        }
        if let Some(last) = last
            && asked.contains(&(last + 1))
        {
            see(last + 1 - self.first, Lifecycle::Dormant);
        }
    }
}

/// Runs a lifecycle over a snapshot.
pub(crate) fn lifecycle_partial(
    snapshot: &Snapshot,
    query: &LifecycleQuery,
    threads: usize,
) -> Result<LifecyclePartial> {
    let kernel = Kernel::new(snapshot, query, threads)?;
    let pieces = kernel.ground.over_subjects(|subjects| {
        let mut collector = Collector::default();
        let mut counts = vec![Counts::default(); kernel.asked.len()];
        for subject in subjects {
            kernel.subject(subject, &mut collector, &mut |at, state| counts[at].add(state));
        }
        counts
    });
    let mut periods = std::collections::BTreeMap::<i32, Counts>::new();
    for counts in pieces {
        for (at, counts) in counts.into_iter().enumerate() {
            let number = number(kernel.query, &kernel.asked, at);
            periods.entry(number).or_default().merge(counts);
        }
    }
    Ok(LifecyclePartial { periods, coverage: kernel.ground.coverage() })
}

/// The subjects behind one number of a lifecycle.
pub(crate) fn lifecycle_members(
    snapshot: &Snapshot,
    query: &LifecycleQuery,
    cell: &LifecycleCell,
    page: &MemberPage,
    threads: usize,
) -> Result<Members> {
    let kernel = Kernel::new(snapshot, query, threads)?;
    let asked = &kernel.asked;
    let wanted = (0..asked.len())
        .find(|at| asked.start(*at) == cell.bucket_start)
        .ok_or_else(|| invalid("bucket_time", "is not the start of a period of the range"))?;
    let pages = kernel.ground.over_subjects(|subjects| {
        let mut collector = Collector::default();
        let mut found = Page::new(snapshot, page);
        for subject in subjects {
            let mut is_member = false;
            kernel.subject(subject, &mut collector, &mut |at, state| {
                is_member |= at == wanted && state == cell.state;
            });
            if is_member {
                found.take(subject);
            }
        }
        found
    });
    Ok(Page::finish(pages, page.limit))
}
