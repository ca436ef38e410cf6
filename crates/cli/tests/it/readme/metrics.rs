//! The README of metrics: what it prints is run, what its tables show is computed.

use std::collections::BTreeSet;

use northstar_domain::metric::Definition;

use super::markdown::{Element, Section, Table, code, sections};
use super::play::play;
use super::{answers, events, readme};
use crate::datasets::folder;
use crate::suite::Suite;

const README: &str = "services/metrics/README.md";

fn all() -> Vec<Section> {
    sections(&readme(README))
}

fn holds(title: &str) {
    play(&Suite::start(), README, title);
}

macro_rules! sections_hold {
    ($($test:ident: $title:literal,)+) => {
        $(#[test]
        fn $test() {
            holds($title);
        })+

        /// What has a test of its own.
        const TESTED: &[&str] = &[$($title),+];
    };
}

sections_hold! {
    funnels_answer_as_shown: "Funnels",
    retention_answers_as_shown: "Retention",
    lifecycles_answer_as_shown: "Lifecycle",
    paths_answer_as_shown: "Paths",
    kpis_are_judged_as_shown: "How a KPI is judged",
    every_kind_of_metric_answers_as_shown: "Kinds of metrics",
    several_metrics_answer_as_shown: "Several metrics at once",
    the_tree_and_lineage_answer_as_shown: "Activities, the KPI tree and lineage",
    packs_answer_as_shown: "Packs",
    cohorts_answer_as_shown: "Cohorts",
    what_lies_behind_a_number_is_as_shown: "What lies behind a number",
    restatements_are_as_shown: "Restatements",
    documents_are_as_shown: "Documents",
    thresholds_evaluate_as_shown: "Thresholds: when a number asks for a decision",
    reports_say_what_is_shown: "Reports",
    impact_is_as_shown: "What did it do?",
    anomalies_are_as_shown: "What is out of the ordinary?",
    attribution_is_as_shown: "Why did it move?",
}

/// Reads a file of the public data.
const CUSTOMERS: &str = "What will customers be worth?";

/// Builds the program and measures it against others.
const BENCH: &str = "How fast";

#[test]
fn customers_are_worth_what_is_shown() {
    let Some(folder) = folder("cdnow") else { return };
    let suite = Suite::start();
    let file = "cdnow_sample_elog.csv";
    std::fs::copy(folder.join(file), suite.folder().join(file)).expect("a copy");
    play(&suite, README, CUSTOMERS);
}

#[test]
fn everything_that_is_shown_has_a_test() {
    for Section { title, elements } in all() {
        let shown = elements.iter().any(|element| match element {
            Element::Block(..) => true,
            Element::Table(table) => {
                answers::question(table).is_some() || events::is_about_events(table)
            }
        });
        let tested = TESTED.iter().chain(&[CUSTOMERS, BENCH]).any(|tested| *tested == title);
        assert!(tested || !shown, "{title:?} has no test");
    }
}

/// Every table of every section.
fn tables() -> Vec<Table> {
    let elements = all().into_iter().flat_map(|section| section.elements);
    elements
        .filter_map(|element| match element {
            Element::Table(table) => Some(table),
            Element::Block(..) => None,
        })
        .collect()
}

#[test]
fn every_kind_of_metric_has_a_worked_row() {
    let unknown = serde_norway::from_str::<Definition>("{type: unknown}").expect_err("no kind");
    let kinds = unknown.to_string();
    let kinds: BTreeSet<&str> = kinds.split('`').skip(3).step_by(2).collect();
    assert!(kinds.contains("nps") && kinds.len() > 15, "{unknown}");
    let tables = tables();
    let cells = tables.iter().flat_map(|table| table.rows.iter().flatten());
    let worked: BTreeSet<&str> = cells
        .filter_map(|cell| code(cell)?.strip_prefix("{type: ")?.split([',', '}']).next())
        .collect();
    let missing: Vec<_> = kinds.difference(&worked).collect();
    assert!(missing.is_empty(), "no worked row of {missing:?}");
}

#[test]
fn every_question_has_a_worked_row() {
    let tables = tables();
    let asked: BTreeSet<&str> = tables.iter().filter_map(answers::question).collect();
    for question in [
        "query",
        "funnel",
        "retention",
        "lifecycle",
        "paths",
        "cohort size",
        "behind",
        "explain",
        "restatements",
        "impact",
        "anomalies",
        "attribute",
        "clv",
        "scorecard",
        "kpi tree",
        "lineage",
        "threshold evaluate",
        "report executive",
    ] {
        let command = format!("northstar {question}");
        assert!(
            asked.iter().any(|asked| asked.starts_with(&command)),
            "no worked row of {command}"
        );
    }
}
