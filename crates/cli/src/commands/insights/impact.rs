//! `northstar impact`: what an adoption did to those who adopted.

use chrono_tz::Tz;
use northstar_proto::metrics::v1 as pb;
use northstar_proto::metrics::v1::query_impact_request::Adoption;
use serde_json::{Value, json};

use super::{Range, duration, effect, effect_text, footer, percent, provenance, selector};
use crate::connection::Connection;
use crate::output;

/// Ask what an adoption did: against the holdout where chance made one, else
/// against matched subjects.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  northstar impact sessions --event 'Report Shared' --from 2026-03-01 --to 2026-04-01
  northstar impact sessions --event 'Report Shared' --from 2026-03-01 --to 2026-04-01 \\
      --property plan --count Login --method propensity --segment country
  northstar impact payments --automation trial-nudge --from 2026-03-01 --to 2026-04-01 --json
  northstar impact sessions --event 'Report Shared' --from 2026-03-01 --to 2026-04-01 \\
      --cohort power-users --segment cohort.pro-users
  northstar impact payments --experiment short-checkout --variant short --control control \\
      --from 2026-03-01 --to 2026-04-01")]
pub struct Impact {
    /// The outcome: an amount of each subject, whether it did something, or a ratio of those.
    metric: String,
    #[command(flatten)]
    adoption: What,
    #[command(flatten)]
    range: Range,
    /// Length of a period, for example 7d.
    #[arg(long)]
    period: Option<String>,
    /// Periods before day zero.
    #[arg(long, default_value_t = 4)]
    before: i32,
    /// Periods after day zero; as many as before when absent.
    #[arg(long)]
    after: Option<i32>,
    /// How like is put with like.
    #[arg(long, value_enum, default_value = "coarsened")]
    method: Method,
    /// Bins of an amount, or classes of the chance of adopting.
    #[arg(long, default_value_t = 5)]
    classes: i32,
    /// Match on the number of such events before; may be given several times.
    #[arg(long = "count", value_name = "EVENT")]
    counts: Vec<String>,
    /// Match on the last value of a property before; may be given several times.
    #[arg(long = "property", value_name = "NAME", value_delimiter = ',')]
    properties: Vec<String>,
    /// Which day stands for the adoption of those who did not adopt.
    #[arg(long, value_enum, default_value = "matched")]
    day_zero: DayZero,
    /// How long a subject must have been there at its day zero; all of the time
    /// before when absent.
    #[arg(long)]
    minimum_history: Option<String>,
    /// Tell the effect for every value of this dimension, too.
    #[arg(long)]
    segment: Option<String>,
    /// Dimension within which subjects are not independent, for example
    /// event.account_id.
    #[arg(long)]
    cluster: Option<String>,
    /// Level of the intervals.
    #[arg(long, default_value_t = 0.95)]
    confidence: f64,
    /// Only subjects in this cohort; give it again for more, all of which must hold.
    #[arg(long = "cohort", value_name = "COHORT")]
    cohorts: Vec<String>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// What was adopted.
#[derive(clap::Args)]
struct What {
    /// The event whose first occurrence is the adoption; `EVENT where CEL` narrows it.
    #[arg(long, required_unless_present_any = ["automation", "experiment"],
          conflicts_with_all = ["automation", "experiment"])]
    event: Option<String>,
    /// The automation whose action is the adoption.
    #[arg(long, conflicts_with = "experiment")]
    automation: Option<String>,
    /// The experiment whose variant is the adoption.
    #[arg(long, requires = "variant")]
    experiment: Option<String>,
    /// The variant whose effect is asked for.
    #[arg(long, requires = "experiment")]
    variant: Option<String>,
    /// The variant it is held against.
    #[arg(long, default_value = "control")]
    control: String,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Method {
    Exact,
    Coarsened,
    Propensity,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum DayZero {
    Matched,
    FirstAdopter,
}

impl What {
    fn adoption(self) -> Option<Adoption> {
        if let Some(event) = self.event {
            return Some(Adoption::Event(selector(&event)));
        }
        if let Some(automation) = self.automation {
            return Some(Adoption::Automation(automation));
        }
        Some(Adoption::Experiment(pb::ExperimentArm {
            experiment: self.experiment?,
            variant: self.variant?,
            control: self.control,
        }))
    }
}

/// Runs the command.
pub async fn run(impact: Impact, connection: &Connection) -> anyhow::Result<()> {
    let json = impact.json;
    let request = pb::QueryImpactRequest {
        metric: impact.metric,
        start_time: impact.range.start(Tz::UTC)?,
        end_time: impact.range.end(Tz::UTC)?,
        period: duration(impact.period.as_deref())?,
        periods_before: impact.before,
        periods_after: impact.after.unwrap_or_default(),
        method: match impact.method {
            Method::Exact => pb::MatchingMethod::Exact,
            Method::Coarsened => pb::MatchingMethod::Coarsened,
            Method::Propensity => pb::MatchingMethod::Propensity,
        }
        .into(),
        classes: impact.classes,
        count_covariates: impact.counts.iter().map(|event| selector(event)).collect(),
        property_covariates: impact.properties,
        day_zero: match impact.day_zero {
            DayZero::Matched => pb::DayZeroRule::Matched,
            DayZero::FirstAdopter => pb::DayZeroRule::FirstAdopter,
        }
        .into(),
        minimum_history: duration(impact.minimum_history.as_deref())?,
        segment_by: impact.segment.unwrap_or_default(),
        cluster_by: impact.cluster.unwrap_or_default(),
        confidence: impact.confidence,
        adoption: impact.adoption.adoption(),
        cohorts: impact.cohorts,
    };
    let answer = connection.clients()?.insights().query_impact(request).await?.into_inner();
    if json { output::json(&as_json(answer)?) } else { print(&answer) }
}

fn as_json(answer: pb::QueryImpactResponse) -> anyhow::Result<Value> {
    let evidence = answer.evidence().as_str_name().trim_start_matches("EVIDENCE_KIND_");
    Ok(json!({
        "summary": answer.summary,
        "evidence": evidence.to_ascii_lowercase(),
        "statement": answer.statement,
        "randomised": answer.randomised.as_ref().map(|found| json!({
            "treated_subjects": found.treated_subjects,
            "held_out_subjects": found.held_out_subjects,
            "treated_mean": found.treated_mean,
            "held_out_mean": found.held_out_mean,
            "effect": effect(found.effect.as_ref()),
            "relative": effect(found.relative.as_ref()),
            "segments": found.segments.iter().map(|segment| json!({
                "segment": segment.segment,
                "treated_subjects": segment.treated_subjects,
                "held_out_subjects": segment.held_out_subjects,
                "effect": effect(segment.effect.as_ref()),
            })).collect::<Vec<_>>(),
        })),
        "matched": answer.matched.as_ref().map(matched),
        "not_matched": Some(&answer.not_matched).filter(|reason| !reason.is_empty()),
        "before_after": effect(answer.before_after.as_ref()),
        "unmatched": effect(answer.unmatched.as_ref()),
        "immature_subjects": answer.immature_subjects,
        "too_new_subjects": answer.too_new_subjects,
        "adopted_earlier_subjects": answer.adopted_earlier_subjects,
        "adopted_later_subjects": answer.adopted_later_subjects,
        "provenance": provenance(answer.provenance)?,
    }))
}

fn matched(found: &pb::MatchedImpact) -> Value {
    let matches = found.matches.unwrap_or_default();
    let trend = found.trend.clone().unwrap_or_default();
    json!({
        "effect": effect(found.effect.as_ref()),
        "relative": found.relative,
        "adopters_before": found.adopters_before,
        "adopters_after": found.adopters_after,
        "others_before": found.others_before,
        "others_after": found.others_after,
        "matches": {
            "adopters": matches.adopters,
            "matched_adopters": matches.matched_adopters,
            "others": matches.others,
            "matched_others": matches.matched_others,
            "effective_others": matches.effective_others,
            "strata": matches.strata,
        },
        "balance": found.balance.iter().map(|row| json!({
            "covariate": row.covariate,
            "adopters_mean": row.adopters_mean,
            "others_mean": row.others_mean,
            "standardised_difference": row.standardised_difference,
            "variance_ratio": row.variance_ratio,
            "matched_adopters_mean": row.matched_adopters_mean,
            "matched_others_mean": row.matched_others_mean,
            "matched_standardised_difference": row.matched_standardised_difference,
            "matched_variance_ratio": row.matched_variance_ratio,
            "imbalanced": row.imbalanced,
        })).collect::<Vec<_>>(),
        "overlap": found.overlap.map(|overlap| json!({
            "adopters_in_range": overlap.adopters_in_range,
            "between_tenths": overlap.between_tenths,
            "concordance": overlap.concordance,
        })),
        "trend": {
            "periods": trend.periods.iter().map(|period| json!({
                "offset": period.offset,
                "effect": effect(period.effect.as_ref()),
            })).collect::<Vec<_>>(),
            "leads_chi2": trend.leads_chi2,
            "leads_df": trend.leads_df,
            "leads_p_value": trend.leads_p_value,
            "placebo": effect(trend.placebo.as_ref()),
            "diverging": trend.diverging,
        },
        "segments": found.segments.iter().map(|segment| json!({
            "segment": segment.segment,
            "adopters": segment.adopters,
            "matched_adopters": segment.matched_adopters,
            "effect": effect(segment.effect.as_ref()),
        })).collect::<Vec<_>>(),
    })
}

fn print(answer: &pb::QueryImpactResponse) -> anyhow::Result<()> {
    output::line(&answer.summary)?;
    if !answer.statement.is_empty() {
        output::line(&answer.statement)?;
    }
    let mut rows = Vec::new();
    let mut row = |what: &str, effect: Option<&pb::EffectEstimate>, subjects: String| {
        rows.push([what.to_owned(), effect_text(effect), subjects]);
    };
    if let Some(found) = &answer.randomised {
        let subjects = format!("{} and {}", found.treated_subjects, found.held_out_subjects);
        row("against the holdout", found.effect.as_ref(), subjects);
    }
    if let Some(found) = &answer.matched {
        let matches = found.matches.unwrap_or_default();
        let subjects = format!("{} and {}", matches.matched_adopters, matches.matched_others);
        row("against matched others", found.effect.as_ref(), subjects);
    }
    row("against all others, not matched", answer.unmatched.as_ref(), String::new());
    row("adopters before and after", answer.before_after.as_ref(), String::new());
    output::line(output::table(&["comparison", "effect per subject", "subjects"], rows))?;
    if let Some(found) = answer.randomised.as_ref().filter(|found| !found.segments.is_empty()) {
        let segments = found.segments.iter().map(|segment| {
            let name = if segment.segment.is_empty() { "(none)" } else { &segment.segment };
            let subjects =
                format!("{} and {}", segment.treated_subjects, segment.held_out_subjects);
            [name.to_owned(), effect_text(segment.effect.as_ref()), subjects]
        });
        let header = ["segment against the holdout", "effect per subject", "subjects"];
        output::line(output::table(&header, segments))?;
    }
    if let Some(found) = &answer.matched {
        print_matched(found)?;
    } else if !answer.not_matched.is_empty() {
        output::line(format!("not matched: {}", answer.not_matched))?;
    }
    output::line(format!(
        "left out: {} not over yet, {} too new, {} adopted earlier, {} adopted later",
        answer.immature_subjects,
        answer.too_new_subjects,
        answer.adopted_earlier_subjects,
        answer.adopted_later_subjects,
    ))?;
    footer(answer.provenance.as_ref())
}

fn print_matched(found: &pb::MatchedImpact) -> anyhow::Result<()> {
    let balance = found.balance.iter().map(|row| {
        [
            row.covariate.clone(),
            output::number(row.adopters_mean),
            output::number(row.others_mean),
            output::optional(row.standardised_difference),
            output::number(row.matched_others_mean),
            output::optional(row.matched_standardised_difference),
            if row.imbalanced { "differs" } else { "" }.to_owned(),
        ]
    });
    let header =
        ["covariate", "adopters", "others", "std. diff.", "matched others", "std. diff.", ""];
    output::line(output::table(&header, balance))?;
    if let Some(trend) = &found.trend {
        let periods = trend.periods.iter().map(|period| {
            let effect = match (&period.effect, period.offset) {
                (None, -1) => "0 (reference)".to_owned(),
                (effect, _) => effect_text(effect.as_ref()),
            };
            [format!("{:+}", period.offset), effect]
        });
        output::line(output::table(&["period", "difference to matched others"], periods))?;
        let verdict = match trend.diverging {
            Some(true) => "the groups were drifting apart before",
            Some(false) => "the groups moved alike before",
            None => "whether the groups moved alike before could not be tested",
        };
        output::line(format!("{verdict} (p = {})", output::optional(trend.leads_p_value)))?;
    }
    if !found.segments.is_empty() {
        let segments = found.segments.iter().map(|segment| {
            let name = if segment.segment.is_empty() { "(none)" } else { &segment.segment };
            [name.to_owned(), segment.adopters.to_string(), effect_text(segment.effect.as_ref())]
        });
        output::line(output::table(&["segment", "adopters", "effect per subject"], segments))?;
    }
    if let Some(overlap) = found.overlap {
        output::line(format!(
            "overlap: {} of the adopters within the range of the others, concordance {}",
            percent(Some(overlap.adopters_in_range)),
            output::number(overlap.concordance),
        ))?;
    }
    Ok(())
}
