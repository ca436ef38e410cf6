//! Numbers printed in papers, and package outputs copied here so that they are checked without the data folder.

use northstar_stats::{
    Confidence, Moments, PairMoments, Proportion, RatioStats, SampleStats, adjust, mean, power,
    proportion, ratio, sample_ratio, sequential::ConfidenceSequence,
};

use crate::close::{assert_close, assert_relative};

fn arm(successes: u64, trials: u64) -> Proportion {
    Proportion::new(successes, trials).expect("a valid proportion")
}

fn sums(n: u64, sum: f64, sum_sq: f64) -> Moments {
    Moments::try_from(SampleStats { n, sum, sum_sq }).expect("sums of a sample")
}

#[test]
fn newcombe_1998_table_2_is_reproduced() {
    // Method 10 of the paper, rows (a) to (c) and (e), (g), (h): first minus second proportion.
    for (first, second, low, high) in [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ] {
        let comparison =
            proportion::compare(arm(second.0, second.1), arm(first.0, first.1), Confidence::P95)
                .expect("both arms observed");
        assert!(
            (comparison.newcombe.low - low).abs() < 6e-5,
            "{first:?} {second:?}: {:?}",
            comparison.newcombe
        );
        assert!(
            (comparison.newcombe.high - high).abs() < 6e-5,
            "{first:?} {second:?}: {:?}",
            comparison.newcombe
        );
    }
}

#[test]
fn newcombe_1998_wilson_intervals_are_reproduced() {
    // "Two-sided confidence intervals for the single proportion", table I, method 3.
    for (successes, trials, low, high) in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ] {
        let interval = arm(successes, trials).wilson(Confidence::P95).expect("trials");
        assert!((interval.low - low).abs() < 6e-5, "{successes}/{trials}: {interval:?}");
        assert!((interval.high - high).abs() < 6e-5, "{successes}/{trials}: {interval:?}");
    }
}

#[test]
fn benjamini_and_hochberg_1995_reject_four_of_fifteen() {
    let p_values = [
        0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262,
        0.5719, 0.6528, 0.7590, 1.0,
    ];
    let rejected = |adjusted: Vec<f64>| adjusted.into_iter().filter(|p| *p <= 0.05).count();
    assert_eq!(rejected(adjust::benjamini_hochberg(&p_values).expect("probabilities")), 4);
    assert_eq!(rejected(adjust::holm(&p_values).expect("probabilities")), 3);
}

#[test]
fn growthbook_sequential_intervals_are_reproduced() {
    // packages/stats/tests of GrowthBook: relative effects, five decimals.
    let comparison = proportion::compare(arm(1396, 3000), arm(2422, 3461), Confidence::P95)
        .expect("both arms observed");
    let always = ConfidenceSequence::default()
        .widen(&comparison.relative.expect("a baseline"), 6461)
        .expect("a standard error");
    for (actual, expected) in [
        (always.estimate, 0.50386),
        (always.interval.low, 0.40098),
        (always.interval.high, 0.60675),
        (always.p_value, 0.0),
    ] {
        assert!((actual - expected).abs() < 6e-6, "{actual} is not {expected}");
    }

    let comparison = mean::compare(
        &sums(3000, 1396.87, 52377.9767),
        &sums(3461, 2422.7, 134698.29),
        Confidence::P95,
    )
    .expect("both arms observed");
    let always = ConfidenceSequence::new(Confidence::P95, 1000.0)
        .expect("a positive size")
        .widen(&comparison.relative.expect("a baseline"), 6461)
        .expect("a standard error");
    for (actual, expected) in [
        (always.estimate, 0.50336),
        (always.interval.low, -0.55844),
        (always.interval.high, 1.56516),
        (always.p_value, 1.0),
    ] {
        assert!((actual - expected).abs() < 6e-6, "{actual} is not {expected}");
    }
}

#[test]
fn growthbook_welch_test_is_reproduced() {
    let comparison = mean::compare(
        &sums(3407, 1396.87, 52377.9767),
        &sums(3461, 2422.7, 134698.29),
        Confidence::P95,
    )
    .expect("both arms observed");
    let absolute = comparison.absolute.expect("both arms vary");
    for (actual, expected) in [
        (absolute.estimate, 0.29),
        (absolute.interval.low, 0.04538),
        (absolute.interval.high, 0.53462),
        (absolute.p_value, 0.02016),
    ] {
        assert!((actual - expected).abs() < 6e-6, "{actual} is not {expected}");
    }
    let relative = comparison.relative.expect("a baseline");
    assert!((relative.estimate - 0.70732).abs() < 6e-6);
    assert!((relative.standard_error - 0.37879).abs() < 6e-6);
}

#[test]
fn welch_from_published_summaries() {
    // scipy 1.17.1, ttest_ind_from_stats(equal_var=False): mean, sd, n of either arm.
    let from = |mean: f64, sd: f64, n: u64| {
        Moments::from_mean_and_variance(n, mean, sd * sd).expect("a sample")
    };
    let comparison = mean::compare(&from(100.0, 15.0, 5), &from(120.0, 40.0, 4), Confidence::P95)
        .expect("both arms observed");
    let absolute = comparison.absolute.expect("both arms vary");
    assert_close(comparison.t.expect("defined"), 0.948_090_926_28, "t");
    assert_close(comparison.df.expect("defined"), 3.678_055_953_26, "df");
    assert_close(absolute.p_value, 0.401_117_784_746, "p");
    assert_close(absolute.interval.low, -40.647_484_920_3, "low");
    assert_close(absolute.interval.high, 80.647_484_920_3, "high");
    assert_close(
        comparison.relative.expect("a baseline").interval.high,
        0.622_552_962_344,
        "relative high",
    );
}

#[test]
fn growthbook_ratio_metric_is_reproduced() {
    // gbstats 0.8.0, spend per conversion of the Hillstrom e-mail test, men's against none.
    let pairs = |n, sum_y, sum_yy, converters| {
        PairMoments::try_from(RatioStats {
            n,
            sum_y,
            sum_yy,
            sum_x: converters,
            sum_xx: converters,
            sum_xy: sum_y,
        })
        .expect("sums of a sample")
    };
    let comparison = ratio::compare(
        &pairs(21_306, 13_908.33, 2_870_050.362_1, 122.0),
        &pairs(21_307, 30_311.69, 6_759_024.497_3, 267.0),
        Confidence::P95,
    )
    .expect("both arms observed");
    let absolute = comparison.absolute.expect("both arms vary");
    assert_relative(absolute.estimate, -0.475_776_079_081_47, 1e-8, "difference");
    assert_close(absolute.standard_error, 11.525_843_270_138_953, "standard error");
    assert_close(absolute.p_value, 0.967_073_419_402, "p");
    let relative = comparison.relative.expect("a baseline");
    assert_relative(relative.estimate, -0.004_173_375_354_765_046, 1e-8, "lift");
    assert_close(relative.standard_error, 0.100_827_582_256_208_64, "standard error of the lift");
}

#[test]
fn sample_ratio_p_values_are_reproduced() {
    // gbstats 0.8.0 check_srm.
    let p = |counts: &[u64], weights: &[f64]| {
        sample_ratio::check(counts, weights).expect("valid").p_value
    };
    assert_close(p(&[44_700, 45_489], &[0.5, 0.5]), 0.008_607_987_810_836_262, "cookie cats");
    assert_close(
        p(&[16_687, 33_396], &[1.0 / 3.0, 2.0 / 3.0]),
        0.944_581_733_206_916_4,
        "Karlan and List",
    );
    assert_close(p(&[1000, 1100, 950], &[1.0 / 3.0; 3]), 0.003_222_154_905_222_492_5, "made up");
}

#[test]
fn sample_sizes_are_reproduced() {
    // statsmodels 0.15: Fleiss without continuity correction, and TTestIndPower by the noncentral t.
    let design = power::Design::default();
    let size = power::proportion_sample_size(0.1, 0.11, &design).expect("valid");
    assert_close(size.control, 14_750.790_469, "proportion");
    for (effect, power, ratio, expected) in [
        (0.05, 0.8, 0.5, 9_419.913_268_28),
        (0.1, 0.8, 1.0, 1_570.733_043_05),
        (0.2, 0.9, 1.0, 526.333_188_576),
        (0.5, 0.8, 1.0, 63.765_610_588_9),
        (0.5, 0.9, 0.5, 127.383_228_363),
    ] {
        let design = power::Design::new(Confidence::P95, power, ratio).expect("valid");
        let size = power::mean_sample_size(effect, 1.0, &design).expect("valid");
        assert!(
            (size.control - expected).abs() < 0.03,
            "d {effect}: {} is not {expected}",
            size.control
        );
    }
}
