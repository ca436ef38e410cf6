//! DetectAnomalies: every bucket of a metric judged by the buckets before it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use chrono::{DateTime, Datelike as _, TimeDelta, Timelike as _};
use chrono_tz::Tz;
use northstar_domain::kpi::{Window, not_a_zone, read_zone};
use northstar_domain::metric::Definition;
use northstar_domain::threshold::USUAL_DEVIATIONS;
use northstar_domain::{Problems, ProjectId};
use northstar_engine::calendar::Buckets;
use northstar_engine::{Answer, Grain, Query, Row};
use northstar_proto::metrics::v1 as pb;
use northstar_stats::anomaly::{
    Backtest, Direction, Judged, Label, Point, Settings, backtest, detect,
};

use super::words;
use crate::ask::ask;
use crate::cohorts::{self, Scope};
use crate::convert::to_timestamp;
use crate::plan;
use crate::provenance::{Answered, Sources, provenance};
use crate::query::{check_size, find, read_breakdowns, read_filter, read_window};
use crate::service::Metrics as Service;
use crate::{Error, Result};

/// Most series of an answer.
const MAX_SERIES: usize = 1_000;
/// Most buckets of the past.
const MAX_HISTORY: i32 = 10_000;
/// Fewest values of the same weekday, or hour of the week, in the past.
const MINIMUM_SEASON: usize = 2;

struct Question {
    window: Window,
    zone: Tz,
    grain: Grain,
    settings: Settings,
    labels: Vec<Window>,
    query: Query,
}

/// What a grain goes by unless the request says otherwise.
pub(crate) struct Habits {
    /// Longest a bucket may be.
    pub(crate) bucket: TimeDelta,
    /// Buckets of the past.
    pub(crate) history: i32,
    /// Newest buckets that say where the level is.
    level: usize,
    /// Whether buckets have seasons.
    seasons: bool,
}

impl Habits {
    /// The settings by which buckets are judged.
    pub(crate) fn settings(&self, history: i32, minimum: i32) -> Settings {
        let history = history.unsigned_abs() as usize;
        Settings {
            history,
            minimum_history: minimum.unsigned_abs().max(1) as usize,
            minimum_season: if self.seasons { MINIMUM_SEASON } else { 1 },
            level: self.level.min(history),
            threshold: USUAL_DEVIATIONS,
            minimum_change: 0.0,
            direction: Direction::Both,
        }
    }
}

pub(crate) fn habits(grain: Grain) -> Habits {
    let habits = |bucket, history, level, seasons| Habits { bucket, history, level, seasons };
    match grain {
        Grain::Hour => habits(TimeDelta::hours(1), 28 * 24, 24, true),
        Grain::Week => habits(TimeDelta::hours(7 * 24 + 1), 26, 4, false),
        Grain::Month => habits(TimeDelta::days(31), 24, 3, false),
        _ => habits(TimeDelta::hours(25), 56, 7, true),
    }
}

/// Answers a question.
pub(super) async fn detect_anomalies(
    service: &Service,
    project: ProjectId,
    request: pb::DetectAnomaliesRequest,
) -> Result<pb::DetectAnomaliesResponse> {
    let (metrics, version) = find(&service.pool, project, &request.metric).await?;
    let mut question = read(&request, plan::spec(&metrics, &request.metric)?)?;
    // A bucket without events is over when the clock says so: an outage is a row of them.
    let now = service.clock.now();
    question.query.as_of_micros = Some(plan::instant(now));
    let scope = Scope::of(&request.cohorts, &question.query.breakdowns);
    let (view, cohorts) = cohorts::view(service, project, &scope, question.window.end).await?;
    let sources = Sources::read(&service.pool, project, view.head, now).await?;
    // Before the first event of the log there is no past, not one of zeros.
    let begin = view.snapshot.effective_range().map_or(i64::MAX, |(earliest, _)| earliest);
    let asked = question.query.clone();
    let answer = ask(&view.snapshot, move |snapshot| snapshot.query(&asked)).await?;
    check_size(&answer)?;
    let zero = is_zero_without_events(plan::definition(&metrics, &request.metric)?);
    let question = &question;
    let mut series = judge(&answer, question, &request.breakdowns, zero, begin)?;
    // Series with anomalies first, the most extreme of them at the top.
    series.sort_by(|left, right| extreme(right).total_cmp(&extreme(left)));
    let answered = Answered {
        metrics: &metrics,
        metric_version: version,
        window: question.window,
        time_zone: question.zone.name(),
        filter: &request.filter,
        head: view.head,
        excluded_events: view.excluded_events,
        scanned_events: answer.events_scanned,
        digest: cohorts::digest(
            &metrics,
            version,
            &question.query,
            &cohorts,
            view.head,
            &answer.rows,
        )?,
    };
    Ok(pb::DetectAnomaliesResponse {
        summary: summary(&request.metric, &series, question.zone, question.grain),
        series,
        provenance: Some(provenance(&sources, answered)),
    })
}

/// Whether a bucket in which nothing happened has the value 0.
fn is_zero_without_events(definition: &Definition) -> bool {
    matches!(
        definition,
        Definition::Count { .. } | Definition::Unique { .. } | Definition::Sum { .. }
    )
}

/// Reads a request, or says everything that is wrong with it.
fn read(
    request: &pb::DetectAnomaliesRequest,
    metric: northstar_engine::MetricSpec,
) -> Result<Question> {
    let mut problems = Problems::default();
    let window = read_window(&mut problems, request.start_time, request.end_time);
    let zone = read_zone(&request.time_zone);
    if zone.is_none() {
        problems.fields.push("time_zone", not_a_zone(&request.time_zone));
    }
    let grain = match pb::Grain::try_from(request.grain) {
        Ok(pb::Grain::Hour) => Grain::Hour,
        Ok(pb::Grain::Day) => Grain::Day,
        Ok(pb::Grain::Week) => Grain::Week,
        Ok(pb::Grain::Month) => Grain::Month,
        _ => {
            problems.fields.push("grain", "must be hour, day, week or month");
            Grain::Day
        }
    };
    let habits = habits(grain);
    let history = match request.history_buckets {
        0 => habits.history,
        history => history,
    };
    if !(2..=MAX_HISTORY).contains(&history) {
        problems.fields.push("history_buckets", format!("must lie between 2 and {MAX_HISTORY}"));
    }
    let minimum = match request.minimum_history_buckets {
        0 => history / 2,
        minimum => minimum,
    };
    if minimum > history || minimum < 0 {
        let problem = format!("must lie between 1 and the history, which is {history}");
        problems.fields.push("minimum_history_buckets", problem);
    }
    let threshold = if request.threshold == 0.0 { USUAL_DEVIATIONS } else { request.threshold };
    if !(threshold > 0.0 && threshold.is_finite()) {
        problems.fields.push("threshold", "must be greater than 0, for example 3.5");
    }
    let change = request.minimum_change;
    if !(change >= 0.0 && change.is_finite()) {
        problems.fields.push("minimum_change", "must be at least 0, for example 0.1");
    }
    let direction = match pb::AnomalyDirection::try_from(request.direction) {
        Ok(pb::AnomalyDirection::Unspecified) => Direction::Both,
        Ok(pb::AnomalyDirection::Up) => Direction::Up,
        Ok(pb::AnomalyDirection::Down) => Direction::Down,
        Err(_) => {
            problems.fields.push("direction", "is not a known direction");
            Direction::Both
        }
    };
    let breakdowns = read_breakdowns(&mut problems, &request.breakdowns);
    let filter = read_filter(&mut problems, "filter", &request.filter);
    let labels = read_labels(&mut problems, &request.labels);
    cohorts::check_number(&mut problems, &request.cohorts);
    let (Some(window), Some(zone), true) = (window, zone, problems.is_empty()) else {
        return Err(Error::Refused(problems));
    };
    let past = habits.bucket.checked_mul(history.saturating_add(1));
    let start = past
        .and_then(|past| window.start.checked_sub_signed(past))
        .ok_or_else(|| Error::field("history_buckets", "begins before the calendar does"))?;
    let settings = Settings {
        threshold,
        minimum_change: change,
        direction,
        ..habits.settings(history, minimum)
    };
    let query = Query {
        metric,
        from_micros: plan::instant(start),
        to_micros: plan::instant(window.end),
        zone,
        grain,
        breakdowns,
        filter,
        as_of_micros: None,
    };
    Ok(Question { window, zone, grain, settings, labels, query })
}

fn read_labels(problems: &mut Problems, labels: &[pb::TimeRange]) -> Vec<Window> {
    let mut read = Vec::new();
    for (index, label) in labels.iter().enumerate() {
        let mut own = Problems::default();
        match read_window(&mut own, label.start_time, label.end_time) {
            Some(window) => read.push(window),
            None => problems
                .fields
                .push(format!("labels[{index}]"), "is no stretch of time: start before end"),
        }
    }
    read
}

/// Judges every series of an answer.
fn judge(
    answer: &Answer,
    question: &Question,
    breakdowns: &[String],
    zero: bool,
    begin: i64,
) -> Result<Vec<pb::AnomalySeries>> {
    let query = &question.query;
    let buckets = Buckets::covering(query.from_micros, query.to_micros, query.zone, query.grain)?;
    let seasons = seasons(&buckets, question.zone, question.grain);
    let judged_from = (0..buckets.len())
        .find(|at| buckets.end(*at) > plan::instant(question.window.start))
        .unwrap_or(0);
    let labels: Vec<Label> = question
        .labels
        .iter()
        .map(|label| overlapping(&buckets, judged_from, label))
        .filter(|label| !label.is_empty())
        .collect();

    let mut by_series: BTreeMap<&[Option<String>], BTreeMap<i64, &Row>> = BTreeMap::new();
    for row in &answer.rows {
        if let Some(start) = row.bucket_start {
            by_series.entry(&row.dimensions).or_default().insert(start, row);
        }
    }
    if by_series.len() > MAX_SERIES {
        let problem = format!(
            "gives {} series, more than {MAX_SERIES}: choose fewer dimensions or a filter",
            by_series.len()
        );
        return Err(Error::field("breakdowns", problem));
    }
    by_series
        .into_iter()
        .map(|(dimensions, rows)| {
            let points: Vec<Point> = (0..buckets.len())
                .map(|at| {
                    let over = buckets.end(at) <= answer.as_of_micros;
                    let value = match rows.get(&buckets.start(at)) {
                        _ if buckets.start(at) < begin => None,
                        Some(row) if row.complete => row.value,
                        Some(_) => None,
                        None => (zero && over).then_some(0.0),
                    };
                    Point { value, season: seasons[at] }
                })
                .collect();
            let judged = detect(&points, &question.settings)
                .map_err(|error| Error::InsufficientData(error.to_string()))?;
            let judged = &judged[judged_from..];
            let found = backtest(judged, &labels);
            let shown = (judged_from..buckets.len()).zip(judged).map(|(at, judged)| {
                let value = rows.get(&buckets.start(at)).map_or(points[at].value, |row| row.value);
                point(buckets.start(at), value, judged.as_ref())
            });
            Ok(pb::AnomalySeries {
                dimensions: breakdowns
                    .iter()
                    .zip(dimensions)
                    .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
                    .collect(),
                points: shown.collect(),
                backtest: Some(backtest_to_proto(&found, &buckets, judged_from)),
            })
        })
        .collect()
}

/// The season of every bucket: the weekday, or the hour of the week, by the local clock.
pub(crate) fn seasons(buckets: &Buckets, zone: Tz, grain: Grain) -> Vec<u32> {
    (0..buckets.len())
        .map(|at| {
            let local = DateTime::from_timestamp_micros(buckets.start(at))
                .map(|start| start.with_timezone(&zone));
            match (grain, local) {
                (Grain::Hour, Some(local)) => {
                    local.weekday().num_days_from_monday() * 24 + local.hour()
                }
                (Grain::Day, Some(local)) => local.weekday().num_days_from_monday(),
                _ => 0,
            }
        })
        .collect()
}

/// The judged buckets that a label touches.
fn overlapping(buckets: &Buckets, from: usize, label: &Window) -> Range<usize> {
    let (start, end) = (plan::instant(label.start), plan::instant(label.end));
    let touched: BTreeSet<usize> = (from..buckets.len())
        .filter(|at| buckets.start(*at) < end && buckets.end(*at) > start)
        .map(|at| at - from)
        .collect();
    match (touched.first(), touched.last()) {
        (Some(first), Some(last)) => *first..*last + 1,
        _ => 0..0,
    }
}

fn point(start: i64, value: Option<f64>, judged: Option<&Judged>) -> pb::AnomalyPoint {
    pb::AnomalyPoint {
        bucket_time: DateTime::from_timestamp_micros(start).map(to_timestamp),
        value,
        expected: judged.map(|judged| judged.expected),
        low: judged.map(|judged| judged.low),
        high: judged.map(|judged| judged.high),
        score: judged.and_then(|judged| judged.score),
        anomaly: judged.is_some_and(|judged| judged.anomaly),
    }
}

fn backtest_to_proto(found: &Backtest, buckets: &Buckets, from: usize) -> pb::AnomalyBacktest {
    let instant = |micros| DateTime::from_timestamp_micros(micros).map(to_timestamp);
    pb::AnomalyBacktest {
        judged_buckets: found.judged.cast_signed(),
        alarms: found
            .alarms
            .iter()
            .map(|alarm| pb::TimeRange {
                start_time: instant(buckets.start(from + alarm.start)),
                end_time: instant(buckets.start(from + alarm.end)),
            })
            .collect(),
        hits: found.hits.cast_signed(),
        misses: found.misses.cast_signed(),
        false_alarms: found.false_alarms.cast_signed(),
        hit_rate: found.hit_rate,
        precision: found.precision,
        false_alarms_per_hundred: found.false_alarms_per_hundred,
        mean_delay_buckets: found.mean_delay,
    }
}

/// How far the most extreme anomaly of a series strays; 0 without any.
fn extreme(series: &pb::AnomalySeries) -> f64 {
    let scores = series.points.iter().filter(|point| point.anomaly);
    scores.map(|point| point.score.map_or(f64::MAX, f64::abs)).fold(0.0, f64::max)
}

fn summary(metric: &str, series: &[pb::AnomalySeries], zone: Tz, grain: Grain) -> String {
    let anomalies: usize =
        series.iter().map(|one| one.points.iter().filter(|point| point.anomaly).count()).sum();
    let judged: i64 = series
        .iter()
        .filter_map(|one| one.backtest.as_ref())
        .map(|backtest| backtest.judged_buckets)
        .sum();
    if judged == 0 {
        return format!("{metric} cannot be judged yet: too little of its past is known.");
    }
    let Some((worst, point)) = series.first().and_then(|one| {
        let raised = one.points.iter().filter(|point| point.anomaly);
        let size = |point: &&pb::AnomalyPoint| point.score.map_or(f64::MAX, f64::abs);
        raised.max_by(|left, right| size(left).total_cmp(&size(right))).map(|point| (one, point))
    }) else {
        return format!(
            "Nothing out of the ordinary in {metric}: {} judged.",
            words::count(judged as usize, "bucket", "buckets")
        );
    };
    let form = if grain == Grain::Hour { "%Y-%m-%d %H:%M" } else { "%Y-%m-%d" };
    let time = point
        .bucket_time
        .as_ref()
        .and_then(crate::convert::from_timestamp)
        .map(|time| time.with_timezone(&zone).format(form).to_string())
        .unwrap_or_default();
    let names: Vec<String> =
        worst.dimensions.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    let of = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
    let score = point.score.map_or_else(String::new, |score| {
        format!(", {} robust standard deviations", words::signed((score * 10.0).round() / 10.0))
    });
    format!(
        "{} in {metric}; the most extreme{of}: {} on {time} where {} was expected{score}.",
        words::count(anomalies, "anomaly", "anomalies"),
        words::number(point.value.unwrap_or_default()),
        words::number(point.expected.unwrap_or_default()),
    )
}
