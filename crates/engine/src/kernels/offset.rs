//! Which bucket of another time stands for each bucket of a question.

use super::Context;
use crate::{
    calendar::{Buckets, Grain, start_of},
    error::Result,
    query::{MetricSpec, Offset, Query},
};

/// A question about another time, and the start of the bucket there that stands for each bucket here.
pub(super) struct Shifted {
    pub query: Query,
    pub sources: Vec<Option<i64>>,
}

/// The same question with another metric about another time. A bucket that the range cuts is cut there, too, so that
/// like is set beside like.
pub(super) fn shifted(query: &Query, metric: &MetricSpec, offset: Offset) -> Result<Shifted> {
    let (zone, grain) = (query.zone, query.grain);
    let back = |micros: i64| match offset {
        Offset::Window(span) => span.before(micros, zone),
        Offset::ToGrain(to) => start_of(micros, zone, to),
    };
    let mut question = Query { metric: metric.clone(), ..query.clone() };
    let buckets = Buckets::covering(query.from_micros, query.to_micros, zone, grain)?;
    if grain == Grain::Total {
        question.from_micros = back(query.from_micros)?;
        question.to_micros = match offset {
            Offset::Window(_) => back(query.to_micros)?,
            Offset::ToGrain(_) => question.from_micros + (query.to_micros - query.from_micros),
        }
        .max(question.from_micros + 1);
        return Ok(Shifted { query: question, sources: vec![None] });
    }
    // A bucket that the range cuts begins with the range.
    let starts =
        (0..buckets.len()).map(|bucket| back(buckets.start(bucket).max(query.from_micros)));
    let starts = starts.collect::<Result<Vec<_>>>()?;
    let (first, last) = starts
        .iter()
        .fold((i64::MAX, i64::MIN), |(first, last), start| (first.min(*start), last.max(*start)));
    let there = Buckets::covering(first, last + 1, zone, grain)?;
    let sources = starts.iter().map(|start| Some(there.start(there.locate(*start)))).collect();
    question.from_micros = there.start(0);
    question.to_micros = there.end(there.len() - 1);
    if let Offset::Window(_) = offset {
        if query.from_micros > buckets.start(0) {
            question.from_micros = question.from_micros.max(back(query.from_micros)?);
        }
        if query.to_micros < buckets.end(buckets.len() - 1) {
            let end = back(query.to_micros)?.max(question.from_micros + 1);
            question.to_micros = question.to_micros.min(end);
        }
    }
    Ok(Shifted { query: question, sources })
}

impl<'a> Context<'a> {
    /// The same about another question.
    pub(super) fn about<'b>(&self, query: &'b Query) -> Result<Context<'b>>
    where
        'a: 'b,
    {
        let buckets =
            Buckets::covering(query.from_micros, query.to_micros, query.zone, query.grain)?;
        Ok(Context {
            snapshot: self.snapshot,
            query,
            buckets,
            until: query.to_micros.min(self.as_of),
            as_of: self.as_of,
            threads: self.threads,
        })
    }
}
