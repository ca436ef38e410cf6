//! QueryRetention and ListRetentionSubjects.

use northstar_domain::ProjectId;
use northstar_domain::metric::property_path;
use northstar_engine::journeys::{
    Bracket, Clock, CohortRow, Cohorts, RetentionAnswer, RetentionCellKey, RetentionMode,
    RetentionQuery, RetentionTableCell, Unit,
};
use northstar_engine::{Entry, Grain};
use northstar_proto::metrics::v1 as pb;

use super::ROWS_PER_MESSAGE;
use super::ask::{Asked, Reply};
use super::page::{Page, page};
use super::read::{Reader, check_rows, dimensions, instant, values};
use super::times;
use crate::service::Metrics as Service;
use crate::{Error, Result};

/// Units of the table when the question names no brackets: 0 to 7.
const UNITS: u32 = 8;

/// Answers a question, in parts.
pub(super) async fn query(
    service: &Service,
    project: ProjectId,
    request: pb::QueryRetentionRequest,
) -> Result<Vec<pb::QueryRetentionResponse>> {
    let mut reader = Reader::default();
    let compare = reader.compare(request.compare_start_time, request.compare);
    let asked = Asked { compare, ..read(reader, request.question.unwrap_or_default())? };
    let brackets = asked.question.brackets.clone();
    let breakdowns = asked.scope.breakdowns.clone();
    let replies = asked.answer(service, project).await?;
    check_rows(replies.iter().map(|reply| reply.answer.cohorts.len()).sum())?;
    let compared = replies.iter().find(|reply| reply.period == pb::JourneyPeriod::Compared);
    let previous: Vec<Option<f64>> = compared
        .map(|reply| reply.answer.mean.iter().map(|mean| mean.rate).collect())
        .unwrap_or_default();
    Ok(replies
        .into_iter()
        .flat_map(|reply| tell(reply, &brackets, &breakdowns, &previous))
        .collect())
}

/// Lists the subjects behind a number.
pub(super) async fn list(
    service: &Service,
    project: ProjectId,
    request: pb::ListRetentionSubjectsRequest,
) -> Result<pb::ListRetentionSubjectsResponse> {
    let outcome = request.outcome();
    let bracket = usize::try_from(request.bracket_index)
        .map_err(|_| Error::field("bracket_index", "must not be negative"))?;
    let asked = read(Reader::default(), request.question.unwrap_or_default())?;
    let cell = RetentionCellKey {
        bucket_start: instant(request.bucket_time),
        dimensions: values(&asked.scope.breakdowns, &request.dimensions),
        bracket: (outcome != pb::RetentionOutcome::Unspecified).then_some(bracket),
        retained: outcome == pb::RetentionOutcome::Retained,
    };
    let list = (request.page_size, request.page_token.as_str());
    let Page { subjects, next_page_token, total_size, log_position } =
        page(service, project, asked, cell, list).await?;
    Ok(pb::ListRetentionSubjectsResponse { subjects, next_page_token, total_size, log_position })
}

fn read(mut reader: Reader, question: pb::RetentionQuestion) -> Result<Asked<RetentionQuery>> {
    let scope = reader.scope(question.scope);
    let start = reader.selector("start", question.start);
    let returning = reader.selector("return", question.r#return);
    let entry = match reader.choice("entry", question.entry) {
        pb::RetentionEntry::Unspecified | pb::RetentionEntry::FirstEver => Entry::FirstEver,
        pb::RetentionEntry::FirstInRange => Entry::FirstInRange,
        pb::RetentionEntry::Recurring => Entry::PerBucket,
    };
    let cohorts = match reader.grain("cohorts", question.cohorts) {
        None | Some(Grain::Total) => Cohorts::One,
        Some(grain) => Cohorts::By(grain),
    };
    let unit = match reader.choice("unit", question.unit) {
        pb::RetentionUnit::Unspecified | pb::RetentionUnit::Day => Unit::Day,
        pb::RetentionUnit::Hour => Unit::Hour,
        pb::RetentionUnit::Week => Unit::Week,
        pb::RetentionUnit::Month => Unit::Month,
    };
    let clock = match reader.choice("clock", question.clock) {
        pb::RetentionClock::Unspecified | pb::RetentionClock::Calendar => Clock::Calendar,
        pb::RetentionClock::Rolling => Clock::Rolling,
    };
    let mode = match reader.choice("mode", question.mode) {
        pb::ReturnMode::Unspecified | pb::ReturnMode::On => RetentionMode::On,
        pb::ReturnMode::OnOrAfter => RetentionMode::OnOrAfter,
        pb::ReturnMode::OnOrBefore => RetentionMode::OnOrBefore,
        pb::ReturnMode::Streak => RetentionMode::Streak,
    };
    let mut brackets: Vec<Bracket> = Vec::new();
    for (index, bracket) in question.brackets.iter().enumerate() {
        match (u32::try_from(bracket.first), u32::try_from(bracket.last)) {
            (Ok(first), Ok(last)) => brackets.push(Bracket { first, last }),
            _ => reader.wrong(&format!("brackets[{index}]"), "must not be negative"),
        }
    }
    if question.brackets.is_empty() {
        brackets.extend((0..UNITS).map(Bracket::at));
    }
    let value = Some(property_path(&question.value_property)).filter(|path| !path.is_empty());
    let reads = reader.finish()?;
    let scope = scope.ok_or_else(|| Error::field("question.scope", "is required"))?;
    let question = RetentionQuery {
        scope: scope.scope.clone(),
        start,
        returning,
        entry,
        cohorts,
        unit,
        clock,
        brackets,
        mode,
        value: value.map(str::to_owned),
        same_values: question.same_values,
    };
    Ok(Asked { question, scope, reads, compare: None })
}

/// An answer in messages.
fn tell(
    reply: Reply<RetentionAnswer>,
    brackets: &[Bracket],
    breakdowns: &[String],
    previous: &[Option<f64>],
) -> Vec<pb::QueryRetentionResponse> {
    let Reply { period, answer, provenance } = reply;
    let previous = if period == pb::JourneyPeriod::Current { previous } else { &[] };
    let cohorts: Vec<pb::RetentionCohort> =
        answer.cohorts.iter().map(|row| cohort_to_proto(row, breakdowns)).collect();
    let mut messages: Vec<pb::QueryRetentionResponse> = cohorts
        .chunks(ROWS_PER_MESSAGE)
        .map(|cohorts| pb::QueryRetentionResponse {
            cohorts: cohorts.to_vec(),
            period: period.into(),
            ..Default::default()
        })
        .collect();
    if messages.is_empty() {
        let period = period.into();
        messages.push(pb::QueryRetentionResponse { period, ..Default::default() });
    }
    if let Some(last) = messages.last_mut() {
        last.provenance = Some(provenance);
        last.columns = brackets
            .iter()
            .zip(&answer.mean)
            .enumerate()
            .map(|(index, (bracket, mean))| {
                let previous = previous.get(index).copied().flatten();
                let change = mean.rate.zip(previous).map(|(rate, previous)| rate - previous);
                let relative = change.zip(previous.filter(|previous| *previous != 0.0));
                pb::RetentionColumn {
                    bracket: Some(pb::RetentionBracket {
                        first: bracket.first.cast_signed(),
                        last: bracket.last.cast_signed(),
                    }),
                    cohorts: mean.cohorts.cast_signed(),
                    eligible: mean.eligible.cast_signed(),
                    retained: mean.retained.cast_signed(),
                    rate: mean.rate,
                    simple_rate: mean.simple_rate,
                    value_per_subject: mean.value_per_subject,
                    previous_rate: previous,
                    change,
                    relative_change: relative.map(|(change, previous)| change / previous),
                }
            })
            .collect();
    }
    messages
}

fn cohort_to_proto(row: &CohortRow, breakdowns: &[String]) -> pb::RetentionCohort {
    pb::RetentionCohort {
        bucket_time: row.bucket_start.and_then(times::instant),
        dimensions: dimensions(breakdowns, &row.dimensions),
        entered: row.entered.cast_signed(),
        cells: (0..row.cells.len()).map(|at| cell_to_proto(&row.cells, at)).collect(),
    }
}

fn cell_to_proto(cells: &[RetentionTableCell], at: usize) -> pb::RetentionCount {
    let cell = &cells[at];
    let before = at.checked_sub(1).map_or(0, |before| cells[before].retained);
    // Where the bracket is over for everybody, so is the one before.
    let of_previous = cell.mature && before > 0;
    pb::RetentionCount {
        eligible: cell.eligible.cast_signed(),
        retained: cell.retained.cast_signed(),
        rate: cell.rate,
        value: cell.value,
        value_per_subject: cell.value_per_subject,
        begun: cell.begun.cast_signed(),
        begun_retained: cell.begun_retained.cast_signed(),
        mature: cell.mature,
        of_previous: of_previous.then(|| cell.retained as f64 / before as f64),
    }
}
