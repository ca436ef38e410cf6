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
        "{type: unique, activity: active}",
        "{type: min, event: Paid, property: amount}",
        "{type: max, event: Paid, property: amount}",
        "{type: percentile, event: Served, property: ms, percentile: 99.5, approximate: true}",
        "{type: ratio, numerator: {metric: paid, filter: properties.x > 0}, denominator: signups}",
        "{type: time_to_event, from: Signed Up, to: Paid, statistic: p90}",
        "{type: stickiness, activity: active}",
        "{type: stickiness, event: Opened, interval: week, measure: share, intervals: 3}",
        "{type: stickiness, measure: count, intervals: 3, mode: exactly}",
        "{type: lifecycle, state: resurrecting}",
        "{type: cumulative, metric: paid, window: 28 days}",
        "{type: cumulative, metric: {metric: paid, filter: properties.x > 0}, grain_to_date: quarter}",
        "{type: cumulative, metric: paid, at: start}",
        "{type: per_subject, event: Seats Set, aggregate: last, property: seats, statistic: sum}",
        "{type: conversion, base: Visit, conversion: Buy, window: 7d, calculation: conversions,
          constant_properties: [{base_property: product, conversion_property: item}]}",
        "{type: derived, expression: a / before - 1, inputs: [{metric: paid, alias: a},
          {metric: {metric: paid, filter: properties.x > 0}, alias: before, offset_window: 1 month},
          {metric: signups, offset_to_grain: year}]}",
        "{type: per_subject, event: Paid, aggregate: sum, property: amount, statistic: median}",
        "{type: per_subject, event: Paid, aggregate: count}",
        "{type: nps, event: Answered, property: score}",
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
        "{definition: {type: cumulative, metric: a, window: a while}}",
        "{definition: {type: derived, expression: a, inputs: [{metric: a, colour: red}]}}",
        "{definition: {type: ratio, numerator: {metric: a, colour: red}, denominator: b}}",
        "{definition: {type: lifecycle}}",
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

#[test]
fn every_kind_of_definition_refuses_what_makes_no_sense() {
    for (text, expected) in [
        (
            "{type: percentile, event: A, property: '', percentile: 100}",
            "percentile.property percentile.percentile",
        ),
        ("{type: unique, event: A, activity: active}", "unique.activity"),
        ("{type: stickiness, event: A, measure: share}", "stickiness.intervals"),
        ("{type: stickiness, event: A, intervals: 3}", "stickiness.intervals"),
        ("{type: lifecycle, event: A, activity: active, state: new}", "lifecycle.activity"),
        (
            "{type: cumulative, metric: '', window: 7 days, grain_to_date: day}",
            "cumulative.metric cumulative.grain_to_date cumulative.grain_to_date",
        ),
        (
            "{type: conversion, base: A, conversion: B, window: 0s,
           constant_properties: [{base_property: '', conversion_property: x}]}",
            "conversion.window conversion.constant_properties[0].base_property",
        ),
        ("{type: derived, expression: '', inputs: []}", "derived.expression derived.inputs"),
        (
            "{type: derived, expression: a, inputs: [{metric: a}, {metric: b, alias: a}, {metric: a-b}]}",
            "derived.inputs[1].alias derived.inputs[2].alias",
        ),
        (
            "{type: derived, expression: a, inputs: [{metric: a, offset_window: 1 day, offset_to_grain: week}]}",
            "derived.inputs[0].offset_to_grain",
        ),
        ("{type: per_subject, event: A, aggregate: count, property: x}", "per_subject.property"),
        ("{type: per_subject, event: A, aggregate: max}", "per_subject.property"),
        ("{type: nps, event: A, property: ''}", "nps.property"),
        ("{type: ratio, numerator: '', denominator: b}", "ratio.numerator"),
    ] {
        let fields: Vec<_> = read(&format!("definition: {text}"))
            .violations()
            .into_iter()
            .map(|v| v.field)
            .collect();
        assert_eq!(fields.join(" "), expected, "{text}");
    }
}

#[test]
fn a_metric_says_what_it_reads() {
    let metric = read(
        "definition: {type: ratio, numerator: {metric: a, filter: properties.x > 0}, denominator: b}",
    );
    assert_eq!(metric.filters(), [("ratio.numerator.filter".to_owned(), "properties.x > 0")]);
    let parts: Vec<_> = metric.parts().into_iter().map(|(_, part)| part.metric.as_str()).collect();
    assert_eq!(parts, ["a", "b"]);
    let metric = read("definition: {type: nps, event: Answered, property: properties.score}");
    assert_eq!(metric.properties(), ["score"]);
}
