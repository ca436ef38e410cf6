//! `northstar lifecycle`: new, returning, resurrecting and dormant subjects.

use northstar_proto::metrics::v1 as pb;
use serde_json::{Value, json};

use super::arguments::{Range, selector};
use super::show::{self, Page};
use crate::connection::Connection;
use crate::{output, time};

/// Ask how many subjects are new, returning, resurrecting and dormant.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  northstar lifecycle --from 2026-01-05 --to 2026-03-02 --period week
  northstar lifecycle --event 'Report Viewed' --from 2026-01-01 --to 2026-07-01 --period month \\
      --json
  northstar lifecycle --from 2026-01-05 --to 2026-03-02 --period week --list dormant --at 2026-02-02")]
pub struct Lifecycle {
    /// Event that makes a subject active; absent is any event.
    #[arg(long, default_value = "", hide_default_value = true)]
    event: String,
    #[command(flatten)]
    range: Range,
    /// Length of a period; the range is widened to whole ones.
    #[arg(long, value_enum, default_value = "day")]
    period: Period,
    /// List the subjects of one kind.
    #[arg(long, value_enum, requires = "at")]
    list: Option<State>,
    /// The period to list, by its start.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Period {
    Hour,
    Day,
    Week,
    Month,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum State {
    New,
    Returning,
    Resurrecting,
    Dormant,
}

/// Runs the command.
pub async fn run(command: Lifecycle, connection: &Connection) -> anyhow::Result<()> {
    let mut journeys = connection.clients()?.journeys();
    let question = pb::LifecycleQuestion {
        scope: Some(command.range.scope(&[])?),
        event: Some(selector(&command.event)),
        period: match command.period {
            Period::Hour => pb::Grain::Hour,
            Period::Day => pb::Grain::Day,
            Period::Week => pb::Grain::Week,
            Period::Month => pb::Grain::Month,
        }
        .into(),
    };
    if let (Some(state), Some(at)) = (command.list, command.at.as_deref()) {
        let state = match state {
            State::New => pb::LifecycleState::New,
            State::Returning => pb::LifecycleState::Returning,
            State::Resurrecting => pb::LifecycleState::Resurrecting,
            State::Dormant => pb::LifecycleState::Dormant,
        };
        let at = time::parse(at, command.range.zone)?;
        return show::subjects(command.range.json, |page_size, page_token| {
            let request = pb::ListLifecycleSubjectsRequest {
                question: Some(question.clone()),
                bucket_time: Some(time::timestamp(at)),
                state: state.into(),
                page_size,
                page_token,
            };
            let mut journeys = journeys.clone();
            async move {
                let page = journeys.list_lifecycle_subjects(request).await?.into_inner();
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
    let request = pb::QueryLifecycleRequest {
        question: Some(question),
        compare_start_time,
        compare: compare.into(),
    };
    let mut messages = journeys.query_lifecycle(request).await?.into_inner();
    let mut answers: Vec<pb::QueryLifecycleResponse> = Vec::new();
    while let Some(message) = messages.message().await? {
        match answers.last_mut().filter(|last| last.period == message.period) {
            None => answers.push(message),
            Some(last) => {
                last.periods.extend(message.periods);
                last.provenance = last.provenance.take().or(message.provenance);
            }
        }
    }
    if command.range.json {
        let answers = answers.into_iter().map(|answer| {
            Ok(json!({
                "period": show::period(answer.period()),
                "periods": answer.periods.iter().map(period_to_json).collect::<Vec<_>>(),
                "provenance": show::provenance(answer.provenance)?,
            }))
        });
        return output::json(&answers.collect::<anyhow::Result<Vec<_>>>()?);
    }
    for answer in &answers {
        if answers.len() > 1 {
            output::line(format!("{} period", show::period(answer.period())))?;
        }
        let number = |count: i64| output::number(count as f64);
        let rows = answer.periods.iter().map(|period| {
            let start = period.bucket_time.as_ref();
            let start =
                start.map_or_else(String::new, |at| time::local_text(at, command.range.zone));
            let flag = if period.complete { "" } else { "*" };
            [
                format!("{start}{flag}"),
                number(period.active),
                number(period.new),
                number(period.returning),
                number(period.resurrecting),
                number(-period.dormant),
            ]
        });
        let header = ["period", "active", "new", "returning", "resurrecting", "dormant"];
        output::line(output::table(&header, rows))?;
        output::line("* not over")?;
        show::origin(answer.provenance.as_ref())?;
    }
    Ok(())
}

fn period_to_json(period: &pb::LifecyclePeriod) -> Value {
    json!({
        "time": show::instant(period.bucket_time.as_ref()),
        "active": period.active,
        "new": period.new,
        "returning": period.returning,
        "resurrecting": period.resurrecting,
        "dormant": period.dormant,
        "complete": period.complete,
    })
}
