//! The question who is new, returning, resurrecting or dormant: periods of a range, and the subjects behind them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Ground, invalid, members::Page};
use crate::{
    calendar::{Buckets, Grain, start_of},
    error::Result,
    journeys::{
        Coverage, LifecycleAnswer, LifecycleCell, LifecycleQuery, LifecycleRow, MemberPage, Members,
    },
    kernels::{
        lifecycle::{Lives, Periods},
        partial::LifecycleState,
        space::Locator,
    },
    snapshot::Snapshot,
};

/// What one data set contributes to a lifecycle: merge those of several, then finish.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LifecyclePartial {
    /// Per calendar number of a period.
    periods: BTreeMap<i32, LifecycleState>,
    coverage: Coverage,
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
            let LifecycleState { new, returning, resurrecting, dormant } =
                counts.unwrap_or_default();
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
    /// The periods asked for.
    asked: Buckets,
    /// Of one cell: nothing is broken down.
    locator: Locator<'a>,
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
        let asked = periods(query)?;
        let locator = Locator::over(snapshot, &[], asked.clone());
        Ok(Self { ground, query, asked, locator })
    }

    fn lives(&self) -> Result<Lives<'_, 'a, u32>> {
        let before = start_of(self.asked.start(0) - 1, self.query.scope.zone, self.query.period)?;
        Ok(Lives {
            snapshot: self.ground.snapshot,
            scans: self.ground.scan(&[&self.query.event])?,
            locator: &self.locator,
            periods: Periods::new(&self.asked, before, self.ground.as_of),
        })
    }
}

/// Runs a lifecycle over a snapshot.
pub(crate) fn lifecycle_partial(
    snapshot: &Snapshot,
    query: &LifecycleQuery,
    threads: usize,
) -> Result<LifecyclePartial> {
    let kernel = Kernel::new(snapshot, query, threads)?;
    let lives = kernel.lives()?;
    let pieces = kernel.ground.over_subjects(|subjects| {
        let mut room = Vec::new();
        let mut counts = vec![LifecycleState::default(); kernel.asked.len()];
        for subject in subjects {
            lives.of(subject, &mut room, &mut |_, period, state| counts[period].add(state));
        }
        counts
    });
    let mut periods = BTreeMap::<i32, LifecycleState>::new();
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
    let lives = kernel.lives()?;
    let pages = kernel.ground.over_subjects(|subjects| {
        let mut room = Vec::new();
        let mut found = Page::new(snapshot, page);
        for subject in subjects {
            let mut is_member = false;
            lives.of(subject, &mut room, &mut |_, period, state| {
                is_member |= period == wanted && state == cell.state;
            });
            if is_member {
                found.take(subject);
            }
        }
        found
    });
    Ok(Page::finish(pages, page.limit))
}
