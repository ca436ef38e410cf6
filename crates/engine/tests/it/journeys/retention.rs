//! Retention in every mode, against civil dates and plain loops.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Datelike, NaiveDate, TimeZone};
use chrono_tz::Tz;
use northstar_engine::{
    Entry, EventSelector, Grain, RetentionTablePartial,
    journeys::{
        Bracket, Clock, Cohorts, RetentionCellKey, RetentionMode, RetentionQuery, Scope, Unit,
    },
};
use proptest::prelude::*;

use super::{Values, all_pages, histories, name, scope, values, whole};
use crate::{
    differential::shards,
    naive::{bucket, number, passes, selected},
    world::{DAY, EPOCH, Event, events, play, selector, steps},
};

const HOUR: i64 = 3_600_000_000;

/// Number of the calendar unit that an instant lies in.
fn unit(time: i64, zone: Tz, unit: Unit) -> i64 {
    let utc = DateTime::from_timestamp_micros(time).expect("a time").naive_utc();
    let local = zone.from_utc_datetime(&utc);
    let days = (local.date_naive() - NaiveDate::default()).num_days();
    match unit {
        // In zones without half hours.
        Unit::Hour => time.div_euclid(HOUR),
        Unit::Day => days,
        Unit::Week => (days + 3).div_euclid(7),
        Unit::Month => i64::from(local.year()) * 12 + i64::from(local.month0()),
    }
}

/// Units that lie between a start and a later instant.
fn distance(query: &RetentionQuery, start: i64, time: i64) -> i64 {
    match query.clock {
        Clock::Calendar => {
            unit(time, query.scope.zone, query.unit) - unit(start, query.scope.zone, query.unit)
        }
        Clock::Rolling => {
            let hours = match query.unit {
                Unit::Hour => 1,
                Unit::Day => 24,
                Unit::Week => 7 * 24,
                Unit::Month => 30 * 24,
            };
            (time - start).div_euclid(hours * HOUR)
        }
    }
}

#[derive(Debug, Default)]
struct Cell {
    eligible: BTreeSet<String>,
    retained: BTreeSet<String>,
    begun: u64,
    begun_retained: u64,
    value: f64,
}

type Table = BTreeMap<(String, Values), (u64, Vec<Cell>)>;

fn expected(events: &[Event], links: &HashMap<String, String>, query: &RetentionQuery) -> Table {
    let (histories, as_of) = histories(events, links, &query.scope);
    let mut table = Table::new();
    for (subject, history) in &histories {
        let history: Vec<&Event> = history
            .iter()
            .copied()
            .filter(|event| passes(event, query.scope.filter.as_ref()))
            .collect();
        let starts: Vec<usize> =
            (0..history.len()).filter(|at| selected(history[*at], &query.start)).collect();
        let in_range = |at: &usize| {
            let time = history[*at].time;
            time >= query.scope.from_micros && time < query.scope.to_micros
        };
        if query.entry == Entry::FirstEver && starts.first().is_some_and(|first| !in_range(first)) {
            continue;
        }
        let mut cohorts = BTreeSet::new();
        for at in starts.iter().filter(|at| in_range(at)) {
            let start = history[*at];
            let cohort = bucket(start.time, query.scope.zone, query.cohorts.grain());
            let fresh = cohorts.insert(cohort.clone());
            if !fresh || (query.entry != Entry::PerBucket && cohorts.len() > 1) {
                continue;
            }
            let own = values(start, &query.scope.breakdowns);
            let returns: Vec<&Event> = history[*at..]
                .iter()
                .copied()
                .filter(|event| selected(event, &query.returning))
                .filter(|event| !query.same_values || values(event, &query.scope.breakdowns) == own)
                .collect();
            let row = table.entry((cohort, own)).or_default();
            row.0 += 1;
            row.1.resize_with(query.brackets.len(), Cell::default);
            let mut streak = true;
            // What has been reached by the last known instant, and by the instant after it.
            let (last, next) =
                (distance(query, start.time, as_of - 1), distance(query, start.time, as_of));
            for (bracket, cell) in query.brackets.iter().zip(&mut row.1) {
                let (first, end) = (i64::from(bracket.first), i64::from(bracket.last));
                if last < first {
                    continue;
                }
                let counts = |event: &&Event| {
                    let distance = distance(query, start.time, event.time);
                    match query.mode {
                        RetentionMode::On | RetentionMode::Streak => {
                            (first..=end).contains(&distance)
                        }
                        RetentionMode::OnOrAfter => distance >= first,
                        RetentionMode::OnOrBefore => distance <= end,
                    }
                };
                let counted: Vec<&Event> = returns.iter().copied().filter(counts).collect();
                streak &= !counted.is_empty();
                let came_back = match query.mode {
                    RetentionMode::Streak => streak,
                    _ => !counted.is_empty(),
                };
                cell.begun += 1;
                cell.begun_retained += u64::from(came_back);
                if next > end {
                    cell.eligible.insert(subject.clone());
                    if came_back {
                        cell.retained.insert(subject.clone());
                    }
                    cell.value += counted
                        .iter()
                        .map(|event| match &query.value {
                            None => 1.0,
                            Some(path) => number(event, path).unwrap_or(0.0),
                        })
                        .sum::<f64>();
                }
            }
        }
    }
    table
}

fn retention_query() -> impl Strategy<Value = RetentionQuery> {
    let entry =
        proptest::sample::select(vec![Entry::PerBucket, Entry::FirstInRange, Entry::FirstEver]);
    let cohorts = proptest::sample::select(vec![
        Cohorts::One,
        Cohorts::By(Grain::Day),
        Cohorts::By(Grain::Week),
        Cohorts::By(Grain::Hour),
    ]);
    let unit = proptest::sample::select(vec![Unit::Hour, Unit::Day, Unit::Week, Unit::Month]);
    let clock = proptest::sample::select(vec![Clock::Calendar, Clock::Rolling]);
    let brackets = proptest::collection::vec((0u32..2, 0u32..3), 1..6).prop_map(|parts| {
        let mut next = 0;
        let mut brackets = Vec::new();
        for (gap, length) in parts {
            let first = next + gap;
            brackets.push(Bracket { first, last: first + length });
            next = first + length + 1;
        }
        brackets
    });
    let mode = proptest::sample::select(vec![
        RetentionMode::On,
        RetentionMode::OnOrAfter,
        RetentionMode::OnOrBefore,
        RetentionMode::Streak,
    ]);
    let value = proptest::option::of(Just("x".to_owned()));
    (
        (scope(2), selector(), selector(), entry, cohorts),
        (unit, clock, brackets, mode, value, any::<bool>()),
    )
        .prop_map(
            |(
                (scope, start, returning, entry, cohorts),
                (unit, clock, brackets, mode, value, same_values),
            )| RetentionQuery {
                scope,
                start,
                returning,
                entry,
                cohorts,
                unit,
                clock,
                brackets,
                mode,
                value,
                same_values,
            },
        )
}

#[test]
fn any_number_of_returns_counts_from_the_start_on() {
    const MINUTE: i64 = HOUR / 60;
    // A thousand events on one day, of which the 301st is the start, and one two days later.
    let event = |position: i64| Event {
        position,
        name: if position == 300 { "start" } else { "visit" },
        source: "web",
        user: Some("ada".to_owned()),
        anonymous: None,
        account: None,
        time: EPOCH + if position < 1_000 { position * MINUTE } else { 2 * DAY },
        sequence: 0,
        properties: serde_json::json!({}),
    };
    let events: Vec<Event> = (0..=1_000).map(event).collect();
    let query = RetentionQuery {
        scope: Scope::of(EPOCH, EPOCH + 3 * DAY),
        start: EventSelector::named("start"),
        returning: EventSelector::all(),
        entry: Entry::FirstEver,
        cohorts: Cohorts::One,
        unit: Unit::Day,
        clock: Clock::Calendar,
        brackets: (0..3).map(Bracket::at).collect(),
        mode: RetentionMode::On,
        value: None,
        same_values: false,
    };
    let snapshot = whole(&events).snapshot().expect("a snapshot");
    let answer = snapshot.retention(&query).expect("an answer");
    let cells: Vec<_> = answer.cohorts[0]
        .cells
        .iter()
        .map(|cell| (cell.begun_retained, cell.eligible, cell.retained, cell.value))
        .collect();
    // The last day has begun, but is not over.
    assert_eq!(cells, [(1, 1, 1, 700.0), (0, 1, 0, 0.0), (1, 0, 0, 0.0)]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn a_retention_table_agrees_with_plain_loops(
        events in events(100), steps in steps(), queries in proptest::collection::vec(retention_query(), 6)
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        let (dataset, links) = play(&events, &steps, dir.path());
        let snapshot = dataset.snapshot().expect("a snapshot");
        for query in queries {
            let expected = expected(&events, &links, &query);
            let answer = snapshot.retention(&query).expect("an answer");
            let mut found = 0;
            for row in &answer.cohorts {
                let cohort = row.bucket_start.map_or(String::new(), |start| bucket(start, query.scope.zone, query.cohorts.grain()));
                let Some((entered, cells)) = expected.get(&(cohort, row.dimensions.clone())) else {
                    prop_assert_eq!(row.entered, 0);
                    continue;
                };
                found += 1;
                prop_assert_eq!(row.entered, *entered);
                for (bracket, (cell, expected)) in row.cells.iter().zip(cells).enumerate() {
                    // A subject may be in one cohort only once, so sets count as numbers do.
                    prop_assert_eq!(cell.eligible, expected.eligible.len() as u64);
                    prop_assert_eq!(cell.retained, expected.retained.len() as u64);
                    prop_assert_eq!((cell.begun, cell.begun_retained), (expected.begun, expected.begun_retained));
                    prop_assert!((cell.value - expected.value).abs() < 1e-6);
                    prop_assert!(cell.retained <= cell.eligible && cell.eligible <= row.entered);
                    prop_assert_eq!(cell.mature, cell.eligible == row.entered);
                    let key = RetentionCellKey {
                        bucket_start: row.bucket_start,
                        dimensions: row.dimensions.clone(),
                        bracket: Some(bracket),
                        retained: true,
                    };
                    let members = all_pages(|page| snapshot.retention_members(&query, &key, page).expect("members"));
                    let mut named: Vec<_> = expected.retained.iter().map(|subject| name(subject)).collect();
                    named.sort();
                    prop_assert_eq!(members, named);
                }
            }
            prop_assert_eq!(found, expected.len());
            for (bracket, mean) in answer.mean.iter().enumerate() {
                let mature = || answer.cohorts.iter().map(|row| &row.cells[bracket]).filter(|cell| cell.mature);
                prop_assert_eq!(mean.eligible, mature().map(|cell| cell.eligible).sum::<u64>());
                prop_assert_eq!(mean.retained, mature().map(|cell| cell.retained).sum::<u64>());
            }
        }
    }

    #[test]
    fn retention_of_disjoint_subjects_travels_and_merges(
        events in events(80), mut query in retention_query()
    ) {
        query.scope.as_of_micros = Some(query.scope.to_micros);
        // Data sets that begin at other times know other units of the calendar, but the same ones.
        let [left, right] = shards(&events, &HashMap::new());
        let [whole, mut left, right] = [whole(&events), left, right].map(|part| {
            let snapshot = part.snapshot().expect("a snapshot");
            let partial = snapshot.retention_partial(&query, 1).expect("a partial answer");
            let json = serde_json::to_string(&partial).expect("json");
            serde_json::from_str::<RetentionTablePartial>(&json).expect("the same partial answer")
        });
        left.merge(right);
        let (merged, whole) = (left.finish(&query), whole.finish(&query));
        prop_assert_eq!(merged.cohorts.len(), whole.cohorts.len());
        for (merged, whole) in merged.cohorts.iter().zip(&whole.cohorts) {
            prop_assert_eq!((merged.bucket_start, &merged.dimensions, merged.entered), (whole.bucket_start, &whole.dimensions, whole.entered));
            for (merged, whole) in merged.cells.iter().zip(&whole.cells) {
                prop_assert_eq!((merged.eligible, merged.retained, merged.mature), (whole.eligible, whole.retained, whole.mature));
                prop_assert!((merged.value - whole.value).abs() < 1e-9);
            }
        }
    }
}
