//! `northstar bench ingest`: how many events a second, against what PostgreSQL
//! itself could take.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use northstar_embedded::{Cluster, Options};

use super::child::Service;
use super::events::Generator;
use super::load::{self, Door, Load};
use super::postgres::Postgres;
use super::report::{Measured, Report, Unit, at_least, at_most};
use super::{floor, layouts, postgres};
use crate::output;

/// Name of the database.
const DATABASE: &str = "bench";
/// What issue 3 asks for, as shares of the floor.
const COLUMNS_SHARE: f64 = 0.60;
const MAP_SHARE: f64 = 0.35;
const SEGMENT_SHARE: f64 = 0.15;
/// Most MiB of the service at full load.
const MEMORY_MEBIBYTES: f64 = 300.0;
/// A lone request may take so many times what a plain client waits for the commit of
/// one row on this disk.
const LONE_TIMES_COMMIT: f64 = 3.0;
/// An event may cost so many times more when the log is long.
const CURVE_TIMES: f64 = 1.25;
/// Lone requests, and writes to the disk, that are timed.
const SINGLES: usize = 500;
/// Events of one step of the curve.
const STEP: u64 = 1_000_000;

/// Measure how fast events are taken in, against plain COPY on this machine.
///
/// Starts a PostgreSQL of its own with default durability and ingestion as a
/// process of its own, and leaves nothing behind. The floor is what a plain
/// client reaches that copies the same events into a table with a unique key.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  northstar bench ingest
  northstar bench ingest --json > bench.json
  northstar bench ingest --rows 30000000      the curve from 1 to 30 million rows
  northstar bench ingest --layouts --events 1000000
  northstar bench ingest --doors columns,map --clients 8 --rows 0")]
pub struct Ingest {
    /// Events sent through each door by each number of clients.
    #[arg(long, default_value_t = 400_000, value_parser = clap::value_parser!(u64).range(10_000..=5_000_000))]
    events: u64,
    /// Events of a request.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    batch: u64,
    /// Numbers of clients.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4, 8],
          value_parser = clap::value_parser!(u32).range(1..=64))]
    clients: Vec<u32>,
    /// Doors.
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = Door::ALL)]
    doors: Vec<Door>,
    /// Rows in the log at the end of the curve; 0 leaves the curve out.
    #[arg(long, default_value_t = 3_000_000)]
    rows: u64,
    /// Compare one row an event with the record batches that the log keeps, from a
    /// client's commit to columns of the engine, and measure nothing else.
    #[arg(long)]
    layouts: bool,
    /// Decides which events there are.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Folder for the data, which is removed at the end. Default: the system's
    /// folder for temporary files. Its disk is the one that is measured.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Measure a debug build all the same.
    #[arg(long)]
    allow_debug: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// Runs the bench.
///
/// # Errors
/// When PostgreSQL or the service does not run, or an event is lost.
pub async fn run(command: Ingest) -> anyhow::Result<()> {
    super::refuse_debug(command.allow_debug)?;
    let folder = match &command.data_dir {
        None => tempfile::tempdir(),
        Some(parent) => tempfile::tempdir_in(parent),
    };
    let folder = folder.context("no folder for the data")?;
    let mut report = Report::default();

    output::note("starting PostgreSQL");
    let cluster = Cluster::start(Options::new(folder.path())).await?;
    cluster.create_database(DATABASE).await?;
    let url = cluster.url(DATABASE);
    northstar_store::migrate(&url).await?;
    let mut database = Postgres::connect(&url).await?;
    let generator = Generator::new(command.seed);

    let measured = measure(&command, &generator, folder.path(), &mut database, &mut report).await;
    drop(database);
    cluster.stop().await?;
    measured?;
    if command.json {
        return output::json(&report);
    }
    report.print()
}

async fn measure(
    command: &Ingest,
    generator: &Generator,
    folder: &Path,
    database: &mut Postgres,
    report: &mut Report,
) -> anyhow::Result<()> {
    if command.layouts {
        output::note("rows and record batches, written and read back");
        return layouts::compare(database, generator, command.events, folder, report).await;
    }
    output::note("timing the disk");
    let disk = postgres::disk_commits(folder, SINGLES)?;
    report.add("disk/commit/p50", disk.p50_micros(), Unit::Micros);
    report.add("disk/commit/p99", disk.p99_micros(), Unit::Micros);
    let commit = postgres::row_commits(database, SINGLES).await?;
    report.add("postgres/commit/p50", commit.p50_micros(), Unit::Micros);
    report.add("postgres/commit/p99", commit.p99_micros(), Unit::Micros);

    output::note("the floor: COPY into a table of the same rows with a unique key");
    let rows = floor::rows(database, generator, command.events).await?;
    report.add("floor/rows", rows.per_second, Unit::EventsPerSecond);
    report.add("floor/rows/wal", rows.wal_bytes, Unit::BytesPerEvent);
    report.add("floor/rows/disk", rows.disk_bytes, Unit::BytesPerEvent);

    output::note("starting ingestion");
    let service = Service::start_ingestion(database, folder).await?;
    let mut used = 0;
    let mut best: Vec<(Door, f64)> = Vec::new();
    for door in &command.doors {
        for clients in &command.clients {
            let name = format!("ingest/{}/clients={clients}", door.as_str());
            output::note(format!("{name}: {} events", command.events));
            let load = Load {
                door: *door,
                clients: *clients as usize,
                batch: command.batch.min(door.most_events()),
                first: used,
                events: command.events,
                source: name.replace('/', "-"),
            };
            used += command.events;
            service.reset_peak();
            let before = database.usage().await?;
            let done = load::run(&service, generator, &load).await.context(name.clone())?;
            let after = database.usage().await?;
            let per_event = |before: f64, after: f64| (after - before) / command.events as f64;
            let per_second = done.per_second();
            report.push(
                Measured::new(&name, per_second, Unit::EventsPerSecond).against(rows.per_second),
            );
            let mut add = |what: &str, value: f64, unit: Unit| {
                report.add(format!("{name}/{what}"), value, unit);
            };
            add("p50", done.latencies.p50_micros(), Unit::Micros);
            add("p99", done.latencies.p99_micros(), Unit::Micros);
            add("wal", per_event(before.wal_bytes, after.wal_bytes), Unit::BytesPerEvent);
            add("disk", per_event(before.disk_bytes, after.disk_bytes), Unit::BytesPerEvent);
            add("memory", service.peak_mebibytes()?, Unit::Mebibytes);
            match best.iter_mut().find(|(known, _)| known == door) {
                Some((_, best)) => *best = best.max(per_second),
                None => best.push((*door, per_second)),
            }
        }
    }

    if command.rows > 0 {
        curve(command, generator, database, &service, &mut used, report).await?;
    }

    output::note("the floor: COPY of what the log holds into tables like its own");
    let own = floor::log_tables(database, command.events).await?;
    report.add("floor/log-tables", own.per_second, Unit::EventsPerSecond);
    report.add("floor/log-tables/wal", own.wal_bytes, Unit::BytesPerEvent);
    report.add("floor/log-tables/disk", own.disk_bytes, Unit::BytesPerEvent);
    // Targets count against rows with a unique key: a row of the log is a block
    // of thousands of events, encoded already, and has no key of theirs.
    let floor = rows.per_second;
    report.add("floor", floor, Unit::EventsPerSecond);
    for (door, per_second) in best {
        let share = match door {
            Door::Columns | Door::StreamColumns => COLUMNS_SHARE,
            Door::Map | Door::Stream => MAP_SHARE,
            Door::Segment => SEGMENT_SHARE,
        };
        let name = format!("ingest/{}", door.as_str());
        report.push(
            Measured::new(name, per_second, Unit::EventsPerSecond)
                .against(floor)
                .target(at_least(share), per_second / floor),
        );
    }
    let peak = service.highest_peak_mebibytes()?;
    report.push(
        Measured::new("memory/peak", peak, Unit::Mebibytes).target(at_most(MEMORY_MEBIBYTES), peak),
    );

    output::note("a lone small request");
    let lone = load::lone(&service, generator, used, SINGLES).await?;
    report.add("lone/p50", lone.p50_micros(), Unit::Micros);
    let p99 = lone.p99_micros();
    report.push(
        Measured::new("lone/p99", p99, Unit::Micros)
            .against(commit.p99_micros())
            .target(at_most(LONE_TIMES_COMMIT), p99 / commit.p99_micros()),
    );
    report.push(Measured::new("lone/p99/of-disk", p99, Unit::Micros).against(disk.p99_micros()));
    used += 2 * SINGLES as u64;
    let lone = load::lone_in_stream(&service, generator, used, SINGLES).await?;
    report.add("lone-in-stream/p50", lone.p50_micros(), Unit::Micros);
    report.push(
        Measured::new("lone-in-stream/p99", lone.p99_micros(), Unit::Micros)
            .against(commit.p99_micros()),
    );
    service.stop().await?;

    output::note("from acknowledged to visible, in the whole suite");
    let suite = Service::start_suite(database.url(), folder).await?;
    let (first, next) = load::visible(&suite).await?;
    report.add("visible/first-question", millis(first), Unit::Millis);
    report.add("visible", millis(next), Unit::Millis);
    suite.stop().await
}

/// Loads the log to its full length and says what an event costs on the way.
async fn curve(
    command: &Ingest,
    generator: &Generator,
    database: &mut Postgres,
    service: &Service,
    used: &mut u64,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut costs = Vec::new();
    while *used < command.rows {
        let events = STEP.min(command.rows - *used).max(command.batch);
        let load = Load {
            door: Door::Columns,
            clients: 8,
            batch: command.batch,
            first: *used,
            events,
            source: "bench-curve".to_owned(),
        };
        let before = database.usage().await?;
        let done = load::run(service, generator, &load).await.context("the curve")?;
        let after = database.usage().await?;
        *used += events;
        let micros = 1e6 / done.per_second();
        output::note(format!("{} rows: {micros:.2} µs an event", output::number(*used as f64)));
        report.add(format!("curve/{used}"), micros, Unit::MicrosPerEvent);
        let wal = (after.wal_bytes - before.wal_bytes) / events as f64;
        report.add(format!("curve/{used}/wal"), wal, Unit::BytesPerEvent);
        costs.push(micros);
    }
    // Thirds, because one step may hold a checkpoint and the next may not.
    let third = costs.len().div_ceil(3);
    if costs.len() >= 2 {
        let mean = |costs: &[f64]| costs.iter().sum::<f64>() / costs.len() as f64;
        let (start, end) = (mean(&costs[..third]), mean(&costs[costs.len() - third..]));
        report.push(
            Measured::new("curve/end-to-start", end / start, Unit::Times)
                .target(at_most(CURVE_TIMES), end / start),
        );
    }
    Ok(())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
