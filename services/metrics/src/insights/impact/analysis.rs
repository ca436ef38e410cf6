//! From the columns of the engine to the effect, with the checks that go with it.

mod values;

use std::collections::BTreeMap;

use northstar_engine::{AdoptionAnswer, Labels, VariantAnswer, VariantStats};
use northstar_proto::metrics::v1 as pb;
use northstar_stats::impact::{
    Coarsening, Contrast, Covariate, Findings, ImpactError, Panel, Propensity, Strata, balance,
    before_after, contrast, trend,
};
use northstar_stats::{
    ConfidenceSequence, Effect, Moments, PairMoments, RatioStats, SampleStats, Undefined, mean,
    ratio,
};

use super::super::effect;
use super::{Arms, ArmsAnswer, Options};
use values::Values;

const WEEK: i64 = 7 * 86_400_000_000;
/// Most segments that are told apart.
pub(super) const MAX_SEGMENTS: usize = 25;
/// Subjects at which an interval of the randomised answer is tightest.
const TIGHTEST_AT: f64 = 5_000.0;
/// Name of the covariate that is always there.
const OUTCOME_BEFORE: &str = "outcome before";

/// Everything but the randomised answer and the words.
pub(super) fn analyse(answer: &AdoptionAnswer, options: &Options) -> pb::QueryImpactResponse {
    let mut response = pb::QueryImpactResponse {
        immature_subjects: answer.immature.cast_signed(),
        too_new_subjects: answer.too_new.cast_signed(),
        adopted_earlier_subjects: answer.adopted_earlier.cast_signed(),
        adopted_later_subjects: answer.adopted_later.cast_signed(),
        ..pb::QueryImpactResponse::default()
    };
    let values = Values::of(answer, options);
    response.before_after = own_change(answer, &values)
        .and_then(|adopters| before_after(&adopters, options.confidence))
        .ok()
        .map(|found| effect(&found));
    response.unmatched = unmatched(answer, &values)
        .and_then(|found| Ok(found.effect(0, options.confidence)?))
        .ok()
        .map(|found| effect(&found));
    match matched(answer, options, &values) {
        Ok(found) => response.matched = Some(found),
        Err(error) => response.not_matched = error.to_string(),
    }
    response
}

/// How the adopters changed.
fn own_change(answer: &AdoptionAnswer, values: &Values) -> Result<Moments, Undefined> {
    let adopters: Vec<usize> = (0..answer.adopted.len()).filter(|at| answer.adopted[*at]).collect();
    let alone = values.pick(&adopters);
    let (adopted, weights) = (vec![true; adopters.len()], vec![1.0; adopters.len()]);
    Ok(alone.changes(&adopted, &weights)?.into_iter().collect())
}

/// Adopters against all others.
fn unmatched(answer: &AdoptionAnswer, values: &Values) -> Result<Contrast, ImpactError> {
    let whole = Strata::whole(answer.adopted.len());
    let changes = values.changes(&answer.adopted, &whole.weights(&answer.adopted))?;
    contrast(&answer.adopted, &whole, &[&changes], None)
}

/// The checks of a matched answer in short.
pub(super) fn findings(matched: &pb::MatchedImpact) -> Findings {
    let matches = matched.matches.unwrap_or_default();
    Findings {
        imbalanced: matched.balance.iter().filter(|row| row.imbalanced).count() as u64,
        unmatched: (matches.adopters - matches.matched_adopters).unsigned_abs(),
        treated: matches.adopters.unsigned_abs(),
        diverging: matched.trend.as_ref().and_then(|trend| trend.diverging),
    }
}

fn matched(
    answer: &AdoptionAnswer,
    options: &Options,
    values: &Values,
) -> Result<pb::MatchedImpact, ImpactError> {
    let adopted = &answer.adopted;
    let panel = Panel::new(adopted, covariates(answer, options))?;
    let propensity = Propensity::fit(&panel);
    let strata = match options.method {
        pb::MatchingMethod::Exact => Strata::exact(&panel)?,
        pb::MatchingMethod::Unspecified | pb::MatchingMethod::Coarsened => {
            Strata::coarsened(&panel, &Coarsening::Quantiles(options.classes))?
        }
        pb::MatchingMethod::Propensity => Strata::by_propensity(
            &panel,
            propensity.as_ref().map_err(Clone::clone)?,
            options.classes,
        )?,
    };
    let strata = if options.by_week {
        strata.split_by(&weeks(&answer.day_zero)).overlapping(adopted)?
    } else {
        strata
    };
    let clusters = options.cluster.map(|number| clusters(&answer.properties[number]));
    let clusters = clusters.as_deref();
    let weights = strata.weights(adopted);
    let (before, after) = values.before_and_after(adopted, &weights)?;
    let changes = values::changes(&before, &after);
    let compared = contrast(adopted, &strata, &[&changes], clusters)?;
    let found = compared.effect(0, options.confidence).ok();
    let mean = |values: &[f64], kind: bool| {
        let group = || {
            let members = values.iter().zip(&weights).zip(adopted);
            members.filter(|(_, adopted)| **adopted == kind).map(|(pair, _)| pair)
        };
        let sum: f64 = group().map(|(value, weight)| value * weight).sum();
        sum / group().map(|(_, weight)| weight).sum::<f64>().max(f64::MIN_POSITIVE)
    };
    let adopters_after = mean(&after, true);
    let without = found.map(|found| adopters_after - found.estimate);
    let matches = strata.matched(adopted);
    // A ratio may lack a period in which nobody has anything below the line.
    let study = match values.periods(adopted, &weights) {
        Ok(periods) => {
            let (early, late) = periods.split_at(options.periods_before);
            Some(trend::study(adopted, &strata, early, late, clusters, options.confidence)?)
        }
        Err(_) => None,
    };
    Ok(pb::MatchedImpact {
        effect: found.as_ref().map(effect),
        relative: found
            .zip(without.filter(|without| *without != 0.0))
            .map(|(found, without)| found.estimate / without),
        adopters_before: mean(&before, true),
        adopters_after,
        others_before: mean(&before, false),
        others_after: mean(&after, false),
        matches: Some(pb::MatchSummary {
            adopters: matches.treated.cast_signed(),
            matched_adopters: matches.treated_matched.cast_signed(),
            others: matches.untreated.cast_signed(),
            matched_others: matches.untreated_matched.cast_signed(),
            effective_others: matches.effective_untreated,
            strata: matches.strata.cast_signed(),
        }),
        balance: rows(&panel, &weights, answer, options),
        overlap: propensity.ok().map(|propensity| {
            let overlap = propensity.overlap(adopted);
            pb::OverlapSummary {
                adopters_in_range: overlap.treated_in_range,
                between_tenths: overlap.between_tenths,
                concordance: overlap.concordance,
            }
        }),
        trend: study.as_ref().map(trend_check),
        segments: options.segment.map_or_else(Vec::new, |number| {
            segments(&answer.properties[number], answer, &strata, values, clusters, options)
        }),
    })
}

/// The outcome before, the counts and the properties that were asked for.
fn covariates(answer: &AdoptionAnswer, options: &Options) -> Vec<Covariate> {
    let mut covariates = if options.is_ratio {
        // There is no ratio of a subject with nothing below the line.
        vec![
            Covariate::number("numerator before", answer.before.clone()),
            Covariate::number("denominator before", answer.below.before.clone()),
        ]
    } else {
        vec![Covariate::number(OUTCOME_BEFORE, answer.before.clone())]
    };
    for (name, column) in options.counts.iter().zip(&answer.counts) {
        covariates.push(Covariate::number(name.clone(), column.clone()));
    }
    for (name, column) in options.properties.iter().zip(&answer.properties) {
        covariates.push(Covariate::category(name.clone(), column.of.clone()));
    }
    covariates
}

/// The week of every day zero, from the earliest.
fn weeks(days: &[i64]) -> Vec<u32> {
    let first = days.iter().min().copied().unwrap_or(0);
    days.iter().map(|day| u32::try_from((day - first) / WEEK).unwrap_or(u32::MAX)).collect()
}

/// The cluster of every subject; one without a value is a cluster of its own.
fn clusters(labels: &Labels) -> Vec<u32> {
    let mut alone = labels.labels.len() as u32;
    labels
        .of
        .iter()
        .map(|label| {
            if *label > 0 {
                return *label;
            }
            alone += 1;
            alone
        })
        .collect()
}

fn rows(
    panel: &Panel<'_>,
    weights: &[f64],
    answer: &AdoptionAnswer,
    options: &Options,
) -> Vec<pb::BalanceRow> {
    // The rows of a property name its values by number.
    let named = |covariate: &str| {
        let (property, number) = covariate.rsplit_once('=')?;
        let at = options.properties.iter().position(|name| name == property)?;
        let label = answer.properties[at].labels.get(number.parse::<usize>().ok()?)?;
        Some(format!("{property} = {}", label.as_deref().unwrap_or("(none)")))
    };
    balance::table(panel, weights)
        .into_iter()
        .map(|row| pb::BalanceRow {
            adopters_mean: row.before.treated_mean,
            others_mean: row.before.untreated_mean,
            standardised_difference: row.before.standardised_difference,
            variance_ratio: row.before.variance_ratio,
            matched_adopters_mean: row.after.treated_mean,
            matched_others_mean: row.after.untreated_mean,
            matched_standardised_difference: row.after.standardised_difference,
            matched_variance_ratio: row.after.variance_ratio,
            imbalanced: row.after.is_imbalanced(),
            covariate: named(&row.covariate).unwrap_or(row.covariate),
        })
        .collect()
}

fn trend_check(study: &trend::Study) -> pb::TrendCheck {
    let plain =
        |found: &Result<Effect, northstar_stats::Undefined>| found.as_ref().ok().map(effect);
    pb::TrendCheck {
        periods: study
            .periods
            .iter()
            .map(|period| pb::TrendPeriod {
                offset: period.offset,
                effect: period.effect.as_ref().and_then(plain),
            })
            .collect(),
        leads_chi2: study.leads.map(|leads| leads.chi2),
        leads_df: study.leads.map_or(0, |leads| leads.df.cast_signed()),
        leads_p_value: study.leads.map(|leads| leads.p_value),
        placebo: study.placebo.as_ref().and_then(plain),
        diverging: study.leads.map(|_| study.diverges()),
    }
}

/// The effect by value of a dimension, the one with most adopters first.
fn segments(
    labels: &Labels,
    answer: &AdoptionAnswer,
    strata: &Strata,
    values: &Values,
    clusters: Option<&[u32]>,
    options: &Options,
) -> Vec<pb::SegmentImpact> {
    let mut members: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (subject, label) in labels.of.iter().enumerate() {
        members.entry(*label).or_default().push(subject);
    }
    let mut found: Vec<pb::SegmentImpact> = members
        .into_iter()
        .map(|(label, members)| {
            let adopted: Vec<bool> = members.iter().map(|at| answer.adopted[*at]).collect();
            let strata = strata.subset(&members);
            let clusters =
                clusters.map(|clusters| members.iter().map(|at| clusters[*at]).collect::<Vec<_>>());
            let matches = strata.matched(&adopted);
            let changes = values.pick(&members).changes(&adopted, &strata.weights(&adopted));
            pb::SegmentImpact {
                segment: labels.labels[label as usize].clone().unwrap_or_default(),
                adopters: matches.treated.cast_signed(),
                matched_adopters: matches.treated_matched.cast_signed(),
                effect: changes
                    .ok()
                    .and_then(|changes| {
                        contrast(&adopted, &strata, &[&changes], clusters.as_deref()).ok()
                    })
                    .and_then(|found| found.effect(0, options.confidence).ok())
                    .map(|found| effect(&found)),
            }
        })
        .filter(|segment| segment.adopters > 0)
        .collect();
    found.sort_by(|left, right| {
        right.adopters.cmp(&left.adopters).then_with(|| left.segment.cmp(&right.segment))
    });
    found.truncate(MAX_SEGMENTS);
    found
}

/// The two arms of a holdout; `None` unless both have subjects.
pub(super) fn randomised(
    names: &Arms,
    answer: &ArmsAnswer,
    options: &Options,
) -> Option<pb::RandomisedImpact> {
    let segments = answer.segments.iter().filter_map(|(value, answer)| {
        let found = compared(names, answer, options)?;
        Some(pb::RandomisedSegment {
            segment: value.clone().unwrap_or_default(),
            treated_subjects: found.treated_subjects,
            held_out_subjects: found.held_out_subjects,
            effect: found.effect,
        })
    });
    let whole = compared(names, &answer.whole, options)?;
    Some(pb::RandomisedImpact { segments: segments.collect(), ..whole })
}

fn compared(
    names: &Arms,
    answer: &VariantAnswer,
    options: &Options,
) -> Option<pb::RandomisedImpact> {
    let arm = |name: &str| answer.variants.iter().find(|arm| arm.variant == name);
    let (treated, held_out) = (arm(&names.treated)?, arm(&names.held_out)?);
    let subjects = treated.moments.n + held_out.moments.n;
    // Nobody knows how often this was asked before.
    let always_valid = |found: Result<Effect, Undefined>| {
        let sequence = ConfidenceSequence::new(options.confidence, TIGHTEST_AT).ok()?;
        let widened = sequence.widen(&found.ok()?, subjects).ok()?;
        Some(effect(&widened))
    };
    let found = if options.is_ratio {
        let found = ratio::compare(&pairs(held_out)?, &pairs(treated)?, options.confidence).ok()?;
        pb::RandomisedImpact {
            treated_mean: found.treatment.value,
            held_out_mean: found.control.value,
            effect: always_valid(found.absolute),
            relative: always_valid(found.relative),
            ..Default::default()
        }
    } else {
        let (treated, held_out) = (moments(treated)?, moments(held_out)?);
        let found = mean::compare(&held_out, &treated, options.confidence).ok();
        let (absolute, relative) = found.map(|found| (found.absolute, found.relative)).unzip();
        pb::RandomisedImpact {
            treated_mean: treated.mean()?,
            held_out_mean: held_out.mean()?,
            effect: absolute.and_then(always_valid),
            relative: relative.and_then(always_valid),
            ..Default::default()
        }
    };
    Some(pb::RandomisedImpact {
        treated_subjects: treated.moments.n.cast_signed(),
        held_out_subjects: held_out.moments.n.cast_signed(),
        ..found
    })
}

fn moments(arm: &VariantStats) -> Option<Moments> {
    let sums = SampleStats { n: arm.moments.n, sum: arm.moments.y, sum_sq: arm.moments.yy };
    Moments::try_from(sums).ok()
}

fn pairs(arm: &VariantStats) -> Option<PairMoments> {
    let of = &arm.moments;
    let sums = RatioStats {
        n: of.n,
        sum_y: of.y,
        sum_yy: of.yy,
        sum_x: of.d,
        sum_xx: of.dd,
        sum_xy: of.yd,
    };
    PairMoments::try_from(sums).ok()
}
