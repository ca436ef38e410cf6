//! The seven questions, as metrics and calls.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::future::try_join_all;
use northstar_client::Clients;
use northstar_proto::metrics::v1 as pb;
use pb::metric::Definition;
use prost_types::Timestamp;
use serde_json::{Value, json};

use super::data::{DAYS, START_SECONDS};

/// An answer: rows of days, names and numbers.
pub(super) type Rows = Vec<Vec<Value>>;

const DAY_SECONDS: i64 = 86_400;
/// Days of a block of [`Question::MonthlyActive`].
const BLOCK_DAYS: i64 = 30;
/// Weeks of [`Question::Retention`].
const WEEKS: i32 = 12;
/// How long a question may take while everything is read for the first time.
const PATIENCE: Duration = Duration::from_secs(600);

/// A question.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Question {
    /// Day, distinct actors.
    DailyActive,
    /// Block of 30 days, distinct actors, sum of the daily ones.
    MonthlyActive,
    /// Country, and actors at each of four steps within seven days.
    Funnel,
    /// Week of the sign-up, weeks since, actors with any event in that week.
    Retention,
    /// Day, plan, sum of the amounts of purchases by paid channels.
    Revenue,
    /// Week of the sign-up, actors, median and 95th percentile of milliseconds to the activation.
    TimeToActivate,
    /// Arm, actors, buyers, and sums of revenue before (x) and after (y) the exposure: x, xx, y, yy, xy.
    Variants,
}

impl Question {
    /// All of them.
    pub(super) const ALL: [Self; 7] = [
        Self::DailyActive,
        Self::MonthlyActive,
        Self::Funnel,
        Self::Retention,
        Self::Revenue,
        Self::TimeToActivate,
        Self::Variants,
    ];

    /// What the data set calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::DailyActive => "Q1",
            Self::MonthlyActive => "Q2",
            Self::Funnel => "Q3",
            Self::Retention => "Q4",
            Self::Revenue => "Q5",
            Self::TimeToActivate => "Q6",
            Self::Variants => "Q7",
        }
    }

    /// In words.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::DailyActive => "dau",
            Self::MonthlyActive => "mau",
            Self::Funnel => "funnel",
            Self::Retention => "retention",
            Self::Revenue => "revenue",
            Self::TimeToActivate => "time-to-activate",
            Self::Variants => "variants",
        }
    }

    /// How many times faster than the better peer it must be.
    pub(super) fn target(self) -> f64 {
        match self {
            Self::DailyActive | Self::MonthlyActive | Self::Funnel | Self::Retention => 8.0,
            Self::Revenue => 1.0,
            Self::TimeToActivate | Self::Variants => 3.0,
        }
    }
}

impl std::fmt::Display for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name(), self.title())
    }
}

/// Stores the metrics that the questions are about.
pub(super) async fn define(clients: &Clients) -> anyhow::Result<()> {
    let any = || Some(pb::EventSelector::default());
    let named = |event: &str| {
        Some(pb::EventSelector { event: event.to_owned(), ..pb::EventSelector::default() })
    };
    let steps = ["signup", "activate", "use_feature", "purchase"].into_iter().filter_map(named);
    let week = prost_types::Duration { seconds: 7 * DAY_SECONDS, nanos: 0 };
    let amounts = pb::SumMetric { event: named("purchase"), property: "amount".to_owned() };
    let metrics = [
        (
            "active",
            Definition::Unique(pb::UniqueMetric { event: any(), ..pb::UniqueMetric::default() }),
        ),
        (
            "purchase-funnel",
            Definition::Funnel(pb::FunnelMetric {
                steps: steps.collect(),
                window: Some(week),
                anchor: pb::FunnelAnchor::FirstTouch.into(),
                allow_ties: true,
            }),
        ),
        ("revenue", Definition::Sum(amounts)),
        (
            "time-to-activate",
            Definition::TimeToEvent(pb::TimeToEventMetric {
                from: named("signup"),
                to: named("activate"),
                ..pb::TimeToEventMetric::default()
            }),
        ),
        (
            "buyers",
            Definition::Unique(pb::UniqueMetric {
                event: named("purchase"),
                ..pb::UniqueMetric::default()
            }),
        ),
        (
            "revenue-per-buyer",
            Definition::Ratio(pb::RatioMetric {
                numerator: "revenue".to_owned(),
                denominator: "buyers".to_owned(),
                ..pb::RatioMetric::default()
            }),
        ),
    ];
    for (name, definition) in metrics {
        let metric = pb::Metric {
            name: name.to_owned(),
            title: name.to_owned(),
            owner: "bench".to_owned(),
            definition: Some(definition),
            ..pb::Metric::default()
        };
        let request = pb::ApplyMetricRequest { metric: Some(metric), ..Default::default() };
        clients.metrics().apply_metric(request).await.with_context(|| name.to_owned())?;
    }
    Ok(())
}

/// Asks, and says how long the answer took to arrive.
pub(super) async fn ask(clients: &Clients, question: Question) -> anyhow::Result<(Duration, Rows)> {
    let start = Instant::now();
    let (took, rows) = match question {
        Question::DailyActive => {
            let answer = metric(clients, query("active", pb::Grain::Day, 0..DAYS)).await?;
            let took = start.elapsed();
            let row = |row: &pb::MetricRow| vec![json!(since(row, DAY_SECONDS)), whole(row.value)];
            (took, answer.rows.iter().map(row).collect())
        }
        Question::MonthlyActive => {
            let days = query("active", pb::Grain::Day, 0..DAYS);
            let blocks = (0..DAYS / BLOCK_DAYS).map(|block| {
                let days = block * BLOCK_DAYS..(block + 1) * BLOCK_DAYS;
                query("active", pb::Grain::Total, days)
            });
            let all = [days].into_iter().chain(blocks);
            let answers = try_join_all(all.map(|asked| metric(clients, asked))).await?;
            let took = start.elapsed();
            (took, blocks_of(&answers))
        }
        Question::Funnel => {
            let by_country = pb::QueryMetricRequest {
                breakdowns: vec!["country".to_owned()],
                ..query("purchase-funnel", pb::Grain::Total, 0..DAYS)
            };
            let answer = metric(clients, by_country).await?;
            let took = start.elapsed();
            let row = |row: &pb::MetricRow| {
                let steps = row.steps.iter().map(|step| json!(step.subjects));
                let country = json!(row.dimensions.get("country"));
                [country].into_iter().chain(steps).collect::<Vec<Value>>()
            };
            (took, answer.rows.iter().map(row).collect())
        }
        Question::Retention => {
            let cohorts = retention(clients).await?;
            let took = start.elapsed();
            (took, cohorts.iter().flat_map(weeks_of).collect())
        }
        Question::Revenue => {
            let paid = pb::QueryMetricRequest {
                filter: r#"properties.channel == "paid""#.to_owned(),
                breakdowns: vec!["plan".to_owned()],
                ..query("revenue", pb::Grain::Day, 0..DAYS)
            };
            let answer = metric(clients, paid).await?;
            let took = start.elapsed();
            let row = |row: &pb::MetricRow| {
                let plan = json!(row.dimensions.get("plan"));
                vec![json!(since(row, DAY_SECONDS)), plan, whole(row.value)]
            };
            (took, answer.rows.iter().map(row).collect())
        }
        Question::TimeToActivate => {
            let weeks = query("time-to-activate", pb::Grain::Week, 0..DAYS);
            let answer = metric(clients, weeks).await?;
            let took = start.elapsed();
            let row = |row: &pb::MetricRow| {
                let times = row.time_summary?;
                let week = since(row, 7 * DAY_SECONDS);
                let millis = |seconds: f64| json!(seconds * 1e3);
                let (p50, p95) = (millis(times.p50_seconds), millis(times.p95_seconds));
                Some(vec![json!(week), json!(times.subjects), p50, p95])
            };
            (took, answer.rows.iter().filter_map(row).collect())
        }
        Question::Variants => {
            let answer = variants(clients).await?;
            let took = start.elapsed();
            let row = |arm: &pb::VariantStatistics| {
                let sums = [arm.sum_d, arm.sum_x, arm.sum_xx, arm.sum_y, arm.sum_yy, arm.sum_xy];
                let of_arm = [json!(arm.variant.parse::<i64>().ok()), json!(arm.subjects)];
                let sums = sums.map(|sum| whole(Some(sum)));
                of_arm.into_iter().chain(sums).collect::<Vec<Value>>()
            };
            (took, answer.variants.iter().map(row).collect())
        }
    };
    Ok((took, rows))
}

fn blocks_of(answers: &[pb::QueryMetricResponse]) -> Rows {
    let Some((days, blocks)) = answers.split_first() else { return Rows::new() };
    let block = |(number, answer): (usize, &pb::QueryMetricResponse)| {
        let of_block = days.rows.chunks(BLOCK_DAYS as usize).nth(number).unwrap_or_default();
        let daily: f64 = of_block.iter().filter_map(|row| row.value).sum();
        vec![
            json!(number),
            whole(answer.rows.first().and_then(|row| row.value)),
            whole(Some(daily)),
        ]
    };
    blocks.iter().enumerate().map(block).collect()
}

fn query(name: &str, grain: pb::Grain, days: std::ops::Range<i64>) -> pb::QueryMetricRequest {
    pb::QueryMetricRequest {
        metric: name.to_owned(),
        start_time: Some(day(days.start)),
        end_time: Some(day(days.end)),
        grain: grain.into(),
        ..pb::QueryMetricRequest::default()
    }
}

async fn metric(
    clients: &Clients,
    request: pb::QueryMetricRequest,
) -> anyhow::Result<pb::QueryMetricResponse> {
    let mut request = tonic::Request::new(request);
    request.set_timeout(PATIENCE);
    Ok(clients.metrics().query_metric(request).await?.into_inner())
}

/// A table of the cohorts of every week, week by week.
async fn retention(clients: &Clients) -> anyhow::Result<Vec<pb::RetentionCohort>> {
    let brackets = (0..WEEKS).map(|week| pb::RetentionBracket { first: week, last: week });
    let question = pb::RetentionQuestion {
        scope: Some(pb::JourneyScope {
            start_time: Some(day(0)),
            end_time: Some(day(i64::from(WEEKS) * 7)),
            ..pb::JourneyScope::default()
        }),
        start: Some(pb::EventSelector { event: "signup".to_owned(), ..Default::default() }),
        r#return: Some(pb::EventSelector::default()),
        entry: pb::RetentionEntry::FirstEver.into(),
        cohorts: pb::Grain::Week.into(),
        unit: pb::RetentionUnit::Week.into(),
        clock: pb::RetentionClock::Calendar.into(),
        brackets: brackets.collect(),
        mode: pb::ReturnMode::On.into(),
        ..pb::RetentionQuestion::default()
    };
    let mut request = tonic::Request::new(pb::QueryRetentionRequest {
        question: Some(question),
        ..pb::QueryRetentionRequest::default()
    });
    request.set_timeout(PATIENCE);
    let mut parts = clients.journeys().query_retention(request).await?.into_inner();
    let mut cohorts = Vec::new();
    while let Some(part) = parts.message().await? {
        cohorts.extend(part.cohorts);
    }
    Ok(cohorts)
}

/// The cells of a cohort in which anybody came back, within the weeks that are asked about.
fn weeks_of(cohort: &pb::RetentionCohort) -> Rows {
    let started = cohort.bucket_time.map(|time| (time.seconds - START_SECONDS) / (7 * DAY_SECONDS));
    let Some(started) = started else { return Rows::new() };
    let cells = (0..).zip(&cohort.cells);
    cells
        .filter(|(week, cell)| started + week < i64::from(WEEKS) && cell.begun_retained > 0)
        .map(|(week, cell)| vec![json!(started), json!(week), json!(cell.begun_retained)])
        .collect()
}

/// Revenue over buyers: one question has both as sums, and revenue before the
/// exposure as the covariate.
async fn variants(clients: &Clients) -> anyhow::Result<pb::QueryVariantStatisticsResponse> {
    let mut request = tonic::Request::new(pb::QueryVariantStatisticsRequest {
        metric: "revenue-per-buyer".to_owned(),
        exposure: Some(pb::EventSelector {
            event: "exp_exposure".to_owned(),
            ..Default::default()
        }),
        variant_property: "variant".to_owned(),
        start_time: Some(day(0)),
        end_time: Some(day(DAYS)),
        outcome_window: Some(prost_types::Duration { seconds: 14 * DAY_SECONDS, nanos: 0 }),
        covariate_days: 14,
        ..Default::default()
    });
    request.set_timeout(PATIENCE);
    Ok(clients.metrics().query_variant_statistics(request).await?.into_inner())
}

fn day(number: i64) -> Timestamp {
    Timestamp { seconds: START_SECONDS + number * DAY_SECONDS, nanos: 0 }
}

/// The number of a row's bucket from the first day on.
fn since(row: &pb::MetricRow, seconds: i64) -> Option<i64> {
    Some((row.bucket_time?.seconds - START_SECONDS).div_euclid(seconds))
}

/// A number that is whole by its nature.
fn whole(value: Option<f64>) -> Value {
    value.map_or(Value::Null, |value| json!(value.round() as i64))
}
