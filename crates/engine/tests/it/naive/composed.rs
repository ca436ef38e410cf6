//! Metrics over metrics: windows that overlap, and expressions.

use std::collections::{BTreeMap, BTreeSet};

use northstar_engine::{
    CumulativeEnd, CumulativeSpec, CumulativeWindow, DerivedInput, Formula, Grain, MetricSpec,
    Offset, Query, Span, SpanUnit,
};

use super::{
    Expected, Key, World,
    periods::{self, Stretch},
    zero_of_nothing,
};
use crate::world::formulas;

impl World<'_> {
    pub(super) fn cumulative(
        &self,
        query: &Query,
        spec: &CumulativeSpec,
    ) -> BTreeMap<Key, Expected> {
        let mut rows = BTreeMap::new();
        for period in periods::of(query) {
            let end = match spec.end {
                CumulativeEnd::BucketEnd => period.end.min(query.to_micros),
                CumulativeEnd::BucketStart => period.start.max(query.from_micros),
            };
            let start = match spec.window {
                CumulativeWindow::AllTime => i64::MIN,
                CumulativeWindow::Trailing(span) => periods::back(end, span, query.zone),
                CumulativeWindow::ToDate(grain) => {
                    periods::around(end - 1, query.zone, grain).start
                }
            };
            let window = Query {
                from_micros: start,
                to_micros: end,
                grain: Grain::Total,
                as_of_micros: Some(self.as_of(query)),
                ..query.clone()
            };
            for ((_, values), row) in self.answer(&window, &spec.metric) {
                rows.insert((period.name.clone(), values), row);
            }
        }
        rows
    }

    pub(super) fn derived(
        &self,
        query: &Query,
        formula: &Formula,
        inputs: &[DerivedInput],
    ) -> BTreeMap<Key, Expected> {
        let answers: Vec<_> = inputs.iter().map(|input| self.input(query, input)).collect();
        let keys: BTreeSet<Key> = answers.iter().flat_map(BTreeMap::keys).cloned().collect();
        let (_, meaning) = formulas()
            .into_iter()
            .find(|(source, _)| *source == formula.source())
            .expect("a listed formula");
        keys.into_iter()
            .map(|key| {
                let value = |at: usize| {
                    let absent = zero_of_nothing(&inputs[at].metric);
                    answers[at].get(&key).map_or(absent, |row| row.value)
                };
                let n = answers.iter().map(|rows| rows.get(&key).map_or(0, |row| row.n)).min();
                let row = Expected {
                    value: meaning(value(0), value(1)),
                    n: n.unwrap_or(0),
                    ..Expected::default()
                };
                (key, row)
            })
            .collect()
    }

    /// The rows of an input under the buckets of the question.
    pub fn input(&self, query: &Query, input: &DerivedInput) -> BTreeMap<Key, Expected> {
        let known = Query { as_of_micros: query.as_of_micros, ..query.clone() };
        let Some(offset) = input.offset else { return self.answer(&known, &input.metric) };
        let back = |time: i64| match offset {
            Offset::Window(span) => periods::back(time, span, query.zone),
            Offset::ToGrain(grain) => periods::around(time, query.zone, grain).start,
        };
        if query.grain == Grain::Total {
            let from = back(query.from_micros);
            let to = match offset {
                Offset::Window(_) => back(query.to_micros),
                Offset::ToGrain(_) => from + query.to_micros - query.from_micros,
            };
            let there = Query { from_micros: from, to_micros: to.max(from + 1), ..known };
            return self.answer(&there, &input.metric);
        }
        let here = periods::of(query);
        let there: Vec<_> = here
            .iter()
            .map(|period| back(period.start.max(query.from_micros)))
            .map(|start| periods::around(start, query.zone, query.grain))
            .collect();
        let mut from = there.iter().map(|period| period.start).min().expect("a period");
        let mut to = there.iter().map(|period| period.end).max().expect("a period");
        if matches!(offset, Offset::Window(_)) {
            // What the range cuts is cut there, too.
            if here[0].start < query.from_micros {
                from = from.max(back(query.from_micros));
            }
            if here[here.len() - 1].end > query.to_micros {
                to = to.min(back(query.to_micros).max(from + 1));
            }
        }
        if let Offset::Window(span) = offset
            && !keeps_days(query.grain, span)
        {
            // Stretches that are no buckets are asked for one by one.
            let stretches: Vec<_> = here
                .iter()
                .map(|period| {
                    let start = back(period.start.max(query.from_micros));
                    (start, back(period.end.min(query.to_micros)).max(start + 1))
                })
                .collect();
            let buckets = there.iter().map(|period| (period.start.max(from), period.end.min(to)));
            if !stretches.iter().copied().eq(buckets) {
                return self.stretches(&known, &input.metric, &here, &stretches);
            }
        }
        let rows = self.answer(&Query { from_micros: from, to_micros: to, ..known }, &input.metric);
        let mut moved = BTreeMap::new();
        for (here, there) in here.iter().zip(&there) {
            for ((name, values), row) in &rows {
                if *name == there.name {
                    moved.insert((here.name.clone(), values.clone()), row.clone());
                }
            }
        }
        moved
    }

    fn stretches(
        &self,
        query: &Query,
        metric: &MetricSpec,
        here: &[Stretch],
        stretches: &[(i64, i64)],
    ) -> BTreeMap<Key, Expected> {
        let mut moved = BTreeMap::new();
        for (here, (from_micros, to_micros)) in here.iter().zip(stretches) {
            let there = Query {
                from_micros: *from_micros,
                to_micros: *to_micros,
                grain: Grain::Total,
                ..query.clone()
            };
            for ((_, values), row) in self.answer(&there, metric) {
                moved.insert((here.name.clone(), values), row);
            }
        }
        moved
    }
}

/// Hours and days stand for hours and days, whatever the clocks and the months do.
fn keeps_days(grain: Grain, span: Span) -> bool {
    matches!(grain, Grain::Hour | Grain::Day)
        && !matches!(span.unit, SpanUnit::Hour | SpanUnit::Microsecond)
}
