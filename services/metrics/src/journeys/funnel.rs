//! QueryFunnel and ListFunnelSubjects.

use northstar_domain::ProjectId;
use northstar_domain::metric::property_path;
use northstar_engine::Anchor;
use northstar_engine::journeys::{
    Attribution, Boundary, CountBy, DEFAULT_SESSION_GAP_MICROS, Exclusion, ExclusionMode,
    FunnelAnswer, FunnelCell, FunnelQuery, FunnelRow, FunnelStep, FunnelValue, Occurrence,
    StepOrder, StepOutcome, Window,
};
use northstar_proto::metrics::v1 as pb;

use super::ROWS_PER_MESSAGE;
use super::ask::{Asked, Reply};
use super::page::{Page, page};
use super::read::{Reader, check_rows, dimensions, instant, values};
use super::times::{self, times};
use crate::service::Metrics as Service;
use crate::{Error, Result};

/// Groups that are told apart when the question does not say.
const GROUPS: u32 = 200;

/// The default window, 14 days.
const WINDOW_MICROS: i64 = 14 * 86_400_000_000;

/// Answers a question, in parts.
pub(super) async fn query(
    service: &Service,
    project: ProjectId,
    request: pb::QueryFunnelRequest,
) -> Result<Vec<pb::QueryFunnelResponse>> {
    let mut reader = Reader::default();
    let compare = reader.compare(request.compare_start_time, request.compare);
    let question = request.question.unwrap_or_default();
    let steps = names(&question);
    let asked = Asked { compare, ..read(reader, question)? };
    let breakdowns = asked.scope.breakdowns.clone();
    let replies = asked.answer(service, project).await?;
    check_rows(replies.iter().map(|reply| reply.answer.trend.len()).sum())?;
    Ok(replies.into_iter().flat_map(|reply| tell(reply, &steps, &breakdowns)).collect())
}

/// Lists the subjects behind a number.
pub(super) async fn list(
    service: &Service,
    project: ProjectId,
    request: pb::ListFunnelSubjectsRequest,
) -> Result<pb::ListFunnelSubjectsResponse> {
    let kind = request.kind();
    let mut reader = Reader::default();
    let step = reader.step("step", request.step, 0);
    let outcome = match request.outcome() {
        pb::FunnelOutcome::Unspecified | pb::FunnelOutcome::Reached => StepOutcome::Reached,
        pb::FunnelOutcome::Dropped => StepOutcome::Dropped,
    };
    let asked = read(reader, request.question.unwrap_or_default())?;
    let of_group = kind != pb::FunnelRowKind::Unspecified && kind != pb::FunnelRowKind::Total;
    let bucket_start = instant(request.bucket_time);
    if (kind == pb::FunnelRowKind::Trend) != bucket_start.is_some() {
        return Err(Error::field("bucket_time", "is needed for a row of a trend, and only there"));
    }
    let cell = FunnelCell {
        step,
        outcome,
        bucket_start,
        dimensions: of_group.then(|| values(&asked.scope.breakdowns, &request.dimensions)),
    };
    let list = (request.page_size, request.page_token.as_str());
    let Page { subjects, next_page_token, total_size, log_position } =
        page(service, project, asked, cell, list).await?;
    Ok(pb::ListFunnelSubjectsResponse { subjects, next_page_token, total_size, log_position })
}

/// What the steps are called in the answer. In any order the n-th may be any of them.
fn names(question: &pb::FunnelQuestion) -> Vec<String> {
    let known = match question.order() {
        pb::StepOrder::Any => 0,
        pb::StepOrder::FirstThenAny => 1,
        _ => question.steps.len(),
    };
    let name = |(index, step): (usize, &pb::JourneyStep)| match &step.event {
        Some(selector) if index < known => selector.event.clone(),
        _ => String::new(),
    };
    question.steps.iter().enumerate().map(name).collect()
}

fn read(mut reader: Reader, question: pb::FunnelQuestion) -> Result<Asked<FunnelQuery>> {
    let scope = reader.scope(question.scope.clone());
    let steps = steps(&mut reader, &question);
    let last = steps.len().saturating_sub(1);
    let order = match reader.choice("order", question.order) {
        pb::StepOrder::Unspecified | pb::StepOrder::Ordered => StepOrder::Ordered,
        pb::StepOrder::StrictSteps => StepOrder::StrictSteps,
        pb::StepOrder::StrictAnyEvent => StepOrder::StrictAnyEvent,
        pb::StepOrder::Any => StepOrder::AnyOrder,
        pb::StepOrder::FirstThenAny => StepOrder::FirstThenAny,
    };
    let window = window(&mut reader, &question);
    let boundary = match reader.choice("window_boundary", question.window_boundary) {
        pb::WindowBoundary::Unspecified | pb::WindowBoundary::Inclusive => Boundary::Inclusive,
        pb::WindowBoundary::Exclusive => Boundary::Exclusive,
    };
    let mut exclusions = Vec::new();
    for (index, exclusion) in question.exclusions.iter().enumerate() {
        let field = format!("exclusions[{index}]");
        let event = reader.selector(&format!("{field}.event"), exclusion.event.clone());
        let from_step = reader.step(&format!("{field}.from_step"), exclusion.from_step, 0);
        let to_step = reader.step(&format!("{field}.to_step"), exclusion.to_step, last);
        exclusions.push(Exclusion { event, from_step, to_step });
    }
    let exclusion_mode = match reader.choice("exclusion_mode", question.exclusion_mode) {
        pb::ExclusionMode::Unspecified | pb::ExclusionMode::Attempt => ExclusionMode::Attempt,
        pb::ExclusionMode::Subject => ExclusionMode::Subject,
    };
    let attribution = match reader.choice("attribution", question.attribution) {
        pb::FunnelAttribution::Unspecified | pb::FunnelAttribution::FirstTouch => {
            Attribution::FirstTouch
        }
        pb::FunnelAttribution::LastTouch => Attribution::LastTouch,
        pb::FunnelAttribution::Step => {
            Attribution::Step(reader.step("attribution_step", question.attribution_step, 0))
        }
        pb::FunnelAttribution::All => Attribution::All,
    };
    let count_by = match reader.choice("count_by", question.count_by) {
        pb::CountBy::Unspecified | pb::CountBy::Uniques => CountBy::Uniques,
        pb::CountBy::Totals => CountBy::Totals,
        pb::CountBy::Sessions => CountBy::Sessions,
    };
    let anchor = match reader.choice("anchor", question.anchor) {
        pb::FunnelAnchor::Unspecified | pb::FunnelAnchor::BestAttempt => Anchor::BestAttempt,
        pb::FunnelAnchor::FirstTouch => Anchor::FirstTouch,
    };
    let constant = reader.dimensions("constant_properties", &question.constant_properties);
    let session_gap = reader.micros("session_gap", question.session_gap);
    let tie_tolerance = reader.micros("tie_tolerance", question.tie_tolerance);
    let trend = reader.grain("trend", question.trend);
    let between = (
        reader.step("times_from_step", question.times_from_step, 0),
        reader.step("times_to_step", question.times_to_step, last),
    );
    let bins = reader.count("histogram_bins", question.histogram_bins, 0);
    let max_groups = reader.count("max_groups", question.max_groups, GROUPS);
    let value = value(&mut reader, &question);
    let activity = reader.activity()?;
    let reads = reader.finish()?;
    let mut scope = scope.ok_or_else(|| Error::field("question.scope", "is required"))?;
    scope.also_by(&constant);
    let question = FunnelQuery {
        scope: scope.scope.clone(),
        steps,
        order,
        window,
        boundary,
        exclusions,
        exclusion_mode,
        constant,
        attribution,
        count_by,
        session_gap_micros: session_gap.unwrap_or(DEFAULT_SESSION_GAP_MICROS),
        activity,
        anchor,
        tie_tolerance_micros: tie_tolerance.unwrap_or(0),
        trend,
        between,
        bins,
        max_groups: max_groups as usize,
        value,
    };
    Ok(Asked { question, scope, reads, compare: None })
}

fn steps(reader: &mut Reader, question: &pb::FunnelQuestion) -> Vec<FunnelStep> {
    let mut steps = Vec::new();
    for (index, step) in question.steps.iter().enumerate() {
        let field = format!("steps[{index}]");
        let occurrence = match reader.choice(&format!("{field}.occurrence"), step.occurrence) {
            pb::StepOccurrence::Unspecified | pb::StepOccurrence::Any => Occurrence::Any,
            pb::StepOccurrence::FirstEver => Occurrence::FirstEver,
            pb::StepOccurrence::FirstMatching => Occurrence::FirstMatching,
        };
        let event = reader.selector(&format!("{field}.event"), step.event.clone());
        steps.push(FunnelStep { event, optional: step.optional, occurrence });
    }
    steps
}

fn value(reader: &mut Reader, question: &pb::FunnelQuestion) -> Option<FunnelValue> {
    let step = reader.step("value_step", question.value_step, usize::MAX);
    let property = property_path(&question.value_property);
    if property.is_empty() {
        if question.value_step != 0 {
            reader.wrong("value_step", "is given without value_property");
        }
        return None;
    }
    let step = Some(step).filter(|step| *step != usize::MAX);
    Some(FunnelValue { property: property.to_owned(), step })
}

fn window(reader: &mut Reader, question: &pb::FunnelQuestion) -> Window {
    let micros = reader.micros("window", question.window);
    if question.unlimited_window && micros.is_some() {
        reader.wrong("window", "is given, and unlimited_window says that there is none");
    }
    let sessions = reader.count("window_sessions", question.window_sessions, 0);
    Window {
        micros: (!question.unlimited_window).then_some(micros.unwrap_or(WINDOW_MICROS)),
        sessions: (sessions > 0).then_some(sessions),
    }
}

/// An answer in messages.
fn tell(
    reply: Reply<FunnelAnswer>,
    steps: &[String],
    breakdowns: &[String],
) -> Vec<pb::QueryFunnelResponse> {
    let Reply { period, answer, provenance } = reply;
    let kinds = [
        (pb::FunnelRowKind::Total, vec![answer.total]),
        (pb::FunnelRowKind::Group, answer.groups),
        (pb::FunnelRowKind::Trend, answer.trend),
    ];
    let rows: Vec<pb::FunnelRow> = kinds
        .into_iter()
        .flat_map(|(kind, rows)| rows.into_iter().map(move |row| (kind, row)))
        .map(|(kind, row)| row_to_proto(kind, &row, steps, breakdowns))
        .collect();
    let mut messages: Vec<pb::QueryFunnelResponse> = rows
        .chunks(ROWS_PER_MESSAGE)
        .map(|rows| pb::QueryFunnelResponse {
            rows: rows.to_vec(),
            provenance: None,
            period: period.into(),
        })
        .collect();
    if let Some(last) = messages.last_mut() {
        last.provenance = Some(provenance);
    }
    messages
}

fn row_to_proto(
    kind: pb::FunnelRowKind,
    row: &FunnelRow,
    steps: &[String],
    breakdowns: &[String],
) -> pb::FunnelRow {
    pb::FunnelRow {
        kind: kind.into(),
        bucket_time: row.bucket_start.and_then(times::instant),
        dimensions: dimensions(breakdowns, &row.dimensions),
        steps: row
            .steps
            .iter()
            .zip(steps)
            .map(|(step, event)| pb::FunnelStepCount {
                event: event.clone(),
                count: step.count.cast_signed(),
                from_previous: step.from_previous,
                from_first: step.from_first,
                times: step.time.as_ref().map(times),
                value_sum: step.value.map(|value| value.sum),
                value_count: step.value.map_or(0, |value| value.n.cast_signed()),
                value_mean: step.value.and_then(|value| value.mean),
            })
            .collect(),
        conversion: row.conversion(),
        times: row.between.as_ref().map(times),
        histogram: row
            .histogram
            .iter()
            .map(|bin| pb::HistogramBar {
                from_seconds: bin.from,
                to_seconds: bin.to,
                count: bin.count.cast_signed(),
            })
            .collect(),
        open: row.open.cast_signed(),
        complete: row.complete,
    }
}
