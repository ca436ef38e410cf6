use chrono::TimeDelta;
use proptest::prelude::*;

use super::*;
use crate::timestamp::parse;

pub(super) fn kpi() -> Kpi {
    serde_norway::from_str(
        "title: Activation
metric: activated
pillar: activation
layer: outcome
owner: growth
unit: '%'
direction: increase
baseline: {value: 20, start_time: 2026-01-01, end_time: 2026-02-01}
target: {value: 30, due_time: 2026-06-30}
guardrails:
  - {metric: refunds, direction: decrease, margin: 0.02}
review_time: 2026-05-01
window_days: 28
time_zone: Europe/Berlin
",
    )
    .unwrap()
}

fn charter() -> Charter {
    kpi().charter().unwrap()
}

#[test]
fn a_complete_charter_is_read_and_written_back() {
    let charter = charter();
    assert_eq!(charter.zone, Tz::Europe__Berlin);
    assert_eq!(charter.baseline_window.length(), TimeDelta::days(31));
    let yaml = serde_norway::to_string(&kpi()).unwrap();
    assert_eq!(serde_norway::from_str::<Kpi>(&yaml).unwrap(), kpi(), "{yaml}");
}

#[test]
fn an_empty_charter_names_everything_that_is_missing() {
    let fields: Vec<_> = Kpi::default().violations().into_iter().map(|v| v.field).collect();
    assert_eq!(
        fields,
        [
            "metric",
            "pillar",
            "owner",
            "unit",
            "layer",
            "direction",
            "baseline",
            "target",
            "guardrails",
            "review_time",
            "window_days",
        ]
    );
}

#[test]
fn a_charter_that_contradicts_itself_is_refused() {
    let mut kpi = kpi();
    kpi.target = Some(Target { value: 20.0, due_time: Some(parse("2026-01-15").unwrap()) });
    kpi.baseline.as_mut().unwrap().end_time = Some(parse("2026-01-01").unwrap());
    kpi.guardrails[0].margin = f64::NAN;
    kpi.guardrails[0].direction = None;
    kpi.time_zone = "Berlin".to_owned();
    kpi.thresholds = Some(Thresholds { at_risk: 25.0, off_track: 26.0 });
    let fields: Vec<_> = kpi.violations().into_iter().map(|v| v.field).collect();
    assert_eq!(
        fields,
        [
            "baseline.end_time",
            "guardrails[0].direction",
            "guardrails[0].margin",
            "time_zone",
            "target.value",
            "thresholds.at_risk",
            "thresholds.off_track",
        ]
    );
}

#[test]
fn status_turns_at_target_and_baseline() {
    let charter = charter();
    for (value, expected) in [
        (31.0, Status::Achieved),
        (30.0, Status::Achieved),
        (29.9, Status::OnTrack),
        (20.1, Status::OnTrack),
        (20.0, Status::AtRisk),
        // 5 % of the way from 20 to 30 is 0.5.
        (19.5, Status::AtRisk),
        (19.4, Status::OffTrack),
    ] {
        assert_eq!(status(Some(value), &charter), expected, "{value}");
    }
    assert_eq!(status(None, &charter), Status::NoData);
    assert_eq!(status(Some(f64::NAN), &charter), Status::NoData);
}

#[test]
fn thresholds_replace_the_baseline_but_not_the_target() {
    let thresholds = Some(Thresholds { at_risk: 24.0, off_track: 22.0 });
    let charter = Charter { thresholds, ..charter() };
    for (value, expected) in [
        (30.0, Status::Achieved),
        (24.0, Status::OnTrack),
        (23.9, Status::AtRisk),
        (22.0, Status::AtRisk),
        (21.9, Status::OffTrack),
    ] {
        assert_eq!(status(Some(value), &charter), expected, "{value}");
    }
}

#[test]
fn a_guardrail_breaks_when_it_gets_worse_by_more_than_its_margin() {
    let up = |value, baseline| breached(value, baseline, Direction::Increase, 0.125);
    assert_eq!(up(Some(87.5), Some(100.0)), Some(false));
    assert_eq!(up(Some(87.4), Some(100.0)), Some(true));
    assert_eq!(up(Some(200.0), Some(100.0)), Some(false));
    assert_eq!(up(None, Some(100.0)), None);
    assert_eq!(up(Some(100.0), None), None);
    let down = |value, baseline| breached(Some(value), Some(baseline), Direction::Decrease, 0.125);
    assert_eq!(down(112.6, 100.0), Some(true));
    assert_eq!(down(0.1, 0.0), Some(true));
    assert_eq!(down(0.0, 0.0), Some(false));
}

#[test]
fn the_next_step_puts_trust_before_guardrails_before_status() {
    let charter = charter();
    let broken = [GuardrailStanding { metric: "refunds", breached: Some(true) }];
    let say = |freshness, guardrails: &[GuardrailStanding<'_>]| {
        next_step(Status::Achieved, guardrails, freshness, Some(31.0), "growth", &charter)
    };
    assert!(say(Freshness::Stale, &broken).contains("checks the sources"));
    assert!(say(Freshness::Fresh, &broken).contains("refunds got worse"));
    assert!(say(Freshness::Fresh, &[]).contains("2026-05-01"));
    let on_track =
        next_step(Status::OnTrack, &[], Freshness::Fresh, Some(25.0), "growth", &charter);
    assert!(on_track.contains("50 % of the way"), "{on_track}");
}

proptest! {
    /// A KPI that should fall stands as its mirror image that should rise.
    #[test]
    fn decrease_is_the_mirror_of_increase(
        baseline in -1e6..1e6_f64, way in 1e-3..1e6_f64, value in -3e6..3e6_f64,
    ) {
        let rising = Charter { baseline, target: baseline + way, thresholds: None, ..charter() };
        let falling = Charter {
            direction: Direction::Decrease, baseline: -baseline, target: -(baseline + way), ..rising
        };
        prop_assert_eq!(status(Some(value), &rising), status(Some(-value), &falling));
    }

    /// A better value never stands worse.
    #[test]
    fn a_better_value_never_stands_worse(value in -100.0..100.0, more in 0.0..100.0) {
        let rank = |value| match status(Some(value), &charter()) {
            Status::NoData => 0,
            Status::OffTrack => 1,
            Status::AtRisk => 2,
            Status::OnTrack => 3,
            Status::Achieved => 4,
        };
        prop_assert!(rank(value) <= rank(value + more));
    }
}
