//! Every applicable number of the package outputs in `reference_stats`.

use northstar_stats::{
    Confidence, Effect, Moments, PairMoments, Proportion, RatioStats, SampleStats, adjust, mean,
    power, proportion, ratio, sequential::ConfidenceSequence,
};
use serde_json::Value;

use crate::{
    close::{assert_close, assert_relative},
    data::{ends, json, number},
};

fn fraction(text: &str) -> Proportion {
    let (successes, trials) = text.split_once('/').expect("successes/trials");
    Proportion::new(successes.parse().expect("a count"), trials.parse().expect("a count"))
        .expect("valid")
}

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .expect("a list")
        .iter()
        .map(|number| number.as_f64().expect("a number"))
        .collect()
}

#[test]
fn statsmodels_wilson_intervals() {
    let Some(reference) = json("reference_stats/classical_reference.json") else { return };
    for (text, intervals) in
        reference["proportion_confint_95"]["values"].as_object().expect("an object")
    {
        let (low, high) = ends(&intervals["wilson"]);
        let interval = fraction(text).wilson(Confidence::P95).expect("trials");
        assert_close(interval.low, low, text);
        assert_close(interval.high, high, text);
    }
}

#[test]
fn statsmodels_two_proportion_intervals_and_tests() {
    let Some(reference) = json("reference_stats/classical_reference.json") else { return };
    for (text, expected) in
        reference["two_proportions_95 (first minus second)"].as_object().expect("an object")
    {
        let (first, second) = text.split_once(" minus ").expect("two fractions");
        let comparison = proportion::compare(fraction(second), fraction(first), Confidence::P95)
            .expect("both arms observed");
        let (low, high) = ends(&expected["diff.newcomb"]);
        assert_close(comparison.newcombe.low, low, text);
        assert_close(comparison.newcombe.high, high, text);
        if expected["proportions_ztest"]["z"].is_null() {
            assert!(comparison.pooled.is_err(), "{text}");
            continue;
        }
        let absolute = comparison.absolute.expect("both arms vary");
        let (low, high) = ends(&expected["diff.wald"]);
        assert_close(absolute.interval.low, low, text);
        assert_close(absolute.interval.high, high, text);
        assert_close(
            comparison.pooled.expect("varies").z,
            number(&expected["proportions_ztest"], "z"),
            text,
        );
        assert_close(absolute.p_value, number(&expected["proportions_ztest"], "p"), text);
    }
}

#[test]
fn statsmodels_sample_sizes() {
    let Some(reference) = json("reference_stats/classical_reference.json") else { return };
    let cases = reference["sample_size_two_proportions"]["values"].as_array().expect("a list");
    assert_eq!(cases.len(), 20);
    for case in cases {
        let baseline = number(case, "baseline");
        let target = baseline * (1.0 + number(case, "relative_mde"));
        let size = power::proportion_sample_size(baseline, target, &power::Design::default())
            .expect("valid");
        assert_close(
            size.control,
            number(case, "n_per_arm_pooled_z_fleiss_no_cc"),
            &case.to_string(),
        );
    }
}

#[test]
fn statsmodels_adjusted_p_values() {
    let Some(reference) = json("reference_stats/classical_reference.json") else { return };
    let example = &reference["multiple_testing_benjamini_hochberg_1995_example"];
    let p_values = numbers(&example["p"]);
    for (name, adjusted) in
        [("holm", adjust::holm(&p_values)), ("fdr_bh", adjust::benjamini_hochberg(&p_values))]
    {
        let adjusted = adjusted.expect("probabilities");
        for (actual, expected) in adjusted.iter().zip(numbers(&example[name]["adjusted"])) {
            assert_close(*actual, expected, name);
        }
    }
}

#[test]
fn scipy_welch_from_summaries() {
    let Some(reference) = json("reference_stats/classical_reference.json") else { return };
    for case in reference["welch_from_summary"].as_array().expect("a list") {
        let [mean_c, sd_c, n_c, mean_t, sd_t, n_t] = numbers(&case["inputs"])[..] else {
            panic!("six inputs")
        };
        let arm = |n: f64, mean, sd: f64| {
            Moments::from_mean_and_variance(n as u64, mean, sd * sd).expect("a sample")
        };
        let comparison =
            mean::compare(&arm(n_c, mean_c, sd_c), &arm(n_t, mean_t, sd_t), Confidence::P95);
        crate::sets::assert_welch(&comparison.expect("both arms observed"), case, "summary");
    }
}

/// Checks the fixed and always-valid answers of one gbstats block.
fn assert_gbstats(block: &Value, which: &str, effect: Effect, observations: u64, what: &str) {
    let close = |actual: f64, expected: f64, part: &str| {
        assert_relative(actual, expected, 1e-8, &format!("{what} {part}"))
    };
    let flat = &block[format!("bayes_flat_prior_{which}")];
    close(effect.estimate, number(flat, "expected"), "estimate");
    close(effect.standard_error, number(&flat["uplift"], "stddev"), "standard error");
    // With a flat prior the credible interval is the normal confidence interval.
    if which == "relative" {
        let (low, high) = ends(&flat["ci"]);
        close(effect.interval.low, low, "low");
        close(effect.interval.high, high, "high");
    }
    for tuning in [1000, 5000] {
        let sequence =
            ConfidenceSequence::new(Confidence::P95, f64::from(tuning)).expect("a positive size");
        let always = sequence.widen(&effect, observations).expect("a standard error");
        let expected = &block[format!("sequential_tuning_{tuning}_{which}")];
        let (low, high) = ends(&expected["ci"]);
        close(always.interval.low, low, "sequential low");
        close(always.interval.high, high, "sequential high");
        close(always.p_value, number(expected, "p_value"), "sequential p");
    }
}

#[test]
fn gbstats_proportions() {
    let Some(reference) = json("reference_stats/gbstats_reference.json") else { return };
    for name in ["cookie_cats.retention_1", "cookie_cats.retention_7", "karlan_list.response"] {
        let block = &reference[name];
        let arm = |key: &str| {
            let counts = numbers(&block["inputs"][key]);
            Proportion::new(counts[0] as u64, counts[1] as u64).expect("valid")
        };
        let (control, treatment) = (arm("control"), arm("treatment"));
        let observations = control.trials() + treatment.trials();
        let comparison =
            proportion::compare(control, treatment, Confidence::P95).expect("both arms observed");
        assert_gbstats(block, "absolute", comparison.absolute.expect("varies"), observations, name);
        assert_gbstats(
            block,
            "relative",
            comparison.relative.expect("a baseline"),
            observations,
            name,
        );
    }
}

#[test]
fn gbstats_means_and_ratios() {
    let Some(reference) = json("reference_stats/gbstats_reference.json") else { return };
    let sums = |value: &Value| -> SampleStats {
        SampleStats {
            n: number(value, "n") as u64,
            sum: number(value, "sum"),
            sum_sq: number(value, "sum_squares"),
        }
    };

    let name = "hillstrom.spend.mens_vs_none";
    let block = &reference[name];
    let arm = |key: &str| Moments::try_from(sums(&block["inputs"][key])).expect("a sample");
    let (control, treatment) = (arm("control"), arm("treatment"));
    let comparison =
        mean::compare(&control, &treatment, Confidence::P95).expect("both arms observed");
    let absolute = comparison.absolute.expect("varies");
    let fixed = &block["ttest_two_sided_absolute"];
    assert_close(absolute.interval.low, ends(&fixed["ci"]).0, name);
    assert_close(absolute.interval.high, ends(&fixed["ci"]).1, name);
    assert_relative(absolute.p_value, number(fixed, "p_value"), 1e-8, name);
    assert_gbstats(block, "absolute", absolute, control.n() + treatment.n(), name);
    assert_gbstats(
        block,
        "relative",
        comparison.relative.expect("a baseline"),
        control.n() + treatment.n(),
        name,
    );

    let name = "hillstrom.spend_per_conversion_ratio.mens_vs_none";
    let block = &reference[name];
    let arm = |key: &str| {
        let (y, x) = (sums(&block["inputs"][key][0]), sums(&block["inputs"][key][1]));
        let sum_xy = block["inputs"][key][2].as_f64().expect("a number");
        let stats = RatioStats {
            n: y.n,
            sum_y: y.sum,
            sum_yy: y.sum_sq,
            sum_x: x.sum,
            sum_xx: x.sum_sq,
            sum_xy,
        };
        PairMoments::try_from(stats).expect("a sample")
    };
    let comparison = ratio::compare(&arm("control"), &arm("treatment"), Confidence::P95)
        .expect("both arms observed");
    assert_gbstats(block, "absolute", comparison.absolute.expect("varies"), 42_613, name);
    assert_gbstats(block, "relative", comparison.relative.expect("a baseline"), 42_613, name);
}

#[test]
fn gbstats_adjustment_by_a_covariate() {
    let Some(reference) = json("reference_stats/gbstats_reference.json") else { return };
    let block = &reference["hillstrom.spend_cuped_history.mens_vs_none"];
    let arm = |key: &str| {
        let inputs = &block["inputs"][key];
        PairMoments::try_from(RatioStats {
            n: number(&inputs["post"], "n") as u64,
            sum_y: number(&inputs["post"], "sum"),
            sum_yy: number(&inputs["post"], "sum_squares"),
            sum_x: number(&inputs["pre"], "sum"),
            sum_xx: number(&inputs["pre"], "sum_squares"),
            sum_xy: number(inputs, "sum_products"),
        })
        .expect("a sample")
    };
    let adjusted = mean::adjust(&arm("control"), &arm("treatment")).expect("the covariate varies");
    assert_relative(adjusted.theta, number(&block["inputs"], "theta"), 1e-8, "theta");
    let comparison =
        mean::compare(&adjusted.control, &adjusted.treatment, Confidence::P95).expect("both arms");
    let absolute = comparison.absolute.expect("varies");
    let fixed = &block["ttest_two_sided_absolute"];
    assert_relative(absolute.estimate, number(fixed, "expected"), 1e-8, "estimate");
    assert_relative(absolute.p_value, number(fixed, "p_value"), 1e-6, "p");
}

#[test]
fn spotify_confidence_z_test() {
    let Some(reference) = json("reference_stats/spotify_confidence_reference.json") else { return };
    let comparison =
        proportion::compare(fraction("8502/44700"), fraction("8279/45489"), Confidence::P95)
            .expect("both arms observed");
    let z_test = &reference["cookie_cats.retention_7.ZTest"]["difference_absolute"][0];
    assert!(
        (comparison.unpooled.expect("varies").p_value - number(z_test, "p-value")).abs() < 1e-10
    );
    let chi_square = &reference["cookie_cats.retention_7.ChiSquared"]["difference_absolute"][0];
    assert!(
        (comparison.pooled.expect("varies").p_value - number(chi_square, "p-value")).abs() < 1e-10
    );
}
