//! From sufficient statistics to the report.

use anyhow::{Context as _, bail};
use northstar_stats::{
    Arm as Side, Effect, Interval, Proportion, Undefined, adjust, mean, proportion, ratio,
    sample_ratio,
};

use super::{
    AnalyzeFile,
    arguments::Kind,
    collect::{Arm, Collected, Columns},
    report::{
        Comparison, CovariateDetails, Ends, Estimate, ProportionDetails, Report, Rows, SampleRatio,
        Traffic, Variant, WelchDetails,
    },
    table,
};

/// Below this many successes or failures in an arm, the normal approximation of a proportion is poor.
const FEW_OUTCOMES: u64 = 10;

pub(super) fn report(
    collected: &Collected,
    columns: &Columns,
    args: &AnalyzeFile,
) -> anyhow::Result<Report> {
    let control = collected.arms.get(&args.control).context("the control has no rows")?;
    let others = || collected.arms.iter().filter(|(name, _)| **name != args.control);
    let variants: Vec<Variant> = std::iter::once((&args.control, control))
        .chain(others())
        .map(|(name, arm)| variant(name, arm, collected.kind, args))
        .collect::<anyhow::Result<_>>()?;
    let mut comparisons: Vec<Comparison> = others()
        .map(|(name, arm)| match collected.kind {
            Kind::Proportion if args.covariate.is_none() => proportions(name, control, arm, args),
            Kind::Proportion | Kind::Mean => Ok(means(name, control, arm, args)),
            Kind::Ratio => Ok(ratios(name, control, arm, args)),
        })
        .collect::<anyhow::Result<_>>()?;
    holm(&mut comparisons)?;
    let srm = traffic(collected, args)?;
    let used = collected.arms.values().map(|arm| arm.values.n()).sum();
    let rows = Rows {
        read: collected.rows_read,
        used,
        missing_variant: collected.missing_variant,
        missing_metric: collected.arms.values().map(Arm::missing).sum(),
        bad: collected.bad.count,
    };
    let notes = notes(collected, columns, &rows, &srm, args);
    Ok(Report {
        file: args.file.display().to_string(),
        variant_column: args.variant.clone(),
        control: args.control.clone(),
        metric: args.metric.column.clone(),
        kind: collected.kind,
        confidence: args.confidence.level(),
        rows,
        variants,
        comparisons,
        srm,
        notes,
    })
}

fn as_proportion(arm: &Arm) -> anyhow::Result<Proportion> {
    Ok(Proportion::new(arm.ones, arm.values.n())?)
}

fn ends(interval: Interval) -> Ends {
    Ends { ci_low: interval.low, ci_high: interval.high }
}

fn variant(name: &str, arm: &Arm, kind: Kind, args: &AnalyzeFile) -> anyhow::Result<Variant> {
    let mut variant = Variant {
        name: name.to_owned(),
        n: arm.values.n(),
        mean: arm.values.mean(),
        sum: arm.values.sum(),
        denominator: None,
        standard_deviation: None,
        standard_error: None,
        wilson: None,
        assigned: arm.assigned,
    };
    match kind {
        Kind::Proportion => {
            let proportion = as_proportion(arm)?;
            variant.mean = proportion.rate();
            variant.sum = arm.ones as f64;
            variant.wilson = proportion.wilson(args.confidence).map(ends);
        }
        Kind::Mean => variant.standard_deviation = arm.values.standard_deviation(),
        Kind::Ratio => {
            let ratio = ratio::estimate(Side::Treatment, &arm.pairs).ok();
            variant.mean = ratio.map(|ratio| ratio.value);
            variant.standard_error = ratio.map(|ratio| ratio.standard_error);
            variant.denominator = Some(arm.pairs.x().sum());
        }
    }
    Ok(variant)
}

/// The printed form of an effect, or of the reason that there is none.
fn estimate(
    effect: Result<Effect, Undefined>,
    difference: Option<f64>,
    method: &'static str,
) -> Estimate {
    match effect {
        Ok(effect) => Estimate {
            estimate: Some(effect.estimate),
            ci_low: Some(effect.interval.low),
            ci_high: Some(effect.interval.high),
            p_value: Some(effect.p_value),
            standard_error: Some(effect.standard_error),
            method,
            reason: None,
        },
        Err(reason) => Estimate {
            estimate: difference,
            ci_low: None,
            ci_high: None,
            p_value: None,
            standard_error: None,
            method,
            reason: Some(reason.to_string()),
        },
    }
}

const DELTA: &str = "delta method, normal interval";

fn comparison(name: &str, absolute: Estimate, relative: Estimate) -> Comparison {
    let variant = name.to_owned();
    Comparison {
        variant,
        absolute,
        relative,
        p_value_holm: None,
        proportion: None,
        welch: None,
        covariate: None,
    }
}

fn proportions(
    name: &str,
    control: &Arm,
    arm: &Arm,
    args: &AnalyzeFile,
) -> anyhow::Result<Comparison> {
    const METHOD: &str = "Wald interval, pooled z test";
    let (control, treatment) = (as_proportion(control)?, as_proportion(arm)?);
    let answer = match proportion::compare(control, treatment, args.confidence) {
        Ok(answer) => answer,
        Err(reason) => {
            return Ok(comparison(
                name,
                estimate(Err(reason), None, METHOD),
                estimate(Err(reason), None, DELTA),
            ));
        }
    };
    let square = |continuity| proportion::chi_square(control, treatment, continuity).ok();
    let yates = square(proportion::Continuity::Yates);
    let details = ProportionDetails {
        newcombe: ends(answer.newcombe),
        z_pooled: answer.pooled.ok().map(|test| test.z),
        z_unpooled: answer.unpooled.ok().map(|test| test.z),
        p_value_unpooled: answer.unpooled.ok().map(|test| test.p_value),
        chi2: square(proportion::Continuity::Uncorrected).map(|test| test.chi2),
        chi2_yates: yates.map(|test| test.chi2),
        p_value_yates: yates.map(|test| test.p_value),
    };
    let mut absolute = estimate(answer.absolute, Some(answer.difference), METHOD);
    // The pooled test exists where one arm is all yes and the other all no, though the Wald interval does not.
    absolute.p_value = absolute.p_value.or_else(|| answer.pooled.ok().map(|test| test.p_value));
    let relative = estimate(answer.relative, None, DELTA);
    Ok(Comparison { proportion: Some(details), ..comparison(name, absolute, relative) })
}

fn means(name: &str, control: &Arm, arm: &Arm, args: &AnalyzeFile) -> Comparison {
    let (method, adjusted) = if args.covariate.is_some() {
        (
            "Welch's t test after adjustment by the covariate (CUPED)",
            Some(mean::adjust(&control.pairs, &arm.pairs)),
        )
    } else {
        ("Welch's t test", None)
    };
    let undefined = |reason| {
        comparison(name, estimate(Err(reason), None, method), estimate(Err(reason), None, DELTA))
    };
    let (control, treatment, covariate) = match adjusted {
        None => (control.values, arm.values, None),
        Some(Ok(adjusted)) => {
            let details = CovariateDetails {
                theta: adjusted.theta,
                control_mean: adjusted.control.mean(),
                variant_mean: adjusted.treatment.mean(),
            };
            (adjusted.control, adjusted.treatment, Some(details))
        }
        Some(Err(reason)) => return undefined(reason),
    };
    match mean::compare(&control, &treatment, args.confidence) {
        Err(reason) => undefined(reason),
        Ok(answer) => {
            let absolute = estimate(answer.absolute, Some(answer.difference), method);
            let relative = estimate(answer.relative, None, DELTA);
            let welch = Some(WelchDetails { t: answer.t, df: answer.df });
            Comparison { welch, covariate, ..comparison(name, absolute, relative) }
        }
    }
}

fn ratios(name: &str, control: &Arm, arm: &Arm, args: &AnalyzeFile) -> Comparison {
    match ratio::compare(&control.pairs, &arm.pairs, args.confidence) {
        Err(reason) => {
            comparison(name, estimate(Err(reason), None, DELTA), estimate(Err(reason), None, DELTA))
        }
        Ok(answer) => {
            let absolute = estimate(answer.absolute, Some(answer.difference), DELTA);
            comparison(name, absolute, estimate(answer.relative, None, DELTA))
        }
    }
}

/// Adds the adjusted p-values when several variants are compared.
fn holm(comparisons: &mut [Comparison]) -> anyhow::Result<()> {
    if comparisons.len() < 2 {
        return Ok(());
    }
    let known: Vec<f64> =
        comparisons.iter().filter_map(|comparison| comparison.absolute.p_value).collect();
    let mut adjusted = adjust::holm(&known)?.into_iter();
    for comparison in
        comparisons.iter_mut().filter(|comparison| comparison.absolute.p_value.is_some())
    {
        comparison.p_value_holm = adjusted.next();
    }
    Ok(())
}

fn traffic(collected: &Collected, args: &AnalyzeFile) -> anyhow::Result<SampleRatio> {
    let assigned = |name: &str| collected.arms.get(name).map_or(0, |arm| arm.assigned);
    let weights: Vec<(String, f64)> = match &args.weights {
        None => {
            let share = 1.0 / collected.arms.len() as f64;
            collected.arms.keys().map(|name| (name.clone(), share)).collect()
        }
        Some(weights) => weights.0.clone(),
    };
    if let Some(name) =
        collected.arms.keys().find(|name| weights.iter().all(|(known, _)| known != *name))
    {
        bail!("--weights says nothing of the variant '{name}', which {} rows have", assigned(name));
    }
    let (counts, shares): (Vec<u64>, Vec<f64>) =
        weights.iter().map(|(name, share)| (assigned(name), *share)).unzip();
    let check = sample_ratio::check(&counts, &shares)?;
    let variants = weights
        .into_iter()
        .zip(counts.iter().zip(&check.expected))
        .map(|((name, weight), (&observed, &expected))| Traffic {
            name,
            weight,
            observed,
            expected,
        })
        .collect();
    Ok(SampleRatio {
        chi2: check.chi2,
        df: check.df,
        p_value: check.p_value,
        alarm: check.is_alarm(),
        variants,
    })
}

fn notes(
    collected: &Collected,
    columns: &Columns,
    rows: &Rows,
    srm: &SampleRatio,
    args: &AnalyzeFile,
) -> Vec<String> {
    let mut notes = Vec::new();
    if srm.alarm {
        let plan =
            if args.weights.is_some() { "" } else { " (equal shares, as --weights is not given)" };
        notes.push(format!(
            "sample ratio mismatch, p {}: the variants did not receive their planned traffic{plan}; find out why before \
             trusting any comparison",
            table::p_value(Some(srm.p_value)),
        ));
    }
    if rows.missing_variant > 0 {
        notes.push(format!("{} rows have no variant and are left out", rows.missing_variant));
    }
    if rows.missing_metric > 0 {
        notes.push(format!(
            "{} rows have a variant but no value and are left out of the comparison",
            rows.missing_metric
        ));
        let expected: Vec<f64> = collected.arms.values().map(|arm| arm.assigned as f64).collect();
        let total: f64 = expected.iter().sum();
        let shares: Vec<f64> = expected.iter().map(|assigned| assigned / total).collect();
        let missing: Vec<u64> = collected.arms.values().map(Arm::missing).collect();
        if sample_ratio::check(&missing, &shares).is_ok_and(|check| check.is_alarm()) {
            notes.push("values are missing more often in some variants than in others, which biases the comparison".to_owned());
        }
    }
    if rows.bad > 0 {
        notes.push(format!("{} rows could not be read and are left out", rows.bad));
    }
    if args.metric.kind.is_none() {
        let (kind, other) = match collected.kind {
            Kind::Proportion => {
                ("proportion, because every value is 0 or 1, true or false, or yes or no", ":mean")
            }
            Kind::Mean | Kind::Ratio => {
                ("mean, because there are values other than 0 and 1", ":proportion")
            }
        };
        notes.push(format!("read as a {kind}; {other} would say otherwise"));
    }
    if collected.kind == Kind::Proportion {
        for (name, arm) in &collected.arms {
            let rarer = arm.ones.min(arm.values.n() - arm.ones);
            if rarer < FEW_OUTCOMES {
                notes.push(format!("'{name}' has only {rarer} rows of the rarer outcome: prefer the Newcombe interval"));
            }
        }
    }
    if let Some(delimiter) = columns.delimiter.filter(|delimiter| *delimiter != ',') {
        let delimiter = if delimiter == '\t' { "tab".to_owned() } else { format!("'{delimiter}'") };
        notes.push(format!("read as separated by {delimiter}"));
    }
    notes
}
