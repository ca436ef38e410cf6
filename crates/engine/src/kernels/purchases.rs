//! Purchase histories: days with a purchase, the first, the last, and what was spent.

use std::ops::ControlFlow;

use super::{
    names::subject_name,
    partial::Sum,
    scan::{self, Event, RunScan, Scratch, Visitor},
    space::NumberColumn,
    tasks,
};
use crate::{
    calendar::{Buckets, Grain},
    error::{Error, Result},
    limits::Use,
    purchases::{PurchaseAnswer, PurchaseQuery, Purchases},
    snapshot::{Snapshot, unknown_cohort},
    subjects::SubjectSet,
};

/// Answers a [`PurchaseQuery`].
pub(crate) fn purchases(
    snapshot: &Snapshot,
    query: &PurchaseQuery,
    threads: usize,
) -> Result<PurchaseAnswer> {
    if query.from_micros >= query.to_micros {
        let problem = "is not later than from_micros".to_owned();
        return Err(Error::InvalidQuery { field: "to_micros", problem });
    }
    let cohorts: Vec<&SubjectSet> = query
        .cohorts
        .iter()
        .map(|name| snapshot.cohort_members(name).ok_or_else(|| unknown_cohort(name)))
        .collect::<Result<_>>()?;
    let mind = Use::of(snapshot.limits());
    let workers = snapshot.workers(threads, &mind);
    let days = Buckets::covering(query.from_micros, query.to_micros, query.zone, Grain::Day)?;
    let mut scans: Vec<RunScan<'_, u8>> = Vec::new();
    let mut amounts: Vec<NumberColumn<'_>> = Vec::new();
    for run in snapshot.runs() {
        let matches = scan::kept_matches(run, &[&query.purchase], None, workers);
        scans.push(RunScan { run, effective: run.segment.effective(), matches });
        amounts.extend(query.amount.as_ref().map(|path| NumberColumn::new(path, run)));
    }
    let index = snapshot.index();
    let pieces = tasks::run(workers, index.chunks.clone(), |subjects| {
        let (mut customers, mut earlier) = (Vec::new(), 0);
        let mut scratch = Scratch::default();
        for subject in subjects {
            let parts = index.parts(subject);
            let mut found =
                Found { query, days: &days, amounts: &amounts, history: None, early: false };
            scan::walk(&scans, parts, &mut scratch, &mut found);
            if found.early {
                earlier += 1;
            } else if let Some(history) = found.history {
                let name = subject_name(snapshot, parts);
                let member_of = cohorts.iter().map(|cohort| cohort.contains(subject)).collect();
                customers.push(history.purchases(name, member_of, &days));
            }
        }
        (customers, earlier)
    });
    mind.check()?;
    let (mut customers, mut bought_earlier) = (Vec::new(), 0);
    for (piece, earlier) in pieces {
        customers.extend(piece);
        bought_earlier += earlier;
    }
    customers.sort_by(|left: &Purchases, right| left.subject.cmp(&right.subject));
    Ok(PurchaseAnswer {
        customers,
        bought_earlier,
        events_scanned: snapshot.events(),
        watermark: snapshot.watermark(),
    })
}

/// The purchases of one subject, in order.
struct Found<'a> {
    query: &'a PurchaseQuery,
    days: &'a Buckets,
    amounts: &'a [NumberColumn<'a>],
    history: Option<History>,
    early: bool,
}

struct History {
    first: usize,
    last: usize,
    with_purchase: u32,
    on_first: Sum,
    /// Summed by itself: less the first day, a total would keep a rounding error where nothing was spent.
    afterwards: Sum,
}

impl Visitor for Found<'_> {
    fn see(&mut self, event: Event) -> ControlFlow<()> {
        if event.time >= self.query.to_micros {
            return ControlFlow::Break(());
        }
        if event.time < self.query.from_micros {
            self.early = true;
            return ControlFlow::Break(());
        }
        let day = self.days.locate(event.time);
        let amount = self
            .amounts
            .get(event.run as usize)
            .map_or(0.0, |column| column.get(event.row as usize));
        let amount = if amount.is_nan() { 0.0 } else { amount };
        let history = self.history.get_or_insert_with(|| History {
            first: day,
            last: day,
            with_purchase: 1,
            on_first: Sum::default(),
            afterwards: Sum::default(),
        });
        if day != history.last {
            history.last = day;
            history.with_purchase += 1;
        }
        if day == history.first {
            history.on_first.add(amount);
        } else {
            history.afterwards.add(amount);
        }
        ControlFlow::Continue(())
    }
}

impl History {
    fn purchases(self, name: &str, member_of: Vec<bool>, days: &Buckets) -> Purchases {
        let between = |from: usize, to: usize| {
            u32::try_from(days.number(to) - days.number(from)).unwrap_or(0)
        };
        let repeat_total = self.afterwards.value();
        Purchases {
            subject: name.to_owned(),
            member_of,
            first_micros: days.start(self.first),
            repeats: self.with_purchase - 1,
            recency_days: between(self.first, self.last),
            age_days: between(self.first, days.len() - 1),
            total: self.on_first.value() + repeat_total,
            repeat_total,
        }
    }
}
