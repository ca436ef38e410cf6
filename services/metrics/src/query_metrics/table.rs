//! Cells of several metrics side by side: filled, filtered, limited and ordered.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use northstar_domain::having::RowFacts;
use northstar_engine::calendar::Buckets;
use northstar_engine::{AcrossGroups, Grain, MetricSpec, Row};
use northstar_proto::metrics::v1 as pb;

use super::read::{Order, OrderKey, Question};
use super::{Asked, Found};

/// What stands for the values of combinations that a limit leaves out.
const OTHER: &str = "$other";

/// Values of the breakdowns.
type Group = Vec<Option<String>>;

/// The rows of an answer.
pub(super) struct Table {
    pub(super) rows: Vec<TableRow>,
    /// Combinations that the limit left out.
    pub(super) other_groups: i64,
}

/// One bucket of one combination.
#[derive(Clone)]
pub(super) struct TableRow {
    pub(super) bucket_start: Option<i64>,
    pub(super) dimensions: Group,
    pub(super) cells: Vec<Cell>,
}

/// One metric of it.
#[derive(Clone, Default)]
pub(super) struct Cell {
    pub(super) value: Option<f64>,
    pub(super) previous: Option<f64>,
    /// What the engine said, where it said something.
    pub(super) row: Option<Row>,
    compared: bool,
}

impl Cell {
    pub(super) fn to_proto(&self, details: pb::MetricRow) -> pb::MetricCell {
        let change = match (self.value, self.previous) {
            (Some(value), Some(previous)) if self.compared => Some(value - previous),
            _ => None,
        };
        let relative = |change: f64| {
            self.previous
                .filter(|previous| *previous != 0.0)
                .map(|previous| change / previous.abs())
        };
        let row = self.row.as_ref();
        pb::MetricCell {
            value: self.value,
            numerator: details.numerator,
            denominator: details.denominator,
            previous_value: self.previous,
            change,
            relative_change: change.and_then(relative),
            sample_size: row.map_or(0, |row| row.n.cast_signed()),
            complete: row.is_some_and(|row| row.complete),
            steps: details.steps,
            time_summary: details.time_summary,
            active_intervals: match row.map(|row| &row.detail) {
                Some(northstar_engine::Detail::Stickiness(histogram)) => {
                    histogram.iter().map(|subjects| subjects.cast_signed()).collect()
                }
                _ => Vec::new(),
            },
            lifecycle: match row.map(|row| &row.detail) {
                Some(northstar_engine::Detail::Lifecycle(found)) => Some(pb::LifecycleCounts {
                    new: found.new.cast_signed(),
                    returning: found.returning.cast_signed(),
                    resurrecting: found.resurrecting.cast_signed(),
                    dormant: found.dormant.cast_signed(),
                }),
                _ => None,
            },
        }
    }
}

/// Values of the breakdowns by the names they were asked under.
pub(super) fn dimensions(names: &[String], values: &[Option<String>]) -> BTreeMap<String, String> {
    let known =
        names.iter().zip(values).filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
    known.collect()
}

impl Table {
    pub(super) fn new(
        question: &Question,
        asked: &[Asked],
        found: &[Found],
        totals: Option<&[Row]>,
    ) -> Self {
        let mut rows = join(asked, found);
        if question.zero_fill && !question.breakdowns.is_empty() {
            fill(question, asked, &mut rows);
        }
        rows.retain(|row| is_shown(question, asked, row));
        let other_groups = match totals {
            Some(totals) => limit_groups(question, asked, totals, &mut rows),
            None => 0,
        };
        order(question, &mut rows);
        if question.limit > 0 && question.breakdowns.is_empty() {
            rows.truncate(question.limit);
        }
        Self { rows, other_groups }
    }
}

/// The rows of all metrics under one key each. What counts is zero where another
/// metric has a row.
fn join(asked: &[Asked], found: &[Found]) -> Vec<TableRow> {
    let mut cells: HashMap<(Option<i64>, Group), Vec<Cell>> = HashMap::new();
    let empty: Vec<Cell> = asked.iter().map(nothing).collect();
    for (metric, found) in found.iter().enumerate() {
        for row in &found.answer.rows {
            let key = (row.bucket_start, row.dimensions.clone());
            let cell = &mut cells.entry(key).or_insert_with(|| empty.clone())[metric];
            cell.value = row.value;
            cell.row = Some(row.clone());
        }
        for row in found.previous.iter().flat_map(|answer| &answer.rows) {
            let key = (row.bucket_start, row.dimensions.clone());
            cells.entry(key).or_insert_with(|| empty.clone())[metric].previous = row.value;
        }
    }
    let rows = cells.into_iter();
    rows.map(|((bucket_start, dimensions), cells)| TableRow { bucket_start, dimensions, cells })
        .collect()
}

/// A cell in which nothing happened.
fn nothing(asked: &Asked) -> Cell {
    let zero = asked.query.metric.is_zero_without_events().then_some(0.0);
    let compared = asked.previous.is_some();
    Cell { value: zero, previous: zero.filter(|_| compared), row: None, compared }
}

/// Adds the buckets in which a combination does not occur.
fn fill(question: &Question, asked: &[Asked], rows: &mut Vec<TableRow>) {
    if question.grain == Grain::Total {
        return;
    }
    let query = &asked[0].query;
    let Ok(buckets) =
        Buckets::covering(query.from_micros, query.to_micros, query.zone, query.grain)
    else {
        // The engine would have refused the question.
        return;
    };
    let mut known: BTreeSet<(Group, Option<i64>)> =
        rows.iter().map(|row| (row.dimensions.clone(), row.bucket_start)).collect();
    let groups: BTreeSet<Group> = known.iter().map(|(group, _)| group.clone()).collect();
    for dimensions in groups {
        for bucket in 0..buckets.len() {
            let bucket_start = Some(buckets.start(bucket));
            if known.insert((dimensions.clone(), bucket_start)) {
                let cells = asked.iter().map(nothing).collect();
                rows.push(TableRow { bucket_start, dimensions: dimensions.clone(), cells });
            }
        }
    }
}

fn is_shown(question: &Question, asked: &[Asked], row: &TableRow) -> bool {
    let of = |value: fn(&Cell) -> Option<f64>| -> Vec<(&str, Option<f64>)> {
        asked
            .iter()
            .zip(&row.cells)
            .map(|(asked, cell)| (asked.name.as_str(), value(cell)))
            .collect()
    };
    question.having.holds(&RowFacts {
        values: &of(|cell| cell.value),
        previous: &of(|cell| cell.previous),
        dimensions: &dimensions(&question.names, &row.dimensions),
    })
}

/// Keeps the groups that rank first and makes one of the others; how many those
/// are.
fn limit_groups(
    question: &Question,
    asked: &[Asked],
    totals: &[Row],
    rows: &mut Vec<TableRow>,
) -> i64 {
    let (_, order) = question.ranking();
    let total_of: HashMap<&Group, Option<f64>> =
        totals.iter().map(|row| (&row.dimensions, row.value)).collect();
    let shown: BTreeSet<&Group> = rows.iter().map(|row| &row.dimensions).collect();
    let mut ranked: Vec<(Option<f64>, &Group)> =
        shown.into_iter().map(|group| (total_of.get(group).copied().flatten(), group)).collect();
    // A stable sort: equal totals stay in the order of the values.
    ranked.sort_by(|left, right| by_value(left.0, right.0, order));
    let kept: HashSet<Group> =
        ranked.iter().take(question.limit).map(|(_, group)| (*group).clone()).collect();
    let others = ranked.len().saturating_sub(question.limit);
    if others == 0 {
        return 0;
    }
    let (stay, go): (Vec<_>, Vec<_>) =
        std::mem::take(rows).into_iter().partition(|row| kept.contains(&row.dimensions));
    *rows = stay;
    let mut by_bucket: BTreeMap<Option<i64>, Vec<TableRow>> = BTreeMap::new();
    for row in go {
        by_bucket.entry(row.bucket_start).or_default().push(row);
    }
    for (bucket_start, others) in by_bucket {
        let dimensions = question.breakdowns.iter().map(|_| Some(OTHER.to_owned())).collect();
        let cells = asked.iter().enumerate().map(|(metric, asked)| {
            other(
                &asked.query.metric,
                asked.previous.is_some(),
                others.iter().map(|row| &row.cells[metric]),
            )
        });
        rows.push(TableRow { bucket_start, dimensions, cells: cells.collect() });
    }
    i64::try_from(others).unwrap_or(i64::MAX)
}

/// The cell of several groups together: sums, and ratios of sums; never a sum of
/// ratios.
fn other<'a>(
    metric: &MetricSpec,
    compared: bool,
    cells: impl Iterator<Item = &'a Cell> + Clone,
) -> Cell {
    let rows = || cells.clone().filter_map(|cell| cell.row.as_ref());
    let sum = |of: fn(&Row) -> Option<f64>| rows().filter_map(of).sum::<f64>();
    let mut all = Row {
        bucket_start: None,
        dimensions: Vec::new(),
        value: None,
        n: rows().map(|row| row.n).sum(),
        numerator: None,
        denominator: None,
        complete: rows().all(|row| row.complete),
        detail: northstar_engine::Detail::None,
    };
    let mut previous = None;
    match metric.across_groups() {
        AcrossGroups::Sum => {
            all.value = Some(sum(|row| row.value));
            previous = compared.then(|| cells.clone().filter_map(|cell| cell.previous).sum());
        }
        AcrossGroups::Ratio => {
            let (above, below) = (sum(|row| row.numerator), sum(|row| row.denominator));
            all.numerator = Some(above);
            all.denominator = Some(below);
            all.value = (below != 0.0).then(|| above / below);
        }
        AcrossGroups::Unknown => all.n = 0,
    }
    Cell { value: all.value, previous, row: Some(all), compared }
}

fn order(question: &Question, rows: &mut [TableRow]) {
    const DEFAULT: [(OrderKey, Order); 2] =
        [(OrderKey::Time, Order::Rising), (OrderKey::Metric(0), Order::Falling)];
    let keys: &[(OrderKey, Order)] =
        if question.order.is_empty() { &DEFAULT } else { &question.order };
    rows.sort_by(|left, right| {
        let asked = keys.iter().map(|(key, order)| compare(left, right, *key, *order));
        // What the keys leave open is decided by time and values.
        let rest = (0..left.dimensions.len())
            .map(|at| compare(left, right, OrderKey::Dimension(at), Order::Rising));
        asked
            .chain([compare(left, right, OrderKey::Time, Order::Rising)])
            .chain(rest)
            .find(|ordering| ordering.is_ne())
            .unwrap_or(Ordering::Equal)
    });
}

fn compare(left: &TableRow, right: &TableRow, key: OrderKey, order: Order) -> Ordering {
    match key {
        OrderKey::Time => directed(left.bucket_start.cmp(&right.bucket_start), order),
        OrderKey::Metric(metric) => {
            by_value(left.cells[metric].value, right.cells[metric].value, order)
        }
        OrderKey::Dimension(at) => {
            let (left, right) = (left.dimensions.get(at), right.dimensions.get(at));
            match (left.and_then(Option::as_ref), right.and_then(Option::as_ref)) {
                (Some(left), Some(right)) => directed(left.cmp(right), order),
                (left, right) => right.is_some().cmp(&left.is_some()),
            }
        }
    }
}

/// Missing values come last, whichever way.
fn by_value(left: Option<f64>, right: Option<f64>, order: Order) -> Ordering {
    match (left, right) {
        (Some(left), Some(right)) => directed(left.total_cmp(&right), order),
        (left, right) => right.is_some().cmp(&left.is_some()),
    }
}

fn directed(ordering: Ordering, order: Order) -> Ordering {
    match order {
        Order::Rising => ordering,
        Order::Falling => ordering.reverse(),
    }
}
