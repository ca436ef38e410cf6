//! Questions about journeys, against plain computations, worked examples and published data sets.

mod examples;
mod funnel;
mod known;
mod lifecycle;
mod paths;
mod retention;

use std::collections::{BTreeMap, HashMap};

use northstar_engine::{
    Dataset, Dimension, SubjectName,
    journeys::{MemberPage, Scope},
};
use proptest::prelude::*;

use crate::{
    naive,
    world::{DAY, EPOCH, Event, MINUTE, filter},
};

pub type Values = Vec<Option<String>>;

/// Every event that a question may know, by subject and in order.
pub fn histories<'a>(
    events: &'a [Event],
    links: &HashMap<String, String>,
    scope: &Scope,
) -> (BTreeMap<String, Vec<&'a Event>>, i64) {
    let known = |event: &&Event| scope.position.is_none_or(|position| event.position <= position);
    let latest = events.iter().filter(known).map(|event| event.time + 1).max();
    let as_of = scope.as_of_micros.or(latest).unwrap_or(scope.from_micros);
    let mut histories: BTreeMap<String, Vec<&Event>> = BTreeMap::new();
    for event in events.iter().filter(known).filter(|event| event.time < as_of) {
        if let Some(subject) = event.subject(links) {
            histories.entry(subject).or_default().push(event);
        }
    }
    for history in histories.values_mut() {
        history.sort_by_key(|event| (event.time, event.sequence, event.position));
    }
    (histories, as_of)
}

pub fn values(event: &Event, dimensions: &[Dimension]) -> Values {
    dimensions.iter().map(|dimension| naive::dimension(event, dimension)).collect()
}

/// Name of a subject, as the engine gives it.
pub fn name(subject: &str) -> SubjectName {
    let (kind, id) = subject.split_once(' ').expect("a kind and an id");
    SubjectName { kind: format!("{kind}_id"), value: id.to_owned() }
}

pub fn dimension() -> impl Strategy<Value = Dimension> {
    proptest::sample::select(vec![
        Dimension::Event,
        Dimension::Source,
        Dimension::AccountId,
        Dimension::Property("plan.name".to_owned()),
        Dimension::Property("flag".to_owned()),
    ])
}

pub fn scope(most_breakdowns: usize) -> impl Strategy<Value = Scope> {
    let zone = proptest::sample::select(vec![
        chrono_tz::UTC,
        chrono_tz::Europe::Berlin,
        chrono_tz::America::Los_Angeles,
    ]);
    let breakdowns = prop_oneof![
        1 => Just(Vec::new()),
        1 => proptest::collection::vec(dimension(), 0..=most_breakdowns),
    ];
    let range = (0i64..6 * 1_440, 1i64..9 * 1_440);
    let as_of = proptest::option::weighted(0.3, 0i64..11 * 1_440);
    let position = proptest::option::weighted(0.3, 0i64..200);
    (range, zone, breakdowns, filter(), as_of, position).prop_map(
        |((from, length), zone, breakdowns, filter, as_of, position)| Scope {
            from_micros: EPOCH + from * MINUTE,
            to_micros: EPOCH + (from + length) * MINUTE,
            zone,
            filter,
            breakdowns,
            as_of_micros: as_of.map(|minutes| EPOCH + minutes * MINUTE),
            position,
        },
    )
}

/// Every page of a list, two names at a time.
pub fn all_pages(
    list: impl Fn(&MemberPage) -> northstar_engine::journeys::Members,
) -> Vec<SubjectName> {
    let (mut names, mut after) = (Vec::new(), None);
    loop {
        let page = list(&MemberPage { after, limit: 2 });
        assert!(page.subjects.len() <= 2);
        names.extend(page.subjects);
        assert_eq!(page.more, (names.len() as u64) < page.total);
        if !page.more {
            return names;
        }
        after = names.last().cloned();
    }
}

/// Events `(name, user, minutes after the epoch, properties)` in a data set.
pub fn dataset(events: &[(&'static str, &str, i64, serde_json::Value)]) -> Dataset {
    let events: Vec<Event> = events
        .iter()
        .zip(0..)
        .map(|((name, user, minutes, properties), position)| Event {
            position,
            name,
            source: "web",
            user: Some((*user).to_owned()),
            anonymous: None,
            account: None,
            time: EPOCH + minutes * MINUTE,
            sequence: 0,
            properties: properties.clone(),
        })
        .collect();
    whole(&events)
}

/// The ten days that hold every event.
pub fn ten_days() -> Scope {
    Scope::of(EPOCH, EPOCH + 10 * DAY)
}

/// All events in memory.
pub fn whole(events: &[Event]) -> Dataset {
    let dir = std::env::temp_dir().join("northstar-engine-journeys-are-never-written");
    let mut dataset = Dataset::new(&dir).expect("a folder");
    dataset.append(events.iter().map(Event::record)).expect("an append");
    dataset
}
