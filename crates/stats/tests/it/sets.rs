//! The counts and summaries inside the `expected.json` of each public experiment.

use std::fs;

use northstar_stats::{Confidence, Moments, Proportion, adjust, mean, proportion, sample_ratio};
use serde_json::Value;

use crate::{
    close::{assert_close, assert_relative},
    data::{ends, json, number, path},
};

/// Compares an answer with a `welch` block of an `expected.json`.
#[track_caller]
pub fn assert_welch(comparison: &mean::Comparison, expected: &Value, what: &str) {
    let absolute = comparison.absolute.expect("both arms vary");
    let relative = comparison.relative.expect("a baseline");
    // The inputs carry twelve digits, so a difference of close means carries fewer.
    let close = |actual: f64, key: &str| {
        assert_relative(actual, number(expected, key), 1e-6, &format!("{what} {key}"))
    };
    close(absolute.estimate, "diff");
    close(absolute.standard_error, "se");
    close(comparison.t.expect("defined"), "t");
    close(comparison.df.expect("defined"), "df");
    close(absolute.p_value, "p_two_sided");
    close(relative.estimate, "relative_lift");
    for (interval, key) in [(absolute.interval, "ci95"), (relative.interval, "relative_lift_ci95")]
    {
        let (low, high) = ends(&expected[key]);
        assert_relative(interval.low, low, 1e-6, what);
        assert_relative(interval.high, high, 1e-6, what);
    }
}

fn assert_two_proportions(expected: &Value, what: &str) {
    let arm = |key: &str| {
        let counts = &expected[key];
        Proportion::new(
            counts["x"].as_u64().expect("a count"),
            counts["n"].as_u64().expect("a count"),
        )
        .expect("valid")
    };
    let (control, treatment) = (arm("control"), arm("treatment"));
    let comparison =
        proportion::compare(control, treatment, Confidence::P95).expect("both arms observed");
    let absolute = comparison.absolute.expect("varies");
    let relative = comparison.relative.expect("a baseline");
    let pooled = comparison.pooled.expect("varies");
    let unpooled = comparison.unpooled.expect("varies");
    let square = proportion::chi_square(control, treatment, proportion::Continuity::Uncorrected)
        .expect("varies");
    let yates =
        proportion::chi_square(control, treatment, proportion::Continuity::Yates).expect("varies");
    for (actual, key) in [
        (absolute.estimate, "diff"),
        (absolute.standard_error, "se_unpooled"),
        (pooled.standard_error, "se_pooled"),
        (pooled.z, "z_pooled"),
        (absolute.p_value, "p_two_sided"),
        (unpooled.z, "z_unpooled"),
        (unpooled.p_value, "p_two_sided_unpooled"),
        (square.chi2, "chi2"),
        (yates.chi2, "chi2_yates"),
        (yates.p_value, "p_yates"),
        (relative.estimate, "relative_lift"),
    ] {
        assert_close(actual, number(expected, key), &format!("{what} {key}"));
    }
    for (interval, key) in [
        (absolute.interval, "ci95_wald"),
        (comparison.newcombe, "ci95_newcombe"),
        (relative.interval, "relative_lift_ci95"),
    ] {
        let (low, high) = ends(&expected[key]);
        assert_close(interval.low, low, &format!("{what} {key}"));
        assert_close(interval.high, high, &format!("{what} {key}"));
    }
    for (arm, key) in [(control, "control"), (treatment, "treatment")] {
        let (low, high) = ends(&expected[key]["wilson95"]);
        let wilson = arm.wilson(Confidence::P95).expect("trials");
        assert_close(wilson.low, low, what);
        assert_close(wilson.high, high, what);
    }
}

fn assert_means(expected: &Value, what: &str) {
    let arm = |key: &str| {
        let summary = &expected[key];
        let n = summary["n"].as_u64().expect("a count");
        Moments::from_mean_and_variance(n, number(summary, "mean"), number(summary, "sd").powi(2))
            .expect("a sample")
    };
    let comparison = mean::compare(&arm("control"), &arm("treatment"), Confidence::P95)
        .expect("both arms observed");
    let absolute = comparison.absolute.expect("both arms vary");
    assert_relative(absolute.standard_error, number(expected, "se"), 1e-9, what);
    assert_relative(comparison.df.expect("defined"), number(expected, "df"), 1e-9, what);
    // p-values of far tails amplify the rounding of the twelve-digit summaries; files with rows are checked in the command line's tests.
    if number(expected, "p_two_sided") > 1e-20
        && number(expected, "diff").abs() > 1e-3 * number(&expected["control"], "mean")
    {
        assert_welch(&comparison, expected, what);
    }
}

fn assert_sample_ratio(expected: &Value, what: &str) {
    let counts: Vec<u64> = expected["counts"]
        .as_object()
        .expect("counts")
        .values()
        .map(|count| count.as_u64().expect("a count"))
        .collect();
    let weights: Vec<f64> = expected["counts"]
        .as_object()
        .expect("counts")
        .keys()
        .map(|arm| number(&expected["expected_ratio"], arm))
        .collect();
    let check = sample_ratio::check(&counts, &weights).expect("valid");
    assert_close(check.chi2, number(expected, "chi2"), what);
    assert_eq!(u64::from(check.df), expected["df"].as_u64().expect("a count"), "{what}");
    assert_close(check.p_value, number(expected, "p"), what);
}

/// Visits every block of a document that has the shape of one of the three estimators, and counts them.
fn assert_every_block(value: &Value, what: &str, seen: &mut (usize, usize, usize)) {
    if let Value::Object(fields) = value {
        if fields.contains_key("ci95_newcombe") && fields.contains_key("z_pooled") {
            // The balance table omits nothing; the Bayesian number is not ours.
            assert_two_proportions(value, what);
            seen.0 += 1;
        } else if fields.contains_key("df")
            && fields.contains_key("se")
            && value["control"].get("sd").is_some()
        {
            assert_means(value, what);
            seen.1 += 1;
        } else if fields.contains_key("expected_ratio") {
            assert_sample_ratio(value, what);
            seen.2 += 1;
        }
        for (key, child) in fields {
            assert_every_block(child, &format!("{what}/{key}"), seen);
        }
    }
}

#[test]
fn every_two_proportion_welch_and_sample_ratio_block_of_the_data_folder() {
    let Some(folder) = path("") else { return };
    let mut seen = (0, 0, 0);
    let mut names: Vec<_> = fs::read_dir(&folder)
        .expect("the data folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a plain name"))
        .filter(|name| folder.join(name).join("expected.json").is_file())
        .collect();
    names.sort();
    for name in names {
        let document = json(&format!("{name}/expected.json")).expect("the folder exists");
        assert_every_block(&document["expected"], &name, &mut seen);
    }
    let (proportions, means, ratios) = seen;
    assert!(proportions >= 25 && means >= 20 && ratios >= 8, "only {seen:?} blocks were found");
}

#[test]
fn holm_and_benjamini_hochberg_of_the_six_hillstrom_questions() {
    let Some(document) = json("hillstrom_email/expected.json") else { return };
    let expected = &document["expected"];
    let mut names = Vec::new();
    let mut p_values = Vec::new();
    for arm in ["Mens E-Mail", "Womens E-Mail"] {
        for metric in ["visit", "conversion", "spend"] {
            names.push(format!("{arm}|{metric}"));
            p_values.push(number(&expected[format!("{arm} vs No E-Mail")][metric], "p_two_sided"));
        }
    }
    let holm = adjust::holm(&p_values).expect("probabilities");
    let discovery = adjust::benjamini_hochberg(&p_values).expect("probabilities");
    for (index, name) in names.iter().enumerate() {
        assert_close(holm[index], number(&expected["holm_6"], name), name);
        assert_close(discovery[index], number(&expected["bh_6"], name), name);
    }
}

#[test]
fn daily_looks_at_the_landing_page() {
    let Some(document) = json("udacity_ab_landing_page/expected.json") else { return };
    let days = document["expected"]["cumulative_by_day_for_peeking"].as_array().expect("a list");
    assert_eq!(days.len(), 23);
    for day in days {
        let arm = |key: &str| {
            let counts = |index: usize| day[key][index].as_u64().expect("a count");
            Proportion::new(counts(0), counts(1)).expect("valid")
        };
        let comparison = proportion::compare(arm("control"), arm("treatment"), Confidence::P95)
            .expect("both arms observed");
        assert_close(
            comparison.absolute.expect("varies").p_value,
            number(day, "p_two_sided"),
            &day.to_string(),
        );
    }
}

#[test]
fn welch_on_the_summaries_of_78_real_experiments() {
    let Some(file) = path("asos_digital_experiments/expected_final_welch.csv") else { return };
    let text = fs::read_to_string(file).expect("the table");
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().expect("a header").split(',').collect();
    let column = |name: &str| header.iter().position(|column| *column == name).expect("a column");
    let mut streams = 0;
    let mut p_values = Vec::new();
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let cell = |name: &str| cells[column(name)].parse::<f64>().expect("a number");
        let arm = |suffix: &str| {
            Moments::from_mean_and_variance(
                cell(&format!("count_{suffix}")) as u64,
                cell(&format!("mean_{suffix}")),
                cell(&format!("variance_{suffix}")),
            )
            .expect("a sample")
        };
        let comparison =
            mean::compare(&arm("c"), &arm("t"), Confidence::P95).expect("both arms observed");
        let absolute = comparison.absolute.expect("both arms vary");
        assert_relative(absolute.standard_error, cell("se"), 1e-9, line);
        assert_relative(comparison.df.expect("defined"), cell("df"), 1e-9, line);
        // The means are printed with twelve digits: what that leaves of their difference bounds the rest.
        let digits_lost = (cell("mean_c").abs() / cell("diff").abs()).max(1.0) * 1e-11;
        assert_relative(absolute.estimate, cell("diff"), digits_lost, line);
        let t = cell("t");
        assert_relative(
            absolute.p_value,
            cell("p_two_sided"),
            (1.0 + t * t) * digits_lost + 1e-9,
            line,
        );
        p_values.push(absolute.p_value);
        streams += 1;
    }
    assert_eq!(streams, 381);
    assert_eq!(p_values.iter().filter(|p| **p < 0.05).count(), 105);
    let adjusted = adjust::benjamini_hochberg(&p_values).expect("probabilities");
    assert_eq!(adjusted.iter().filter(|p| **p <= 0.05).count(), 68);
}
