//! The rules of a threshold over tables, and over random histories.

use chrono::TimeDelta;
use proptest::prelude::*;

use super::*;
use crate::threshold::{Condition, Stray, Threshold};

const FRIDAY: &str = "2026-03-06T00:00:00Z";

fn time(text: &str) -> DateTime<Utc> {
    timestamp::parse(text).unwrap()
}

fn rules(more: &str) -> Rules {
    let document = format!(
        "{{owner: growth, metric: conversion, grain: day, every: 1d, {more}
         condition: {{type: below, value: 0.2, clear: 0.25}},
         decision: {{action: investigate}}}}"
    );
    serde_norway::from_str::<Threshold>(&document).unwrap().rules().unwrap()
}

fn observation(end: DateTime<Utc>, value: Option<f64>) -> Observation {
    Observation {
        start: end - TimeDelta::days(1),
        end,
        segment: None,
        value,
        reference: None,
        spread: None,
        sample: 1_000,
        complete: true,
    }
}

/// Feeds a series, one value a day, as a worker would: with the last `of`
/// buckets at each evaluation.
fn run(rules: &Rules, values: &[f64]) -> Vec<Effect> {
    let start = time(FRIDAY);
    let mut state = State::default();
    let mut effects = Vec::new();
    for day in 0..values.len() {
        let first = (day + 1).saturating_sub(rules.of as usize);
        let observations = (first..=day)
            .map(|day| observation(start + TimeDelta::days(day as i64), Some(values[day])))
            .collect();
        let evaluation = Evaluation { observations, freshness: Freshness::Fresh };
        let step = state.step(rules, &evaluation, start + TimeDelta::days(day as i64));
        state = step.state;
        effects.push(step.effect);
    }
    effects
}

#[test]
fn it_takes_enough_breaches_to_ask_and_the_clear_level_to_recover() {
    use Effect::{Clear, None, Raise};
    let two = rules("breaches: {count: 2},");
    let effects = run(&two, &[0.1, 0.3, 0.1, 0.1, 0.1, 0.22, 0.1, 0.25, 0.1, 0.1]);
    assert_eq!(
        effects,
        [
            None,
            None,
            None,
            Raise { episode: 1 },
            None,
            // Better, but not recovered; worse again is the same episode.
            None,
            None,
            Clear { episode: 1 },
            None,
            Raise { episode: 2 },
        ]
    );
}

#[test]
fn n_of_m_forgives_a_good_day_but_not_across_a_recovery() {
    use Effect::{Clear, None, Raise};
    let two_of_three = rules("breaches: {count: 2, of: 3},");
    let effects = run(&two_of_three, &[0.1, 0.3, 0.1, 0.3, 0.1, 0.1]);
    let raised = Raise { episode: 2 };
    assert_eq!(effects, [None, None, Raise { episode: 1 }, Clear { episode: 1 }, None, raised]);
}

#[test]
fn nobody_is_asked_again_while_it_cools_down() {
    use Effect::{Clear, None, Raise};
    let cool = rules("cool_down: 3d,");
    let effects = run(&cool, &[0.1, 0.3, 0.1, 0.1, 0.1, 0.3]);
    assert_eq!(
        effects,
        [
            Raise { episode: 1 },
            Clear { episode: 1 },
            None,
            None,
            Raise { episode: 2 },
            Clear { episode: 2 }
        ]
    );
}

/// Friday at midnight to Monday: a breach on Saturday is asked on Monday, one
/// that recovers on Sunday is not.
#[test]
fn a_weekend_defers_and_does_not_lose() {
    use Effect::{Clear, Defer, None, Raise};
    let weekends = rules("quiet: {weekends: true},");
    let until = time("2026-03-09");
    assert_eq!(
        run(&weekends, &[0.3, 0.1, 0.1, 0.1]),
        [None, Defer { until }, None, Raise { episode: 1 }]
    );
    assert_eq!(
        run(&weekends, &[0.3, 0.1, 0.3, 0.1]),
        [None, Defer { until }, Clear { episode: 1 }, Raise { episode: 2 }]
    );
}

#[test]
fn what_cannot_be_trusted_informs_and_never_asks() {
    let rules = rules("minimum_sample: 100,");
    let now = time(FRIDAY);
    let breach = observation(now, Some(0.1));
    let step = |newest: Observation, freshness: Freshness| {
        let evaluation = Evaluation { observations: vec![newest], freshness };
        let step = State::default().step(&rules, &evaluation, now);
        (step.effect, step.gates)
    };
    assert_eq!(step(breach.clone(), Freshness::Stale), (Effect::Inform, vec![Gate::Stale]));
    assert_eq!(step(breach.clone(), Freshness::Empty), (Effect::Inform, vec![Gate::Empty]));
    let fresh = |newest| step(newest, Freshness::Fresh);
    let small = Observation { sample: 99, ..breach.clone() };
    assert_eq!(fresh(small), (Effect::None, vec![Gate::SmallSample]));
    let immature = Observation { complete: false, ..breach.clone() };
    assert_eq!(fresh(immature), (Effect::None, vec![Gate::Immature]));
    let missing = Observation { value: None, ..breach.clone() };
    assert_eq!(fresh(missing), (Effect::None, vec![Gate::NoData]));
    assert_eq!(fresh(breach), (Effect::Raise { episode: 1 }, vec![]));
}

#[test]
fn what_is_stale_does_not_end_an_episode_either() {
    let rules = rules("");
    let now = time(FRIDAY);
    let open = State { episode: 4, phase: Phase::Open { since: now }, ..State::default() };
    let good = vec![observation(now, Some(0.9))];
    let stale = Evaluation { observations: good.clone(), freshness: Freshness::Stale };
    assert_eq!(open.step(&rules, &stale, now).state, open);
    let fresh = Evaluation { observations: good, freshness: Freshness::Fresh };
    assert_eq!(open.step(&rules, &fresh, now).effect, Effect::Clear { episode: 4 });
}

#[test]
fn what_is_remembered_reads_back() {
    let since = time("2026-03-04T10:00:00Z");
    for phase in [
        Phase::Watching,
        Phase::Deferred { since, until: since + TimeDelta::hours(9) },
        Phase::Open { since },
    ] {
        let state = State { episode: 3, phase, counted_after: Some(since), cool_until: None };
        let json = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<State>(&json).unwrap(), state);
    }
    for effect in [Effect::None, Effect::Defer { until: since }, Effect::Raise { episode: 2 }] {
        let json = serde_json::to_string(&effect).unwrap();
        assert_eq!(serde_json::from_str::<Effect>(&json).unwrap(), effect);
    }
}

/// A moment of a random history.
#[derive(Clone, Debug)]
struct Moment {
    after_minutes: i64,
    value: Option<f64>,
    sample: u64,
    complete: bool,
    freshness: Freshness,
}

fn moment() -> impl Strategy<Value = Moment> {
    let freshness = prop_oneof![
        6 => Just(Freshness::Fresh),
        1 => Just(Freshness::Stale),
        1 => Just(Freshness::Empty),
    ];
    (
        1_i64..2_000,
        prop::option::weighted(0.9, 0.0_f64..0.4),
        90_u64..110,
        prop::bool::weighted(0.9),
        freshness,
    )
        .prop_map(|(after_minutes, value, sample, complete, freshness)| Moment {
            after_minutes,
            value,
            sample,
            complete,
            freshness,
        })
}

fn any_rules() -> impl Strategy<Value = Rules> {
    (1_u32..4, 0_u32..3, 0_i64..5, any::<bool>(), any::<bool>()).prop_map(
        |(count, more, cool_days, night, weekends)| {
            let quiet = match (night, weekends) {
                (false, false) => String::new(),
                (true, _) => format!(
                    "quiet: {{from: '20:00', to: '08:00', weekends: {weekends}, \
                     time_zone: America/New_York}},"
                ),
                (false, true) => "quiet: {weekends: true},".to_owned(),
            };
            rules(&format!(
                "breaches: {{count: {count}, of: {}}}, minimum_sample: 100, \
                 cool_down: {cool_days}d, {quiet}",
                count + more
            ))
        },
    )
}

proptest! {
    #[test]
    fn whatever_happens_the_promises_hold(
        rules in any_rules(),
        moments in prop::collection::vec(moment(), 1..80),
    ) {
        let mut now = time(FRIDAY);
        let mut state = State::default();
        let mut observations: Vec<Observation> = Vec::new();
        let mut open: Option<u64> = None;
        let mut deferred: Option<u64> = None;
        let mut raised = std::collections::BTreeSet::new();
        let mut last_clear: Option<DateTime<Utc>> = None;
        for moment in moments {
            now += TimeDelta::minutes(moment.after_minutes);
            observations.push(Observation {
                sample: moment.sample,
                complete: moment.complete,
                ..observation(now, moment.value)
            });
            let first = observations.len().saturating_sub(rules.of as usize);
            let evaluation = Evaluation {
                observations: observations[first..].to_vec(),
                freshness: moment.freshness,
            };
            let step = state.step(&rules, &evaluation, now);
            prop_assert_eq!(state.step(&rules, &evaluation, now), step.clone(), "it is a function");
            let newest = observations.last().unwrap();
            match step.effect {
                Effect::Raise { episode } => {
                    // Never two open, never one twice.
                    prop_assert_eq!(open, None);
                    prop_assert!(raised.insert(episode));
                    prop_assert!(deferred.is_none_or(|deferred| deferred == episode));
                    // Only on what can be trusted, only when people may be asked.
                    prop_assert_eq!(moment.freshness, Freshness::Fresh);
                    prop_assert!(moment.sample >= 100 && moment.complete);
                    prop_assert_eq!(quiet_until(&rules, now), None);
                    // What was confirmed in the quiet may be between the levels by now.
                    let level = if deferred.is_some() { 0.25 } else { 0.2 };
                    prop_assert!(moment.value.is_some_and(|value| value < level));
                    if deferred.is_none() {
                        let enough = evaluation.observations.iter().filter(|observation| {
                            observation.read(&rules).0 == Reading::Breached
                        });
                        prop_assert!(enough.count() >= rules.breaches as usize);
                        let cooled = last_clear.is_none_or(|at| now >= at + rules.cool_down);
                        prop_assert!(cooled);
                    }
                    open = Some(episode);
                    deferred = None;
                }
                Effect::Clear { episode } => {
                    prop_assert!(open == Some(episode) || deferred == Some(episode));
                    // Hysteresis: only beyond the clear level.
                    prop_assert!(moment.value.is_some_and(|value| value >= 0.25));
                    prop_assert_eq!(newest.read(&rules).0, Reading::Clear);
                    if open.is_some() {
                        last_clear = Some(now);
                    }
                    (open, deferred) = (None, None);
                }
                Effect::Defer { until } => {
                    prop_assert!(open.is_none() && deferred.is_none());
                    prop_assert!(until > now);
                    deferred = Some(step.state.episode);
                }
                Effect::Inform => {
                    prop_assert!(moment.freshness != Freshness::Fresh);
                    prop_assert_eq!(step.reading, Reading::Breached);
                }
                Effect::None => {
                    // Not lost: out of the quiet, what is deferred is asked or has a reason
                    // not to be.
                    if deferred.is_some() && quiet_until(&rules, now).is_none() {
                        prop_assert!(
                            moment.freshness != Freshness::Fresh
                                || step.reading == Reading::Unknown
                        );
                    }
                }
            }
            prop_assert_eq!(
                matches!(step.state.phase, Phase::Open { .. }), open.is_some()
            );
            prop_assert_eq!(
                matches!(step.state.phase, Phase::Deferred { .. }), deferred.is_some()
            );
            state = step.state;
        }
        // What the store keeps is what is known.
        let json = serde_json::to_string(&state).unwrap();
        prop_assert_eq!(serde_json::from_str::<State>(&json).unwrap(), state);
    }

    /// An anomaly is as far from what was expected whichever way it is looked for, and recovered only within.
    #[test]
    fn an_anomaly_is_one_either_way(value in -9.0_f64..9.0, expected in -9.0_f64..9.0, spread in 0.0_f64..3.0, clear in 0.0_f64..2.0) {
        let read = |direction| {
            let condition = Condition::Anomaly { deviations: 2.0, direction, minimum_change: 0.1, clear: Some(clear) };
            condition.read(Some(value), Reference { value: Some(expected), spread: Some(spread) })
        };
        let one_way = if value > expected { Stray::Up } else { Stray::Down };
        prop_assert_eq!(read(Stray::Both), read(one_way));
        let distance = (value - expected).abs();
        prop_assert_eq!(read(Stray::Both) == Reading::Breached, distance > (2.0 * spread).max(0.1 * expected.abs()));
        prop_assert_eq!(read(Stray::Both) == Reading::Clear, distance <= (clear * spread).max(0.1 * expected.abs()));
        let unknown = Condition::Anomaly { deviations: 2.0, direction: one_way, minimum_change: 0.0, clear: None };
        prop_assert_eq!(unknown.read(Some(value), Reference::default()), Reading::Unknown);
    }

    /// No value both breaches and has recovered, whatever the levels.
    #[test]
    fn a_breach_is_never_a_recovery(value in -2.0_f64..2.0, level in -1.0_f64..1.0, gap in 0.0_f64..1.0) {
        let below = Condition::Below { value: level, clear: Some(level + gap) };
        let above = Condition::Above { value: level, clear: Some(level - gap) };
        for (condition, breached, clear) in [
            (below, value < level, value >= level + gap),
            (above, value > level, value <= level - gap),
        ] {
            let expected = match (breached, clear) {
                (true, _) => Reading::Breached,
                (false, true) => Reading::Clear,
                (false, false) => Reading::Between,
            };
            prop_assert_eq!(condition.read(Some(value), Reference::default()), expected);
        }
    }
}
