//! What an automation changed: treated subjects against the holdout.

use std::time::Duration;

use northstar_domain::ResourceName;
use northstar_domain::automation::{LEAST_SUBJECTS, Recommendation};
use northstar_proto::automations::v1 as pb;
use northstar_proto::experiments::v1::Estimate;
use northstar_proto::metrics::v1 as metrics;
use northstar_server::Caller;
use northstar_stats::sequential::ConfidenceSequence;
use northstar_stats::{
    Confidence, Effect, InputError, Moments, PairMoments, Proportion, RatioStats, SampleStats,
    Undefined, mean, proportion, ratio,
};
use northstar_store::automations as store;

use crate::convert::duration_to_proto;
use crate::define::{load, parse_name};
use crate::error::{Error, Result};
use crate::service::Automations;

/// Longest wait until the log holds every run.
const FLUSH: Duration = Duration::from_secs(10);
const FLUSH_PAUSE: Duration = Duration::from_millis(20);
/// From the first moment anybody may have been exposed until the last one.
const ALWAYS: [i64; 2] = [0, 253_370_764_800];

/// Measures the lift. Waits until the events that tell of the runs are in the
/// log, so that every run made before the call is in the answer.
pub(crate) async fn measure(
    service: &Automations,
    caller: &Caller,
    request: pb::MeasureLiftRequest,
) -> Result<pb::MeasureLiftResponse> {
    let name = parse_name(&request.name)?;
    let stored = {
        let mut connection = service.pool.acquire().await.map_err(northstar_store::Error::from)?;
        load(&mut connection, caller, &name).await?
    };
    wait_for_events(service, caller, &name).await?;

    let spec = stored.definition.spec();
    let mut metrics = service.clients.metrics();
    let kpi = metrics::GetKpiRequest { name: spec.kpi.clone() };
    let kpi = metrics.get_kpi(kpi).await?.into_inner().kpi.unwrap_or_default();
    let [start, end] = ALWAYS.map(|seconds| Some(prost_types::Timestamp { seconds, nanos: 0 }));
    let question = metrics::QueryVariantStatisticsRequest {
        metric: kpi.metric.clone(),
        exposure: Some(metrics::EventSelector {
            event: "northstar.automation.run".to_owned(),
            filter: format!("properties.automation == \"{name}\""),
        }),
        variant_property: "arm".to_owned(),
        start_time: start,
        end_time: end,
        outcome_window: spec.outcome_window.map(duration_to_proto),
        covariate_days: 0,
        ..Default::default()
    };
    let answer = metrics.query_variant_statistics(question).await?.into_inner();
    let arm = |wanted: &str| {
        answer.variants.iter().find(|arm| arm.variant == wanted).cloned().unwrap_or_default()
    };
    let lift = compare(&arm("holdout"), &arm("treated"), answer.proportion)?;
    Ok(respond(&name, &kpi, &lift, &answer))
}

async fn wait_for_events(
    service: &Automations,
    caller: &Caller,
    name: &ResourceName,
) -> Result<()> {
    let deadline = tokio::time::Instant::now() + FLUSH;
    loop {
        let mut connection = service.pool.acquire().await.map_err(northstar_store::Error::from)?;
        if !store::has_unsent_events(&mut connection, caller.project, name).await? {
            return Ok(());
        }
        drop(connection);
        if tokio::time::Instant::now() >= deadline {
            return Err(Error::InsufficientData(
                "the log does not hold every run yet; try again in a moment".to_owned(),
            ));
        }
        tokio::time::sleep(FLUSH_PAUSE).await;
    }
}

/// The two arms compared.
#[derive(Debug)]
struct Lift {
    holdout: Arm,
    treated: Arm,
    absolute: Option<Estimate>,
    relative: Option<Estimate>,
}

#[derive(Debug)]
struct Arm {
    subjects: u64,
    mean: f64,
}

/// Treated minus holdout with 95% intervals that stay valid however often one
/// asks, because an automation runs on and has no horizon: the standard errors
/// are Wald's for proportions, Welch's for means, the delta method's for ratios
/// and for what is relative to the holdout, and the confidence sequence
/// ([`ConfidenceSequence`]) makes the interval of them. Where no arm varies
/// there is no standard error, and the interval is Newcombe's.
fn compare(
    holdout: &metrics::VariantStatistics,
    treated: &metrics::VariantStatistics,
    is_proportion: bool,
) -> Result<Lift> {
    let impossible = |error: InputError| Error::InsufficientData(error.to_string());
    let arms = [holdout, treated];
    let confidence = Confidence::P95;
    let observations = subjects(holdout).saturating_add(subjects(treated));
    let always_valid = |effect: Effect| {
        let widened = ConfidenceSequence::default().widen(&effect, observations);
        widened.ok().map(|effect| estimate(&effect))
    };
    let [mut absolute, mut relative] = [None, None];
    let means: [f64; 2];
    if is_proportion {
        let [c, t] = arms.map(proportion_of);
        let (c, t) = (c.map_err(impossible)?, t.map_err(impossible)?);
        means = [c, t].map(|arm| arm.rate().unwrap_or(0.0));
        if let Ok(compared) = proportion::compare(c, t, confidence) {
            let newcombe = Estimate {
                estimate: compared.difference,
                ci_low: compared.newcombe.low,
                ci_high: compared.newcombe.high,
                p_value: None,
            };
            absolute = compared.absolute.map_or(Some(newcombe), always_valid);
            relative = compared.relative.ok().and_then(always_valid);
        }
    } else if arms.iter().any(|arm| arm.sum_d != 0.0) {
        let [c, t] = arms.map(ratio_of);
        let (c, t) = (c.map_err(impossible)?, t.map_err(impossible)?);
        means = arms.map(|arm| if arm.sum_d == 0.0 { 0.0 } else { arm.sum_y / arm.sum_d });
        let compared = defined(ratio::compare(&c, &t, confidence))?;
        absolute = compared.as_ref().and_then(|both| both.absolute.ok()).and_then(always_valid);
        relative = compared.and_then(|both| both.relative.ok()).and_then(always_valid);
    } else {
        let [c, t] = arms.map(moments_of);
        let (c, t) = (c.map_err(impossible)?, t.map_err(impossible)?);
        means = [c, t].map(|arm| arm.mean().unwrap_or(0.0));
        let compared = defined(mean::compare(&c, &t, confidence))?;
        absolute = compared.as_ref().and_then(|both| both.absolute.ok()).and_then(always_valid);
        relative = compared.and_then(|both| both.relative.ok()).and_then(always_valid);
    }
    Ok(Lift {
        holdout: Arm { subjects: subjects(holdout), mean: means[0] },
        treated: Arm { subjects: subjects(treated), mean: means[1] },
        absolute,
        relative,
    })
}

/// Arms that are too small for a comparison are a reason to wait, not an error.
fn defined<T>(compared: Result<T, Undefined>) -> Result<Option<T>> {
    match compared {
        Ok(compared) => Ok(Some(compared)),
        Err(Undefined::Overflow) => Err(Error::InsufficientData(Undefined::Overflow.to_string())),
        Err(_) => Ok(None),
    }
}

fn subjects(arm: &metrics::VariantStatistics) -> u64 {
    u64::try_from(arm.subjects).unwrap_or(0)
}

fn proportion_of(arm: &metrics::VariantStatistics) -> Result<Proportion, InputError> {
    // A sum of zeros and ones is a whole number; a negative one saturates to 0.
    Proportion::new(arm.sum_y.round() as u64, subjects(arm))
}

fn moments_of(arm: &metrics::VariantStatistics) -> Result<Moments, InputError> {
    Moments::try_from(SampleStats { n: subjects(arm), sum: arm.sum_y, sum_sq: arm.sum_yy })
}

fn ratio_of(arm: &metrics::VariantStatistics) -> Result<PairMoments, InputError> {
    PairMoments::try_from(RatioStats {
        n: subjects(arm),
        sum_y: arm.sum_y,
        sum_yy: arm.sum_yy,
        sum_x: arm.sum_d,
        sum_xx: arm.sum_dd,
        sum_xy: arm.sum_yd,
    })
}

fn estimate(effect: &Effect) -> Estimate {
    Estimate {
        estimate: effect.estimate,
        ci_low: effect.interval.low,
        ci_high: effect.interval.high,
        p_value: Some(effect.p_value),
    }
}

fn respond(
    name: &ResourceName,
    kpi: &metrics::Kpi,
    lift: &Lift,
    answer: &metrics::QueryVariantStatisticsResponse,
) -> pb::MeasureLiftResponse {
    let smaller = lift.treated.subjects.min(lift.holdout.subjects);
    // More is better in the words of the recommendation; less may be in the KPI's.
    let turned = lift.absolute.as_ref().map(|absolute| match kpi.direction() {
        metrics::Direction::Decrease => (-absolute.ci_high, -absolute.ci_low),
        metrics::Direction::Increase | metrics::Direction::Unspecified => {
            (absolute.ci_low, absolute.ci_high)
        }
    });
    let recommendation = Recommendation::of(smaller, turned);
    let count = |subjects: u64| i64::try_from(subjects).unwrap_or(i64::MAX);
    pb::MeasureLiftResponse {
        automation: name.to_string(),
        kpi: kpi.name.clone(),
        treated_subjects: count(lift.treated.subjects),
        holdout_subjects: count(lift.holdout.subjects),
        treated_mean: lift.treated.mean,
        holdout_mean: lift.holdout.mean,
        absolute: lift.absolute,
        relative: lift.relative,
        recommendation: recommendation.to_string(),
        explanation: explain(recommendation, kpi, lift, smaller),
        log_position: answer.provenance.as_ref().map_or(0, |provenance| provenance.log_position),
    }
}

fn explain(
    recommendation: Recommendation,
    kpi: &metrics::Kpi,
    lift: &Lift,
    smaller: u64,
) -> String {
    let measured = match &lift.absolute {
        Some(absolute) => format!(
            "{} is {:.4} among {} treated subjects and {:.4} among {} held out: a difference of \
             {:+.4} (95% interval {:+.4} to {:+.4})",
            kpi.name,
            lift.treated.mean,
            lift.treated.subjects,
            lift.holdout.mean,
            lift.holdout.subjects,
            absolute.estimate,
            absolute.ci_low,
            absolute.ci_high,
        ),
        None => format!(
            "{} treated subjects and {} held out do not allow an interval for {}",
            lift.treated.subjects, lift.holdout.subjects, kpi.name,
        ),
    };
    let meaning = match recommendation {
        Recommendation::Scale => {
            "the whole interval is on the good side, so act on more people".to_owned()
        }
        Recommendation::Pause => {
            "the whole interval is on the bad side, so pause the automation".to_owned()
        }
        Recommendation::Adjust => {
            "the interval includes no difference, so change what the automation does".to_owned()
        }
        Recommendation::Wait if smaller < LEAST_SUBJECTS => {
            format!("each arm needs at least {LEAST_SUBJECTS} subjects, so wait for more")
        }
        Recommendation::Wait => "nothing varies yet, so wait for outcomes".to_owned(),
    };
    format!("{measured}; {meaning}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yes(subjects: i64, successes: f64) -> metrics::VariantStatistics {
        metrics::VariantStatistics {
            subjects,
            sum_y: successes,
            sum_yy: successes,
            ..metrics::VariantStatistics::default()
        }
    }

    fn answer(lift: &Lift, direction: metrics::Direction) -> pb::MeasureLiftResponse {
        let kpi = metrics::Kpi {
            name: "activated-users".to_owned(),
            direction: direction.into(),
            ..metrics::Kpi::default()
        };
        let name = "nudge".parse().unwrap();
        respond(&name, &kpi, lift, &metrics::QueryVariantStatisticsResponse::default())
    }

    #[test]
    fn a_difference_of_proportions_is_treated_minus_holdout_with_an_always_valid_interval() {
        let lift = compare(&yes(1_000, 300.0), &yes(2_000, 700.0), true).unwrap();
        let absolute = lift.absolute.unwrap();
        // Standard error sqrt(0.35 * 0.65 / 2000 + 0.3 * 0.7 / 1000), under equation 9 of the
        // confidence sequence at n = 3,000 and rho = 0.0398401.
        assert!((absolute.estimate - 0.05).abs() < 1e-12);
        assert!((absolute.ci_low - -0.0050738391).abs() < 1e-6, "{absolute:?}");
        assert!((absolute.ci_high - 0.10507384).abs() < 1e-6, "{absolute:?}");
        assert!((lift.relative.unwrap().estimate - 1.0 / 6.0).abs() < 1e-12);
    }

    #[test]
    fn the_direction_of_the_kpi_decides_what_is_good() {
        let lift = compare(&yes(1_000, 300.0), &yes(2_000, 760.0), true).unwrap();
        assert_eq!(answer(&lift, metrics::Direction::Increase).recommendation, "scale");
        let less = answer(&lift, metrics::Direction::Decrease);
        assert_eq!(less.recommendation, "pause");
        assert!((less.absolute.unwrap().estimate - 0.08).abs() < 1e-12, "the raw difference");
    }

    #[test]
    fn arms_that_are_empty_or_small_mean_waiting() {
        let nobody = metrics::VariantStatistics::default();
        for is_proportion in [true, false] {
            let lift = compare(&nobody, &nobody, is_proportion).unwrap();
            assert!(lift.absolute.is_none());
            let waiting = answer(&lift, metrics::Direction::Increase);
            assert_eq!(waiting.recommendation, "wait");
        }
        let small = compare(&yes(99, 10.0), &yes(500, 400.0), true).unwrap();
        assert_eq!(answer(&small, metrics::Direction::Increase).recommendation, "wait");
    }

    #[test]
    fn outcomes_that_nobody_reached_still_have_an_interval() {
        let lift = compare(&yes(500, 0.0), &yes(500, 0.0), true).unwrap();
        let absolute = lift.absolute.unwrap();
        assert!(absolute.ci_low < 0.0 && absolute.ci_high > 0.0 && absolute.estimate == 0.0);
        assert!(lift.relative.is_none());
        assert_eq!(
            answer(
                &compare(&yes(500, 0.0), &yes(500, 0.0), true).unwrap(),
                metrics::Direction::Increase
            )
            .recommendation,
            "adjust"
        );
    }

    #[test]
    fn means_are_compared_with_welchs_standard_error() {
        let arm = |subjects, sum_y, sum_yy| metrics::VariantStatistics {
            subjects,
            sum_y,
            sum_yy,
            ..metrics::VariantStatistics::default()
        };
        // 200 subjects with 1 and 3 in equal parts, and with 2 and 4.
        let lift = compare(&arm(200, 400.0, 1_000.0), &arm(200, 600.0, 2_000.0), false).unwrap();
        let absolute = lift.absolute.unwrap();
        assert!((absolute.estimate - 1.0).abs() < 1e-12);
        // Standard error sqrt(2 / 199), under equation 9 at n = 400.
        assert!((absolute.ci_high - 1.0 - 0.40961174).abs() < 1e-6, "{absolute:?}");
    }

    #[test]
    fn sums_that_cannot_be_are_no_lift() {
        assert!(matches!(
            compare(&yes(10, 20.0), &yes(10, 5.0), true),
            Err(Error::InsufficientData(_))
        ));
    }
}
