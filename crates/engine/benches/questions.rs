//! Milliseconds per question, over generated events or over the columns of `bench/gen.py`.
//!
//! `cargo bench -p northstar-engine --bench questions -- [EVENTS] [--columns DIR [--answers FILE]]`
//!
//! `--keep DIR` keeps the data set there, and finds it again in the next run; `--only Q3` asks one question only, and
//! `--times N` says how often.
//!
//! With `--columns` the events are read from a folder that `bench/gen.py` wrote, and with `--answers` the seven
//! questions are compared with the answers that the other engines agree on.

use std::{error::Error, fs, path::PathBuf, time::Instant};

use northstar_engine::{
    Actor, Anchor, Dataset, Detail, Dimension, DistinctOf, Entry, EventRecord, EventSelector,
    Filter, FunnelSpec, Grain, Maturity, MetricSpec, Outcome, Period, Query, RetentionSpec, Return,
    Snapshot, Statistic, Ties, TimeToEventSpec, VariantQuery,
    journeys::{
        Bracket, Clock, Cohorts, LifecycleQuery, RetentionMode, RetentionQuery, Scope, Unit,
    },
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

const DAY: i64 = 86_400_000_000;
/// 2026-03-02, a Monday.
const START: i64 = 1_772_409_600_000_000;
const DAYS: i64 = 90;
/// Events in memory before they are written to a segment.
const BATCH: usize = 2_500_000;
const TAIL: usize = 100_000;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// One event as numbers.
struct Row {
    micros: i64,
    actor: u32,
    name: u8,
    plan: u8,
    country: u8,
    channel: u8,
    device: u8,
    amount: i32,
}

/// What is asked, and how often.
struct Ask {
    expected: Value,
    only: Option<String>,
    times: usize,
}

/// What the numbers stand for.
struct Names {
    events: Vec<String>,
    plans: Vec<String>,
    countries: Vec<String>,
    channels: Vec<String>,
    devices: Vec<String>,
}

struct Arguments {
    events: usize,
    columns: Option<PathBuf>,
    answers: Option<PathBuf>,
    keep: Option<PathBuf>,
    only: Option<String>,
    times: usize,
}

fn arguments() -> Result<Arguments> {
    let mut arguments = Arguments {
        events: 1_000_000,
        columns: None,
        answers: None,
        keep: None,
        only: None,
        times: 9,
    };
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--columns" => arguments.columns = given.next().map(PathBuf::from),
            "--answers" => arguments.answers = given.next().map(PathBuf::from),
            "--keep" => arguments.keep = given.next().map(PathBuf::from),
            "--only" => arguments.only = given.next(),
            "--times" => arguments.times = given.next().unwrap_or_default().parse()?,
            // Cargo passes it to every benchmark.
            "--bench" => {}
            events => arguments.events = events.replace('_', "").parse()?,
        }
    }
    Ok(arguments)
}

fn main() -> Result<()> {
    let arguments = arguments()?;
    let expected: Value = match &arguments.answers {
        Some(file) => serde_json::from_slice(&fs::read(file)?)?,
        None => Value::Null,
    };
    let ask = Ask { expected, only: arguments.only, times: arguments.times };
    if let Some(folder) = &arguments.keep
        && let Ok(manifest) = fs::read(folder.join("manifest.json"))
    {
        let dataset = Dataset::open(folder, serde_json::from_slice(&manifest)?)?;
        return questions(&dataset.snapshot()?, &ask);
    }
    let (names, rows) = match &arguments.columns {
        Some(folder) => read(folder)?,
        None => generate(arguments.events),
    };
    let temporary = tempfile::tempdir()?;
    let folder = arguments.keep.as_deref().unwrap_or_else(|| temporary.path());
    let mut dataset = Dataset::new(folder)?;
    let count = rows.len();
    let (mut appending, mut compacting) = (0.0, 0.0);
    let mut position = 0;
    for batch in rows.chunks(BATCH) {
        appending += append(&mut dataset, &names, batch, &mut position)?;
        let start = Instant::now();
        dataset.compact()?;
        compacting += start.elapsed().as_secs_f64();
    }
    say(format!("append     {:>8.0} events/s", count as f64 / appending));
    say(format!(
        "compact    {:>8.0} events/s, {} segments",
        count as f64 / compacting,
        dataset.manifest().len()
    ));
    let bytes: u64 = dataset.manifest().iter().map(|info| info.bytes).sum();
    say(format!("size       {:>8.1} bytes/event", bytes as f64 / count as f64));
    let manifest = dataset.manifest();
    if arguments.keep.is_some() {
        fs::write(folder.join("manifest.json"), serde_json::to_vec(&manifest)?)?;
    }
    let start = Instant::now();
    let mut dataset = Dataset::open(folder, manifest)?;
    say(format!("open       {:>8.1} ms", millis(start)));
    let start = Instant::now();
    let snapshot = dataset.snapshot()?;
    say(format!("index      {:>8.1} ms, {} subjects", millis(start), snapshot.subjects()));

    say(format!("\n{count} events in segments"));
    questions(&snapshot, &ask)?;

    let tail = &rows[..TAIL.min(rows.len())];
    append(&mut dataset, &names, tail, &mut position)?;
    let start = Instant::now();
    let snapshot = dataset.snapshot()?;
    say(format!("\nand {} in the tail, snapshot {:.1} ms", tail.len(), millis(start)));
    questions(&snapshot, &Ask { expected: Value::Null, ..ask })?;
    append(&mut dataset, &names, &rows[..1], &mut position)?;
    let start = Instant::now();
    dataset.snapshot()?;
    say(format!("\nsnapshot after one more event {:.1} ms", millis(start)));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the table is what a benchmark is for")]
fn say(line: String) {
    println!("{line}");
}

fn millis(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// Processor time of the process so far, in milliseconds with a resolution of 10; it tells work from waiting on a busy
/// machine. 0 where there is no `/proc`.
fn processor_millis() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() * 10.0
}

/// Appends rows and returns the seconds that the engine took.
fn append(dataset: &mut Dataset, names: &Names, rows: &[Row], position: &mut i64) -> Result<f64> {
    let mut seconds = 0.0;
    for batch in rows.chunks(10_000) {
        let actors: Vec<String> = batch.iter().map(|row| format!("user-{}", row.actor)).collect();
        let properties: Vec<Value> = batch
            .iter()
            .map(|row| {
                let mut properties = Map::new();
                properties.insert("plan".into(), json!(names.plans[row.plan as usize]));
                properties.insert("country".into(), json!(names.countries[row.country as usize]));
                properties.insert("channel".into(), json!(names.channels[row.channel as usize]));
                properties.insert("device".into(), json!(names.devices[row.device as usize]));
                match names.events[row.name as usize].as_str() {
                    "purchase" => _ = properties.insert("amount".into(), json!(row.amount)),
                    "exp_exposure" => _ = properties.insert("variant".into(), json!(row.actor % 2)),
                    _ => {}
                }
                Value::Object(properties)
            })
            .collect();
        let start = Instant::now();
        let records =
            batch.iter().zip(actors.iter().zip(&properties)).map(|(row, (actor, properties))| {
                *position += 1;
                EventRecord {
                    position: *position,
                    name: &names.events[row.name as usize],
                    source: "bench",
                    actor: Actor { user_id: Some(actor), anonymous_id: None },
                    account_id: None,
                    effective_micros: row.micros,
                    sequence: 0,
                    properties,
                }
            });
        dataset.append(records)?;
        seconds += start.elapsed().as_secs_f64();
    }
    Ok(seconds)
}

fn query(
    metric: MetricSpec,
    grain: Grain,
    breakdowns: &[&str],
    days: std::ops::Range<i64>,
) -> Query {
    Query {
        metric,
        from_micros: START + days.start * DAY,
        to_micros: START + days.end * DAY,
        zone: chrono_tz::UTC,
        grain,
        breakdowns: breakdowns.iter().map(|path| Dimension::Property((*path).to_owned())).collect(),
        filter: None,
        as_of_micros: None,
    }
}

/// Runs a question a few times, prints the median and compares its rows.
fn measure(name: &str, how: &Ask, ask: impl Fn() -> Result<Vec<Value>>) -> Result<()> {
    if how.only.as_ref().is_some_and(|only| !name.starts_with(only.as_str())) {
        return Ok(());
    }
    let mut rows = ask()?;
    let mut times: Vec<f64> = Vec::new();
    let before = processor_millis();
    for _ in 0..how.times {
        let start = Instant::now();
        rows = ask()?;
        times.push(millis(start));
    }
    let cpu = (processor_millis() - before) / times.len() as f64;
    times.sort_by(f64::total_cmp);
    rows.sort_by_key(|row| row.to_string());
    let verdict = match how.expected[&name[..2]].as_array() {
        None => "",
        Some(expected) => {
            let mut expected = expected.clone();
            expected.sort_by_key(|row| row.to_string());
            let same = rows.len() == expected.len()
                && rows.iter().zip(&expected).all(|(left, right)| near(left, right));
            if same { "same answer" } else { "DIFFERENT" }
        }
    };
    say(format!(
        "{name:<28} {:>8.2} ms  (min {:>6.2}, processors {cpu:>6.1})  {verdict}",
        times[times.len() / 2],
        times[0]
    ));
    Ok(())
}

fn near(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| near(left, right))
        }
        (Value::Number(left), Value::Number(right)) => match (left.as_f64(), right.as_f64()) {
            (Some(left), Some(right)) => (left - right).abs() <= 1e-6 * left.abs().max(1.0),
            _ => false,
        },
        (left, right) => left == right,
    }
}

fn whole(value: Option<f64>) -> i64 {
    value.unwrap_or_default().round() as i64
}

fn since(bucket: Option<i64>, unit: i64) -> i64 {
    (bucket.unwrap_or_default() - START) / unit
}

fn questions(snapshot: &Snapshot, how: &Ask) -> Result<()> {
    let named = |name: &str| EventSelector::named(name);
    let active = || MetricSpec::Unique { event: EventSelector::all(), of: DistinctOf::Subject };

    measure("Q1 active by day", how, || {
        let answer = snapshot.query(&query(active(), Grain::Day, &[], 0..DAYS))?;
        Ok(answer.rows.iter().map(|row| json!([since(row.bucket_start, DAY), row.n])).collect())
    })?;
    measure("Q2 active by 30 days", how, || {
        let by_day = snapshot.query(&query(active(), Grain::Day, &[], 0..DAYS))?;
        (0..3)
            .map(|month| {
                let days = month * 30..(month + 1) * 30;
                let answer = snapshot.query(&query(active(), Grain::Total, &[], days.clone()))?;
                let sum: u64 = by_day.rows[days.start as usize..days.end as usize]
                    .iter()
                    .map(|row| row.n)
                    .sum();
                Ok(json!([month, answer.rows[0].n, sum]))
            })
            .collect()
    })?;
    for (name, ties) in [
        ("Q3 funnel by country, >=", Ties::AnyOrder),
        ("Q3 funnel by country, order", Ties::ByOrder),
    ] {
        let funnel = MetricSpec::Funnel(FunnelSpec {
            steps: ["signup", "activate", "use_feature", "purchase"]
                .map(EventSelector::named)
                .to_vec(),
            window_micros: Some(7 * DAY),
            anchor: Anchor::FirstTouch,
            entry: Entry::FirstInRange,
            ties,
        });
        measure(name, how, || {
            let answer =
                snapshot.query(&query(funnel.clone(), Grain::Total, &["country"], 0..DAYS))?;
            let row = |row: &northstar_engine::Row| match &row.detail {
                Detail::Funnel(steps) => {
                    json!([
                        row.dimensions[0],
                        steps[0].count,
                        steps[1].count,
                        steps[2].count,
                        steps[3].count
                    ])
                }
                _ => Value::Null,
            };
            Ok(answer.rows.iter().map(row).collect())
        })?;
    }
    let retention = MetricSpec::Retention(RetentionSpec {
        start: named("signup"),
        returning: EventSelector::all(),
        period: Period::Week,
        offsets: (0..12).collect(),
        headline: 1,
        mode: Return::On,
        maturity: Maturity::PeriodStarted,
        entry: Entry::FirstEver,
    });
    measure("Q4 retention by week", how, || {
        let mut question = query(retention.clone(), Grain::Week, &[], 0..84);
        question.as_of_micros = Some(START + 84 * DAY);
        let answer = snapshot.query(&question)?;
        let mut rows = Vec::new();
        for row in &answer.rows {
            let Detail::Retention(cells) = &row.detail else { continue };
            let eligible = cells.iter().filter(|cell| cell.eligible > 0);
            rows.extend(
                eligible.map(|cell| {
                    json!([since(row.bucket_start, 7 * DAY), cell.offset, cell.retained])
                }),
            );
        }
        Ok(rows)
    })?;
    let paid = named("purchase").filtered(Filter::parse(r#"properties.channel == "paid""#)?);
    let revenue = MetricSpec::Sum { event: paid, property: "amount".to_owned() };
    measure("Q5 paid revenue by day, plan", how, || {
        let answer = snapshot.query(&query(revenue.clone(), Grain::Day, &["plan"], 0..DAYS))?;
        let row = |row: &northstar_engine::Row| {
            json!([since(row.bucket_start, DAY), row.dimensions[0], whole(row.value)])
        };
        Ok(answer.rows.iter().map(row).collect())
    })?;
    for (name, ties) in
        [("Q6 time to activate, >=", Ties::AnyOrder), ("Q6 time to activate, order", Ties::ByOrder)]
    {
        let metric = MetricSpec::TimeToEvent(TimeToEventSpec {
            from: named("signup"),
            to: named("activate"),
            window_micros: None,
            entry: Entry::FirstEver,
            ties,
            statistic: Statistic::P50,
        });
        measure(name, how, || {
            let answer = snapshot.query(&query(metric.clone(), Grain::Week, &[], 0..DAYS))?;
            let row = |row: &northstar_engine::Row| match &row.detail {
                Detail::Durations(times) => {
                    let millis = |seconds: Option<f64>| seconds.unwrap_or_default() * 1e3;
                    json!([
                        since(row.bucket_start, 7 * DAY),
                        times.n,
                        millis(times.p50),
                        millis(times.p95)
                    ])
                }
                _ => Value::Null,
            };
            Ok(answer.rows.iter().map(row).collect())
        })?;
    }
    let variants = |outcome| VariantQuery {
        exposure: named("exp_exposure"),
        variant_property: "variant".to_owned(),
        from_micros: START,
        to_micros: START + DAYS * DAY,
        window_micros: Some(14 * DAY),
        as_of_micros: None,
        require_full_window: false,
        outcome,
        denominator: None,
        pre_micros: 14 * DAY,
    };
    let bought = variants(Outcome::Did { event: named("purchase") });
    let spent = variants(Outcome::Sum { event: named("purchase"), property: "amount".to_owned() });
    measure("Q7 two variant statistics", how, || {
        let (bought, spent) = (snapshot.variant_stats(&bought)?, snapshot.variant_stats(&spent)?);
        let rows = bought.variants.iter().zip(&spent.variants).map(|(bought, spent)| {
            let (did, sum) = (&bought.moments, &spent.moments);
            let figures =
                [did.y, sum.x, sum.xx, sum.y, sum.yy, sum.xy].map(|figure| whole(Some(figure)));
            let mut row = vec![json!(spent.variant.parse::<i64>().unwrap_or(-1)), json!(sum.n)];
            row.extend(figures.map(|figure| json!(figure)));
            Value::Array(row)
        });
        Ok(rows.collect())
    })?;
    let count = MetricSpec::Count { event: EventSelector::all() };
    measure("   count by day, country", how, || {
        let answer = snapshot.query(&query(count.clone(), Grain::Day, &["country"], 0..DAYS))?;
        Ok(vec![json!(answer.rows.len())])
    })?;
    let table = RetentionQuery {
        scope: Scope::of(START, START + 84 * DAY),
        start: named("signup"),
        returning: EventSelector::all(),
        entry: Entry::FirstEver,
        cohorts: Cohorts::By(Grain::Week),
        unit: Unit::Week,
        clock: Clock::Calendar,
        brackets: (0..12).map(Bracket::at).collect(),
        mode: RetentionMode::On,
        value: None,
        same_values: false,
    };
    measure("   retention table by week", how, || {
        Ok(vec![json!(snapshot.retention(&table)?.cohorts.len())])
    })?;
    let life = LifecycleQuery {
        scope: Scope::of(START, START + 84 * DAY),
        event: EventSelector::all(),
        period: Grain::Week,
    };
    measure("   lifecycle by week", how, || {
        Ok(vec![json!(snapshot.lifecycle(&life)?.rows.len())])
    })?;
    // Memory for the answer only, so that partial results go to a file.
    let by_amount = query(count, Grain::Day, &["amount", "country"], 0..DAYS);
    let rows = snapshot.query(&by_amount)?.rows.len() as u64;
    for (name, memory) in
        [("   count by amount", u64::MAX), ("   count by amount, spilled", rows * 300)]
    {
        let snapshot = snapshot.within_memory(memory);
        measure(name, how, || Ok(vec![json!(snapshot.query(&by_amount)?.rows.len())]))?;
    }
    Ok(())
}

fn generate(events: usize) -> (Names, Vec<Row>) {
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
    let names = Names {
        events: names(&[
            "signup",
            "activate",
            "use_feature",
            "purchase",
            "page_view",
            "session_start",
            "search",
            "click",
            "login",
            "exp_exposure",
        ]),
        plans: names(&["free", "basic", "pro", "enterprise"]),
        countries: names(&["US", "IN", "BR", "GB", "DE", "FR", "JP", "ID", "MX", "CA"]),
        channels: names(&["organic", "paid", "referral", "email", "social"]),
        devices: names(&["ios", "android", "web", "desktop"]),
    };
    let mut random = ChaCha8Rng::seed_from_u64(42);
    let mut rows = Vec::with_capacity(events + 64);
    let mut actor = 0;
    while rows.len() < events {
        // Few actors are very active, most are not: 50 events each in the mean.
        let activity = (8.0 / (1.0 - random.random::<f64>()).powf(0.8)).min(2_000.0) as usize;
        let (plan, country) = (random.random_range(0..4), random.random_range(0..10));
        let (channel, device) = (random.random_range(0..5), random.random_range(0..4));
        let joined = random.random_range(0..DAYS * DAY);
        for number in 0..activity {
            let later = random.random::<f64>().powi(2) * (DAYS * DAY - joined) as f64;
            let (name, micros) = match number {
                0 => (0, joined),
                1 if random.random_bool(0.7) => (1, joined + later as i64),
                _ => {
                    let name = [2, 2, 3, 4, 4, 4, 4, 5, 5, 6, 6, 7, 7, 7, 8, 9]
                        [random.random_range(0..16)];
                    (name, joined + later as i64)
                }
            };
            let amount = if name == 3 { random.random_range(99..20_000) } else { 0 };
            let micros = START + micros / 1_000 * 1_000;
            rows.push(Row { micros, actor, name, plan, country, channel, device, amount });
        }
        actor += 1;
    }
    rows.sort_by_key(|row| row.micros);
    (names, rows)
}

fn read(folder: &std::path::Path) -> Result<(Names, Vec<Row>)> {
    let meta: Value = serde_json::from_slice(&fs::read(folder.join("meta.json"))?)?;
    let list = |key: &str| {
        let names = meta[key].as_array().into_iter().flatten().filter_map(Value::as_str);
        names.map(str::to_owned).collect::<Vec<String>>()
    };
    let names = Names {
        events: list("events"),
        plans: list("plan"),
        countries: list("country"),
        channels: list("channel"),
        devices: list("device"),
    };
    let bytes = |name: &str| fs::read(folder.join(format!("{name}.bin")));
    let (times, actors, amounts) = (bytes("ts")?, bytes("actor")?, bytes("amount")?);
    let (events, plans, countries) = (bytes("event")?, bytes("plan")?, bytes("country")?);
    let (channels, devices) = (bytes("channel")?, bytes("device")?);
    let (times, actors, amounts) =
        (times.as_chunks::<8>().0, actors.as_chunks::<4>().0, amounts.as_chunks::<4>().0);
    let row = |at: usize| Row {
        micros: START + i64::from_le_bytes(times[at]) * 1_000,
        actor: u32::from_le_bytes(actors[at]),
        name: events[at],
        plan: plans[at],
        country: countries[at],
        channel: channels[at],
        device: devices[at],
        amount: i32::from_le_bytes(amounts[at]),
    };
    Ok((names, (0..times.len()).map(row).collect()))
}
