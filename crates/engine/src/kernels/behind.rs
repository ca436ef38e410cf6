//! Which subjects and which events lie behind a cell.
//!
//! Metrics per event are walked like their kernels do. Of journeys the same kernel decides that makes the number: it is
//! asked about the history of each subject that began one in the cell, alone.

use std::{
    ops::{ControlFlow, Range},
    sync::Arc,
};

use chrono_tz::Tz;

use super::{
    Context, check, context, cumulative, lifecycle, offset,
    scan::{self, Bits, Event, Matches, RowVisitor, RunScan, Scratch, Visitor},
    space::{Locator, NumberColumn, ValueColumn, Values},
    tasks,
};
use crate::{
    calendar::{Buckets, Grain},
    error::Result,
    evidence::{Cell, Contribution, Contributions},
    filter::Predicate,
    limits::Use,
    query::{
        Aggregate, Dimension, DistinctOf, EventSelector, MetricSpec, PerSubjectSpec, Period, Query,
        RetentionSpec, Return, StickinessSpec,
    },
    runs::Run,
    snapshot::{Snapshot, cores},
    subjects::SubjectSet,
};

/// A day of 24 hours in microseconds.
const DAY_MICROS: i64 = 24 * 60 * 60 * 1_000_000;

/// Subjects that one thread is asked about at a time.
const SUBJECTS_PER_TASK: usize = 256;

/// The subjects behind a cell.
pub(crate) fn behind(snapshot: &Snapshot, query: &Query, cell: &Cell) -> Result<SubjectSet> {
    check(&query.metric, 0)?;
    let mind = Use::of(snapshot.limits());
    let mut all = SubjectSet::default();
    for leaf in leaves(snapshot, "", query, cell)? {
        let context = context(snapshot, &leaf.query, snapshot.workers(cores(), &mind))?;
        all.unite(&subjects(&context, &leaf.cell)?);
    }
    mind.check()?;
    Ok(all)
}

/// The events behind a cell.
pub(crate) fn contributions(
    snapshot: &Snapshot,
    query: &Query,
    cell: &Cell,
) -> Result<Contributions> {
    check(&query.metric, 0)?;
    let mind = Use::of(snapshot.limits());
    let mut found = Contributions {
        snapshot: snapshot.clone(),
        roles: Vec::new(),
        events: Vec::new(),
        without_consent: 0,
        filtered: 0,
        without_value: 0,
    };
    for Leaf { prefix, query, cell } in leaves(snapshot, "", query, cell)? {
        let context = context(snapshot, &query, snapshot.workers(cores(), &mind))?;
        let first = found.roles.len();
        let kinds = kinds(&context.query.metric);
        found.roles.extend(kinds.roles.iter().map(|role| format!("{prefix}{role}")));
        let Some(place) = Place::new(&context, &cell)? else { continue };
        place.exclusions(&context, kinds.selectors[0], &mut found);
        match &context.query.metric {
            MetricSpec::PerSubject(spec) if spec.aggregate.picks_one() => {
                let subjects = subjects(&context, &cell)?;
                picked(&context, &place, spec, &subjects, first, &mut found.events);
            }
            _ if kinds.is_journey => {
                let subjects = subjects(&context, &cell)?;
                journeys(&context, &place, &kinds, &subjects, first, &mut found.events);
            }
            _ => per_event(&context, &place, &kinds, first, &mut found),
        }
    }
    mind.check()?;
    found.events.sort_unstable_by_key(|event| event.position);
    found.events.dedup_by(|later, kept| {
        let same = later.position == kept.position;
        if same {
            kept.roles |= later.roles;
        }
        same
    });
    Ok(found)
}

/// A metric of one kernel that another is made of, and the cell of it that stands for the cell asked about.
struct Leaf {
    /// What its roles begin with.
    prefix: String,
    query: Query,
    cell: Cell,
}

/// The metrics that the metric of a question is made of.
fn leaves(snapshot: &Snapshot, prefix: &str, query: &Query, cell: &Cell) -> Result<Vec<Leaf>> {
    let about = |metric: &MetricSpec| Query { metric: metric.clone(), ..query.clone() };
    Ok(match &query.metric {
        MetricSpec::Ratio { numerator, denominator } => {
            let above = format!("{prefix}numerator ");
            let mut parts = leaves(snapshot, &above, &about(numerator), cell)?;
            let below = format!("{prefix}denominator ");
            parts.extend(leaves(snapshot, &below, &about(denominator), cell)?);
            parts
        }
        MetricSpec::Derived { formula, inputs } => {
            let mut parts = Vec::new();
            for (name, input) in formula.names().iter().zip(inputs) {
                let prefix = format!("{prefix}{name} ");
                let Some(offset) = input.offset else {
                    parts.extend(leaves(snapshot, &prefix, &about(&input.metric), cell)?);
                    continue;
                };
                let elsewhere = offset::shifted(query, &input.metric, offset)?;
                let buckets = context(snapshot, query, 1)?.buckets;
                let here = cell.bucket_start.map_or(0, |start| buckets.locate(start));
                let source = elsewhere.sources[here];
                let cell =
                    Cell { bucket_start: source.bucket, dimensions: cell.dimensions.clone() };
                let question = &elsewhere.questions[source.question];
                parts.extend(leaves(snapshot, &prefix, question, &cell)?);
            }
            parts
        }
        MetricSpec::Cumulative(spec) => {
            // The window of the cell, as one bucket.
            let context = context(snapshot, query, 1)?;
            let bucket = cell.bucket_start.map_or(0, |start| context.buckets.locate(start));
            let window = cumulative::windows(&context, spec)?[bucket].clone();
            if window.is_empty() {
                return Ok(Vec::new());
            }
            let query = Query {
                from_micros: window.start,
                to_micros: window.end,
                grain: Grain::Total,
                ..about(&spec.metric)
            };
            let cell = Cell { bucket_start: None, dimensions: cell.dimensions.clone() };
            leaves(snapshot, prefix, &query, &cell)?
        }
        _ => vec![Leaf { prefix: prefix.to_owned(), query: query.clone(), cell: cell.clone() }],
    })
}

/// The kinds of events that a metric, no ratio, looks at.
struct Kinds<'a> {
    /// The first is the one whose events place a subject in a cell.
    selectors: Vec<&'a EventSelector>,
    roles: Vec<String>,
    /// Whether the order of a subject's events decides whether it is behind a cell.
    is_journey: bool,
    /// Time after the first event up to which others matter.
    window_micros: Option<i64>,
}

fn kinds(metric: &MetricSpec) -> Kinds<'_> {
    let named = |roles: [&str; 2]| roles.map(str::to_owned).to_vec();
    match metric {
        MetricSpec::Count { event }
        | MetricSpec::Unique { event, .. }
        | MetricSpec::Sum { event, .. }
        | MetricSpec::Mean { event, .. }
        | MetricSpec::Min { event, .. }
        | MetricSpec::Max { event, .. }
        | MetricSpec::Percentile { event, .. }
        | MetricSpec::Nps { event, .. }
        | MetricSpec::Stickiness(StickinessSpec { event, .. }) => Kinds {
            selectors: vec![event],
            roles: vec!["event".to_owned()],
            is_journey: false,
            window_micros: None,
        },
        MetricSpec::PerSubject(PerSubjectSpec { event, aggregate, .. }) => Kinds {
            selectors: vec![event],
            roles: vec!["event".to_owned()],
            is_journey: aggregate.picks_one(),
            window_micros: None,
        },
        MetricSpec::Lifecycle(spec) => Kinds {
            selectors: vec![&spec.event],
            roles: vec!["event".to_owned()],
            is_journey: true,
            window_micros: None,
        },
        MetricSpec::Conversion(spec) => Kinds {
            selectors: vec![&spec.base, &spec.conversion],
            roles: named(["base", "conversion"]),
            is_journey: true,
            window_micros: spec.window_micros,
        },
        // These are made of others.
        MetricSpec::Ratio { numerator, .. } => kinds(numerator),
        MetricSpec::Cumulative(spec) => kinds(&spec.metric),
        MetricSpec::Derived { inputs, .. } => match inputs.first() {
            Some(input) => kinds(&input.metric),
            None => Kinds {
                selectors: Vec::new(),
                roles: Vec::new(),
                is_journey: false,
                window_micros: None,
            },
        },
        MetricSpec::Funnel(spec) => Kinds {
            selectors: spec.steps.iter().collect(),
            roles: (1..=spec.steps.len()).map(|step| format!("step {step}")).collect(),
            is_journey: true,
            window_micros: spec.window_micros,
        },
        MetricSpec::Retention(spec) => Kinds {
            selectors: vec![&spec.start, &spec.returning],
            roles: named(["start", "return"]),
            is_journey: true,
            window_micros: None,
        },
        MetricSpec::TimeToEvent(spec) => Kinds {
            selectors: vec![&spec.from, &spec.to],
            roles: named(["from", "to"]),
            is_journey: true,
            window_micros: spec.window_micros,
        },
    }
}

/// Where a cell is.
struct Place<'a> {
    locator: Locator<'a>,
    bucket: usize,
    cell: u64,
    /// The instants of its bucket that are asked about.
    range: Range<i64>,
    needs: Needs<'a>,
}

/// The value without which an event does not count.
enum Needs<'a> {
    Nothing,
    Number(Vec<NumberColumn<'a>>),
    /// A number from 0 to 10.
    Score(Vec<NumberColumn<'a>>),
    Value(Vec<ValueColumn<'a>>),
}

impl<'a> Needs<'a> {
    fn of(context: &Context<'a>) -> Self {
        let runs = context.snapshot.runs();
        let numbers = |property: &str| -> Vec<NumberColumn<'a>> {
            runs.iter().map(|run| NumberColumn::new(property, run)).collect()
        };
        match &context.query.metric {
            MetricSpec::Sum { property, .. }
            | MetricSpec::Mean { property, .. }
            | MetricSpec::Min { property, .. }
            | MetricSpec::Max { property, .. }
            | MetricSpec::Percentile { property, .. } => Self::Number(numbers(property)),
            MetricSpec::Nps { property, .. } => Self::Score(numbers(property)),
            MetricSpec::PerSubject(spec) => match spec.aggregate.property() {
                Some(property) => Self::Number(numbers(property)),
                None => Self::Nothing,
            },
            MetricSpec::Unique { of, .. } => {
                let dimension = match of {
                    DistinctOf::Subject => return Self::Nothing,
                    DistinctOf::Account => Dimension::AccountId,
                    DistinctOf::Property(path) => Dimension::Property(path.clone()),
                };
                let mut values = Values::new();
                let column = |run: &'a Arc<Run>| ValueColumn::new(&dimension, run, &mut values);
                Self::Value(runs.iter().map(column).collect())
            }
            _ => Self::Nothing,
        }
    }

    fn are_met(&self, run: usize, row: usize) -> bool {
        match self {
            Self::Nothing => true,
            Self::Number(columns) => !columns[run].get(row).is_nan(),
            Self::Score(columns) => (0.0..=10.0).contains(&columns[run].get(row)),
            Self::Value(columns) => columns[run].get(row) != 0,
        }
    }
}

impl<'a> Place<'a> {
    /// `None` when no event can be there.
    fn new(context: &Context<'a>, cell: &Cell) -> Result<Option<Self>> {
        let buckets = &context.buckets;
        let bucket = match cell.bucket_start {
            None if buckets.len() == 1 => 0,
            None => return Ok(None),
            Some(start) => {
                let bucket = buckets.locate(start);
                if buckets.start(bucket) != start {
                    return Ok(None);
                }
                bucket
            }
        };
        let locator = Locator::new(context);
        let Some(place) = locator.space.find_cell(bucket, &cell.dimensions) else {
            return Ok(None);
        };
        let range = match &context.query.metric {
            // Who was active in the period before is dormant in this one.
            MetricSpec::Lifecycle(_) => {
                lifecycle::previous_start(context.query, buckets.start(bucket))?
                    ..buckets.end(bucket).min(context.as_of)
            }
            _ => {
                buckets.start(bucket).max(context.query.from_micros)
                    ..buckets.end(bucket).min(context.until)
            }
        };
        Ok(Some(Self { needs: Needs::of(context), locator, bucket, cell: place, range }))
    }

    fn holds(&self, run: usize, row: usize, time: i64) -> bool {
        self.range.contains(&time) && self.locator.cell(self.bucket, run as u32, row) == self.cell
    }

    /// Counts the events that place subjects in the bucket but for consent or a filter.
    fn exclusions(&self, context: &Context<'_>, entry: &EventSelector, found: &mut Contributions) {
        let snapshot = context.snapshot;
        let of_name = EventSelector { names: entry.names.clone(), filter: None };
        let counted = scan::scan::<u8>(context, &[entry]);
        for (number, run) in snapshot.runs().iter().enumerate() {
            if !context.threads.begin_piece() {
                return;
            }
            let filter = context.query.filter.as_ref();
            let whole = filter.map(|filter| Predicate::new(filter.condition(), &run.segment));
            let passing = scan::matches::<u8>(run, &[entry], whole, context.threads);
            let named = scan::matches::<u8>(run, &[&of_name], None, context.threads);
            let effective = run.segment.effective();
            let (positions, known) = (run.segment.position(), snapshot.position());
            let in_bucket = |row: &usize| {
                self.range.contains(&i64::from_le_bytes(effective[*row]))
                    && known.is_none_or(|known| positions.get(*row) <= known)
            };
            let lacking = snapshot.rows_without_consent(number);
            for rows in lacking {
                let rows = (rows.start as usize..rows.end as usize).filter(in_bucket);
                found.without_consent += rows.filter(|row| any(&passing, *row)).count() as u64;
            }
            let mut consent = lacking.iter().peekable();
            for row in (0..run.events()).filter(in_bucket) {
                while consent.next_if(|rows| rows.end as usize <= row).is_some() {}
                let lacks = consent.peek().is_some_and(|rows| rows.start as usize <= row);
                let kept_out = any(&named, row) && !any(&counted[number].matches, row);
                found.filtered += u64::from(kept_out && !lacks);
            }
        }
    }
}

fn any<B: Bits>(matches: &Matches<B>, row: usize) -> bool {
    match matches {
        Matches::Nothing => false,
        Matches::Same(bits) => *bits != 0,
        Matches::Rows(rows) => rows[row].into() != 0,
        Matches::Few(few) => few.holds(row as u32),
    }
}

/// The subjects behind a cell of a metric that is no ratio.
fn subjects(context: &Context<'_>, cell: &Cell) -> Result<SubjectSet> {
    let kinds = kinds(&context.query.metric);
    let Some(place) = Place::new(context, cell)? else { return Ok(SubjectSet::default()) };
    let scans = scan::scan::<u8>(context, &[kinds.selectors[0]]);
    let index = context.snapshot.index();
    let pieces = tasks::run(context.threads, index.chunks.clone(), |subjects| {
        let began = |subject: &u32| {
            let mut search = Search { place: &place, found: false };
            scan::walk_unordered(&scans, index.parts(*subject), &mut search);
            search.found
        };
        subjects.filter(began).collect::<Vec<u32>>()
    });
    let candidates: Vec<u32> = pieces.into_iter().flatten().collect();
    if !kinds.is_journey {
        return Ok(candidates.into_iter().collect());
    }
    let asked = Query { as_of_micros: Some(context.as_of), ..context.query.clone() };
    let pieces: Vec<&[u32]> = candidates.chunks(SUBJECTS_PER_TASK).collect();
    let pieces = tasks::run(context.threads, pieces, |subjects| -> Result<Vec<u32>> {
        let mut behind = Vec::new();
        for subject in subjects {
            let answer = context.snapshot.alone(*subject)?.query_on(&asked, 1)?;
            let is_cell = |row: &crate::query::Row| {
                row.n > 0
                    && row.bucket_start == cell.bucket_start
                    && row.dimensions == cell.dimensions
            };
            if answer.rows.iter().any(is_cell) {
                behind.push(*subject);
            }
        }
        Ok(behind)
    });
    let mut behind = SubjectSet::default();
    for piece in pieces {
        piece?.into_iter().for_each(|subject| behind.insert(subject));
    }
    Ok(behind)
}

/// Whether any event lies in the cell.
struct Search<'a> {
    place: &'a Place<'a>,
    found: bool,
}

impl Visitor for Search<'_> {
    fn see(&mut self, event: Event) -> ControlFlow<()> {
        let (run, row) = (event.run as usize, event.row as usize);
        self.found = self.place.holds(run, row, event.time) && self.place.needs.are_met(run, row);
        if self.found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Every event that a metric per event counts in the cell.
fn per_event(
    context: &Context<'_>,
    place: &Place<'_>,
    kinds: &Kinds<'_>,
    role: usize,
    found: &mut Contributions,
) {
    let scans = scan::scan::<u8>(context, &kinds.selectors);
    let by_subject =
        matches!(&context.query.metric, MetricSpec::Unique { of: DistinctOf::Subject, .. });
    for (run, rows) in scan::row_pieces(&scans) {
        if !context.threads.begin_piece() {
            return;
        }
        let mut collector = Collector { place, context, run, role, by_subject, found };
        scan::walk_rows(&scans[run], rows, &mut collector);
    }
}

struct Collector<'a, 'b> {
    place: &'a Place<'a>,
    context: &'a Context<'a>,
    run: usize,
    role: usize,
    /// Whether events of nobody do not count.
    by_subject: bool,
    found: &'b mut Contributions,
}

impl RowVisitor for Collector<'_, '_> {
    fn see(&mut self, row: usize, time: i64) {
        if !self.place.holds(self.run, row, time) {
            return;
        }
        let run = &self.context.snapshot.runs()[self.run];
        let nobodys = || {
            let actor = run.actors[run.actor_of(row as u32)];
            self.context.snapshot.subject_of(actor).is_none()
        };
        if !self.place.needs.are_met(self.run, row) || self.by_subject && nobodys() {
            self.found.without_value += 1;
            return;
        }
        self.found.events.push(Contribution {
            position: run.segment.position().get(row),
            run: self.run as u32,
            row: row as u32,
            roles: bit(self.role),
        });
    }
}

/// The events whose numbers are those of these subjects.
fn picked(
    context: &Context<'_>,
    place: &Place<'_>,
    spec: &PerSubjectSpec,
    subjects: &SubjectSet,
    role: usize,
    found: &mut Vec<Contribution>,
) {
    let scans = scan::scan::<u8>(context, &[&spec.event]);
    let mut scratch = Scratch::default();
    for (number, subject) in subjects.iter().enumerate() {
        if number.is_multiple_of(SUBJECTS_PER_TASK) && !context.threads.begin_piece() {
            return;
        }
        let mut numbers = Numbers { place, events: Vec::new() };
        let parts = context.snapshot.index().parts_of(subject);
        scan::walk(&scans, parts, &mut scratch, &mut numbers);
        let event = match spec.aggregate {
            Aggregate::First(_) => numbers.events.first(),
            _ => numbers.events.last(),
        };
        found.extend(event.map(|event| {
            let run = &context.snapshot.runs()[event.run as usize];
            Contribution {
                position: run.segment.position().get(event.row as usize),
                run: event.run,
                row: event.row,
                roles: bit(role),
            }
        }));
    }
}

/// The events of one subject in the bucket that carry a number, whatever their dimension values.
struct Numbers<'a> {
    place: &'a Place<'a>,
    events: Vec<Event>,
}

impl Visitor for Numbers<'_> {
    fn see(&mut self, event: Event) -> ControlFlow<()> {
        let (run, row) = (event.run as usize, event.row as usize);
        if self.place.range.contains(&event.time) && self.place.needs.are_met(run, row) {
            self.events.push(event);
        }
        ControlFlow::Continue(())
    }
}

/// The events of the journeys of these subjects that began in the cell.
fn journeys(
    context: &Context<'_>,
    place: &Place<'_>,
    kinds: &Kinds<'_>,
    subjects: &SubjectSet,
    first_role: usize,
    found: &mut Vec<Contribution>,
) {
    let scans: Vec<RunScan<'_, u32>> = scan::scan(context, &kinds.selectors);
    let mut scratch = Scratch::default();
    // What is done after a period says nothing about it.
    let last = match &context.query.metric {
        MetricSpec::Lifecycle(_) => place.range.end - 1,
        _ => i64::MAX,
    };
    for (number, subject) in subjects.iter().enumerate() {
        if number.is_multiple_of(SUBJECTS_PER_TASK) && !context.threads.begin_piece() {
            return;
        }
        let mut journey = Journey {
            context,
            place,
            window: kinds.window_micros,
            last,
            deadline: i64::MIN,
            events: Vec::new(),
        };
        let parts = context.snapshot.index().parts_of(subject);
        scan::walk(&scans, parts, &mut scratch, &mut journey);
        found.extend(journey.events.iter().map(|event| {
            let run = &context.snapshot.runs()[event.run as usize];
            let roles = (0..kinds.selectors.len()).filter(|kind| event.bits >> kind & 1 == 1);
            Contribution {
                position: run.segment.position().get(event.row as usize),
                run: event.run,
                row: event.row,
                roles: roles.fold(0, |roles, kind| roles | bit(first_role + kind)),
            }
        }));
    }
}

/// The events of one subject from the first that begins a journey in the cell.
struct Journey<'a> {
    context: &'a Context<'a>,
    place: &'a Place<'a>,
    window: Option<i64>,
    /// No event after this matters.
    last: i64,
    /// Up to here events matter; before the journey has begun, none does.
    deadline: i64,
    events: Vec<Event>,
}

impl Visitor for Journey<'_> {
    fn see(&mut self, event: Event) -> ControlFlow<()> {
        if event.time >= self.context.as_of {
            return ControlFlow::Break(());
        }
        if event.bits & 1 == 1
            && self.place.holds(event.run as usize, event.row as usize, event.time)
        {
            match &self.context.query.metric {
                // The first start is the one that counts.
                MetricSpec::Retention(spec) if self.deadline == i64::MIN => {
                    self.deadline = last_return(spec, event.time, self.context.query.zone);
                }
                MetricSpec::Retention(_) => {}
                _ => {
                    let window = self.window.unwrap_or(i64::MAX);
                    let end = event.time.saturating_add(window).min(self.last);
                    self.deadline = self.deadline.max(end);
                }
            }
        }
        if event.time <= self.deadline {
            self.events.push(event);
        }
        ControlFlow::Continue(())
    }
}

/// The last instant at which a return may count after a start.
fn last_return(spec: &RetentionSpec, start: i64, zone: Tz) -> i64 {
    let Some(offset) = spec.offsets.iter().max().filter(|_| spec.mode == Return::On) else {
        return i64::MAX;
    };
    let days = match spec.period {
        Period::Day => 1,
        Period::Week => 7,
        Period::Month => 31,
    };
    // One period more than there are, each a day longer than any is.
    let beyond = (i64::from(*offset) + 2) * (days + 1) * DAY_MICROS;
    let end = start.saturating_add(beyond);
    let Ok(periods) = Buckets::covering(start, end, zone, spec.period.grain()) else {
        return i64::MAX;
    };
    let next = i64::from(periods.number(0)) + i64::from(*offset) + 1;
    periods.first_at_or_after(next).map_or(i64::MAX, |period| periods.start(period) - 1)
}

/// Roles beyond those that fit are not told apart.
fn bit(role: usize) -> u64 {
    1 << role.min(63)
}
