//! Funnels in every mode, against attempts that are followed one by one.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashSet},
};

use northstar_engine::{
    Anchor, FunnelPartial, Grain,
    journeys::{
        Attribution, Boundary, CountBy, Exclusion, ExclusionMode, FunnelCell, FunnelQuery,
        FunnelRow, FunnelStep, FunnelValue, Occurrence, StepOrder, StepOutcome, Window,
    },
};
use proptest::prelude::*;

use super::{Values, all_pages, dimension, histories, name, scope, values};
use crate::{
    differential::shards,
    naive::{bucket, median, number, passes, selected},
    world::{Event, MINUTE, events, play, selector, steps},
};

/// An event of the funnel as the plain computation sees it.
#[derive(Clone)]
struct Seen<'a> {
    event: &'a Event,
    steps: Vec<bool>,
    exclusions: Vec<bool>,
    breaks: bool,
    session: usize,
    constant: Values,
}

#[derive(Clone)]
struct Attempt {
    start: usize,
    taken: Vec<Option<usize>>,
    excluded: bool,
    /// Neither converted, excluded, broken nor out of time by the last event.
    going: bool,
}

enum End {
    Converted(usize),
    Over(usize),
    Replaced(usize),
    Going,
}

struct Reference<'a> {
    query: &'a FunnelQuery,
    as_of: i64,
}

impl Reference<'_> {
    fn prepare<'a>(&self, history: &[&'a Event]) -> (Vec<Seen<'a>>, usize, i64) {
        let query = self.query;
        let is_step = |event: &Event| {
            query.steps.iter().map(|step| selected(event, &step.event)).collect::<Vec<bool>>()
        };
        let (mut session, mut last) = (0, None::<i64>);
        let mut seen = Vec::new();
        for event in history {
            let active = selected(event, &query.activity) || is_step(event).contains(&true);
            if active {
                if last.is_none_or(|last| event.time - last >= query.session_gap_micros) {
                    session += 1;
                }
                last = Some(event.time);
            }
            if passes(event, query.scope.filter.as_ref()) {
                seen.push((*event, session, active));
            }
        }
        let matched: Vec<Seen<'a>> = seen
            .iter()
            .enumerate()
            .map(|(at, (event, session, active))| {
                let plain = is_step(event);
                let earlier = || seen[..at].iter().map(|(event, _, _)| *event);
                let constant = values(event, &query.constant);
                let steps = query.steps.iter().zip(&plain).map(|(step, matches)| {
                    *matches
                        && constant.iter().all(Option::is_some)
                        && match step.occurrence {
                            Occurrence::Any => true,
                            Occurrence::FirstMatching => {
                                !earlier().any(|event| selected(event, &step.event))
                            }
                            Occurrence::FirstEver => {
                                let mut named = step.event.clone();
                                named.filter = None;
                                !earlier().any(|event| selected(event, &named))
                            }
                        }
                });
                Seen {
                    event,
                    steps: steps.collect(),
                    exclusions: query
                        .exclusions
                        .iter()
                        .map(|exclusion| selected(event, &exclusion.event))
                        .collect(),
                    breaks: match query.order {
                        StepOrder::StrictSteps => plain.contains(&true),
                        StepOrder::StrictAnyEvent => *active,
                        _ => false,
                    },
                    session: *session,
                    constant,
                }
            })
            .collect();
        (matched, session, last.unwrap_or(i64::MIN))
    }

    /// The step that comes next with an event.
    fn next(&self, taken: &[Option<usize>], event: &Seen<'_>) -> Option<usize> {
        if self.query.order == StepOrder::AnyOrder {
            panic!("the caller keeps the set of steps");
        }
        let first = taken.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        for step in first..taken.len() {
            if event.steps[step] {
                return Some(step);
            }
            if !self.query.steps[step].optional {
                return None;
            }
        }
        None
    }

    fn in_window(&self, start: &Seen<'_>, event: &Seen<'_>) -> bool {
        let in_time = self.query.window.micros.is_none_or(|window| {
            let apart = event.event.time - start.event.time;
            match self.query.boundary {
                Boundary::Inclusive => apart <= window,
                Boundary::Exclusive => apart < window,
            }
        });
        let sessions = match self.query.count_by {
            CountBy::Sessions => Some(1),
            _ => self.query.window.sessions.map(|sessions| sessions as usize),
        };
        in_time && sessions.is_none_or(|sessions| event.session - start.session < sessions)
    }

    /// Whether an event can be a first step.
    fn starts(&self, event: &Seen<'_>) -> bool {
        let scope = &self.query.scope;
        let matches = match self.query.order {
            StepOrder::AnyOrder => event.steps.contains(&true),
            _ => event.steps[0],
        };
        let time = event.event.time;
        matches && time >= scope.from_micros && time < scope.to_micros.min(self.as_of)
    }

    /// Follows the attempt that starts with an event.
    fn follow(
        &self,
        seen: &[Seen<'_>],
        start: usize,
        used: &HashSet<usize>,
        replace: bool,
    ) -> (Attempt, End) {
        let query = self.query;
        let tolerance = query.tie_tolerance_micros;
        let any_order = matches!(query.order, StepOrder::AnyOrder | StepOrder::FirstThenAny);
        let anchored = query.order == StepOrder::FirstThenAny;
        let mut attempt =
            Attempt { start, taken: vec![None; query.steps.len()], excluded: false, going: false };
        let mut open: BTreeSet<usize> = (0..query.steps.len()).collect();
        let mut doomed: Option<i64> = None;
        let mut last_time = 0;
        for at in start..seen.len() {
            let event = &seen[at];
            let progress = |attempt: &Attempt| match any_order {
                true => attempt.taken.iter().flatten().count(),
                false => attempt.taken.iter().rposition(Option::is_some).map_or(0, |at| at + 1),
            };
            if at > start {
                if !self.in_window(&seen[start], event) {
                    attempt.excluded = doomed.is_some();
                    return (attempt, End::Over(at));
                }
                let concerned =
                    query.exclusions.iter().zip(&event.exclusions).any(|(exclusion, matches)| {
                        let span = exclusion.from_step + 1..=exclusion.to_step;
                        *matches && span.contains(&progress(&attempt))
                    });
                if concerned && tolerance == 0 {
                    attempt.excluded = true;
                    return (attempt, End::Over(at));
                }
                if concerned && event.event.time - last_time > tolerance {
                    doomed = doomed.or(Some(event.event.time));
                }
            }
            let same = event.constant == seen[start].constant;
            let step = if any_order {
                let wanted =
                    |step: &usize| event.steps[*step] && (!anchored || at > start || *step == 0);
                open.iter().copied().find(wanted)
            } else {
                self.next(&attempt.taken, event)
            };
            match step.filter(|_| same) {
                Some(step) => {
                    if doomed.is_some_and(|doomed| event.event.time - doomed > tolerance) {
                        attempt.excluded = true;
                        return (attempt, End::Over(at));
                    }
                    doomed = None;
                    open.remove(&step);
                    let slot = if any_order { progress(&attempt) } else { step };
                    attempt.taken[slot] = Some(at);
                    last_time = event.event.time;
                    let reaches_back = tolerance > 0 && query.order == StepOrder::Ordered;
                    loop {
                        let earlier = (0..=at).filter(|_| reaches_back).find(|earlier| {
                            let candidate = &seen[*earlier];
                            last_time - candidate.event.time <= tolerance
                                && candidate.constant == seen[start].constant
                                && (!self.counts_sessions()
                                    || candidate.session >= seen[start].session)
                                && !used.contains(earlier)
                                && !attempt.taken.contains(&Some(*earlier))
                                && self.next(&attempt.taken, candidate).is_some()
                        });
                        let Some(earlier) = earlier else { break };
                        let step = self.next(&attempt.taken, &seen[earlier]).expect("a step");
                        attempt.taken[step] = Some(earlier);
                        last_time = seen[earlier].event.time;
                    }
                    if progress(&attempt) == query.steps.len() {
                        return (attempt, End::Converted(at));
                    }
                }
                None if event.breaks => return (attempt, End::Over(at)),
                None if self.starts(event) && query.count_by == CountBy::Totals => {
                    if doomed.is_some() {
                        attempt.excluded = true;
                        return (attempt, End::Over(at));
                    }
                    if replace && progress(&attempt) == 1 {
                        return (attempt, End::Replaced(at));
                    }
                }
                None => {}
            }
        }
        attempt.excluded = doomed.is_some();
        attempt.going = doomed.is_none();
        (attempt, End::Going)
    }

    fn counts_sessions(&self) -> bool {
        self.query.count_by == CountBy::Sessions || self.query.window.sessions.is_some()
    }

    /// Every attempt, in the order of their starts.
    fn attempts(&self, seen: &[Seen<'_>]) -> Vec<Attempt> {
        let query = self.query;
        let nothing = HashSet::new();
        if query.count_by != CountBy::Totals {
            let mut before = None;
            let starts = (0..seen.len()).filter(|at| self.starts(&seen[*at])).filter(|at| {
                let grain = query.trend.unwrap_or(Grain::Total);
                let unit = match query.count_by {
                    CountBy::Sessions => seen[*at].session.to_string(),
                    _ => bucket(seen[*at].event.time, query.scope.zone, grain),
                };
                let first = before.as_ref() != Some(&unit);
                before = Some(unit);
                first || query.anchor == Anchor::BestAttempt
            });
            return starts.map(|at| self.follow(seen, at, &nothing, false).0).collect();
        }
        let (mut attempts, mut used, mut at) = (Vec::new(), HashSet::new(), 0);
        while at < seen.len() {
            if !self.starts(&seen[at]) {
                at += 1;
                continue;
            }
            let replace = query.anchor == Anchor::BestAttempt;
            let (attempt, end) = self.follow(seen, at, &used, replace);
            at = match end {
                End::Converted(at) => at + 1,
                End::Over(at) | End::Replaced(at) => at,
                End::Going => seen.len(),
            };
            if !matches!(end, End::Replaced(_)) {
                used.extend(attempt.taken.iter().flatten().copied());
                attempts.push(attempt);
            }
        }
        attempts
    }

    /// The attempts that count, by unit: subject, bucket of a subject, attempt or session.
    fn units(
        &self,
        seen: &[Seen<'_>],
        last: (usize, i64),
        by_bucket: bool,
    ) -> Vec<(Attempt, bool, i64)> {
        let query = self.query;
        let attempts = self.attempts(seen);
        let mut units: BTreeMap<(String, usize), Vec<Attempt>> = BTreeMap::new();
        for (number, attempt) in attempts.into_iter().enumerate() {
            let start = &seen[attempt.start];
            let unit = match query.count_by {
                CountBy::Uniques if by_bucket => {
                    let grain = query.trend.unwrap_or(Grain::Total);
                    (bucket(start.event.time, query.scope.zone, grain), 0)
                }
                CountBy::Uniques => (String::new(), 0),
                CountBy::Totals => (String::new(), number),
                CountBy::Sessions => (String::new(), start.session),
            };
            units.entry(unit).or_default().push(attempt);
        }
        let mut counting = Vec::new();
        for unit in units.into_values() {
            let unit = match query.anchor {
                Anchor::FirstTouch => vec![unit[0].clone()],
                Anchor::BestAttempt => unit,
            };
            let out = query.exclusion_mode == ExclusionMode::Subject;
            if out && unit.iter().any(|attempt| attempt.excluded) {
                continue;
            }
            let key = |attempt: &Attempt| {
                let last = attempt.taken.iter().rposition(Option::is_some).expect("a step");
                let last_taken = attempt.taken[last].expect("taken");
                (last, Reverse(seen[last_taken].event.time), attempt.start)
            };
            let best = unit.iter().max_by_key(|attempt| key(attempt)).expect("an attempt").clone();
            let converted = best.taken.last().expect("steps").is_some();
            let may = unit.iter().any(|attempt| attempt.going && self.may(seen, last, attempt));
            let entered = seen[best.start].event.time;
            counting.push((best, !converted && may, entered));
        }
        counting
    }

    /// Whether time is left for an attempt, the last session being this one and over then.
    fn may(&self, seen: &[Seen<'_>], (session, over_at): (usize, i64), attempt: &Attempt) -> bool {
        let start = &seen[attempt.start];
        let in_time = self.query.window.micros.is_none_or(|window| {
            let end = start.event.time + window;
            end > self.as_of || (end == self.as_of && self.query.boundary == Boundary::Inclusive)
        });
        let allowed = match self.query.count_by {
            CountBy::Sessions => Some(1),
            _ => self.query.window.sessions.map(|sessions| sessions as usize),
        };
        let used = session - start.session + 1;
        let in_session = allowed
            .is_none_or(|allowed| used < allowed || (used == allowed && over_at > self.as_of));
        in_time && in_session
    }
}

#[derive(Debug, Default, PartialEq, Clone)]
struct Expected {
    counts: Vec<u64>,
    open: u64,
    seconds: Vec<Vec<f64>>,
    members: Vec<BTreeSet<String>>,
    values: Vec<(u64, f64)>,
}

type Rows = BTreeMap<(Option<String>, Option<Values>), Expected>;

/// Everything that the funnel must say: the total, groups and the trend.
fn expected(
    events: &[Event],
    links: &std::collections::HashMap<String, String>,
    query: &FunnelQuery,
) -> Rows {
    let (histories, as_of) = histories(events, links, &query.scope);
    let reference = Reference { query, as_of };
    let broken_down = !query.scope.breakdowns.is_empty();
    let by_value = broken_down && query.attribution == Attribution::All;
    let mut rows = Rows::new();
    for (subject, history) in &histories {
        let (seen, session, active) = reference.prepare(history);
        let last = (session, active.saturating_add(query.session_gap_micros));
        // The same funnel over the events of each value, and over those of all.
        let mut parts: Vec<(Option<Values>, Vec<Seen<'_>>)> = vec![(None, seen.clone())];
        if by_value {
            let all: BTreeSet<Values> = seen
                .iter()
                .filter(|event| event.steps.contains(&true))
                .map(|event| values(event.event, &query.scope.breakdowns))
                .collect();
            for wanted in all {
                let own = seen.iter().cloned().map(|mut event| {
                    if values(event.event, &query.scope.breakdowns) != wanted {
                        event.steps.fill(false);
                    }
                    event
                });
                let own = own.collect();
                parts.push((Some(wanted), own));
            }
        }
        for (value, seen) in parts {
            for by_bucket in [false, true] {
                for (attempt, may, entered) in reference.units(&seen, last, by_bucket) {
                    let taken = |step: usize| attempt.taken[step].map(|at| seen[at].event);
                    let group: Option<Values> = match (&value, query.attribution) {
                        (Some(value), _) => Some(value.clone()),
                        (None, Attribution::All) if broken_down => None,
                        (None, Attribution::Step(step)) if broken_down => taken(step)
                            .map(|event| values(event, &query.scope.breakdowns))
                            .filter(|values| values.iter().all(Option::is_some)),
                        (None, attribution) => {
                            let mut steps: Vec<&Event> =
                                (0..query.steps.len()).filter_map(taken).collect();
                            if attribution == Attribution::LastTouch {
                                steps.reverse();
                            }
                            let dimensions = query.scope.breakdowns.iter();
                            Some(
                                dimensions
                                    .map(|dimension| {
                                        let one = std::slice::from_ref(dimension);
                                        steps.iter().find_map(|event| values(event, one).remove(0))
                                    })
                                    .collect(),
                            )
                        }
                    };
                    let mut places = Vec::new();
                    if !by_bucket && value.is_none() {
                        places.push((None, None));
                    }
                    if !by_bucket && broken_down && group.is_some() {
                        places.push((None, group.clone()));
                    }
                    let in_trend = by_bucket == (query.count_by == CountBy::Uniques);
                    if let Some(grain) = query.trend.filter(|_| in_trend && group.is_some()) {
                        let bucket = bucket(entered, query.scope.zone, grain);
                        places.push((Some(bucket), group));
                    }
                    for place in places {
                        let row = rows.entry(place).or_default();
                        row.counts.resize(query.steps.len(), 0);
                        row.seconds.resize(query.steps.len(), Vec::new());
                        row.members.resize(query.steps.len(), BTreeSet::new());
                        row.values.resize(query.steps.len(), (0, 0.0));
                        row.open += u64::from(may);
                        for step in 0..query.steps.len() {
                            let Some(event) = taken(step) else { continue };
                            row.counts[step] += 1;
                            row.members[step].insert(subject.clone());
                            if let Some(value) = &query.value
                                && let Some(carrier) = taken(value.step.unwrap_or(step))
                                && let Some(number) = number(carrier, &value.property)
                            {
                                row.values[step].0 += 1;
                                row.values[step].1 += number;
                            }
                            let previous =
                                (0..step).rev().find(|step| !query.steps[*step].optional);
                            if let Some(previous) = previous.and_then(taken) {
                                let apart = (event.time - previous.time).max(0);
                                row.seconds[step].push(apart as f64 / 1e6);
                            }
                        }
                    }
                }
            }
        }
    }
    rows
}

fn funnel_query() -> impl Strategy<Value = FunnelQuery> {
    let occurrence = prop_oneof![
        6 => Just(Occurrence::Any),
        1 => Just(Occurrence::FirstEver),
        1 => Just(Occurrence::FirstMatching),
    ];
    let step = (selector(), proptest::bool::weighted(0.2), occurrence)
        .prop_map(|(event, optional, occurrence)| FunnelStep { event, optional, occurrence });
    let order = proptest::sample::select(vec![
        StepOrder::Ordered,
        StepOrder::Ordered,
        StepOrder::StrictSteps,
        StepOrder::StrictAnyEvent,
        StepOrder::AnyOrder,
        StepOrder::FirstThenAny,
    ]);
    let window = (
        proptest::option::of((0i64..4 * 24).prop_map(|hours| hours * 60 * MINUTE)),
        proptest::option::weighted(0.2, 1u32..3),
    )
        .prop_map(|(micros, sessions)| Window { micros, sessions });
    let boundary = proptest::sample::select(vec![Boundary::Inclusive, Boundary::Exclusive]);
    let exclusion = (selector(), 0usize..4, 1usize..4);
    let exclusions = prop_oneof![
        1 => Just(Vec::new()),
        1 => proptest::collection::vec(exclusion, 1..3),
    ];
    let constant = prop_oneof![
        3 => Just(Vec::new()),
        1 => proptest::collection::vec(dimension(), 1..3),
    ];
    let attribution = prop_oneof![
        Just(Attribution::FirstTouch),
        Just(Attribution::LastTouch),
        Just(Attribution::All),
        (0usize..4).prop_map(Attribution::Step),
    ];
    let count_by =
        proptest::sample::select(vec![CountBy::Uniques, CountBy::Totals, CountBy::Sessions]);
    let anchor = proptest::sample::select(vec![Anchor::FirstTouch, Anchor::BestAttempt]);
    let tolerance =
        prop_oneof![2 => Just(0), 1 => (1i64..180).prop_map(|minutes| minutes * MINUTE)];
    let trend =
        proptest::option::of(proptest::sample::select(vec![Grain::Day, Grain::Week, Grain::Hour]));
    (
        (scope(2), proptest::collection::vec(step, 1..5), order, window, boundary),
        (exclusions, any::<bool>(), constant, attribution, count_by),
        (1i64..20, selector(), anchor, tolerance, trend),
        proptest::option::of(proptest::option::of(0usize..4)),
    )
        .prop_map(
            |(
                (scope, steps, order, window, boundary),
                (exclusions, subject_mode, constant, attribution, count_by),
                (gap_hours, activity, anchor, tolerance, trend),
                value,
            )| {
                let mut query = FunnelQuery::new(scope, steps);
                let last = query.steps.len() - 1;
                query.steps[0].optional = false;
                query.steps[last].optional = false;
                if matches!(order, StepOrder::AnyOrder | StepOrder::FirstThenAny) {
                    query.steps.iter_mut().for_each(|step| step.optional = false);
                }
                query.exclusions = exclusions
                    .into_iter()
                    .map(|(event, from, length)| {
                        let from_step = from.min(last);
                        Exclusion { event, from_step, to_step: (from_step + length).min(last) }
                    })
                    .filter(|exclusion| exclusion.from_step < exclusion.to_step)
                    .collect();
                if subject_mode && !query.exclusions.is_empty() {
                    query.exclusion_mode = ExclusionMode::Subject;
                }
                let strict = matches!(order, StepOrder::StrictSteps | StepOrder::StrictAnyEvent);
                query.tie_tolerance_micros = if strict { 0 } else { tolerance };
                query.attribution = match attribution {
                    Attribution::Step(step) => Attribution::Step(step.min(last)),
                    other => other,
                };
                FunnelQuery {
                    order,
                    window,
                    boundary,
                    constant,
                    count_by,
                    anchor,
                    trend,
                    activity,
                    session_gap_micros: gap_hours * 60 * MINUTE,
                    max_groups: 10_000,
                    value: value.map(|step| FunnelValue {
                        property: "x".to_owned(),
                        step: step.map(|step| step.min(last)),
                    }),
                    ..query
                }
            },
        )
}

fn check(row: &FunnelRow, expected: Option<&Expected>, what: &str) {
    let counts: Vec<u64> = row.steps.iter().map(|step| step.count).collect();
    let Some(expected) = expected else {
        assert!(counts.iter().all(|count| *count == 0), "{what}: unexpected {counts:?}");
        return;
    };
    assert_eq!((counts, row.open), (expected.counts.clone(), expected.open), "{what}");
    for (step, seconds) in row.steps.iter().zip(&expected.seconds) {
        let median = median(seconds.clone(), 0.5);
        let found = step.time.as_ref().map(|time| time.p50);
        assert_eq!(found.is_some(), median.is_some(), "{what}");
        assert!(found.zip(median).is_none_or(|(found, median)| (found - median).abs() < 1e-6));
        assert_eq!(step.time.as_ref().map_or(0, |time| time.n), seconds.len() as u64);
    }
    for (step, (n, sum)) in row.steps.iter().zip(&expected.values) {
        let Some(value) = step.value else { continue };
        assert_eq!(value.n, *n, "{what}");
        assert!((value.sum - sum).abs() < 1e-9, "{what}: {value:?}, expected {sum}");
        assert_eq!(value.mean.is_some(), *n > 0, "{what}");
    }
    let bins: u64 = row.histogram.iter().map(|bin| bin.count).sum();
    assert_eq!(bins, row.between.as_ref().map_or(0, |between| between.n), "{what}");
}

/// What holds of every row, whatever the question.
fn check_invariants(row: &FunnelRow, query: &FunnelQuery) {
    let mut last = u64::MAX;
    for (step, asked) in row.steps.iter().zip(&query.steps) {
        assert!(step.count <= last, "steps rise: {row:?}");
        assert!(step.from_first.is_none_or(|share| share <= 1.0));
        assert!(step.from_previous.is_none_or(|share| share <= 1.0));
        if !asked.optional {
            last = step.count;
        }
    }
    assert!(row.open <= row.steps[0].count);
    assert!(!row.complete || row.open == 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, max_shrink_iters: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn a_funnel_agrees_with_attempts_followed_one_by_one(
        events in events(100), steps in steps(), queries in proptest::collection::vec(funnel_query(), 8)
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        let (dataset, links) = play(&events, &steps, dir.path());
        let snapshot = dataset.snapshot().expect("a snapshot");
        for query in queries {
            let expected = expected(&events, &links, &query);
            let answer = snapshot.funnel(&query).expect("an answer");
            prop_assert!(answer.total.steps.iter().all(|step| step.value.is_some() == query.value.is_some()));
            for row in [&answer.total].into_iter().chain(&answer.groups).chain(&answer.trend) {
                check_invariants(row, &query);
            }
            check(&answer.total, expected.get(&(None, None)), "total");
            for row in &answer.groups {
                check(row, expected.get(&(None, Some(row.dimensions.clone()))), &format!("{:?}", row.dimensions));
            }
            let groups = expected.keys().filter(|(bucket, values)| bucket.is_none() && values.is_some()).count();
            prop_assert_eq!(answer.groups.len(), groups);
            for row in &answer.trend {
                let name = bucket(row.bucket_start.expect("a bucket"), query.scope.zone, query.trend.expect("a trend"));
                check(row, expected.get(&(Some(name.clone()), Some(row.dimensions.clone()))), &format!("{name} {:?}", row.dimensions));
            }
            let in_trend: u64 = expected.iter().filter(|((bucket, _), _)| bucket.is_some()).map(|(_, row)| row.counts[0]).sum();
            prop_assert_eq!(answer.trend.iter().map(|row| row.steps[0].count).sum::<u64>(), in_trend);
            if !matches!(query.attribution, Attribution::All | Attribution::Step(_)) && !query.scope.breakdowns.is_empty() {
                for step in 0..query.steps.len() {
                    let sum: u64 = answer.groups.iter().map(|row| row.steps[step].count).sum();
                    prop_assert_eq!(sum, answer.total.steps[step].count, "a breakdown that partitions adds up");
                }
            }
            let Some(row) = expected.get(&(None, None)) else { continue };
            for (step, members) in row.members.iter().enumerate() {
                let cell = FunnelCell { step, outcome: StepOutcome::Reached, bucket_start: None, dimensions: None };
                let found = all_pages(|page| snapshot.funnel_members(&query, &cell, page).expect("members"));
                let mut named: Vec<_> = members.iter().map(|subject| name(subject)).collect();
                named.sort();
                prop_assert_eq!(&found, &named);
                if query.count_by == CountBy::Uniques {
                    prop_assert_eq!(found.len() as u64, answer.total.steps[step].count);
                }
            }
        }
    }

    #[test]
    fn funnels_of_disjoint_subjects_travel_and_merge(
        events in events(80), mut query in funnel_query()
    ) {
        query.scope.as_of_micros = Some(query.scope.to_micros);
        let links = std::collections::HashMap::new();
        let [left, right] = shards(&events, &links);
        let [whole, mut left, right] = [super::whole(&events), left, right].map(|part| {
            let snapshot = part.snapshot().expect("a snapshot");
            let partial = snapshot.funnel_partial(&query, 1).expect("a partial answer");
            let json = serde_json::to_string(&partial).expect("json");
            serde_json::from_str::<FunnelPartial>(&json).expect("the same partial answer")
        });
        left.merge(right);
        let (merged, whole) = (left.finish(&query).expect("an answer"), whole.finish(&query).expect("an answer"));
        prop_assert_eq!(&merged.total, &whole.total);
        prop_assert_eq!(&merged.groups, &whole.groups);
        let sort = |mut rows: Vec<FunnelRow>| {
            rows.sort_by_key(|row| (row.bucket_start, row.dimensions.clone()));
            rows
        };
        prop_assert_eq!(sort(merged.trend), sort(whole.trend));
    }
}
