//! What subjects did: stickiness, lifecycle, numbers per subject, conversions, scores.

use std::collections::{BTreeMap, BTreeSet};

use northstar_engine::{
    Aggregate, ConversionMeasure, ConversionSpec, EventSelector, Grain, Lifecycle, LifecycleSpec,
    PerSubjectSpec, Query, Statistic, StickinessMeasure, StickinessSpec,
};

use super::{
    Expected, Key, World, bucket, dimension, label, median, number, period, periods, selected,
    value,
};
use crate::world::{Event, MINUTE};

/// Of the events of a subject, in order: the base event of each conversion that was credited to one.
pub fn credited(events: &[&Event], spec: &ConversionSpec) -> Vec<usize> {
    let held = |base: &Event, conversion: &Event| {
        spec.constants.iter().all(|(ours, theirs)| {
            let ours = value(base, ours).and_then(label);
            ours.is_some() && ours == value(conversion, theirs).and_then(label)
        })
    };
    (0..events.len())
        .filter(|at| selected(events[*at], &spec.conversion))
        .filter_map(|at| {
            let nearest = (0..at).rev().find(|base| {
                selected(events[*base], &spec.base) && held(events[*base], events[at])
            })?;
            let elapsed = events[at].time - events[nearest].time;
            spec.window_micros.is_none_or(|window| elapsed < window).then_some(nearest)
        })
        .collect()
}

impl World<'_> {
    /// Matching events of each subject in each cell.
    fn by_subject(
        &self,
        query: &Query,
        selector: &EventSelector,
    ) -> BTreeMap<Key, Vec<Vec<&Event>>> {
        let mut cells: BTreeMap<Key, BTreeMap<String, Vec<&Event>>> = BTreeMap::new();
        for event in self.known(query) {
            if let Some(subject) = event.subject(self.links)
                && self.in_range(query, event)
                && selected(event, selector)
            {
                let cell = cells.entry(self.key(query, event)).or_default();
                cell.entry(subject).or_default().push(event);
            }
        }
        cells.into_iter().map(|(key, subjects)| (key, subjects.into_values().collect())).collect()
    }

    pub(super) fn scores(
        &self,
        query: &Query,
        selector: &EventSelector,
        property: &str,
    ) -> BTreeMap<Key, Expected> {
        let mut rows = self.grouped(query, selector, |events| {
            let scores: Vec<f64> = events
                .iter()
                .filter_map(|event| number(event, property))
                .filter(|score| (0.0..=10.0).contains(score))
                .collect();
            let net: f64 = scores
                .iter()
                .map(|score| match score {
                    score if *score >= 9.0 => 100.0,
                    score if *score <= 6.0 => -100.0,
                    _ => 0.0,
                })
                .sum();
            let n = scores.len() as u64;
            Expected { value: (n > 0).then(|| net / n as f64), n, ..Expected::default() }
        });
        rows.retain(|_, row| row.n > 0);
        rows
    }

    pub(super) fn per_subject(
        &self,
        query: &Query,
        spec: &PerSubjectSpec,
    ) -> BTreeMap<Key, Expected> {
        let mut rows: BTreeMap<Key, Expected> = BTreeMap::new();
        let numbers = match &spec.aggregate {
            Aggregate::First(path) => {
                self.picked(query, spec, path, |events| events.first().copied())
            }
            Aggregate::Last(path) => {
                self.picked(query, spec, path, |events| events.last().copied())
            }
            aggregate => self.of_subjects(query, spec, aggregate),
        };
        for (key, numbers) in numbers {
            let n = numbers.len() as u64;
            if n == 0 {
                continue;
            }
            let value = match spec.statistic {
                Statistic::P50 => median(numbers, 0.5),
                Statistic::P90 => median(numbers, 0.9),
                Statistic::P95 => median(numbers, 0.95),
                Statistic::Mean => Some(numbers.iter().sum::<f64>() / n as f64),
                Statistic::Sum => Some(numbers.iter().sum::<f64>()),
            };
            rows.insert(key, Expected { value, n, ..Expected::default() });
        }
        rows
    }

    /// The number of each subject in each cell.
    fn of_subjects(
        &self,
        query: &Query,
        spec: &PerSubjectSpec,
        aggregate: &Aggregate,
    ) -> BTreeMap<Key, Vec<f64>> {
        let of_subject = |events: &Vec<&Event>| {
            let of = |path: &str| -> Vec<f64> {
                events.iter().filter_map(|event| number(event, path)).collect()
            };
            match aggregate {
                Aggregate::Count => Some(events.len() as f64),
                Aggregate::Sum(path) => of(path).into_iter().reduce(|sum, x| sum + x),
                Aggregate::Min(path) => of(path).into_iter().reduce(f64::min),
                Aggregate::Max(path) => of(path).into_iter().reduce(f64::max),
                Aggregate::First(_) | Aggregate::Last(_) => unreachable!("they pick an event"),
            }
        };
        let cells = self.by_subject(query, &spec.event).into_iter();
        cells
            .map(|(key, subjects)| (key, subjects.iter().filter_map(of_subject).collect()))
            .collect()
    }

    /// The number of one event of each subject in each bucket, in the cell of that event.
    fn picked<'e>(
        &'e self,
        query: &Query,
        spec: &PerSubjectSpec,
        path: &str,
        pick: fn(&[&'e Event]) -> Option<&'e Event>,
    ) -> BTreeMap<Key, Vec<f64>> {
        let mut cells: BTreeMap<Key, Vec<f64>> = BTreeMap::new();
        for events in self.subjects(query) {
            let mut buckets: BTreeMap<String, Vec<&Event>> = BTreeMap::new();
            for event in events {
                if self.in_range(query, event)
                    && selected(event, &spec.event)
                    && number(event, path).is_some()
                {
                    let name = bucket(event.time, query.zone, query.grain);
                    buckets.entry(name).or_default().push(event);
                }
            }
            for event in buckets.values().filter_map(|events| pick(events)) {
                cells.entry(self.key(query, event)).or_default().extend(number(event, path));
            }
        }
        cells
    }

    pub(super) fn stickiness(
        &self,
        query: &Query,
        spec: &StickinessSpec,
    ) -> BTreeMap<Key, Expected> {
        let periods = periods::of(query);
        let cells = self.by_subject(query, &spec.event).into_iter();
        cells
            .map(|(key, subjects)| {
                let active: Vec<usize> = subjects
                    .iter()
                    .map(|events| {
                        let intervals: BTreeSet<i64> = events
                            .iter()
                            .map(|event| period(event.time, query.zone, spec.interval))
                            .collect();
                        intervals.len()
                    })
                    .collect();
                let most = active.iter().copied().max().unwrap_or(0);
                let exactly =
                    |wanted: usize| active.iter().filter(|n| **n == wanted).count() as u64;
                let counts: Vec<u64> = (1..=most).map(exactly).collect();
                let n = active.len() as u64;
                let at_least =
                    |wanted: u32| active.iter().filter(|n| **n >= wanted as usize).count() as f64;
                let value = match spec.measure {
                    StickinessMeasure::ShareAtLeast(wanted) => Some(at_least(wanted) / n as f64),
                    StickinessMeasure::ShareExactly(wanted) => {
                        Some(exactly(wanted as usize) as f64 / n as f64)
                    }
                    StickinessMeasure::CountAtLeast(wanted) => Some(at_least(wanted)),
                    StickinessMeasure::CountExactly(wanted) => {
                        Some(exactly(wanted as usize) as f64)
                    }
                    StickinessMeasure::Ratio => {
                        let stretch = periods.iter().find(|p| p.name == key.0).expect("a period");
                        let start = stretch.start.max(query.from_micros);
                        let end = stretch.end.min(query.to_micros).min(self.as_of(query));
                        let minutes = (start..end).step_by(MINUTE as usize);
                        let begun: BTreeSet<i64> =
                            minutes.map(|time| period(time, query.zone, spec.interval)).collect();
                        let mean = active.iter().sum::<usize>() as f64 / begun.len() as f64;
                        Some(mean / n as f64)
                    }
                };
                (key, Expected { value, n, counts, ..Expected::default() })
            })
            .collect()
    }

    pub(super) fn lifecycle(&self, query: &Query, spec: &LifecycleSpec) -> BTreeMap<Key, Expected> {
        let known = query.as_of_micros.unwrap_or(i64::MAX);
        // One history per subject and combination of values.
        let mut histories: BTreeMap<(String, Vec<Option<String>>), Vec<i64>> = BTreeMap::new();
        for event in self.known(query).filter(|event| selected(event, &spec.event)) {
            let values = query.breakdowns.iter().map(|breakdown| dimension(event, breakdown));
            if let Some(subject) = event.subject(self.links) {
                histories.entry((subject, values.collect())).or_default().push(event.time);
            }
        }
        let mut rows: BTreeMap<Key, [u64; 4]> = BTreeMap::new();
        for period in periods::of(query) {
            let before = match query.grain {
                Grain::Total => 2 * period.start - period.end,
                grain => periods::around(period.start - MINUTE, query.zone, grain).start,
            };
            for ((_, values), times) in &histories {
                let any = |from: i64, to: i64| times.iter().any(|time| *time >= from && *time < to);
                let now = any(period.start, period.end);
                let previous = any(before, period.start);
                let ever = any(i64::MIN, period.start);
                let state = match (now, previous, ever) {
                    (true, _, false) => 0,
                    (true, true, true) => 1,
                    (true, false, true) => 2,
                    (false, true, _) if period.start < known => 3,
                    _ => continue,
                };
                rows.entry((period.name.clone(), values.clone())).or_default()[state] += 1;
            }
        }
        rows.into_iter()
            .map(|(key, counts)| {
                let state = match spec.state {
                    Lifecycle::New => 0,
                    Lifecycle::Returning => 1,
                    Lifecycle::Resurrecting => 2,
                    Lifecycle::Dormant => 3,
                };
                let (value, n) = (Some(counts[state] as f64), counts[state]);
                (key, Expected { value, n, counts: counts.to_vec(), ..Expected::default() })
            })
            .collect()
    }

    pub(super) fn conversion(
        &self,
        query: &Query,
        spec: &ConversionSpec,
    ) -> BTreeMap<Key, Expected> {
        // Base events, converted ones, conversions.
        let mut cells: BTreeMap<Key, [u64; 3]> = BTreeMap::new();
        for events in self.subjects(query) {
            let credited = credited(&events, spec);
            for (at, event) in events.iter().enumerate() {
                if self.in_range(query, event) && selected(event, &spec.base) {
                    let conversions = credited.iter().filter(|base| **base == at).count() as u64;
                    let cell = cells.entry(self.key(query, event)).or_default();
                    cell[0] += 1;
                    cell[1] += u64::from(conversions > 0);
                    cell[2] += conversions;
                }
            }
        }
        cells
            .into_iter()
            .map(|(key, [n, converted, conversions])| {
                let value = match spec.measure {
                    ConversionMeasure::Rate => converted as f64 / n as f64,
                    ConversionMeasure::Conversions => conversions as f64,
                };
                (key, Expected { value: Some(value), n, ..Expected::default() })
            })
            .collect()
    }
}
