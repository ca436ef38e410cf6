//! AttributeChange: what each segment contributed to the change of a metric.

use std::collections::BTreeMap;

use northstar_domain::kpi::Window;
use northstar_domain::metric::Definition;
use northstar_domain::{Problems, ProjectId};
use northstar_engine::{Answer, Dimension, Filter, Grain, Query, Row, Snapshot};
use northstar_proto::metrics::v1 as pb;
use northstar_stats::attribution::{Additive, Explanation, Leaf, RateMix, Search, Segment, search};

use super::impact::read_number;
use super::words;
use crate::ask::ask;
use crate::cohorts::{self, Scope};
use crate::plan::{self, Metrics};
use crate::provenance::{Answered, Sources, provenance};
use crate::query::{check_size, find, read_breakdowns, read_filter, read_window};
use crate::service::Metrics as Service;
use crate::{Error, Result};

struct Question {
    after: Window,
    before: Window,
    dimensions: Vec<Dimension>,
    filter: Option<Filter>,
    search: Search,
}

/// Answers a question.
pub(super) async fn attribute_change(
    service: &Service,
    project: ProjectId,
    request: pb::AttributeChangeRequest,
) -> Result<pb::AttributeChangeResponse> {
    let (metrics, version) = find(&service.pool, project, &request.metric).await?;
    let is_sum = is_sum(&metrics, &request.metric)?;
    let question = read(&request, is_sum)?;
    let spec = plan::spec(&metrics, &request.metric)?;
    let query = |window: Window, breakdowns: Vec<Dimension>| Query {
        metric: spec.clone(),
        from_micros: plan::instant(window.start),
        to_micros: plan::instant(window.end),
        zone: chrono_tz::Tz::UTC,
        grain: Grain::Total,
        breakdowns,
        filter: question.filter.clone(),
        as_of_micros: None,
    };
    let queries = [question.before, question.after]
        .map(|window| [query(window, Vec::new()), query(window, question.dimensions.clone())]);
    let scope = Scope::of(&request.cohorts, &question.dimensions);
    let (view, cohorts) = cohorts::view(service, project, &scope, question.after.end).await?;
    let sources = Sources::read(&service.pool, project, view.head, service.clock.now()).await?;
    let asked = queries.clone();
    let [before, after] = ask(&view.snapshot, move |snapshot| periods(snapshot, &asked)).await?;
    let leaves = leaves(&before, &after, is_sum)?;
    let found = search(&leaves, question.dimensions.len(), &question.search).ok_or_else(|| {
        let problem = format!("{} has no value in one of the periods", request.metric);
        Error::InsufficientData(problem)
    })?;
    let value = |period: &Period| period.whole.first().and_then(|row| row.value).unwrap_or(0.0);
    let answered = Answered {
        metrics: &metrics,
        metric_version: version,
        window: question.after,
        time_zone: "UTC",
        filter: &request.filter,
        head: view.head,
        excluded_events: view.excluded_events,
        scanned_events: after.scanned,
        digest: cohorts::digest(
            &metrics,
            version,
            &queries,
            &cohorts,
            view.head,
            &(&before.rows, &after.rows),
        )?,
    };
    let convert = |segment: &Segment| contribution(segment, &request.dimensions, is_sum);
    let response = pb::AttributeChangeResponse {
        summary: String::new(),
        before: value(&before),
        after: value(&after),
        change: found.change,
        explanation: found.segments.iter().map(convert).collect(),
        explained_share: found.share,
        explained_weight: found.weight,
        dimensions: request
            .dimensions
            .iter()
            .zip(&found.by_dimension)
            .map(|(dimension, segments)| pb::DimensionContributions {
                dimension: dimension.clone(),
                segments: segments.iter().map(convert).collect(),
            })
            .collect(),
        provenance: Some(provenance(&sources, answered)),
    };
    let summary = summary(&request.metric, &response, &found, is_sum);
    Ok(pb::AttributeChangeResponse { summary, ..response })
}

/// Whether the metric is a sum over events or subjects, or else one over another.
fn is_sum(metrics: &Metrics, name: &str) -> Result<bool> {
    match plan::definition(metrics, name)? {
        Definition::Count { .. } | Definition::Unique { .. } | Definition::Sum { .. } => Ok(true),
        Definition::Mean { .. }
        | Definition::Ratio { .. }
        | Definition::Funnel { .. }
        | Definition::Retention { .. } => Ok(false),
        other => {
            let problem = format!(
                "{name} is a {}, which is no sum and no ratio of sums: use a count, sum, mean, \
                 unique, ratio, funnel or retention",
                other.kind()
            );
            Err(Error::field("metric", problem))
        }
    }
}

/// Reads a request, or says everything that is wrong with it.
fn read(request: &pb::AttributeChangeRequest, is_sum: bool) -> Result<Question> {
    let mut problems = Problems::default();
    let after = read_window(&mut problems, request.start_time, request.end_time);
    let before = if request.compare_start_time.is_none() && request.compare_end_time.is_none() {
        after.and_then(|after| {
            let start = after.start.checked_sub_signed(after.end - after.start);
            Some(Window { start: start?, end: after.start })
        })
    } else {
        let mut own = Problems::default();
        let read = read_window(&mut own, request.compare_start_time, request.compare_end_time);
        if read.is_none() {
            let problem = "and compare_end_time must both be given, start before end";
            problems.fields.push("compare_start_time", problem);
        }
        read
    };
    if request.dimensions.is_empty() {
        problems.fields.push("dimensions", "is required: where to look for the reason");
    }
    let mut own = Problems::default();
    let dimensions = read_breakdowns(&mut own, &request.dimensions);
    for violation in own.fields.as_slice() {
        let field = violation.field.replace("breakdowns", "dimensions");
        problems.fields.push(field, violation.problem.clone());
    }
    let filter = read_filter(&mut problems, "filter", &request.filter);
    cohorts::check_number(&mut problems, &request.cohorts);
    let mut share = |field: &str, value: f64, default: f64| {
        let value = if value == 0.0 { default } else { value };
        if !(value > 0.0 && value <= 1.0) {
            problems.fields.push(field, "must lie between 0 and 1, for example 0.7");
        }
        value
    };
    let explain = share("explain", request.explain, 0.7);
    let minimum_share = share("minimum_share", request.minimum_share, 0.1);
    let depth = read_number(&mut problems, "depth", request.depth, 3, 4) as usize;
    let segments =
        read_number(&mut problems, "max_segments", request.max_segments, 5, 100) as usize;
    match (after, before) {
        (Some(after), Some(before)) if problems.is_empty() => Ok(Question {
            after,
            before,
            dimensions,
            filter,
            search: Search { additive: is_sum, explain, minimum_share, depth, segments },
        }),
        (Some(_), None) if problems.is_empty() => {
            Err(Error::field("start_time", "leaves no time before to compare with"))
        }
        _ => Err(Error::Refused(problems)),
    }
}

/// One period: the whole, and its finest segments.
struct Period {
    whole: Vec<Row>,
    rows: Vec<Row>,
    scanned: u64,
}

fn periods(snapshot: &Snapshot, queries: &[[Query; 2]; 2]) -> Result<[Period; 2]> {
    let period = |[whole, parts]: &[Query; 2]| {
        let answer: Answer = snapshot.query(parts)?;
        check_size(&answer)?;
        let whole = snapshot.query(whole)?.rows;
        Ok::<_, Error>(Period { whole, rows: answer.rows, scanned: answer.events_scanned })
    };
    let [before, after] = queries;
    Ok([period(before)?, period(after)?])
}

/// What is above and below the line of a row.
fn parts(row: &Row, is_sum: bool) -> (f64, f64) {
    if is_sum {
        (row.value.unwrap_or(0.0), 0.0)
    } else {
        (row.numerator.unwrap_or(0.0), row.denominator.unwrap_or(0.0))
    }
}

/// The finest segments of both periods side by side. They must make up the whole.
fn leaves(before: &Period, after: &Period, is_sum: bool) -> Result<Vec<Leaf>> {
    for period in [before, after] {
        check_partition(period, is_sum)?;
    }
    let mut found: BTreeMap<&[Option<String>], RateMix> = BTreeMap::new();
    let empty = Additive::default();
    for row in &before.rows {
        let (numerator, denominator) = parts(row, is_sum);
        let numbers = found.entry(&row.dimensions).or_default();
        numbers.numerator = Additive { before: numerator, ..empty };
        numbers.denominator = Additive { before: denominator, ..empty };
    }
    for row in &after.rows {
        let (numerator, denominator) = parts(row, is_sum);
        let numbers = found.entry(&row.dimensions).or_default();
        numbers.numerator.after = numerator;
        numbers.denominator.after = denominator;
    }
    let leaf =
        |(values, numbers): (&[Option<String>], RateMix)| Leaf { values: values.to_vec(), numbers };
    Ok(found.into_iter().map(leaf).collect())
}

/// A subject that is in two segments would be counted twice, and the parts would not be the whole.
fn check_partition(period: &Period, is_sum: bool) -> Result<()> {
    let sums = |rows: &[Row]| {
        rows.iter()
            .map(|row| parts(row, is_sum))
            .fold((0.0, 0.0), |sum, part| (sum.0 + part.0, sum.1 + part.1))
    };
    let ((above, below), whole) = (sums(&period.rows), sums(&period.whole));
    let differs = |parts: f64, whole: f64| (parts - whole).abs() > 1e-6 * (1.0 + whole.abs());
    for (parts, whole) in [(above, whole.0), (below, whole.1)] {
        if differs(parts, whole) {
            let problem = format!(
                "do not divide the metric: its segments sum to {} instead of {}, because some \
                 subjects are in more than one of them. Choose dimensions of which a subject has \
                 one value, or a metric that counts events",
                words::number(parts),
                words::number(whole)
            );
            return Err(Error::field("dimensions", problem));
        }
    }
    Ok(())
}

fn contribution(segment: &Segment, names: &[String], is_sum: bool) -> pb::SegmentContribution {
    let (before, after) = if is_sum {
        (Some(segment.numbers.numerator.before), Some(segment.numbers.numerator.after))
    } else {
        segment.numbers.rates()
    };
    pb::SegmentContribution {
        segment: segment
            .values
            .iter()
            .filter_map(|(dimension, value)| Some((names[*dimension].clone(), value.clone()?)))
            .collect(),
        before,
        after,
        contribution: segment.contribution.total,
        rate_effect: segment.contribution.rate,
        mix_effect: segment.contribution.mix,
        share: segment.share,
        weight: segment.weight,
    }
}

fn summary(
    metric: &str,
    response: &pb::AttributeChangeResponse,
    found: &Explanation,
    is_sum: bool,
) -> String {
    let relative = if response.before == 0.0 {
        String::new()
    } else {
        format!(" ({} %)", words::signed((1_000.0 * found.change / response.before).round() / 10.0))
    };
    let moved = format!(
        "{metric} went from {} to {}{relative}",
        words::number(response.before),
        words::number(response.after)
    );
    if found.change == 0.0 {
        return format!("{metric} did not change: {}.", words::number(response.after));
    }
    if found.segments.is_empty() {
        return format!(
            "{moved}. No segment of these dimensions explains it beyond its size: the change is \
             spread over all of them."
        );
    }
    let names: Vec<String> = response
        .explanation
        .iter()
        .map(|segment| {
            let values: Vec<String> =
                segment.segment.iter().map(|(name, value)| format!("{name} = {value}")).collect();
            if values.is_empty() { "events without a value".to_owned() } else { values.join(", ") }
        })
        .collect();
    let of = if is_sum { "the total" } else { "the denominator" };
    let total = |part: fn(&pb::SegmentContribution) -> f64| -> f64 {
        response.explanation.iter().map(part).sum()
    };
    let why = if is_sum {
        ""
    } else if total(|part| part.rate_effect.abs()) >= total(|part| part.mix_effect.abs()) {
        ", mostly because their own value changed"
    } else {
        ", mostly because they became a larger or smaller part of the whole"
    };
    format!(
        "{moved}. {} explain{} {} of the change with {} of {of}{why}.",
        names.join("; "),
        if names.len() == 1 { "s" } else { "" },
        words::percent(found.share),
        words::percent(found.weight),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: f64, dimension: &str) -> Row {
        Row {
            bucket_start: None,
            dimensions: vec![Some(dimension.to_owned())],
            value: Some(value),
            n: 0,
            numerator: None,
            denominator: None,
            complete: true,
            detail: northstar_engine::Detail::None,
        }
    }

    #[test]
    fn segments_that_overlap_are_refused() {
        let whole = vec![row(10.0, "")];
        let period = |parts: &[f64]| Period {
            whole: whole.clone(),
            rows: parts.iter().map(|part| row(*part, "x")).collect(),
            scanned: 0,
        };
        assert!(check_partition(&period(&[4.0, 6.0]), true).is_ok());
        assert!(check_partition(&period(&[6.0, 6.0]), true).is_err());
    }
}
