//! Kernels of the questions about journeys: each collects the events of one subject that matter, in order, and walks
//! them once.

mod collect;
mod funnel;
mod lifecycle;
mod members;
mod paths;
mod retention;

pub use funnel::FunnelPartial;
pub(crate) use funnel::{funnel_members, funnel_partial};
pub use lifecycle::LifecyclePartial;
pub(crate) use lifecycle::{lifecycle_members, lifecycle_partial};
pub use paths::PathsPartial;
pub(crate) use paths::{paths_members, paths_partial};
pub use retention::RetentionTablePartial;
pub(crate) use retention::{retention_members, retention_partial};

use super::{
    scan::{self, RunScan},
    tasks,
};
use crate::{
    calendar::{Buckets, Grain},
    error::{Error, Result},
    journeys::{Coverage, Scope},
    limits::{Use, Workers},
    query::EventSelector,
    snapshot::Snapshot,
};

/// Selectors that one question may have: one bit each.
const MAX_SELECTORS: usize = 32;

/// What the kernels of one question share.
pub(super) struct Ground<'a> {
    pub snapshot: &'a Snapshot,
    pub scope: &'a Scope,
    /// Start events before this instant count.
    pub until: i64,
    /// Events before this instant are known.
    pub as_of: i64,
    threads: usize,
    mind: Use<'a>,
}

impl<'a> Ground<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, scope: &'a Scope, threads: usize) -> Result<Self> {
        if scope.from_micros >= scope.to_micros {
            return Err(invalid("from_micros..to_micros", "is empty; `from` must be before `to`"));
        }
        let latest = || latest(snapshot, scope.position).map(|latest| latest.saturating_add(1));
        let as_of = scope.as_of_micros.or_else(latest).unwrap_or(scope.from_micros);
        Ok(Self {
            snapshot,
            scope,
            until: scope.to_micros.min(as_of),
            as_of,
            threads,
            mind: Use::of(snapshot.limits()),
        })
    }

    fn workers(&self) -> Workers<'_> {
        self.snapshot.workers(self.threads, &self.mind)
    }

    /// Fails when what was found may lack parts.
    pub(super) fn check(&self) -> Result<()> {
        self.mind.check()
    }

    /// Matches events against selectors, narrowed by the question's filter.
    pub(super) fn scan(&self, selectors: &[&EventSelector]) -> Result<Vec<RunScan<'a, u32>>> {
        self.scan_with(selectors, true)
    }

    /// Matches events against selectors, narrowed by the question's filter or not.
    fn scan_with(
        &self,
        selectors: &[&EventSelector],
        filtered: bool,
    ) -> Result<Vec<RunScan<'a, u32>>> {
        if selectors.len() > MAX_SELECTORS {
            return Err(invalid(
                "steps",
                format!(
                    "{} kinds of events in one question, steps and exclusions together; at most \
                     {MAX_SELECTORS} fit",
                    selectors.len()
                ),
            ));
        }
        let filter = self.scope.filter.as_ref().filter(|_| filtered);
        let position = self.scope.position;
        Ok(scan::scan_up_to(self.snapshot, selectors, filter, position, self.workers()))
    }

    /// The buckets of the range.
    pub(super) fn buckets(&self, grain: Grain) -> Result<Buckets> {
        Buckets::covering(self.scope.from_micros, self.scope.to_micros, self.scope.zone, grain)
    }

    /// Runs work over the subjects, in pieces; results in the order of the pieces, which does not depend on the number
    /// of threads.
    pub(super) fn over_subjects<R: Send>(
        &self,
        work: impl Fn(std::ops::Range<u32>) -> R + Sync,
    ) -> Vec<R> {
        tasks::run(self.workers(), self.snapshot.index().chunks.clone(), work)
    }

    pub(super) fn coverage(&self) -> Coverage {
        let watermark = self.snapshot.watermark();
        Coverage {
            events_scanned: self.snapshot.events(),
            subjects: self.snapshot.subjects(),
            watermark: self.scope.position.map_or(watermark, |position| position.min(watermark)),
            as_of_micros: self.as_of,
        }
    }
}

/// Latest effective time of the events at or below a position.
fn latest(snapshot: &Snapshot, position: Option<i64>) -> Option<i64> {
    let of_run = |run: &std::sync::Arc<crate::runs::Run>| match position {
        Some(position) if run.segment.positions().1 > position => {
            let positions = run.segment.position();
            let times = run.segment.effective().iter().enumerate();
            times
                .filter(|(row, _)| positions.get(*row) <= position)
                .map(|(_, time)| i64::from_le_bytes(*time))
                .max()
        }
        _ => Some(run.segment.max_effective()),
    };
    snapshot.runs().iter().filter_map(of_run).max()
}

pub(super) fn invalid(field: &'static str, problem: impl Into<String>) -> Error {
    Error::InvalidQuery { field, problem: problem.into() }
}

/// A length of time that must not be negative.
pub(super) fn not_negative(field: &'static str, micros: Option<i64>) -> Result<()> {
    match micros {
        Some(micros) if micros < 0 => {
            Err(invalid(field, format!("{micros} microseconds is negative")))
        }
        _ => Ok(()),
    }
}
