//! `northstar retention`: who comes back, as a triangle.

use northstar_proto::metrics::v1 as pb;
use serde_json::{Value, json};

use super::arguments::{Range, pair, selector, values};
use super::show::{self, Page};
use crate::connection::Connection;
use crate::{output, time};

/// Ask who comes back.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  northstar retention --start 'Signed Up' --from 2026-01-05 --to 2026-03-02 \\
      --cohorts week --unit week
  northstar retention --start 'Signed Up' --return 'Logged In' --from 2026-01-01 --to 2026-02-01 \\
      --brackets 0,1-3,4-7,8-14 --clock rolling --mode on-or-after --by plan
  northstar retention --start Paid --return Paid --from 2025-01-01 --to 2026-01-01 \\
      --cohorts month --unit month --mode on-or-before --value amount
  northstar retention --start 'Signed Up' --from 2026-01-05 --to 2026-03-02 --lost 1")]
pub struct Retention {
    /// Event that starts the clock; absent is any event.
    #[arg(long, default_value = "", hide_default_value = true)]
    start: String,
    /// Event that counts as coming back; absent is any event.
    #[arg(long = "return", default_value = "", hide_default_value = true)]
    returning: String,
    #[command(flatten)]
    range: Range,
    /// Dimensions of the start to break down by.
    #[arg(long, value_delimiter = ',')]
    by: Vec<String>,
    /// Which starts count: the subject's first of all times, its first in the range, or one in every bucket.
    #[arg(long, value_enum, default_value = "first-ever")]
    entry: Entry,
    /// Buckets of starts that are cohorts.
    #[arg(long, value_enum, default_value = "total")]
    cohorts: Cohorts,
    /// Unit of the columns.
    #[arg(long, value_enum, default_value = "day")]
    unit: Unit,
    /// Whether units are those of the calendar, or count from the start.
    #[arg(long, value_enum, default_value = "calendar")]
    clock: Clock,
    /// Columns: units, or stretches of them.
    #[arg(long, value_delimiter = ',', default_value = "0,1,2,3,4,5,6,7")]
    brackets: Vec<String>,
    /// What coming back means.
    #[arg(long, value_enum, default_value = "on")]
    mode: Mode,
    /// Numeric property of the returns to add up: the table shows value per subject.
    #[arg(long, value_name = "PROPERTY", default_value = "", hide_default_value = true)]
    value: String,
    /// Only returns with the start's values of the breakdowns.
    #[arg(long)]
    same_values: bool,
    /// Show shares of those who came back in the column before, rather than of the cohort.
    #[arg(long, conflicts_with = "value")]
    of_previous: bool,
    /// List the subjects that came back in this column, counted from 0.
    #[arg(long, value_name = "COLUMN", conflicts_with = "lost")]
    retained: Option<i32>,
    /// List the subjects that did not.
    #[arg(long, value_name = "COLUMN")]
    lost: Option<i32>,
    /// The cohort to list, by the start of its bucket.
    #[arg(long, value_name = "TIME")]
    cohort: Option<String>,
    /// The group to list, by its values: plan=pro.
    #[arg(long, value_delimiter = ',', value_name = "NAME=VALUE")]
    group: Vec<String>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Entry {
    FirstEver,
    FirstInRange,
    Recurring,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Cohorts {
    Hour,
    Day,
    Week,
    Month,
    Total,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Unit {
    Hour,
    Day,
    Week,
    Month,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Clock {
    Calendar,
    Rolling,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Mode {
    On,
    OnOrAfter,
    OnOrBefore,
    Streak,
}

impl Retention {
    fn question(&self) -> anyhow::Result<pb::RetentionQuestion> {
        let brackets = self.brackets.iter().map(|text| {
            let (first, last) = pair(text)?;
            Ok(pb::RetentionBracket { first, last })
        });
        Ok(pb::RetentionQuestion {
            scope: Some(self.range.scope(&self.by)?),
            start: Some(selector(&self.start)),
            r#return: Some(selector(&self.returning)),
            entry: match self.entry {
                Entry::FirstEver => pb::RetentionEntry::FirstEver,
                Entry::FirstInRange => pb::RetentionEntry::FirstInRange,
                Entry::Recurring => pb::RetentionEntry::Recurring,
            }
            .into(),
            cohorts: match self.cohorts {
                Cohorts::Hour => pb::Grain::Hour,
                Cohorts::Day => pb::Grain::Day,
                Cohorts::Week => pb::Grain::Week,
                Cohorts::Month => pb::Grain::Month,
                Cohorts::Total => pb::Grain::Total,
            }
            .into(),
            unit: match self.unit {
                Unit::Hour => pb::RetentionUnit::Hour,
                Unit::Day => pb::RetentionUnit::Day,
                Unit::Week => pb::RetentionUnit::Week,
                Unit::Month => pb::RetentionUnit::Month,
            }
            .into(),
            clock: match self.clock {
                Clock::Calendar => pb::RetentionClock::Calendar,
                Clock::Rolling => pb::RetentionClock::Rolling,
            }
            .into(),
            brackets: brackets.collect::<anyhow::Result<_>>()?,
            mode: match self.mode {
                Mode::On => pb::ReturnMode::On,
                Mode::OnOrAfter => pb::ReturnMode::OnOrAfter,
                Mode::OnOrBefore => pb::ReturnMode::OnOrBefore,
                Mode::Streak => pb::ReturnMode::Streak,
            }
            .into(),
            value_property: self.value.clone(),
            same_values: self.same_values,
        })
    }
}

/// Runs the command.
pub async fn run(command: Retention, connection: &Connection) -> anyhow::Result<()> {
    let mut journeys = connection.clients()?.journeys();
    let question = command.question()?;
    if let Some(bracket_index) = command.retained.or(command.lost) {
        let outcome = if command.retained.is_some() {
            pb::RetentionOutcome::Retained
        } else {
            pb::RetentionOutcome::Lost
        };
        let cohort = command.cohort.as_deref();
        let cohort = cohort.map(|text| time::parse(text, command.range.zone)).transpose()?;
        let dimensions = values(&command.group)?;
        return show::subjects(command.range.json, |page_size, page_token| {
            let request = pb::ListRetentionSubjectsRequest {
                question: Some(question.clone()),
                bucket_time: cohort.map(time::timestamp),
                bracket_index,
                dimensions: dimensions.clone(),
                outcome: outcome.into(),
                page_size,
                page_token,
            };
            let mut journeys = journeys.clone();
            async move {
                let page = journeys.list_retention_subjects(request).await?.into_inner();
                Ok(Page {
                    subjects: page.subjects,
                    next: page.next_page_token,
                    total: page.total_size,
                })
            }
        })
        .await;
    }
    let (compare_start_time, compare) = command.range.compare()?;
    let request = pb::QueryRetentionRequest {
        question: Some(question),
        compare_start_time,
        compare: compare.into(),
    };
    let mut messages = journeys.query_retention(request).await?.into_inner();
    let mut periods: Vec<pb::QueryRetentionResponse> = Vec::new();
    while let Some(message) = messages.message().await? {
        match periods.last_mut().filter(|last| last.period == message.period) {
            None => periods.push(message),
            Some(last) => {
                last.cohorts.extend(message.cohorts);
                last.columns.extend(message.columns);
                last.provenance = last.provenance.take().or(message.provenance);
            }
        }
    }
    if command.range.json {
        let periods = periods.into_iter().map(|answer| {
            Ok(json!({
                "period": show::period(answer.period()),
                "cohorts": answer.cohorts.iter().map(cohort_to_json).collect::<Vec<_>>(),
                "columns": answer.columns.iter().map(column_to_json).collect::<Vec<_>>(),
                "provenance": show::provenance(answer.provenance)?,
            }))
        });
        return output::json(&periods.collect::<anyhow::Result<Vec<_>>>()?);
    }
    for answer in &periods {
        if periods.len() > 1 {
            output::line(format!("{} period", show::period(answer.period())))?;
        }
        print(&command, answer)?;
        show::origin(answer.provenance.as_ref())?;
    }
    Ok(())
}

fn cohort_to_json(row: &pb::RetentionCohort) -> Value {
    let cells = row.cells.iter().map(|cell| {
        json!({
            "eligible": cell.eligible,
            "retained": cell.retained,
            "rate": cell.rate,
            "value": cell.value,
            "value_per_subject": cell.value_per_subject,
            "begun": cell.begun,
            "begun_retained": cell.begun_retained,
            "mature": cell.mature,
            "of_previous": cell.of_previous,
        })
    });
    json!({
        "time": show::instant(row.bucket_time.as_ref()),
        "dimensions": row.dimensions,
        "entered": row.entered,
        "cells": cells.collect::<Vec<_>>(),
    })
}

fn column_to_json(column: &pb::RetentionColumn) -> Value {
    let bracket = column.bracket.unwrap_or_default();
    json!({
        "first": bracket.first,
        "last": bracket.last,
        "cohorts": column.cohorts,
        "eligible": column.eligible,
        "retained": column.retained,
        "rate": column.rate,
        "simple_rate": column.simple_rate,
        "value_per_subject": column.value_per_subject,
        "previous_rate": column.previous_rate,
        "change": column.change,
        "relative_change": column.relative_change,
    })
}

fn print(command: &Retention, answer: &pb::QueryRetentionResponse) -> anyhow::Result<()> {
    let by_value = !command.value.is_empty();
    let columns: Vec<String> =
        command.brackets.iter().map(|bracket| bracket.trim().to_owned()).collect();
    let by = command.by.join(", ");
    let mut header = vec!["cohort"];
    header.extend(Some(by.as_str()).filter(|by| !by.is_empty()));
    header.push("subjects");
    header.extend(columns.iter().map(String::as_str));
    let rows = answer.cohorts.iter().filter(|row| row.entered > 0).map(|row| {
        let start = row.bucket_time.as_ref();
        let mut cells = vec![
            start.map_or_else(|| "all".to_owned(), |at| time::local_text(at, command.range.zone)),
        ];
        if !command.by.is_empty() {
            cells.push(show::place(&row.dimensions, &command.by));
        }
        cells.push(output::number(row.entered as f64));
        cells.extend(row.cells.iter().map(|cell| cell_text(cell, command)));
        cells
    });
    let mut rows: Vec<Vec<String>> = rows.collect();
    let mut mean = vec!["weighted mean".to_owned()];
    if !command.by.is_empty() {
        mean.push(String::new());
    }
    mean.push(String::new());
    mean.extend(answer.columns.iter().map(|column| {
        if by_value {
            output::optional(column.value_per_subject)
        } else {
            show::percent(column.rate)
        }
    }));
    // A mean of shares of the column before would not be of the same subjects.
    if !command.of_previous {
        rows.push(mean);
    }
    if answer.columns.iter().any(|column| column.previous_rate.is_some()) {
        let points = |change: f64| format!("{:+.1} pp", 100.0 * change);
        let mut change = vec!["change of the mean".to_owned()];
        change.extend((!command.by.is_empty()).then(String::new));
        change.push(String::new());
        change.extend(
            answer.columns.iter().map(|column| column.change.map_or_else(String::new, points)),
        );
        rows.push(change);
    }
    output::line(output::table(&header, rows))?;
    output::line("* not over for everybody, and in no mean")?;
    Ok(())
}

/// A cell of the triangle: empty before it begins, flagged before it is over.
fn cell_text(cell: &pb::RetentionCount, command: &Retention) -> String {
    if cell.begun == 0 {
        return String::new();
    }
    if command.of_previous {
        return cell.of_previous.map_or_else(String::new, |share| show::percent(Some(share)));
    }
    let by_value = !command.value.is_empty();
    let so_far = || Some(cell.begun_retained as f64 / cell.begun as f64);
    let text = match (by_value, cell.eligible) {
        (true, _) => output::optional(cell.value_per_subject),
        (false, 0) => show::percent(so_far()),
        (false, _) => show::percent(cell.rate),
    };
    if cell.mature { text } else { format!("{text}*") }
}
