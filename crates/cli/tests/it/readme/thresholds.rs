//! The table of a threshold's phases in the README of metrics.

use chrono::{DateTime, TimeDelta, Utc};
use northstar_domain::kpi::Freshness;
use northstar_domain::threshold::{
    Effect, Evaluation, Observation, Phase, Reading, State, Threshold,
};

use super::markdown::{Element, Table, sections};
use super::readme;

const COLUMNS: [&str; 6] = ["day", "value", "reading", "gates", "effect", "phase after"];

/// What the README says above the table.
const THRESHOLD: &str = "
owner: growth
metric: activation
grain: day
condition: {type: below, value: 0.2, clear: 0.25}
breaches: {count: 2}
every: 1d
decision: {action: investigate}
";

fn table() -> Table {
    let elements = sections(&readme("services/metrics/README.md")).into_iter();
    elements
        .flat_map(|section| section.elements)
        .find_map(|element| match element {
            Element::Table(table) if table.header == COLUMNS => Some(table),
            Element::Table(_) | Element::Block(..) => None,
        })
        .expect("the table")
}

/// What a row shows of an effect: its word, and the number of its episode.
fn told(effect: Effect) -> (&'static str, Option<u64>) {
    match effect {
        Effect::None => ("none", None),
        Effect::Inform => ("inform", None),
        Effect::Defer { .. } => ("defer", None),
        Effect::Raise { episode } => ("raise", Some(episode)),
        Effect::Clear { episode } => ("clear", Some(episode)),
    }
}

#[test]
fn the_phases_of_a_threshold_are_as_shown() {
    let threshold: Threshold = serde_norway::from_str(THRESHOLD).expect("a threshold");
    let rules = threshold.rules().expect("complete rules");
    let start = DateTime::<Utc>::UNIX_EPOCH;
    let mut state = State::default();
    let mut observations = Vec::new();
    for row in table().rows {
        let [day, value, reading, gates, effect, phase] = row.try_into().expect("six cells");
        let end = start + TimeDelta::days(day.parse().expect("a day"));
        observations.push(Observation {
            start: end - TimeDelta::days(1),
            end,
            segment: None,
            value: Some(value.parse().expect("a value")),
            reference: None,
            spread: None,
            sample: 100,
            complete: true,
        });
        let looked_at = usize::try_from(rules.of).expect("few");
        let evaluation = Evaluation {
            observations: observations[observations.len().saturating_sub(looked_at)..].to_vec(),
            freshness: if gates == "stale" { Freshness::Stale } else { Freshness::Fresh },
        };
        let step = state.step(&rules, &evaluation, end);
        let shown = match reading.as_str() {
            "breached" => Reading::Breached,
            "between" => Reading::Between,
            "clear" => Reading::Clear,
            other => panic!("no reading {other:?}"),
        };
        assert_eq!(step.reading, shown, "day {day}");
        let (word, episode) = told(step.effect);
        let plain = effect.replace('*', "");
        assert_eq!(plain.split([' ', ':']).next(), Some(word), "day {day}");
        let told = episode.is_none_or(|episode| plain.contains(&format!("episode {episode}")));
        assert!(told, "day {day}: {effect}, not {episode:?}");
        let after = match step.state.phase {
            Phase::Watching => "watching",
            Phase::Deferred { .. } => "deferred",
            Phase::Open { .. } => "open",
        };
        assert_eq!(phase, after, "day {day}");
        state = step.state;
    }
    assert_eq!(state.episode, 1);
}
