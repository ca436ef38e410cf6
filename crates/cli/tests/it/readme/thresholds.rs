//! The tables of what follows from one evaluation of a threshold after the other, in the README of metrics.

use chrono::{NaiveDate, TimeDelta};
use northstar_domain::kpi::Freshness;
use northstar_domain::threshold::{
    Effect, Evaluation, Gate, Observation, Phase, Reading, State, Threshold,
};
use serde::Deserialize;

use super::markdown::{Element, Table, sections};
use super::readme;

/// The columns that such a table ends with.
const COLUMNS: [&str; 4] = ["reading", "gates", "effect", "phase after"];

#[derive(Deserialize)]
struct Document {
    spec: Threshold,
}

/// The tables, each with the threshold above it.
fn tables() -> Vec<(Threshold, Table)> {
    let (mut above, mut tables) = (None, Vec::new());
    let sections = sections(&readme("services/metrics/README.md"));
    for element in sections.into_iter().flat_map(|section| section.elements) {
        match element {
            Element::Block(language, body) => above = (language == "yaml").then_some(body),
            Element::Table(table) if table.header.ends_with(&COLUMNS.map(String::from)) => {
                let document = above.take().expect("a threshold above the table");
                let Document { spec } = serde_norway::from_str(&document).expect("a threshold");
                tables.push((spec, table));
            }
            Element::Table(_) => {}
        }
    }
    tables
}

fn word_of_reading(reading: Reading) -> &'static str {
    match reading {
        Reading::Breached => "breached",
        Reading::Between => "between",
        Reading::Clear => "clear",
        Reading::Unknown => "unknown",
    }
}

fn word_of_gate(gate: Gate) -> &'static str {
    match gate {
        Gate::Empty => "empty",
        Gate::Stale => "stale",
        Gate::NoData => "no_data",
        Gate::Immature => "immature",
        Gate::SmallSample => "small_sample",
        Gate::CoolDown => "cool_down",
        Gate::Quiet => "quiet",
    }
}

fn word_of_effect(effect: Effect) -> String {
    match effect {
        Effect::None => "none".to_owned(),
        Effect::Inform => "inform".to_owned(),
        Effect::Defer { .. } => "defer".to_owned(),
        Effect::Raise { episode } => format!("raise episode {episode}"),
        Effect::Clear { episode } => format!("clear episode {episode}"),
    }
}

fn word_of_phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Watching => "watching",
        Phase::Deferred { .. } => "deferred",
        Phase::Open { .. } => "open",
    }
}

/// Evaluates at the end of every day and compares each row.
fn follows(threshold: &Threshold, table: &Table) {
    let rules = threshold.rules().expect("complete rules");
    let at = |name: &str| table.column(name);
    let mut state = State::default();
    let mut observations = Vec::new();
    for row in &table.rows {
        let cell = |name: &str| row[at(name).expect(name)].as_str();
        let day: NaiveDate = cell("day").parse().expect("a date");
        let start = day.and_time(chrono::NaiveTime::MIN).and_utc();
        let end = start + TimeDelta::days(1);
        observations.push(Observation {
            start,
            end,
            segment: None,
            value: Some(cell("value").parse().expect("a value")),
            reference: None,
            spread: None,
            sample: at("sample").map_or(1_000, |at| row[at].parse().expect("a number")),
            complete: true,
        });
        let looked_at = usize::try_from(rules.of).expect("few");
        let stale = cell("gates") == "stale";
        let evaluation = Evaluation {
            observations: observations[observations.len().saturating_sub(looked_at)..].to_vec(),
            freshness: if stale { Freshness::Stale } else { Freshness::Fresh },
        };
        let step = state.step(&rules, &evaluation, end);
        let gates: Vec<_> = step.gates.iter().map(|gate| word_of_gate(*gate)).collect();
        let found =
            (word_of_reading(step.reading), gates.join(", "), word_of_phase(step.state.phase));
        let shown = (cell("reading"), cell("gates").to_owned(), cell("phase after"));
        assert_eq!(found, shown, "{day}");
        let (effect, shown) = (word_of_effect(step.effect), cell("effect").replace('*', ""));
        let shown = shown.split(':').next().unwrap_or_default();
        assert_eq!(shown, effect, "{day}");
        state = step.state;
    }
}

#[test]
fn what_follows_from_evaluations_is_as_shown() {
    let tables = tables();
    assert_eq!(tables.len(), 2);
    for (threshold, table) in &tables {
        follows(threshold, table);
    }
}
