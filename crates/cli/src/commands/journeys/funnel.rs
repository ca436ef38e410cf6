//! `northstar funnel`: how far subjects get through steps.

use anyhow::Context as _;
use northstar_proto::metrics::v1 as pb;
use serde_json::{Value, json};

use super::arguments::{Range, length, pair, selector, values};
use super::show::{self, Page};
use crate::connection::Connection;
use crate::{output, time};

/// Width of the longest bar.
const BAR: f64 = 24.0;

/// Ask how far subjects get through steps.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  northstar funnel 'Signed Up' 'Project Created' 'Paid' --from 2026-01-01 --to 2026-04-01
  northstar funnel 'Signed Up' 'Paid where properties.amount > 100' \\
      --from 2026-01-01 --to 2026-04-01 --window 7d --by plan --trend week --compare previous
  northstar funnel 'Viewed' 'Added' 'Bought' --from 2026-01-01 --to 2026-02-01 \\
      --count totals --hold product_id --without 'Cancelled:1-3' --optional 2
  northstar funnel 'Added to Cart' 'Shipping Chosen' 'Paid' --from 2026-01-01 --to 2026-02-01 \\
      --order first-then-any --sum cart_value@1
  northstar funnel 'Signed Up' 'Paid' --from 2026-01-01 --to 2026-04-01 \\
      --by plan --dropped 2 --group plan=free --json")]
pub struct Funnel {
    /// Events in order, each a name, or a name and a condition: "Paid where properties.amount > 10".
    #[arg(required = true, value_name = "EVENT")]
    steps: Vec<String>,
    #[command(flatten)]
    range: Range,
    /// Dimensions to break down by, for example plan,country.
    #[arg(long, value_delimiter = ',')]
    by: Vec<String>,
    /// Time from the first step on, for example 7d; none for no end.
    #[arg(long, value_name = "LENGTH|none", default_value = "14d")]
    window: String,
    /// An event exactly at the end of the window does not count.
    #[arg(long)]
    exclusive: bool,
    /// Within so many sessions, the first one included.
    #[arg(long, value_name = "SESSIONS", default_value_t = 0)]
    sessions: i32,
    /// Inactivity that ends a session.
    #[arg(long, value_name = "LENGTH", default_value = "30m")]
    session_gap: String,
    /// In which order the steps must happen.
    #[arg(long, value_enum, default_value = "ordered")]
    order: Order,
    /// What is counted.
    #[arg(long, value_enum, default_value = "uniques")]
    count: Count,
    /// Which first steps start attempts, and which attempt counts.
    #[arg(long, value_enum, default_value = "best")]
    anchor: Anchor,
    /// Steps that may be passed over, counted from 1.
    #[arg(long, value_delimiter = ',', value_name = "STEP")]
    optional: Vec<usize>,
    /// Steps, counted from 1, that only the subject's first event of that name of all times can be.
    #[arg(long, value_delimiter = ',', value_name = "STEP")]
    first_ever: Vec<usize>,
    /// Steps that only the first event of all times that passes their condition can be.
    #[arg(long, value_delimiter = ',', value_name = "STEP")]
    first_matching: Vec<usize>,
    /// What must not happen in between: an event, or an event and two steps: "Cancelled:1-3".
    #[arg(long, value_name = "EVENT[:FROM-TO]")]
    without: Vec<String>,
    /// Such an event takes the subject out, rather than ending the attempt.
    #[arg(long, requires = "without")]
    without_subject: bool,
    /// Properties that must have one value over all steps.
    #[arg(long, value_delimiter = ',', value_name = "PROPERTY")]
    hold: Vec<String>,
    /// The step whose values are broken down by: first, last, all, or its number.
    #[arg(long, value_name = "STEP", default_value = "first")]
    attribute: String,
    /// Events so far apart may change places.
    #[arg(long, value_name = "LENGTH", default_value = "0s")]
    tolerance: String,
    /// Also by the time of entry.
    #[arg(long, value_enum)]
    trend: Option<Trend>,
    /// The two steps whose distance in time is drawn, for example 1-3; with bars.
    #[arg(long, value_name = "FROM-TO")]
    times: Option<String>,
    /// Bars of the histogram; 0 chooses.
    #[arg(long, default_value_t = 0)]
    bins: i32,
    /// Add a numeric property up at every step: of the step's own event or, after "@", of the step with this number,
    /// carried to the others.
    #[arg(long, value_name = "PROPERTY[@STEP]", default_value = "")]
    sum: String,
    /// List the subjects that took this step, counted from 1.
    #[arg(long, value_name = "STEP", conflicts_with = "dropped")]
    reached: Option<i32>,
    /// List the subjects that took the step before this one, and not this one.
    #[arg(long, value_name = "STEP")]
    dropped: Option<i32>,
    /// The group whose subjects are listed, by its values: plan=pro.
    #[arg(long, value_delimiter = ',', value_name = "NAME=VALUE")]
    group: Vec<String>,
    /// The bucket of the trend whose subjects are listed, by its start.
    #[arg(long, value_name = "TIME", requires = "trend")]
    entered: Option<String>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Order {
    /// Whatever happens in between does not matter.
    Ordered,
    /// No other step in between.
    StrictSteps,
    /// No other event in between.
    StrictAny,
    /// Any order.
    Any,
    /// The first step first, the others in any order.
    FirstThenAny,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Count {
    Uniques,
    Totals,
    Sessions,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Anchor {
    /// Every first step starts an attempt; the one that gets furthest counts.
    Best,
    /// Only the first one does.
    First,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Trend {
    Hour,
    Day,
    Week,
    Month,
}

impl Funnel {
    fn question(&self) -> anyhow::Result<pb::FunnelQuestion> {
        let step = |(index, text): (usize, &String)| pb::JourneyStep {
            event: Some(selector(text)),
            optional: self.optional.contains(&(index + 1)),
            occurrence: if self.first_ever.contains(&(index + 1)) {
                pb::StepOccurrence::FirstEver.into()
            } else if self.first_matching.contains(&(index + 1)) {
                pb::StepOccurrence::FirstMatching.into()
            } else {
                pb::StepOccurrence::Any.into()
            },
        };
        let (attribution, attribution_step) = match self.attribute.as_str() {
            "first" => (pb::FunnelAttribution::FirstTouch, 0),
            "last" => (pb::FunnelAttribution::LastTouch, 0),
            "all" => (pb::FunnelAttribution::All, 0),
            step => {
                let step = step
                    .parse()
                    .with_context(|| format!("--attribute {step}: first, last, all or a step"))?;
                (pb::FunnelAttribution::Step, step)
            }
        };
        let (times_from_step, times_to_step) =
            self.times.as_deref().map(pair).transpose()?.unwrap_or_default();
        let (value_property, value_step) = match self.sum.rsplit_once('@') {
            Some((property, step)) => {
                let step = step.parse::<i32>();
                (
                    property,
                    step.with_context(|| format!("--sum {}: PROPERTY or PROPERTY@STEP", self.sum))?,
                )
            }
            None => (self.sum.as_str(), 0),
        };
        let unlimited = self.window == "none";
        let tolerance = Some(length(&self.tolerance)?).filter(|length| length.seconds > 0);
        Ok(pb::FunnelQuestion {
            scope: Some(self.range.scope(&self.by)?),
            steps: self.steps.iter().enumerate().map(step).collect(),
            order: match self.order {
                Order::Ordered => pb::StepOrder::Ordered,
                Order::StrictSteps => pb::StepOrder::StrictSteps,
                Order::StrictAny => pb::StepOrder::StrictAnyEvent,
                Order::Any => pb::StepOrder::Any,
                Order::FirstThenAny => pb::StepOrder::FirstThenAny,
            }
            .into(),
            window: (!unlimited).then(|| length(&self.window)).transpose()?,
            unlimited_window: unlimited,
            window_sessions: self.sessions,
            window_boundary: if self.exclusive {
                pb::WindowBoundary::Exclusive.into()
            } else {
                pb::WindowBoundary::Inclusive.into()
            },
            anchor: match self.anchor {
                Anchor::Best => pb::FunnelAnchor::BestAttempt,
                Anchor::First => pb::FunnelAnchor::FirstTouch,
            }
            .into(),
            exclusions: self
                .without
                .iter()
                .map(|text| exclusion(text))
                .collect::<Result<_, _>>()?,
            exclusion_mode: if self.without_subject {
                pb::ExclusionMode::Subject.into()
            } else {
                pb::ExclusionMode::Attempt.into()
            },
            constant_properties: self.hold.clone(),
            attribution: attribution.into(),
            attribution_step,
            count_by: match self.count {
                Count::Uniques => pb::CountBy::Uniques,
                Count::Totals => pb::CountBy::Totals,
                Count::Sessions => pb::CountBy::Sessions,
            }
            .into(),
            session_gap: Some(length(&self.session_gap)?),
            tie_tolerance: tolerance,
            trend: match self.trend {
                None => pb::Grain::Unspecified,
                Some(Trend::Hour) => pb::Grain::Hour,
                Some(Trend::Day) => pb::Grain::Day,
                Some(Trend::Week) => pb::Grain::Week,
                Some(Trend::Month) => pb::Grain::Month,
            }
            .into(),
            times_from_step,
            times_to_step,
            histogram_bins: self.bins,
            max_groups: 0,
            value_property: value_property.to_owned(),
            value_step,
        })
    }
}

/// Reads an exclusion: an event, or an event and two steps.
fn exclusion(text: &str) -> anyhow::Result<pb::StepExclusion> {
    let stretch = text.rsplit_once(':').and_then(|(event, steps)| Some((event, pair(steps).ok()?)));
    let (event, (from_step, to_step)) = stretch.unwrap_or((text, (0, 0)));
    Ok(pb::StepExclusion { event: Some(selector(event)), from_step, to_step })
}

/// Runs the command.
pub async fn run(command: Funnel, connection: &Connection) -> anyhow::Result<()> {
    let journeys = connection.clients()?.journeys();
    let question = command.question()?;
    if let Some(step) = command.reached.or(command.dropped) {
        let outcome = if command.reached.is_some() {
            pb::FunnelOutcome::Reached
        } else {
            pb::FunnelOutcome::Dropped
        };
        let entered = command.entered.as_deref();
        let entered = entered.map(|text| time::parse(text, command.range.zone)).transpose()?;
        let dimensions = values(&command.group)?;
        let kind = match (&entered, dimensions.is_empty()) {
            (Some(_), _) => pb::FunnelRowKind::Trend,
            (None, false) => pb::FunnelRowKind::Group,
            (None, true) => pb::FunnelRowKind::Total,
        };
        return show::subjects(command.range.json, |page_size, page_token| {
            let request = pb::ListFunnelSubjectsRequest {
                question: Some(question.clone()),
                kind: kind.into(),
                bucket_time: entered.map(time::timestamp),
                dimensions: dimensions.clone(),
                step,
                outcome: outcome.into(),
                page_size,
                page_token,
            };
            let mut journeys = journeys.clone();
            async move {
                let page = journeys.list_funnel_subjects(request).await?.into_inner();
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
    let request = pb::QueryFunnelRequest {
        question: Some(question),
        compare_start_time,
        compare: compare.into(),
    };
    let mut journeys = journeys;
    let mut messages = journeys.query_funnel(request).await?.into_inner();
    let mut periods: Vec<(pb::JourneyPeriod, Vec<pb::FunnelRow>, Option<pb::Provenance>)> =
        Vec::new();
    while let Some(message) = messages.message().await? {
        let period = message.period();
        if periods.last().is_none_or(|(last, _, _)| *last != period) {
            periods.push((period, Vec::new(), None));
        }
        if let Some((_, rows, provenance)) = periods.last_mut() {
            rows.extend(message.rows);
            *provenance = provenance.take().or(message.provenance);
        }
    }
    if command.range.json {
        let periods = periods.into_iter().map(|(period, rows, provenance)| {
            Ok(json!({
                "period": show::period(period),
                "rows": rows.iter().map(row_to_json).collect::<Vec<_>>(),
                "provenance": show::provenance(provenance)?,
            }))
        });
        return output::json(&periods.collect::<anyhow::Result<Vec<_>>>()?);
    }
    for (period, rows, provenance) in &periods {
        if periods.len() > 1 {
            output::line(format!("{} period", show::period(*period)))?;
        }
        print(&command, rows)?;
        show::origin(provenance.as_ref())?;
    }
    Ok(())
}

fn row_to_json(row: &pb::FunnelRow) -> Value {
    let steps = row.steps.iter().map(|step| {
        json!({
            "event": step.event,
            "count": step.count,
            "from_previous": step.from_previous,
            "from_first": step.from_first,
            "times": show::times(step.times.as_ref()),
            "value_sum": step.value_sum,
            "value_count": step.value_count,
            "value_mean": step.value_mean,
        })
    });
    let bars = row.histogram.iter().map(|bar| {
        json!({ "from_seconds": bar.from_seconds, "to_seconds": bar.to_seconds, "count": bar.count })
    });
    json!({
        "kind": row.kind().as_str_name().trim_start_matches("FUNNEL_ROW_KIND_").to_ascii_lowercase(),
        "time": show::instant(row.bucket_time.as_ref()),
        "dimensions": row.dimensions,
        "steps": steps.collect::<Vec<_>>(),
        "conversion": row.conversion,
        "times": show::times(row.times.as_ref()),
        "histogram": bars.collect::<Vec<_>>(),
        "open": row.open,
        "complete": row.complete,
    })
}

fn print(command: &Funnel, rows: &[pb::FunnelRow]) -> anyhow::Result<()> {
    let of_kind = |kind: pb::FunnelRowKind| rows.iter().filter(move |row| row.kind() == kind);
    for row in of_kind(pb::FunnelRowKind::Total) {
        let first = row.steps.first().map_or(0, |step| step.count);
        let steps = row.steps.iter().enumerate().map(|(index, step)| {
            let share = step.count as f64 / first.max(1) as f64;
            let name = if step.event.is_empty() { "any".to_owned() } else { step.event.clone() };
            let mut cells = vec![
                (index + 1).to_string(),
                name,
                output::number(step.count as f64),
                "█".repeat((share * BAR).round() as usize),
                show::percent(step.from_previous),
                show::percent(step.from_first),
                show::median(step.times.as_ref()),
            ];
            if !command.sum.is_empty() {
                cells.extend([output::optional(step.value_sum), output::optional(step.value_mean)]);
            }
            cells
        });
        let mut header =
            vec!["step", "event", "count", "", "from previous", "from first", "median time"];
        if !command.sum.is_empty() {
            header.extend(["sum", "each"]);
        }
        output::line(output::table(&header, steps))?;
        let unfinished = if row.complete { "" } else { ", not final" };
        output::line(format!("{} may still convert{unfinished}", output::number(row.open as f64)))?;
        if command.times.is_some() {
            let most = row.histogram.iter().map(|bar| bar.count).max().unwrap_or(0).max(1);
            let bars = row.histogram.iter().map(|bar| {
                [
                    show::seconds(bar.from_seconds),
                    show::seconds(bar.to_seconds),
                    output::number(bar.count as f64),
                    "█".repeat((bar.count as f64 / most as f64 * BAR).round() as usize),
                ]
            });
            output::line(output::table(&["from", "to", "count", ""], bars))?;
        }
    }
    let counts = |row: &pb::FunnelRow| {
        let steps = row.steps.iter().map(|step| output::number(step.count as f64));
        let flag = if row.complete { "" } else { "*" };
        steps.chain([format!("{}{flag}", show::percent(row.conversion))]).collect::<Vec<_>>()
    };
    let steps: Vec<String> = (1..=command.steps.len()).map(|step| format!("step {step}")).collect();
    let steps = || steps.iter().map(String::as_str).chain(["conversion"]);
    let groups: Vec<Vec<String>> = of_kind(pb::FunnelRowKind::Group)
        .map(|row| [vec![show::place(&row.dimensions, &command.by)], counts(row)].concat())
        .collect();
    if !groups.is_empty() {
        let by = command.by.join(", ");
        let header: Vec<&str> = std::iter::once(by.as_str()).chain(steps()).collect();
        output::line(output::table(&header, groups))?;
    }
    let trend: Vec<Vec<String>> = of_kind(pb::FunnelRowKind::Trend)
        .map(|row| {
            let start = row.bucket_time.as_ref();
            let mut cells =
                vec![start.map_or_else(String::new, |at| time::local_text(at, command.range.zone))];
            if !command.by.is_empty() {
                cells.push(show::place(&row.dimensions, &command.by));
            }
            [cells, counts(row)].concat()
        })
        .collect();
    if !trend.is_empty() {
        let by = command.by.join(", ");
        let mut header = vec!["entered"];
        header.extend(Some(by.as_str()).filter(|by| !by.is_empty()));
        header.extend(steps());
        output::line(output::table(&header, trend))?;
        output::line("* the window of somebody is not over")?;
    }
    Ok(())
}
