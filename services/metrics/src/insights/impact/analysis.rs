//! From the columns of the engine to the effect, with the checks that go with it.

use std::collections::BTreeMap;

use northstar_engine::{AdoptionAnswer, Labels, VariantAnswer, VariantStats};
use northstar_proto::metrics::v1 as pb;
use northstar_stats::impact::{
    Coarsening, Covariate, Findings, ImpactError, Panel, Propensity, Strata, balance, before_after,
    contrast, trend,
};
use northstar_stats::{Confidence, ConfidenceSequence, Effect, Moments, SampleStats, mean};

use super::super::effect;
use super::{Arms, Options};

const WEEK: i64 = 7 * 86_400_000_000;
/// Most segments that are told apart.
const MAX_SEGMENTS: usize = 25;
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
    let before: Vec<f64> = answer.before.iter().map(|value| value * options.scale).collect();
    let changes: Vec<f64> =
        answer.after.iter().zip(&before).map(|(after, before)| after - before).collect();
    let adopters: Moments =
        changes.iter().zip(&answer.adopted).filter(|(_, yes)| **yes).map(|(v, _)| *v).collect();
    response.before_after =
        before_after(&adopters, options.confidence).ok().map(|found| effect(&found));
    let whole = Strata::whole(answer.adopted.len());
    response.unmatched = contrast(&answer.adopted, &whole, &[&changes], None)
        .ok()
        .and_then(|found| found.effect(0, options.confidence).ok())
        .map(|found| effect(&found));
    match matched(answer, options, &before, &changes) {
        Ok(found) => response.matched = Some(found),
        Err(error) => response.not_matched = error.to_string(),
    }
    response
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
    before: &[f64],
    changes: &[f64],
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
    let compared = contrast(adopted, &strata, &[changes], clusters)?;
    let found = compared.effect(0, options.confidence).ok();
    let weights = strata.weights(adopted);
    let mean = |values: &[f64], kind: bool| {
        let group = || {
            let members = values.iter().zip(&weights).zip(adopted);
            members.filter(|(_, adopted)| **adopted == kind).map(|(pair, _)| pair)
        };
        let sum: f64 = group().map(|(value, weight)| value * weight).sum();
        sum / group().map(|(_, weight)| weight).sum::<f64>().max(f64::MIN_POSITIVE)
    };
    let adopters_after = mean(&answer.after, true);
    let without = found.map(|found| adopters_after - found.estimate);
    let matches = strata.matched(adopted);
    let (early, late) = answer.periods.split_at(options.periods_before);
    let study = trend::study(adopted, &strata, early, late, clusters, options.confidence)?;
    Ok(pb::MatchedImpact {
        effect: found.as_ref().map(effect),
        relative: found
            .zip(without.filter(|without| *without != 0.0))
            .map(|(found, without)| found.estimate / without),
        adopters_before: mean(before, true),
        adopters_after,
        others_before: mean(before, false),
        others_after: mean(&answer.after, false),
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
        trend: Some(trend_check(&study)),
        segments: options.segment.map_or_else(Vec::new, |number| {
            segments(&answer.properties[number], answer, &strata, changes, clusters, options)
        }),
    })
}

/// The outcome before, the counts and the properties that were asked for.
fn covariates(answer: &AdoptionAnswer, options: &Options) -> Vec<Covariate> {
    let mut covariates = vec![Covariate::number(OUTCOME_BEFORE, answer.before.clone())];
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
    changes: &[f64],
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
            let pick = |values: &[f64]| members.iter().map(|at| values[*at]).collect::<Vec<_>>();
            let adopted: Vec<bool> = members.iter().map(|at| answer.adopted[*at]).collect();
            let strata = strata.subset(&members);
            let clusters =
                clusters.map(|clusters| members.iter().map(|at| clusters[*at]).collect::<Vec<_>>());
            let matches = strata.matched(&adopted);
            pb::SegmentImpact {
                segment: labels.labels[label as usize].clone().unwrap_or_default(),
                adopters: matches.treated.cast_signed(),
                matched_adopters: matches.treated_matched.cast_signed(),
                effect: contrast(&adopted, &strata, &[&pick(changes)], clusters.as_deref())
                    .ok()
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
    answer: &VariantAnswer,
    confidence: Confidence,
) -> Option<pb::RandomisedImpact> {
    let arm = |name: &str| answer.variants.iter().find(|arm| arm.variant == name);
    let moments = |arm: &VariantStats| {
        let sums = SampleStats { n: arm.moments.n, sum: arm.moments.y, sum_sq: arm.moments.yy };
        Moments::try_from(sums).ok()
    };
    let (treated, held_out) = (moments(arm(&names.treated)?)?, moments(arm(&names.held_out)?)?);
    let compared = mean::compare(&held_out, &treated, confidence).ok();
    // Nobody knows how often this was asked before.
    let always_valid = |found: &Effect| {
        let sequence = ConfidenceSequence::new(confidence, TIGHTEST_AT).ok()?;
        let widened = sequence.widen(found, treated.n() + held_out.n()).ok()?;
        Some(effect(&widened))
    };
    Some(pb::RandomisedImpact {
        treated_subjects: treated.n().cast_signed(),
        held_out_subjects: held_out.n().cast_signed(),
        treated_mean: treated.mean()?,
        held_out_mean: held_out.mean()?,
        effect: compared
            .as_ref()
            .and_then(|both| both.absolute.as_ref().ok())
            .and_then(always_valid),
        relative: compared
            .as_ref()
            .and_then(|both| both.relative.as_ref().ok())
            .and_then(always_valid),
    })
}
