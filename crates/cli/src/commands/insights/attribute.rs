//! `northstar attribute`: why a number moved.

use anyhow::Context as _;
use chrono_tz::Tz;
use northstar_proto::metrics::v1 as pb;
use serde_json::{Value, json};

use super::{Range, footer, named, percent, provenance};
use crate::connection::Connection;
use crate::{output, time};

/// Split the change of a metric between two periods into segments.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  northstar attribute sign-ups --from 2026-03-08 --to 2026-03-15 --by platform,country
  northstar attribute checkout --from 2026-03-01 --to 2026-04-01 \\
      --compare 2025-03-01..2025-04-01 --by platform,country,plan --json")]
pub struct Attribute {
    /// A count, sum, mean, unique, ratio of those, funnel or retention.
    metric: String,
    #[command(flatten)]
    range: Range,
    /// The period compared with; the one of the same length before when absent.
    #[arg(long, value_name = "FROM..TO")]
    compare: Option<String>,
    /// Dimensions to look for the reason in.
    #[arg(long, value_delimiter = ',', required = true)]
    by: Vec<String>,
    /// CEL condition on events.
    #[arg(long = "where", value_name = "CEL", default_value = "")]
    filter: String,
    /// Share of the change that the segments must explain together.
    #[arg(long, default_value_t = 0.7)]
    explain: f64,
    /// Share of the change that each segment must explain.
    #[arg(long, default_value_t = 0.1)]
    minimum_share: f64,
    /// Most dimensions of a segment.
    #[arg(long, default_value_t = 3)]
    depth: i32,
    /// Segments of a dimension that are shown; JSON has all.
    #[arg(long, default_value_t = 5)]
    top: usize,
    /// Only subjects in this cohort; give it again for more, all of which must hold.
    #[arg(long = "cohort", value_name = "COHORT")]
    cohorts: Vec<String>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn run(attribute: Attribute, connection: &Connection) -> anyhow::Result<()> {
    let instant = |text: &str| time::parse(text, Tz::UTC).map(time::timestamp);
    let (compare_start_time, compare_end_time) = match attribute.compare.as_deref() {
        None => (None, None),
        Some(text) => {
            let (from, to) = text
                .split_once("..")
                .with_context(|| format!("{text:?} is no period: write 2026-03-01..2026-03-08"))?;
            (Some(instant(from)?), Some(instant(to)?))
        }
    };
    let request = pb::AttributeChangeRequest {
        metric: attribute.metric,
        start_time: attribute.range.start(Tz::UTC)?,
        end_time: attribute.range.end(Tz::UTC)?,
        compare_start_time,
        compare_end_time,
        dimensions: attribute.by,
        filter: attribute.filter,
        explain: attribute.explain,
        minimum_share: attribute.minimum_share,
        depth: attribute.depth,
        max_segments: 0,
        cohorts: attribute.cohorts,
    };
    let answer = connection.clients()?.insights().attribute_change(request).await?.into_inner();
    if attribute.json { output::json(&as_json(answer)?) } else { print(&answer, attribute.top) }
}

fn segment(segment: &pb::SegmentContribution) -> Value {
    json!({
        "segment": segment.segment,
        "before": segment.before,
        "after": segment.after,
        "contribution": segment.contribution,
        "rate_effect": segment.rate_effect,
        "mix_effect": segment.mix_effect,
        "share": segment.share,
        "weight": segment.weight,
    })
}

fn as_json(answer: pb::AttributeChangeResponse) -> anyhow::Result<Value> {
    Ok(json!({
        "summary": answer.summary,
        "before": answer.before,
        "after": answer.after,
        "change": answer.change,
        "explanation": answer.explanation.iter().map(segment).collect::<Vec<_>>(),
        "explained_share": answer.explained_share,
        "explained_weight": answer.explained_weight,
        "dimensions": answer.dimensions.iter().map(|dimension| json!({
            "dimension": dimension.dimension,
            "segments": dimension.segments.iter().map(segment).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "provenance": provenance(answer.provenance)?,
    }))
}

fn print(answer: &pb::AttributeChangeResponse, top: usize) -> anyhow::Result<()> {
    output::line(&answer.summary)?;
    let row = |segment: &pb::SegmentContribution| {
        [
            named(&segment.segment),
            output::optional(segment.before),
            output::optional(segment.after),
            output::number(segment.contribution),
            percent(segment.share),
            output::number(segment.rate_effect),
            output::number(segment.mix_effect),
        ]
    };
    let header = ["segment", "before", "after", "contribution", "share", "by value", "by weight"];
    if !answer.explanation.is_empty() {
        output::line(output::table(&header, answer.explanation.iter().map(row)))?;
    }
    for dimension in &answer.dimensions {
        output::line(format!("by {}:", dimension.dimension))?;
        output::line(output::table(&header, dimension.segments.iter().take(top).map(row)))?;
    }
    footer(answer.provenance.as_ref())
}
