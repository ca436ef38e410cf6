//! The same questions answered slowly and plainly: sort, loop, compare.

mod activity;
mod composed;
mod periods;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Datelike, Days, NaiveDate, Offset, TimeZone, Timelike};
use chrono_tz::Tz;
use northstar_engine::{
    Aggregate, Anchor, ConversionMeasure, Dimension, DistinctOf, Entry, EventSelector, Filter,
    FunnelSpec, Grain, Maturity, MetricSpec, Outcome, Period, Query, RetentionSpec, Return,
    StickinessMeasure, Ties, VariantQuery,
};
use serde_json::Value;

use crate::world::{Event, filters};

/// Name of a bucket, and values of the dimensions.
pub type Key = (String, Vec<Option<String>>);

/// What is expected of a row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expected {
    pub value: Option<f64>,
    pub n: u64,
    /// Counts per step, or eligible and retained per offset, or entered and reached.
    pub counts: Vec<u64>,
    /// Median seconds per step after the first.
    pub medians: Vec<Option<f64>>,
}

pub struct World<'a> {
    pub events: &'a [Event],
    pub links: &'a HashMap<String, String>,
}

pub fn bucket(time: i64, zone: Tz, grain: Grain) -> String {
    let local =
        zone.from_utc_datetime(&DateTime::from_timestamp_micros(time).expect("a time").naive_utc());
    match grain {
        Grain::Total => String::new(),
        Grain::Hour => format!("{} {} {}", local.date_naive(), local.hour(), local.offset().fix()),
        Grain::Day => local.date_naive().to_string(),
        Grain::Week => {
            let date = local.date_naive();
            (date - Days::new(u64::from(date.weekday().num_days_from_monday()))).to_string()
        }
        Grain::Month => format!("{}-{:02}", local.year(), local.month()),
        Grain::Quarter => format!("{}-Q{}", local.year(), local.month0() / 3),
        Grain::Year => local.year().to_string(),
    }
}

/// Number of a period, and the local date on which it ends.
fn period(time: i64, zone: Tz, period: Period) -> i64 {
    let date = zone
        .from_utc_datetime(&DateTime::from_timestamp_micros(time).expect("a time").naive_utc())
        .date_naive();
    let days = (date - NaiveDate::default()).num_days();
    match period {
        Period::Day => days,
        Period::Week => (days + 3).div_euclid(7),
        Period::Month => i64::from(date.year()) * 12 + i64::from(date.month0()),
    }
}

pub fn passes(event: &Event, filter: Option<&Filter>) -> bool {
    filter.is_none_or(|filter| {
        let (_, meaning) = filters()
            .into_iter()
            .find(|(source, _)| *source == filter.source())
            .expect("a listed filter");
        meaning(event)
    })
}

pub fn selected(event: &Event, selector: &EventSelector) -> bool {
    (selector.names.is_empty() || selector.names.iter().any(|name| name == event.name))
        && passes(event, selector.filter.as_ref())
}

pub fn value<'a>(event: &'a Event, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(&event.properties, |value, key| value.get(key))
}

pub fn label(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_f64() => {
            number.as_f64().map(|number| number.to_string())
        }
        other => Some(other.to_string()),
    }
}

pub fn number(event: &Event, path: &str) -> Option<f64> {
    match value(event, path)? {
        Value::Bool(value) => Some(f64::from(u8::from(*value))),
        value => value.as_f64(),
    }
}

pub fn dimension(event: &Event, dimension: &Dimension) -> Option<String> {
    match dimension {
        Dimension::Event => Some(event.name.to_owned()),
        Dimension::Source => Some(event.source.to_owned()),
        Dimension::AccountId => event.account.clone(),
        Dimension::Property(path) => value(event, path).and_then(label),
        Dimension::Cohort(_) => unreachable!("cohorts have tests of their own"),
    }
}

/// The value of a metric where nothing happened.
fn zero_of_nothing(metric: &MetricSpec) -> Option<f64> {
    match metric {
        MetricSpec::Count { .. }
        | MetricSpec::Unique { .. }
        | MetricSpec::Sum { .. }
        | MetricSpec::Lifecycle(_) => Some(0.0),
        MetricSpec::Stickiness(spec) => match spec.measure {
            StickinessMeasure::CountAtLeast(_) | StickinessMeasure::CountExactly(_) => Some(0.0),
            _ => None,
        },
        MetricSpec::Conversion(spec) => {
            (spec.measure == ConversionMeasure::Conversions).then_some(0.0)
        }
        MetricSpec::Cumulative(spec) => zero_of_nothing(&spec.metric),
        MetricSpec::PerSubject(spec) => {
            (spec.statistic == northstar_engine::Statistic::Sum).then_some(0.0)
        }
        _ => None,
    }
}

pub fn median(mut seconds: Vec<f64>, share: f64) -> Option<f64> {
    seconds.sort_by(f64::total_cmp);
    let rank = (seconds.len() as f64 - 1.0) * share;
    let low = seconds.get(rank as usize)?;
    let high = seconds.get(rank as usize + 1).unwrap_or(low);
    Some(low + (high - low) * rank.fract())
}

impl World<'_> {
    fn as_of(&self, query: &Query) -> i64 {
        let latest = self.events.iter().map(|event| event.time + 1).max();
        query.as_of_micros.or(latest).unwrap_or(query.from_micros)
    }

    /// Known events that pass the filter of the question, by subject, in order.
    fn subjects(&self, query: &Query) -> Vec<Vec<&Event>> {
        let mut subjects: BTreeMap<String, Vec<&Event>> = BTreeMap::new();
        for event in self.known(query) {
            if let Some(subject) = event.subject(self.links) {
                subjects.entry(subject).or_default().push(event);
            }
        }
        subjects
            .into_values()
            .map(|mut events| {
                events.sort_by_key(|event| (event.time, event.sequence, event.position));
                events
            })
            .collect()
    }

    fn known(&self, query: &Query) -> impl Iterator<Item = &Event> {
        let as_of = self.as_of(query);
        self.events
            .iter()
            .filter(move |event| event.time < as_of && passes(event, query.filter.as_ref()))
    }

    fn in_range(&self, query: &Query, event: &Event) -> bool {
        event.time >= query.from_micros && event.time < query.to_micros
    }

    fn key(&self, query: &Query, event: &Event) -> Key {
        let dimensions =
            query.breakdowns.iter().map(|breakdown| dimension(event, breakdown)).collect();
        (bucket(event.time, query.zone, query.grain), dimensions)
    }

    /// Expected rows; rows of buckets in which nothing happened may be left out.
    pub fn answer(&self, query: &Query, metric: &MetricSpec) -> BTreeMap<Key, Expected> {
        match metric {
            MetricSpec::Count { event } => self.grouped(query, event, |events| Expected {
                value: Some(events.len() as f64),
                n: events.len() as u64,
                ..Expected::default()
            }),
            MetricSpec::Unique { event, of } => self.unique(query, event, of),
            MetricSpec::Sum { event, property } => {
                self.numbers(query, event, property, |numbers| Some(numbers.iter().sum()))
            }
            MetricSpec::Mean { event, property } => {
                self.numbers(query, event, property, |numbers| {
                    (!numbers.is_empty())
                        .then(|| numbers.iter().sum::<f64>() / numbers.len() as f64)
                })
            }
            MetricSpec::Min { event, property } => {
                self.numbers(query, event, property, |numbers| {
                    numbers.iter().copied().reduce(f64::min)
                })
            }
            MetricSpec::Max { event, property } => {
                self.numbers(query, event, property, |numbers| {
                    numbers.iter().copied().reduce(f64::max)
                })
            }
            MetricSpec::Ratio { numerator, denominator } => {
                self.ratio(query, numerator, denominator)
            }
            MetricSpec::Percentile { event, property, quantile, .. } => {
                self.numbers(query, event, property, |numbers| median(numbers.to_vec(), *quantile))
            }
            MetricSpec::Nps { event, property } => self.scores(query, event, property),
            MetricSpec::Stickiness(spec) => self.stickiness(query, spec),
            MetricSpec::Lifecycle(spec) => self.lifecycle(query, spec),
            MetricSpec::PerSubject(spec) => self.per_subject(query, spec),
            MetricSpec::Conversion(spec) => self.conversion(query, spec),
            MetricSpec::Cumulative(spec) => self.cumulative(query, spec),
            MetricSpec::Derived { formula, inputs } => self.derived(query, formula, inputs),
            MetricSpec::Funnel(spec) => self.funnel(query, spec),
            MetricSpec::Retention(spec) => self.retention(query, spec),
            MetricSpec::TimeToEvent(spec) => {
                let funnel = FunnelSpec {
                    steps: vec![spec.from.clone(), spec.to.clone()],
                    window_micros: spec.window_micros,
                    anchor: Anchor::FirstTouch,
                    entry: spec.entry,
                    ties: spec.ties,
                };
                let mut durations: BTreeMap<Key, (u64, Vec<f64>)> = BTreeMap::new();
                for (start, times) in self.attempts(query, &funnel) {
                    let slot = durations.entry(self.key(query, start)).or_default();
                    slot.0 += 1;
                    slot.1.extend(times.get(1).map(|end| (end - times[0]) as f64 / 1e6));
                }
                durations
                    .into_iter()
                    .map(|(key, (entered, seconds))| {
                        let n = seconds.len();
                        let total = (n > 0).then(|| seconds.iter().sum::<f64>());
                        let mean = total.map(|total| total / n as f64);
                        let value = match spec.statistic {
                            northstar_engine::Statistic::P50 => median(seconds, 0.5),
                            northstar_engine::Statistic::P90 => median(seconds, 0.9),
                            northstar_engine::Statistic::P95 => median(seconds, 0.95),
                            northstar_engine::Statistic::Mean => mean,
                            northstar_engine::Statistic::Sum => total,
                        };
                        (
                            key,
                            Expected {
                                value,
                                n: entered,
                                counts: vec![entered, n as u64],
                                medians: Vec::new(),
                            },
                        )
                    })
                    .collect()
            }
        }
    }

    fn grouped(
        &self,
        query: &Query,
        selector: &EventSelector,
        fold: impl Fn(Vec<&Event>) -> Expected,
    ) -> BTreeMap<Key, Expected> {
        let mut groups: BTreeMap<Key, Vec<&Event>> = BTreeMap::new();
        for event in self
            .known(query)
            .filter(|event| self.in_range(query, event) && selected(event, selector))
        {
            groups.entry(self.key(query, event)).or_default().push(event);
        }
        groups.into_iter().map(|(key, events)| (key, fold(events))).collect()
    }

    fn unique(
        &self,
        query: &Query,
        selector: &EventSelector,
        of: &DistinctOf,
    ) -> BTreeMap<Key, Expected> {
        let mut rows = self.grouped(query, selector, |events| {
            let things: BTreeSet<String> = events
                .iter()
                .filter_map(|event| match of {
                    DistinctOf::Subject => event.subject(self.links),
                    DistinctOf::Account => event.account.clone(),
                    DistinctOf::Property(path) => value(event, path).and_then(label),
                })
                .collect();
            Expected {
                value: Some(things.len() as f64),
                n: things.len() as u64,
                ..Expected::default()
            }
        });
        rows.retain(|_, row| row.n > 0);
        rows
    }

    fn numbers(
        &self,
        query: &Query,
        selector: &EventSelector,
        property: &str,
        fold: impl Fn(&[f64]) -> Option<f64>,
    ) -> BTreeMap<Key, Expected> {
        let mut rows = self.grouped(query, selector, |events| {
            let numbers: Vec<f64> =
                events.iter().filter_map(|event| number(event, property)).collect();
            Expected { value: fold(&numbers), n: numbers.len() as u64, ..Expected::default() }
        });
        rows.retain(|_, row| row.n > 0);
        rows
    }

    fn ratio(
        &self,
        query: &Query,
        numerator: &MetricSpec,
        denominator: &MetricSpec,
    ) -> BTreeMap<Key, Expected> {
        let (above, below) = (self.answer(query, numerator), self.answer(query, denominator));
        let absent = zero_of_nothing(numerator);
        let keys: BTreeSet<&Key> = above.keys().chain(below.keys()).collect();
        keys.into_iter()
            .map(|key| {
                let above = above.get(key).map_or(absent, |row| row.value);
                let below = below.get(key).cloned().unwrap_or_default();
                let value = match (above, below.value) {
                    (Some(above), Some(below)) if below != 0.0 => Some(above / below),
                    _ => None,
                };
                (key.clone(), Expected { value, n: below.n, ..Expected::default() })
            })
            .collect()
    }

    /// Step-1 event and times of the steps of every attempt that counts.
    fn attempts(&self, query: &Query, spec: &FunnelSpec) -> Vec<(&Event, Vec<i64>)> {
        let mut counted = Vec::new();
        for events in self.subjects(query) {
            let starts: Vec<usize> =
                (0..events.len()).filter(|at| selected(events[*at], &spec.steps[0])).collect();
            if spec.entry == Entry::FirstEver
                && starts.first().is_some_and(|at| !self.in_range(query, events[*at]))
            {
                continue;
            }
            let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
            for at in starts.into_iter().filter(|at| self.in_range(query, events[*at])) {
                let group = match spec.entry {
                    Entry::PerBucket => bucket(events[at].time, query.zone, query.grain),
                    Entry::FirstInRange | Entry::FirstEver => String::new(),
                };
                groups.entry(group).or_default().push(at);
            }
            for mut starts in groups.into_values() {
                if spec.anchor == Anchor::FirstTouch {
                    starts.truncate(1);
                }
                let attempts = starts.into_iter().map(|at| (at, follow(&events, at, spec)));
                let best =
                    attempts.max_by_key(|(at, times)| (times.len(), -times[times.len() - 1], *at));
                counted.extend(best.map(|(at, times)| (events[at], times)));
            }
        }
        counted
    }

    fn funnel(&self, query: &Query, spec: &FunnelSpec) -> BTreeMap<Key, Expected> {
        let mut cells: BTreeMap<Key, Vec<Vec<i64>>> = BTreeMap::new();
        for (start, times) in self.attempts(query, spec) {
            cells.entry(self.key(query, start)).or_default().push(times);
        }
        cells
            .into_iter()
            .map(|(key, attempts)| {
                let steps = spec.steps.len();
                let counts: Vec<u64> = (1..=steps)
                    .map(|step| attempts.iter().filter(|times| times.len() >= step).count() as u64)
                    .collect();
                let medians = (1..steps)
                    .map(|step| {
                        let reached = attempts.iter().filter(|times| times.len() > step);
                        median(
                            reached
                                .map(|times| (times[step] - times[step - 1]) as f64 / 1e6)
                                .collect(),
                            0.5,
                        )
                    })
                    .collect();
                let value = Some(counts[steps - 1] as f64 / counts[0] as f64);
                (key, Expected { value, n: counts[0], counts, medians })
            })
            .collect()
    }

    fn retention(&self, query: &Query, spec: &RetentionSpec) -> BTreeMap<Key, Expected> {
        let as_of = self.as_of(query);
        // The last period that counts: walk from the first instant not yet known.
        let current = period(as_of - 1, query.zone, spec.period);
        let over = period(as_of, query.zone, spec.period) > current;
        let mature =
            if spec.maturity == Maturity::PeriodEnded && !over { current - 1 } else { current };
        let starts = FunnelSpec {
            steps: vec![spec.start.clone()],
            window_micros: None,
            anchor: Anchor::FirstTouch,
            entry: spec.entry,
            ties: Ties::ByOrder,
        };
        let order = |event: &Event| (event.time, event.sequence, event.position);
        let mut cells: BTreeMap<Key, (u64, Vec<u64>)> = BTreeMap::new();
        for (start, _) in self.attempts(query, &starts) {
            let subject = start.subject(self.links);
            let returns: Vec<i64> = self
                .known(query)
                .filter(|event| {
                    event.subject(self.links) == subject && order(event) >= order(start)
                })
                .filter(|event| selected(event, &spec.returning))
                .map(|event| {
                    period(event.time, query.zone, spec.period)
                        - period(start.time, query.zone, spec.period)
                })
                .collect();
            let slot = cells
                .entry(self.key(query, start))
                .or_insert_with(|| (0, vec![0; spec.offsets.len() * 2]));
            slot.0 += 1;
            for (at, offset) in spec.offsets.iter().enumerate() {
                let offset = i64::from(*offset);
                if period(start.time, query.zone, spec.period) + offset > mature {
                    continue;
                }
                slot.1[at * 2] += 1;
                let back = match spec.mode {
                    Return::On => returns.contains(&offset),
                    Return::OnOrAfter => returns.iter().any(|found| *found >= offset),
                };
                slot.1[at * 2 + 1] += u64::from(back);
            }
        }
        cells
            .into_iter()
            .map(|(key, (_, counts))| {
                let at = spec
                    .offsets
                    .iter()
                    .position(|offset| *offset == spec.headline)
                    .expect("an offset")
                    * 2;
                let (eligible, retained) = (counts[at], counts[at + 1]);
                let value = (eligible > 0).then(|| retained as f64 / eligible as f64);
                (key, Expected { value, n: eligible, counts, medians: Vec::new() })
            })
            .collect()
    }

    /// Per variant: subjects, and sums of y, y squared, d, y times d, x and x times y; and the multiply exposed.
    pub fn variants(
        &self,
        query: &VariantQuery,
        property: &str,
    ) -> (BTreeMap<String, (u64, [f64; 6])>, u64) {
        let as_of = query.as_of_micros.unwrap_or(i64::MAX);
        let mut subjects: BTreeMap<String, Vec<&Event>> = BTreeMap::new();
        for event in self.events.iter().filter(|event| event.time < as_of) {
            if let Some(subject) = event.subject(self.links) {
                subjects.entry(subject).or_default().push(event);
            }
        }
        let (mut arms, mut multiple): (BTreeMap<String, (u64, [f64; 6])>, u64) =
            (BTreeMap::new(), 0);
        for events in subjects.into_values() {
            let exposures: Vec<(i64, String)> = events
                .iter()
                .filter(|event| selected(event, &query.exposure))
                .filter(|event| event.time >= query.from_micros && event.time < query.to_micros)
                .filter_map(|event| Some((event.time, value(event, property).and_then(label)?)))
                .collect();
            let variants: BTreeSet<&String> =
                exposures.iter().map(|(_, variant)| variant).collect();
            let Some(first) = exposures.iter().map(|(time, _)| *time).min() else { continue };
            if variants.len() > 1 {
                multiple += 1;
                continue;
            }
            let end = query.window_micros.map_or(i64::MAX, |window| first + window).min(as_of);
            let measure = |outcome: &Outcome, start: i64, end: i64| {
                let mut within: Vec<&Event> = events
                    .iter()
                    .copied()
                    .filter(|event| event.time >= start && event.time < end)
                    .collect();
                within.sort_by_key(|event| (event.time, event.sequence, event.position));
                plain_outcome(outcome, &within, end)
            };
            let (y, own) = measure(&query.outcome, first, end);
            let x = if query.pre_micros > 0 {
                measure(&query.outcome, first - query.pre_micros, first).0
            } else {
                0.0
            };
            let d =
                query.denominator.as_ref().map_or(own, |outcome| measure(outcome, first, end).0);
            let arm = arms.entry(exposures[0].1.clone()).or_default();
            arm.0 += 1;
            for (sum, term) in arm.1.iter_mut().zip([y, y * y, d, y * d, x, x * y]) {
                *sum += term;
            }
        }
        (arms, multiple)
    }
}

/// An outcome and its own denominator over the events of a subject before `end`, in order.
pub fn plain_outcome(outcome: &Outcome, events: &[&Event], end: i64) -> (f64, f64) {
    let of = |event: &EventSelector| events.iter().filter(|e| selected(e, event)).count() as f64;
    let numbers = |event: &EventSelector, property: &str| -> Vec<f64> {
        let chosen = events.iter().filter(|e| selected(e, event));
        chosen.filter_map(|e| number(e, property)).collect()
    };
    let starts = |steps: &[EventSelector], anchor: Anchor| -> Vec<usize> {
        let all = (0..events.len()).filter(|at| selected(events[*at], &steps[0]));
        all.take(if anchor == Anchor::FirstTouch { 1 } else { usize::MAX }).collect()
    };
    let funnel = |steps: Vec<EventSelector>, window_micros, anchor, ties| FunnelSpec {
        steps,
        window_micros,
        anchor,
        entry: Entry::FirstInRange,
        ties,
    };
    match outcome {
        Outcome::Did { event } => (f64::from(u8::from(of(event) > 0.0)), 0.0),
        Outcome::Count { event } => (of(event), 0.0),
        Outcome::Sum { event, property } => (numbers(event, property).iter().sum(), 0.0),
        Outcome::Mean { event, property } => {
            let numbers = numbers(event, property);
            let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
            (if numbers.is_empty() { 0.0 } else { mean }, 0.0)
        }
        Outcome::Completed { steps, window_micros, anchor, ties } => {
            let spec = funnel(steps.clone(), *window_micros, *anchor, *ties);
            let completed = starts(steps, *anchor)
                .into_iter()
                .any(|at| follow(events, at, &spec).len() == steps.len());
            (f64::from(u8::from(completed)), 0.0)
        }
        Outcome::Active { event, interval, measure } => {
            let active: BTreeSet<i64> = events
                .iter()
                .filter(|e| selected(e, event))
                .map(|e| period(e.time, chrono_tz::UTC, *interval))
                .collect();
            let number = active.len() as f64;
            let holds = match measure {
                StickinessMeasure::Ratio => return (number, 0.0),
                StickinessMeasure::ShareAtLeast(n) | StickinessMeasure::CountAtLeast(n) => {
                    number >= f64::from(*n)
                }
                StickinessMeasure::ShareExactly(n) | StickinessMeasure::CountExactly(n) => {
                    number == f64::from(*n)
                }
            };
            (f64::from(u8::from(holds)), 0.0)
        }
        Outcome::PerSubject { event, aggregate } => match aggregate {
            Aggregate::Count => (of(event), 0.0),
            Aggregate::Sum(property) => (numbers(event, property).iter().sum(), 0.0),
            Aggregate::Min(property) => numbers(event, property)
                .into_iter()
                .reduce(f64::min)
                .map_or((0.0, 0.0), |least| (least, 1.0)),
            Aggregate::Max(property) => numbers(event, property)
                .into_iter()
                .reduce(f64::max)
                .map_or((0.0, 0.0), |most| (most, 1.0)),
            Aggregate::First(property) => {
                numbers(event, property).first().map_or((0.0, 0.0), |first| (*first, 1.0))
            }
            Aggregate::Last(property) => {
                numbers(event, property).last().map_or((0.0, 0.0), |last| (*last, 1.0))
            }
        },
        Outcome::Score { event, property } => {
            let scores: Vec<f64> = numbers(event, property)
                .into_iter()
                .filter(|score| (0.0..=10.0).contains(score))
                .collect();
            let promoters = scores.iter().filter(|score| **score >= 9.0).count() as f64;
            let detractors = scores.iter().filter(|score| **score <= 6.0).count() as f64;
            (100.0 * (promoters - detractors), scores.len() as f64)
        }
        Outcome::Converted(spec) => {
            let credited = activity::credited(events, spec);
            let bases = events.iter().filter(|e| selected(e, &spec.base)).count() as f64;
            let converted = credited.iter().collect::<BTreeSet<_>>().len() as f64;
            match spec.measure {
                ConversionMeasure::Rate => (converted, bases),
                ConversionMeasure::Conversions => (credited.len() as f64, 0.0),
            }
        }
        Outcome::Elapsed { from, to, window_micros, ties } => {
            let steps = vec![from.clone(), to.clone()];
            let first = starts(&steps, Anchor::FirstTouch);
            let spec = funnel(steps, *window_micros, Anchor::FirstTouch, *ties);
            match first.first().map(|at| follow(events, *at, &spec)).as_deref() {
                Some([start, end]) => ((end - start) as f64 / 1e6, 1.0),
                _ => (0.0, 0.0),
            }
        }
        Outcome::Returned { start, returning, days, mode } => {
            let day = |time: i64| period(time, chrono_tz::UTC, Period::Day);
            let Some(at) = (0..events.len()).find(|at| selected(events[*at], start)) else {
                return (0.0, 0.0);
            };
            let wanted = day(events[at].time) + i64::from(*days);
            if wanted > day(end - 1) {
                return (0.0, 0.0);
            }
            let back =
                events[at..].iter().filter(|event| selected(event, returning)).any(|event| {
                    match mode {
                        Return::On => day(event.time) == wanted,
                        Return::OnOrAfter => day(event.time) >= wanted,
                    }
                });
            (f64::from(u8::from(back)), 1.0)
        }
    }
}

/// Times of the steps of the attempt that starts with event `start`.
fn follow(events: &[&Event], start: usize, spec: &FunnelSpec) -> Vec<i64> {
    let mut used = vec![start];
    let mut times = vec![events[start].time];
    for step in &spec.steps[1..] {
        let (last, time) = (used[used.len() - 1], times[times.len() - 1]);
        let next = (0..events.len()).find(|at| {
            let later = match spec.ties {
                Ties::ByOrder => *at > last,
                Ties::AnyOrder => events[*at].time >= time && !used.contains(at),
                Ties::StrictlyLater => events[*at].time > time,
            };
            later && selected(events[*at], step)
        });
        match next {
            Some(at)
                if spec.window_micros.is_none_or(|window| events[at].time - times[0] <= window) =>
            {
                used.push(at);
                times.push(events[at].time);
            }
            _ => break,
        }
    }
    times
}
