//! `northstar bench query`: how fast questions are answered, side by side with
//! DuckDB and ClickHouse.

mod answers;
mod curve;
mod data;
mod fill;
mod live;
mod peers;
mod python;
mod questions;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use northstar_client::Clients;
use northstar_embedded::{Cluster, Options};

use super::child::Service;
use super::load;
use super::report::{Measured, Report, Unit, at_least, at_most};
use crate::output;
use data::Data;
use peers::{Peer, PeerAnswer, Peers};
use python::Python;
use questions::{Question, Rows};

/// Name of the database.
const DATABASE: &str = "bench";
/// Where the data set is looked for when no folder is named.
const DATA_SET: &str = "../shared/bench";
/// The seed for which the data set has answers.
const SEED: u64 = 42;
/// Most bytes of memory an event.
const MEMORY_BYTES: f64 = 40.0;
/// With new events arriving, the slowest answers may take so many times as long.
const LIVE_TIMES: f64 = 3.0;
/// Of the rate at which events are sent, the rate at which they are in segments.
const KEEPS_UP: f64 = 0.9;
/// Rounds of all questions that the latencies are taken from.
const LATENCY_ROUNDS: usize = 40;

/// Measure how fast questions are answered, against DuckDB and ClickHouse.
///
/// Starts a PostgreSQL of its own and the suite as a process of its own, sends
/// the events through StreamEvents, and asks seven questions through gRPC, in
/// turns with the peers, each with two threads. Every answer must equal those of
/// the peers and of the data set.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  northstar bench query                                   with the data set in ../shared/bench
  northstar bench query --data sets/bench --json > query.json
  northstar bench query --check                           answers only, equal to DuckDB's
  northstar bench query --events 1m --peers duckdb
  northstar bench query --curve 50m                       growth from 1 to 50 million events")]
pub struct Query {
    /// How many events, for example 500k or 10m.
    #[arg(long, value_name = "EVENTS", default_value = "10m", value_parser = read_count)]
    events: u64,
    /// Folder of the data set: gen.py, which makes the events, and answers.json,
    /// what every engine answers for 10m. Default: ../shared/bench, if it is there;
    /// without it the bench makes events of its own and asks no peers.
    #[arg(long, env = "NORTHSTAR_BENCH_DATA", value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Folder for what is made once: events, the peers' tables, a Python
    /// environment. Default: northstar/bench in the user's cache folder.
    #[arg(long, env = "NORTHSTAR_BENCH_CACHE", value_name = "FOLDER")]
    cache: Option<PathBuf>,
    /// A Python that has duckdb, chdb, pyarrow and numpy. Default: one that the
    /// bench installs into the cache.
    #[arg(long, value_name = "PROGRAM")]
    python: Option<PathBuf>,
    /// Engines to compare with.
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = [Peer::Duckdb, Peer::Chdb])]
    peers: Vec<Peer>,
    /// Ask nobody else.
    #[arg(long, conflicts_with_all = ["peers", "check"])]
    no_peers: bool,
    /// How often each question is asked; the median counts.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Only compare the answers, and fail with the first row that differs.
    #[arg(long, conflicts_with_all = ["curve", "json"])]
    check: bool,
    /// Draw the curve of growth instead: from 1 million to so many events of the
    /// bench's own.
    #[arg(long, value_name = "EVENTS", num_args = 0..=1, default_missing_value = "50m", value_parser = read_count)]
    curve: Option<u64>,
    /// Decides which events there are.
    #[arg(long, default_value_t = SEED)]
    seed: u64,
    /// Folder for the database, which is removed at the end. Default: the
    /// system's folder for temporary files.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Measure a debug build all the same.
    #[arg(long)]
    allow_debug: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// Reads a number of events with an optional k or m behind it.
fn read_count(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1_000),
        None => match text.strip_suffix(['m', 'M']) {
            Some(digits) => (digits, 1_000_000),
            None => (text, 1),
        },
    };
    let number = digits.replace(['_', ','], "").parse::<u64>().ok();
    match number.and_then(|number| number.checked_mul(factor)) {
        Some(count @ 10_000..=1_000_000_000) => Ok(count),
        _ => Err("must be between 10k and 1000m, for example 500k or 10m".to_owned()),
    }
}

/// Runs the bench.
///
/// # Errors
/// When PostgreSQL, the suite or a peer does not run, an event is lost, or an
/// answer differs.
pub async fn run(command: Query) -> anyhow::Result<()> {
    if !command.check {
        super::refuse_debug(command.allow_debug)?;
    }
    let cache = command.cache.clone().map_or_else(cache_folder, Ok)?;
    std::fs::create_dir_all(&cache).with_context(|| cache.display().to_string())?;
    let folder = match &command.data_dir {
        None => tempfile::tempdir(),
        Some(parent) => tempfile::tempdir_in(parent),
    };
    let folder = folder.context("no folder for the data")?;
    let mut report = Report::default();

    let bench = Bench::prepare(&command, &cache).await?;
    output::note("starting PostgreSQL");
    let cluster = Cluster::start(Options::new(folder.path())).await?;
    cluster.create_database(DATABASE).await?;
    let url = cluster.url(DATABASE);
    northstar_store::migrate(&url).await?;
    let done = match command.curve {
        Some(most) => curve::draw(&url, folder.path(), most, command.seed, &mut report).await,
        None => bench.run(&command, &url, folder.path(), &mut report).await,
    };
    cluster.stop().await?;
    done?;
    if command.check {
        output::line("every answer is the same")?;
        return Ok(());
    }
    if command.json {
        return output::json(&report);
    }
    report.print()
}

/// `northstar/bench` in the cache folder of the user, after the XDG Base
/// Directory Specification.
fn cache_folder() -> anyhow::Result<PathBuf> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = named("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| named("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set: name a folder with --cache")?;
    Ok(cache.join("northstar/bench"))
}

/// Everything that is made before the clock runs.
struct Bench {
    data: Data,
    peers: Option<Peers>,
}

impl Bench {
    async fn prepare(command: &Query, cache: &Path) -> anyhow::Result<Self> {
        if command.curve.is_some() {
            let data = Data::made(command.events, command.seed);
            return Ok(Self { data, peers: None });
        }
        let near = Path::new(DATA_SET);
        let near = near.join("gen.py").is_file().then_some(near);
        let folder = command.data.as_deref().or(near);
        let python = match folder {
            None => None,
            Some(_) => Python::find(command.python.as_deref(), cache).await?,
        };
        let data =
            Data::prepare(folder, cache, python.as_ref(), command.events, command.seed).await?;
        let peers = match (&python, &data.files) {
            (Some(python), Some(files)) if !command.no_peers => {
                output::note("loading the events into the peers, unless an earlier run did");
                let tables = cache.join(format!("peers-{}-{}", command.events, command.seed));
                Some(Peers::start(python, files, &tables, &command.peers).await?)
            }
            _ => None,
        };
        let comparable = peers.is_some() || data.answers.is_some();
        ensure!(
            comparable || !command.check,
            "there is nothing to compare with: name the folder of the data set with --data"
        );
        Ok(Self { data, peers })
    }

    async fn run(
        mut self,
        command: &Query,
        url: &str,
        folder: &Path,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        output::note("starting the suite");
        let service = Service::start_suite(url, folder).await?;
        questions::define(&service.clients()?).await?;
        let count = self.data.events.count();
        let filled = fill::fill(&service, &self.data.events, 0..count, folder).await?;
        if command.check {
            self.check(&service.clients()?).await?;
            return service.stop().await;
        }
        let rate = |time: Duration| count as f64 / time.as_secs_f64();
        let (sent, settled) = (rate(filled.sending), rate(filled.sending + filled.catching_up));
        report.add("load", sent, Unit::EventsPerSecond);
        report.push(
            Measured::new("load/in-segments", settled, Unit::EventsPerSecond)
                .against(sent)
                .target(at_least(KEEPS_UP), settled / sent),
        );
        let segments = fill::segments(folder)?;
        let bytes: u64 = segments.iter().map(|(_, bytes)| bytes).sum();
        report.add("segments/disk", bytes as f64 / count as f64, Unit::BytesPerEvent);
        service.stop().await?;

        // What holds the events and answers, without what taking them in has left in memory.
        output::note("starting the suite again");
        let service = Service::start_suite(url, folder).await?;
        let clients = service.clients()?;
        let empty = service.resident_mebibytes()?;
        let start = Instant::now();
        questions::ask(&clients, Question::Revenue).await?;
        report.add("first-answer", start.elapsed().as_secs_f64() * 1e3, Unit::Millis);
        self.side_by_side(&clients, command.rounds, report).await?;
        let per_event = (service.resident_mebibytes()? - empty) * 1024.0 * 1024.0 / count as f64;
        report.push(
            Measured::new("memory", per_event, Unit::BytesPerEvent)
                .target(at_most(MEMORY_BYTES), per_event),
        );

        output::note("while 1,000 events a second arrive");
        let idle = live::ask_all(&clients, LATENCY_ROUNDS).await?;
        let arrivals = live::Arrivals::start(&service, command.seed)?;
        let live = live::ask_all(&clients, LATENCY_ROUNDS).await;
        let arrived = arrivals.stop().await?;
        let live = live?;
        report.add("idle/p50", idle.p50_micros() / 1e3, Unit::Millis);
        report.add("idle/p99", idle.p99_micros() / 1e3, Unit::Millis);
        report.add("live/arriving", arrived, Unit::EventsPerSecond);
        report.add("live/p50", live.p50_micros() / 1e3, Unit::Millis);
        report.push(
            Measured::new("live/p99", live.p99_micros() / 1e3, Unit::Millis)
                .against(idle.p99_micros() / 1e3)
                .target(at_most(LIVE_TIMES), live.p99_micros() / idle.p99_micros()),
        );

        output::note("from acknowledged to visible");
        let (_, next) = load::visible(&service).await?;
        report.add("visible", next.as_secs_f64() * 1e3, Unit::Millis);
        service.stop().await
    }

    /// Asks every question once, and compares.
    async fn check(&mut self, clients: &Clients) -> anyhow::Result<()> {
        for question in Question::ALL {
            let (_, rows) = questions::ask(clients, question).await?;
            let theirs = match &mut self.peers {
                None => Vec::new(),
                Some(peers) => peers.ask(question).await?,
            };
            self.compare(question, &rows, &theirs)?;
            output::note(format!("{question}: {} rows, equal", rows.len()));
        }
        Ok(())
    }

    fn compare(
        &self,
        question: Question,
        rows: &Rows,
        theirs: &[PeerAnswer],
    ) -> anyhow::Result<()> {
        for peer in theirs {
            answers::compare(question, ("northstar", rows), (&peer.engine, &peer.rows))?;
        }
        match self.data.answers.as_ref().and_then(|all| answers::golden(all, question)) {
            None => Ok(()),
            Some(golden) => {
                answers::compare(question, ("northstar", rows), ("answers.json", &golden))
            }
        }
    }

    /// Asks in turns, so that what else the machine does falls on all alike.
    async fn side_by_side(
        &mut self,
        clients: &Clients,
        rounds: u32,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        for question in Question::ALL {
            output::note(question.to_string());
            let mut ours = Vec::new();
            let mut theirs: Vec<(String, Vec<f64>)> = Vec::new();
            // The first round warms up and compares.
            for round in 0..=rounds {
                let (took, rows) = questions::ask(clients, question).await?;
                let answers = match &mut self.peers {
                    None => Vec::new(),
                    Some(peers) => peers.ask(question).await?,
                };
                if round == 0 {
                    self.compare(question, &rows, &answers)?;
                    theirs =
                        answers.iter().map(|answer| (answer.engine.clone(), Vec::new())).collect();
                    continue;
                }
                ours.push(took.as_secs_f64() * 1e3);
                for ((_, times), answer) in theirs.iter_mut().zip(answers) {
                    times.push(answer.millis);
                }
            }
            let name = format!("{}/{}", question.name(), question.title());
            let mut best: Vec<(String, f64)> = Vec::new();
            for (engine, times) in theirs {
                let time = median(times);
                match best.iter_mut().find(|(known, _)| *known == engine) {
                    Some((_, best)) => *best = best.min(time),
                    None => best.push((engine, time)),
                }
            }
            for (engine, time) in &best {
                report.add(format!("{name}/{engine}"), *time, Unit::Millis);
            }
            let mine = median(ours);
            let mut measured = Measured::new(name, mine, Unit::Millis);
            if let Some(peer) = best.iter().map(|(_, time)| *time).reduce(f64::min) {
                measured =
                    measured.ratio(peer / mine).target(at_least(question.target()), peer / mine);
            }
            report.push(measured);
        }
        Ok(())
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_events_may_be_short() {
        assert_eq!(read_count("10m"), Ok(10_000_000));
        assert_eq!(read_count("500k"), Ok(500_000));
        assert_eq!(read_count("2_000_000"), Ok(2_000_000));
        assert!(read_count("ten").is_err() && read_count("5").is_err());
    }

    #[test]
    fn the_median_of_an_odd_number_is_its_middle() {
        assert_eq!(median(vec![9.0, 1.0, 5.0]), 5.0);
    }
}
