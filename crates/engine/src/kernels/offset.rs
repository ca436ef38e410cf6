//! Which time stands for each bucket of a question about another time.

use super::Context;
use crate::{
    calendar::{Buckets, Grain, Span, SpanUnit, start_of},
    error::{Error, Result},
    query::{MetricSpec, Offset, Query},
};

/// Most buckets whose other times are asked for one by one.
const MAX_STRETCHES: usize = 400;

/// Questions about another time, and where each bucket of the question here finds its counterpart.
pub(super) struct Shifted {
    pub questions: Vec<Query>,
    /// One per bucket here.
    pub sources: Vec<Source>,
}

/// A bucket of one of the questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Source {
    pub question: usize,
    /// Start of the bucket; `None` when the question has one only.
    pub bucket: Option<i64>,
}

/// The same question with another metric about another time. A bucket that the range cuts is cut there, too, so that
/// like is set beside like. Where the offset leads from buckets to no buckets, as a week does from months, the
/// stretches it leads to are asked for one by one.
pub(super) fn shifted(query: &Query, metric: &MetricSpec, offset: Offset) -> Result<Shifted> {
    let (zone, grain) = (query.zone, query.grain);
    let question = Query { metric: metric.clone(), ..query.clone() };
    if grain == Grain::Total {
        let (from_micros, to_micros) = match offset {
            Offset::Window(span) => {
                (span.before(query.from_micros, zone)?, span.before(query.to_micros, zone)?)
            }
            Offset::ToGrain(to) => {
                let start = start_of(query.from_micros, zone, to)?;
                (start, start + (query.to_micros - query.from_micros))
            }
        };
        let to_micros = to_micros.max(from_micros + 1);
        let questions = vec![Query { from_micros, to_micros, ..question }];
        return Ok(Shifted { questions, sources: vec![Source { question: 0, bucket: None }] });
    }
    let buckets = Buckets::covering(query.from_micros, query.to_micros, zone, grain)?;
    match offset {
        Offset::ToGrain(to) => {
            let starts = |bucket| start_of(query.from_micros.max(buckets.start(bucket)), zone, to);
            let starts = (0..buckets.len()).map(starts).collect::<Result<Vec<_>>>()?;
            Ok(by_buckets(question, &starts)?.0)
        }
        Offset::Window(span) => by_window(query, &question, &buckets, span),
    }
}

fn by_window(query: &Query, question: &Query, buckets: &Buckets, span: Span) -> Result<Shifted> {
    let back = |micros| span.before(micros, query.zone);
    // A bucket that the range cuts begins and ends with the range.
    let stretches = (0..buckets.len())
        .map(|bucket| {
            let start = back(buckets.start(bucket).max(query.from_micros))?;
            Ok((start, back(buckets.end(bucket).min(query.to_micros))?.max(start + 1)))
        })
        .collect::<Result<Vec<_>>>()?;
    let starts: Vec<i64> = stretches.iter().map(|(start, _)| *start).collect();
    let (mut shifted, there) = by_buckets(question.clone(), &starts)?;
    let whole = &mut shifted.questions[0];
    if query.from_micros > buckets.start(0) {
        whole.from_micros = whole.from_micros.max(back(query.from_micros)?);
    }
    if query.to_micros < buckets.end(buckets.len() - 1) {
        let end = back(query.to_micros)?.max(whole.from_micros + 1);
        whole.to_micros = whole.to_micros.min(end);
    }
    let (from, to) = (whole.from_micros, whole.to_micros);
    let is_bucket = |(start, end): &(i64, i64)| {
        let bucket = there.locate(*start);
        (there.start(bucket).max(from), there.end(bucket).min(to)) == (*start, *end)
    };
    if keeps_days(query.grain, span) || stretches.iter().all(is_bucket) {
        return Ok(shifted);
    }
    if stretches.len() > MAX_STRETCHES {
        return Err(Error::InvalidQuery {
            field: "grain",
            problem: format!(
                "an offset that is no multiple of the grain allows {MAX_STRETCHES} buckets, not {}",
                stretches.len()
            ),
        });
    }
    let questions = stretches.into_iter().map(|(from_micros, to_micros)| Query {
        from_micros,
        to_micros,
        grain: Grain::Total,
        ..question.clone()
    });
    let questions: Vec<Query> = questions.collect();
    let sources = (0..questions.len()).map(|question| Source { question, bucket: None }).collect();
    Ok(Shifted { questions, sources })
}

/// Whether buckets stand for buckets, also where a day there stands for several here, as the last of February does, or
/// is an hour longer.
fn keeps_days(grain: Grain, span: Span) -> bool {
    let of_days = !matches!(span.unit, SpanUnit::Microsecond | SpanUnit::Hour);
    matches!(grain, Grain::Hour | Grain::Day) && of_days
}

/// The buckets that hold these instants.
fn by_buckets(question: Query, starts: &[i64]) -> Result<(Shifted, Buckets)> {
    let (first, last) = starts
        .iter()
        .fold((i64::MAX, i64::MIN), |(first, last), start| (first.min(*start), last.max(*start)));
    let there = Buckets::covering(first, last + 1, question.zone, question.grain)?;
    let bucket = |start: &i64| Some(there.start(there.locate(*start)));
    let sources = starts.iter().map(|start| Source { question: 0, bucket: bucket(start) });
    let sources = sources.collect();
    let (from_micros, to_micros) = (there.start(0), there.end(there.len() - 1));
    let questions = vec![Query { from_micros, to_micros, ..question }];
    Ok((Shifted { questions, sources }, there))
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
            merged_further: self.merged_further,
            threads: self.threads,
        })
    }
}
