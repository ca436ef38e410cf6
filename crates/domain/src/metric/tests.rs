use chrono::TimeDelta;

use super::*;

fn read(yaml: &str) -> Metric {
    serde_norway::from_str(yaml).unwrap()
}

#[test]
fn a_document_reads_as_people_write_it() {
    let metric = read(
        "owner: growth
definition:
  type: funnel
  steps:
    - Signed Up
    - {name: Purchased, filter: properties.amount > 0}
  window: 7d
",
    );
    let Some(Definition::Funnel { steps, window, anchor, allow_ties }) = metric.definition else {
        panic!("not a funnel");
    };
    assert_eq!(steps[0], EventSelector::named("Signed Up"));
    assert_eq!(steps[1].filter, "properties.amount > 0");
    assert_eq!(window, Some(TimeDelta::days(7)));
    assert_eq!(anchor, FunnelAnchor::BestAttempt);
    assert!(!allow_ties);
}

#[test]
fn every_kind_of_definition_reads_back_from_yaml_and_json() {
    let definitions = [
        "{type: count, event: Signed Up}",
        "{type: unique, event: '', of: properties.team}",
        "{type: sum, event: {name: Paid, filter: properties.amount > 0}, property: amount}",
        "{type: mean, event: Paid, property: amount}",
        "{type: ratio, numerator: paid, denominator: signups}",
        "{type: retention, start: Signed Up, return: '', day: 7, mode: on_or_after}",
        "{type: time_to_event, from: Signed Up, to: Paid, window: 1d12h}",
        "{type: funnel, steps: [A, B], anchor: first_touch, allow_ties: true}",
    ];
    for text in definitions {
        let metric = read(&format!("definition: {text}"));
        let yaml = serde_norway::to_string(&metric).unwrap();
        assert_eq!(read(&yaml), metric, "{yaml}");
        let json = serde_json::to_value(&metric).unwrap();
        assert_eq!(serde_json::from_value::<Metric>(json).unwrap(), metric);
        assert!(metric.violations().is_empty(), "{text}");
    }
}

#[test]
fn an_unknown_field_is_refused_wherever_it_stands() {
    for text in [
        "{definition: {type: count, event: A}, colour: red}",
        "{definition: {type: count, event: A, colour: red}}",
        "{definition: {type: count, event: {name: A, colour: red}}}",
        "{definition: {type: quantile, event: A}}",
    ] {
        assert!(serde_norway::from_str::<Metric>(text).is_err(), "{text}");
    }
}

#[test]
fn every_violation_is_reported_at_once_under_its_path() {
    let metric = Metric {
        title: "x".repeat(201),
        definition: Some(Definition::Funnel {
            steps: vec![EventSelector::named("x".repeat(201))],
            window: Some(TimeDelta::zero()),
            anchor: FunnelAnchor::BestAttempt,
            allow_ties: false,
        }),
        ..Metric::default()
    };
    let fields: Vec<_> = metric.violations().into_iter().map(|v| v.field).collect();
    assert_eq!(fields, ["title", "funnel.steps[0].event", "funnel.steps", "funnel.window"]);
}

#[test]
fn a_metric_without_definition_is_refused() {
    let violations = Metric::default().violations();
    let [violation] = violations.as_slice() else { panic!("{violations}") };
    assert_eq!(violation.field, "definition");
}
