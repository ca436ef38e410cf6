//! The ship rule, case by case.

use super::*;

fn estimate(ci_low: f64, ci_high: f64) -> Option<Estimate> {
    Some(Estimate { estimate: f64::midpoint(ci_low, ci_high), ci_low, ci_high, p_value: None })
}

/// A treatment whose primary metric has this interval, significant when it
/// excludes zero, and whose one guardrail has that relative interval.
fn analysis(primary: (f64, f64), guardrail: (f64, f64)) -> Analysis {
    let significant = primary.0 > 0.0 || primary.1 < 0.0;
    let summary = |variant: &str| VariantSummary {
        variant: variant.to_owned(),
        subjects: 1000,
        mean: Some(0.1),
    };
    Analysis {
        experiment: "checkout".to_owned(),
        horizon_reached: true,
        variants: vec![summary("control"), summary("short")],
        comparisons: vec![Comparison {
            variant: "short".to_owned(),
            metric: "checkout-rate".to_owned(),
            absolute: estimate(primary.0, primary.1),
            relative: None,
            significant,
        }],
        guardrails: vec![GuardrailResult::judge(
            "short",
            "refunds",
            Direction::Decrease,
            estimate(guardrail.0, guardrail.1),
            0.05,
        )],
        sample_ratio: SampleRatio { chi_square: 0.1, p_value: 0.75, mismatch: false },
        multiple_exposure_subjects: 0,
        recommendation: Recommendation::Wait,
        recommended_variant: None,
        explanation: String::new(),
        log_position: 7,
    }
}

fn verdict(analysis: Analysis) -> Recommendation {
    analysis.judged(Direction::Increase).recommendation
}

const BETTER: (f64, f64) = (0.01, 0.03);
const WORSE: (f64, f64) = (-0.03, -0.01);
const UNCLEAR: (f64, f64) = (-0.01, 0.02);
const HOLDS: (f64, f64) = (-0.02, 0.04);
const OPEN: (f64, f64) = (-0.02, 0.06);
const HARMED: (f64, f64) = (0.051, 0.09);

#[test]
fn a_better_primary_with_guardrails_that_hold_ships() {
    let judged = analysis(BETTER, HOLDS).judged(Direction::Increase);
    assert_eq!(judged.recommendation, Recommendation::Ship);
    assert_eq!(judged.recommended_variant.as_deref(), Some("short"));
}

#[test]
fn a_guardrail_that_is_merely_not_worse_significantly_does_not_ship() {
    let judged = analysis(BETTER, OPEN).judged(Direction::Increase);
    assert_eq!(judged.recommendation, Recommendation::Review);
    assert!(judged.explanation.contains("refunds of short"), "{}", judged.explanation);
}

#[test]
fn a_worse_primary_or_a_harmed_guardrail_rolls_back() {
    assert_eq!(verdict(analysis(WORSE, HOLDS)), Recommendation::RollBack);
    assert_eq!(verdict(analysis(BETTER, HARMED)), Recommendation::RollBack);
    assert_eq!(verdict(analysis(UNCLEAR, HARMED)), Recommendation::RollBack);
}

#[test]
fn a_primary_that_did_not_move_is_looked_at() {
    assert_eq!(verdict(analysis(UNCLEAR, HOLDS)), Recommendation::Review);
}

#[test]
fn for_a_metric_that_should_fall_less_is_better() {
    let judged = analysis(WORSE, HOLDS).judged(Direction::Decrease);
    assert_eq!(judged.recommendation, Recommendation::Ship);
}

#[test]
fn nothing_is_decided_before_the_horizon() {
    let early = Analysis { horizon_reached: false, ..analysis(BETTER, HOLDS) };
    assert_eq!(verdict(early), Recommendation::Wait);
}

#[test]
fn data_that_fail_a_check_decide_nothing_however_good_they_look() {
    let sample_ratio = SampleRatio { chi_square: 20.0, p_value: 7e-6, mismatch: true };
    let skewed = Analysis { sample_ratio, ..analysis(BETTER, HOLDS) };
    assert_eq!(verdict(skewed), Recommendation::Unhealthy);
    let twice =
        |subjects| Analysis { multiple_exposure_subjects: subjects, ..analysis(BETTER, HOLDS) };
    assert_eq!(verdict(twice(20)), Recommendation::Ship, "20 of 2020 is below 1 %");
    assert_eq!(verdict(twice(21)), Recommendation::Unhealthy);
}

#[test]
fn a_guardrail_without_a_number_is_not_shown_to_hold() {
    let judged = GuardrailResult::judge("short", "refunds", Direction::Decrease, None, 0.05);
    assert!(!judged.non_inferior && !judged.is_harmed());
}

#[test]
fn the_best_of_several_variants_ships() {
    let mut three = analysis(BETTER, HOLDS);
    let mut second = three.comparisons[0].clone();
    second.variant = "long".to_owned();
    second.absolute = estimate(0.02, 0.05);
    three.comparisons.push(second);
    let mut guard = three.guardrails[0].clone();
    guard.variant = "long".to_owned();
    three.guardrails.push(guard);
    let judged = three.judged(Direction::Increase);
    assert_eq!(judged.recommended_variant.as_deref(), Some("long"));
}
