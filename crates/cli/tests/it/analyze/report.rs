//! Comparison of a report with the blocks of an `expected.json`.

use serde_json::Value;

/// Six significant digits are asked for; the files carry twelve, and nine of them must agree.
const RELATIVE: f64 = 1e-9;

#[track_caller]
fn assert_close(actual: &Value, expected: &Value, what: &str) {
    let (Some(actual), Some(expected)) = (actual.as_f64(), expected.as_f64()) else {
        panic!("{what}: {actual} and {expected} are not both numbers")
    };
    assert!(
        (actual - expected).abs() <= RELATIVE * expected.abs(),
        "{what}: {actual:e} is not {expected:e}"
    );
}

#[track_caller]
fn assert_interval(actual: &Value, expected: &Value, what: &str) {
    assert_close(&actual["ci_low"], &expected[0], &format!("{what} low"));
    assert_close(&actual["ci_high"], &expected[1], &format!("{what} high"));
}

#[track_caller]
fn named<'list>(list: &'list Value, key: &str, name: &str) -> &'list Value {
    let entries = list.as_array().expect("a list");
    entries.iter().find(|entry| entry[key] == name).unwrap_or_else(|| panic!("no {name} in {list}"))
}

/// The two variants of a comparison, control first, each beside what is expected of it.
#[track_caller]
fn arms<'report>(
    report: &'report Value,
    variant: &str,
    expected: &'report Value,
) -> [(&'report Value, &'report Value); 2] {
    let control = report["control"].as_str().expect("a name");
    [
        (named(&report["variants"], "name", control), &expected["control"]),
        (named(&report["variants"], "name", variant), &expected["treatment"]),
    ]
}

/// `two_proportion` of the glossary.
#[track_caller]
pub fn assert_two_proportions(report: &Value, variant: &str, expected: &Value) {
    assert_eq!(report["kind"], "proportion");
    for (arm, expected) in arms(report, variant, expected) {
        assert_eq!(arm["n"], expected["n"], "{variant} n");
        assert_close(&arm["sum"], &expected["x"], "x");
        assert_close(&arm["mean"], &expected["rate"], "rate");
        assert_interval(&arm["wilson"], &expected["wilson95"], "wilson");
    }
    let comparison = named(&report["comparisons"], "variant", variant);
    let (absolute, relative, more) =
        (&comparison["absolute"], &comparison["relative"], &comparison["proportion"]);
    for (actual, key) in [
        (&absolute["estimate"], "diff"),
        (&absolute["standard_error"], "se_unpooled"),
        (&absolute["p_value"], "p_two_sided"),
        (&relative["estimate"], "relative_lift"),
        (&more["z_pooled"], "z_pooled"),
        (&more["z_unpooled"], "z_unpooled"),
        (&more["p_value_unpooled"], "p_two_sided_unpooled"),
        (&more["chi2"], "chi2"),
        (&more["chi2_yates"], "chi2_yates"),
        (&more["p_value_yates"], "p_yates"),
    ] {
        assert_close(actual, &expected[key], &format!("{variant} {key}"));
    }
    assert_interval(absolute, &expected["ci95_wald"], variant);
    assert_interval(relative, &expected["relative_lift_ci95"], variant);
    assert_interval(&more["newcombe"], &expected["ci95_newcombe"], variant);
}

/// The comparison part of `welch` of the glossary.
#[track_caller]
fn assert_welch_comparison(comparison: &Value, expected: &Value, what: &str) {
    let (absolute, relative) = (&comparison["absolute"], &comparison["relative"]);
    for (actual, key) in [
        (&absolute["estimate"], "diff"),
        (&absolute["standard_error"], "se"),
        (&absolute["p_value"], "p_two_sided"),
        (&comparison["welch"]["t"], "t"),
        (&comparison["welch"]["df"], "df"),
        (&relative["estimate"], "relative_lift"),
    ] {
        assert_close(actual, &expected[key], &format!("{what} {key}"));
    }
    assert_interval(absolute, &expected["ci95"], what);
    assert_interval(relative, &expected["relative_lift_ci95"], what);
}

/// `welch` of the glossary.
#[track_caller]
pub fn assert_welch(report: &Value, variant: &str, expected: &Value) {
    assert_eq!(report["kind"], "mean");
    for (arm, expected) in arms(report, variant, expected) {
        assert_eq!(arm["n"], expected["n"], "{variant} n");
        assert_close(&arm["sum"], &expected["sum"], "sum");
        assert_close(&arm["mean"], &expected["mean"], "mean");
        assert_close(&arm["standard_deviation"], &expected["sd"], "sd");
    }
    assert_welch_comparison(named(&report["comparisons"], "variant", variant), expected, variant);
}

/// `cuped` of the glossary: the means of the arms are the adjusted ones.
#[track_caller]
pub fn assert_cuped(report: &Value, variant: &str, expected: &Value) {
    let comparison = named(&report["comparisons"], "variant", variant);
    let covariate = &comparison["covariate"];
    assert_close(&covariate["theta"], &expected["theta"], "theta");
    assert_close(
        &covariate["control_mean"],
        &expected["control"]["mean"],
        "adjusted mean of the control",
    );
    assert_close(
        &covariate["variant_mean"],
        &expected["treatment"]["mean"],
        "adjusted mean of the variant",
    );
    assert_welch_comparison(comparison, expected, variant);
}

/// A ratio metric by the delta method.
#[track_caller]
pub fn assert_ratio(report: &Value, variant: &str, expected: &Value) {
    assert_eq!(report["kind"], "ratio");
    for (arm, expected) in arms(report, variant, expected) {
        assert_eq!(arm["n"], expected["n_units"], "{variant} units");
        assert_close(&arm["sum"], &expected["num"], "numerator");
        assert_close(&arm["denominator"], &expected["den"], "denominator");
        assert_close(&arm["mean"], &expected["ratio"], "ratio");
        assert_close(&arm["standard_error"], &expected["se"], "standard error");
    }
    let absolute = &named(&report["comparisons"], "variant", variant)["absolute"];
    assert_close(&absolute["estimate"], &expected["diff"], "difference");
    assert_close(&absolute["standard_error"], &expected["se"], "standard error of the difference");
    assert_close(&absolute["p_value"], &expected["p_two_sided"], "p");
    assert_interval(absolute, &expected["ci95"], variant);
}

/// `srm` of the glossary.
#[track_caller]
pub fn assert_srm(report: &Value, expected: &Value) {
    let srm = &report["srm"];
    for (name, count) in expected["counts"].as_object().expect("counts") {
        assert_eq!(named(&srm["variants"], "name", name)["observed"], *count, "{name}");
    }
    assert_eq!(srm["df"], expected["df"]);
    assert_close(&srm["chi2"], &expected["chi2"], "chi-square");
    assert_close(&srm["p_value"], &expected["p"], "p of the sample ratio");
}

/// Holm's adjustment over all comparisons.
#[track_caller]
pub fn assert_holm(report: &Value, expected: &Value) {
    for (variant, p) in expected.as_object().expect("p-values") {
        assert_close(
            &named(&report["comparisons"], "variant", variant)["p_value_holm"],
            p,
            variant,
        );
    }
}
