//! Buckets held against what the buckets before them lead to expect.

use std::collections::{BTreeMap, BTreeSet};

use northstar_domain::threshold::{Breakdown, Grain, Observation};
use northstar_engine::calendar::Buckets;
use northstar_engine::{Query, Row};
use northstar_stats::anomaly::{Judged, Point, detect};

use super::evaluate::{MAX_SEGMENTS, Watched, nothing};
use super::periods::{Pair, engine_grain};
use crate::dataset::View;
use crate::insights::anomalies::{habits, seasons};
use crate::plan::instant;
use crate::{Error, Result};

/// The rows of one value of the dimension by the start of their bucket.
type Rows<'a> = BTreeMap<i64, &'a Row>;

/// What is seen of the buckets that are judged; of several values of a dimension,
/// the worst.
pub(super) fn observe(
    watched: &Watched,
    view: &View,
    grain: Grain,
    pairs: &[Pair],
    breakdown: Option<&Breakdown>,
) -> Result<Vec<Observation>> {
    let (Some(first), Some(last)) = (pairs.first(), pairs.last()) else { return Ok(Vec::new()) };
    let grain = engine_grain(grain);
    let habits = habits(grain);
    // Two more than are looked at: of the first, the range has but a part.
    let start = habits
        .bucket
        .checked_mul(habits.history + 2)
        .and_then(|past| first.period.window.start.checked_sub_signed(past))
        .ok_or_else(|| Error::field("evaluation_time", "its past begins before the calendar"))?;
    let query = Query {
        from_micros: instant(start),
        to_micros: instant(last.period.window.end),
        grain,
        ..watched.query(last.period)?
    };
    let answer = view.snapshot.query(&query)?;
    let mut by_segment: BTreeMap<Option<String>, Rows<'_>> = BTreeMap::new();
    for row in &answer.rows {
        if let Some(start) = row.bucket_start {
            let segment = row.dimensions.first().cloned().flatten();
            by_segment.entry(segment).or_default().insert(start, row);
        }
    }
    if by_segment.len() > MAX_SEGMENTS {
        let problem = format!("has more than {MAX_SEGMENTS} values");
        return Err(Error::field("breakdown.by", problem));
    }
    let segments: BTreeSet<Option<String>> = match breakdown {
        None => [None].into(),
        Some(Breakdown { value: Some(value), .. }) => [Some(value.clone())].into(),
        Some(_) => by_segment.keys().cloned().collect(),
    };
    let buckets = Buckets::covering(query.from_micros, query.to_micros, query.zone, query.grain)?;
    let past = Past {
        seasons: seasons(&buckets, watched.zone, grain),
        buckets,
        // Before the first event of the log there is no past, not one of zeros.
        begin: view.snapshot.effective_range().map_or(i64::MAX, |(earliest, _)| earliest),
        counts: watched.counts()?,
        settings: habits.settings(habits.history, habits.history / 2),
    };
    let mut worst: Vec<Option<Observation>> = vec![None; pairs.len()];
    for segment in segments {
        let none = Rows::new();
        let rows = by_segment.get(&segment).unwrap_or(&none);
        let judged = past.judge(rows, instant(last.period.as_of))?;
        for (pair, worst) in pairs.iter().zip(&mut worst) {
            let seen = past.observation(pair, segment.clone(), rows, &judged);
            if worst.as_ref().is_none_or(|worst| watched.worse(&seen, worst).is_gt()) {
                *worst = Some(seen);
            }
        }
    }
    let observed = pairs.iter().zip(worst);
    Ok(observed.map(|(pair, seen)| seen.unwrap_or_else(|| nothing(pair.period))).collect())
}

/// The buckets that are judged, and those before them.
struct Past {
    buckets: Buckets,
    seasons: Vec<u32>,
    begin: i64,
    /// Whether nothing is zero.
    counts: bool,
    settings: northstar_stats::anomaly::Settings,
}

impl Past {
    fn judge(&self, rows: &Rows<'_>, as_of: i64) -> Result<Vec<Option<Judged>>> {
        let points = (0..self.buckets.len()).map(|at| {
            let value = match rows.get(&self.buckets.start(at)) {
                _ if self.buckets.start(at) < self.begin => None,
                Some(row) => row.value.filter(|_| row.complete),
                None => (self.counts && self.buckets.end(at) <= as_of).then_some(0.0),
            };
            Point { value, season: self.seasons[at] }
        });
        let points: Vec<Point> = points.collect();
        detect(&points, &self.settings).map_err(|error| Error::InsufficientData(error.to_string()))
    }

    fn observation(
        &self,
        pair: &Pair,
        segment: Option<String>,
        rows: &Rows<'_>,
        judged: &[Option<Judged>],
    ) -> Observation {
        let start = instant(pair.period.window.start);
        let row = rows.get(&start);
        let before = rows.get(&instant(pair.before.window.start)).map_or(0, |row| row.n);
        let sample = row.map_or(0, |row| row.n);
        let judged = judged[self.buckets.locate(start)];
        Observation {
            value: match row {
                Some(row) => row.value,
                None => self.counts.then_some(0.0),
            },
            segment,
            reference: judged.map(|judged| judged.expected),
            spread: judged.map(|judged| judged.spread),
            // That a count fell to nothing rests on what it was before.
            sample: if self.counts { sample.max(before) } else { sample },
            complete: row.is_none_or(|row| row.complete),
            ..nothing(pair.period)
        }
    }
}
