//! Questions that answer with a row per subject, against the same computed plainly.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, NaiveDate};
use chrono_tz::Tz;
use northstar_engine::{
    AdoptionAnswer, AdoptionQuery, Dataset, DayZero, Dimension, EventSelector, Outcome,
    PurchaseQuery,
};
use proptest::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    differential::{journey, outcome},
    naive::{dimension, number, plain_outcome, selected},
    world::{DAY, EPOCH, Event, MINUTE, events, play, selector, steps},
};

/// Whether it adopted, its day zero, every number, every label.
type Member = (bool, i64, Vec<f64>, Vec<Option<String>>);

/// Events by subject, in order.
fn subjects<'a>(
    events: &'a [Event],
    links: &HashMap<String, String>,
) -> BTreeMap<String, Vec<&'a Event>> {
    let mut subjects: BTreeMap<String, Vec<&Event>> = BTreeMap::new();
    for event in events {
        if let Some(subject) = event.subject(links) {
            subjects.entry(subject).or_default().push(event);
        }
    }
    for events in subjects.values_mut() {
        events.sort_by_key(|event| (event.time, event.sequence, event.position));
    }
    subjects
}

fn name(events: &[&Event]) -> String {
    let users = events.iter().filter_map(|event| event.user.clone()).min();
    let anonymous = events.iter().filter_map(|event| event.anonymous.clone()).min();
    users.or(anonymous).unwrap_or_default()
}

/// Who takes part, and how many are immature, too new, earlier and later.
fn plain_adoption(
    events: &[Event],
    links: &HashMap<String, String>,
    query: &AdoptionQuery,
) -> (Vec<Member>, [u64; 4]) {
    let as_of = query.as_of_micros.expect("given");
    let after = query.period_micros * i64::from(query.periods_after);
    let (mut members, mut left_out) = (Vec::new(), [0; 4]);
    let (mut adopters, mut others) = (Vec::new(), Vec::new());
    for events in subjects(events, links).into_values() {
        let seen = events[0].time;
        if seen >= as_of {
            continue;
        }
        let adopted = events
            .iter()
            .find(|event| event.time < as_of && selected(event, &query.adoption))
            .map(|event| event.time);
        match adopted {
            None => others.push((seen + query.minimum_history_micros, events)),
            Some(zero) if zero < query.from_micros => left_out[2] += 1,
            Some(zero) if zero >= query.to_micros => left_out[3] += 1,
            Some(zero) if zero < seen + query.minimum_history_micros => left_out[1] += 1,
            Some(zero) if zero + after > as_of => left_out[0] += 1,
            Some(zero) => adopters.push((zero, events)),
        }
    }
    let mut zeros: Vec<i64> = adopters.iter().map(|(zero, _)| *zero).collect();
    zeros.sort_unstable();
    if query.day_zero == DayZero::First {
        zeros.truncate(1);
    }
    for (zero, events) in adopters {
        members.push(member(query, true, zero, &events));
    }
    for (earliest, events) in others {
        let eligible: Vec<i64> = zeros.iter().copied().filter(|zero| *zero >= earliest).collect();
        if eligible.is_empty() {
            left_out[1] += 1;
            continue;
        }
        let drawn = xxh3_64(name(&events).as_bytes()) % eligible.len() as u64;
        members.push(member(query, false, eligible[drawn as usize], &events));
    }
    (members, left_out)
}

fn member(query: &AdoptionQuery, adopted: bool, zero: i64, events: &[&Event]) -> Member {
    let within = |start: i64, end: i64| -> Vec<&Event> {
        events.iter().copied().filter(|event| event.time >= start && event.time < end).collect()
    };
    let measure = |start, end| {
        let (above, own) = plain_outcome(&query.outcome, &within(start, end), end);
        let below = query.denominator.as_ref();
        (above, below.map_or(own, |below| plain_outcome(below, &within(start, end), end).0))
    };
    let start = zero - query.period_micros * i64::from(query.periods_before);
    let end = zero + query.period_micros * i64::from(query.periods_after);
    let mut pairs = vec![measure(start, zero), measure(zero, end)];
    for period in 0..i64::from(query.periods_before + query.periods_after) {
        let from = start + period * query.period_micros;
        pairs.push(measure(from, from + query.period_micros));
    }
    let mut numbers: Vec<f64> = pairs.iter().map(|(above, _)| *above).collect();
    if query.denominator.is_some() || query.outcome.has_denominator() {
        numbers.extend(pairs.iter().map(|(_, below)| below));
    }
    for count in &query.counts {
        let before = within(start, zero);
        numbers.push(before.iter().filter(|event| selected(event, count)).count() as f64);
    }
    let last = |of: &Dimension| {
        let before = events.iter().rev().filter(|event| event.time < zero);
        before.filter_map(|event| dimension(event, of)).next()
    };
    (adopted, zero, numbers, query.properties.iter().map(last).collect())
}

/// The columns of an answer as rows.
fn rows(answer: &AdoptionAnswer) -> Vec<Member> {
    (0..answer.adopted.len())
        .map(|at| {
            let below = &answer.below;
            let whole = [&answer.before, &answer.after].into_iter().chain(&answer.periods);
            let of_below = [&below.before, &below.after].into_iter().chain(&below.periods);
            let of_below = of_below.filter(|column| !column.is_empty());
            let columns = whole.chain(of_below).chain(&answer.counts);
            let numbers = columns.map(|column| column[at]).collect();
            let labels = answer.properties.iter().map(|p| p.labels[p.of[at] as usize].clone());
            (answer.adopted[at], answer.day_zero[at], numbers, labels.collect())
        })
        .collect()
}

/// Rows as text, sorted, with as many digits as a sum keeps whatever its order.
fn sorted(members: Vec<Member>) -> Vec<String> {
    let mut rows: Vec<String> = members
        .into_iter()
        .map(|(adopted, zero, numbers, labels)| {
            let numbers: Vec<String> =
                numbers.iter().map(|number| format!("{:.9}", number + 0.0)).collect();
            format!("{adopted} {zero} {numbers:?} {labels:?}")
        })
        .collect();
    rows.sort();
    rows
}

/// What is measured, and what is below it.
fn measured() -> impl Strategy<Value = (Outcome, Option<Outcome>)> {
    prop_oneof![
        2 => (outcome(), Just(None)),
        2 => (outcome(), outcome()).prop_map(|(above, below)| (above, Some(below))),
        2 => (journey(), Just(None)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn adopters_and_others_agree_with_the_plain_computation(
        events in events(150), steps in steps(), adoption in selector(),
        (outcome, denominator) in measured(),
        counts in proptest::collection::vec(selector(), 0..3), first in any::<bool>(),
        period in 60i64..2 * 1_440, (before, after) in (1u32..4, 1u32..3),
        history in 0i64..1_440, from in 0i64..3 * 1_440,
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        let (dataset, links) = play(&events, &steps, dir.path());
        let query = AdoptionQuery {
            adoption,
            from_micros: EPOCH + from * MINUTE,
            to_micros: EPOCH + 5 * DAY,
            period_micros: period * MINUTE,
            periods_before: before,
            periods_after: after,
            outcome,
            denominator,
            counts,
            properties: vec![Dimension::Property("plan.name".to_owned()), Dimension::AccountId],
            day_zero: if first { DayZero::First } else { DayZero::Drawn },
            minimum_history_micros: history * MINUTE,
            as_of_micros: Some(EPOCH + 6 * DAY),
        };
        let answer = dataset.snapshot().expect("a snapshot").adoption(&query).expect("an answer");
        let (members, left_out) = plain_adoption(&events, &links, &query);
        prop_assert_eq!(sorted(rows(&answer)), sorted(members));
        let found =
            [answer.immature, answer.too_new, answer.adopted_earlier, answer.adopted_later];
        prop_assert_eq!(found, left_out);
    }

    #[test]
    fn purchase_histories_agree_with_the_plain_computation(
        events in events(150), steps in steps(), purchase in selector(), from in 0i64..2 * 1_440,
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        let (dataset, links) = play(&events, &steps, dir.path());
        let query = PurchaseQuery {
            purchase,
            amount: Some("x".to_owned()),
            from_micros: EPOCH + from * MINUTE,
            to_micros: EPOCH + 5 * DAY,
            zone: Tz::Europe__Berlin,
            cohorts: Vec::new(),
        };
        let answer = dataset.snapshot().expect("a snapshot").purchases(&query).expect("an answer");
        let mut found: Vec<_> = answer
            .customers
            .iter()
            .map(|one| {
                let amounts = format!("{:.9} {:.9}", one.total, one.repeat_total + 0.0);
                (one.subject.clone(), one.repeats, one.recency_days, one.age_days, amounts)
            })
            .collect();
        found.sort();
        let (mut expected, mut earlier) = (Vec::new(), 0);
        for events in subjects(&events, &links).into_values() {
            let bought: Vec<&&Event> = events
                .iter()
                .filter(|event| event.time < query.to_micros && selected(event, &query.purchase))
                .collect();
            let Some(first) = bought.first() else { continue };
            if first.time < query.from_micros {
                earlier += 1;
                continue;
            }
            let day = |time: i64| -> NaiveDate {
                let time = DateTime::from_timestamp_micros(time).expect("a time");
                time.with_timezone(&query.zone).date_naive()
            };
            let amount = |event: &Event| number(event, "x").unwrap_or(0.0);
            let mut by_day: BTreeMap<NaiveDate, f64> = BTreeMap::new();
            for event in &bought {
                *by_day.entry(day(event.time)).or_default() += amount(event);
            }
            let days: Vec<NaiveDate> = by_day.keys().copied().collect();
            let between = |to: NaiveDate| (to - days[0]).num_days() as u32;
            let amounts = format!(
                "{:.9} {:.9}",
                by_day.values().sum::<f64>() + 0.0,
                by_day.values().skip(1).sum::<f64>() + 0.0,
            );
            let repeats = days.len() as u32 - 1;
            let age = between(day(query.to_micros - 1));
            expected.push((name(&events), repeats, between(days[days.len() - 1]), age, amounts));
        }
        expected.sort();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(answer.bought_earlier, earlier);
    }
}

#[test]
fn an_outcome_with_a_denominator_takes_no_other() {
    let dir = tempfile::tempdir().expect("a folder");
    let dataset = Dataset::new(dir.path()).expect("a folder");
    let query = AdoptionQuery {
        adoption: EventSelector::named("a"),
        from_micros: 0,
        to_micros: DAY,
        period_micros: DAY,
        periods_before: 1,
        periods_after: 1,
        outcome: Outcome::Elapsed {
            from: EventSelector::named("a"),
            to: EventSelector::named("b"),
            window_micros: None,
            ties: northstar_engine::Ties::ByOrder,
        },
        denominator: Some(Outcome::Count { event: EventSelector::named("b") }),
        counts: Vec::new(),
        properties: Vec::new(),
        day_zero: DayZero::Drawn,
        minimum_history_micros: 0,
        as_of_micros: None,
    };
    let snapshot = dataset.snapshot().expect("a snapshot");
    let refused = snapshot.adoption(&query).expect_err("it has two").to_string();
    assert!(refused.contains("denominator"), "{refused}");
    let sound = AdoptionQuery { denominator: None, ..query };
    let empty = snapshot.adoption(&sound).expect("an answer");
    assert!(empty.adopted.is_empty());
    let properties = vec![Dimension::Cohort("nobody".to_owned())];
    let unknown = snapshot.adoption(&AdoptionQuery { properties, ..sound });
    assert!(unknown.expect_err("there is none").to_string().contains("nobody"));
}
