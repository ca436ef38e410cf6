//! The events that are asked about: what the data set's generator wrote, or
//! events of the bench's own where it is not there.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use northstar_client::columns::{ColumnsBuilder, Property, Row};
use northstar_proto::ingestion::v1 as pb;
use serde::Deserialize;
use serde_json::Value;
use tokio::process::Command;

use super::super::events::{Generator, Sample};
use super::python::Python;
use crate::output;

/// Events for which the data set has answers.
pub(super) const GOLDEN_EVENTS: u64 = 10_000_000;
/// 2026-03-02, a Monday: the first day of all events.
pub(super) const START_SECONDS: i64 = 1_772_409_600;
/// How many days there are.
pub(super) const DAYS: i64 = 90;
/// Events of an actor, on average.
const EVENTS_OF_ACTOR: u64 = 50;

/// What is asked about.
pub(super) struct Data {
    pub(super) events: Events,
    /// The same in the order of time and by actor, for others to read.
    pub(super) files: Option<Files>,
    /// What every engine answers, by the name of the question.
    pub(super) answers: Option<Value>,
}

/// Parquet files.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) by_time: PathBuf,
    pub(super) by_actor: PathBuf,
}

/// Events by number.
pub(super) enum Events {
    /// From the generator of the data set.
    Read(Box<Columns>),
    /// Of the bench's own.
    Made { generator: Generator, count: u64 },
}

/// The columns as the generator writes them.
pub(super) struct Columns {
    /// Milliseconds since the first day.
    millis: Vec<u8>,
    actors: Vec<u8>,
    names: Vec<u8>,
    plans: Vec<u8>,
    countries: Vec<u8>,
    channels: Vec<u8>,
    devices: Vec<u8>,
    amounts: Vec<u8>,
    ids: Vec<u8>,
    meta: Meta,
}

/// What the codes of the columns stand for.
#[derive(Debug, Deserialize)]
struct Meta {
    rows: usize,
    t0_ms: i64,
    events: Vec<String>,
    plan: Vec<String>,
    country: Vec<String>,
    channel: Vec<String>,
    device: Vec<String>,
}

impl Data {
    /// Events of the bench's own.
    pub(super) fn made(count: u64, seed: u64) -> Self {
        let events = Events::Made { generator: Generator::new(seed), count };
        Self { events, files: None, answers: None }
    }

    /// Finds the events, or has them generated once and kept in the cache.
    pub(super) async fn prepare(
        folder: Option<&Path>,
        cache: &Path,
        python: Option<&Python>,
        count: u64,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let Some(folder) = folder else {
            output::note(
                "no data set (--data, NORTHSTAR_BENCH_DATA or ../shared/bench): events of the bench's own, no peers, and \
                 no answers to compare with",
            );
            return Ok(Self::made(count, seed));
        };
        let generated = cache.join(format!("events-{count}-{seed}"));
        if !generated.join("columns/meta.json").is_file() {
            let Some(python) = python else {
                output::note(
                    "no Python that can run gen.py: events of the bench's own, and no answers to compare with",
                );
                return Ok(Self::made(count, seed));
            };
            generate(python, &folder.join("gen.py"), &generated, count, seed).await?;
        }
        let answers = folder.join("answers.json");
        let golden = count == GOLDEN_EVENTS && seed == super::SEED && answers.is_file();
        let answers = golden
            .then(|| -> anyhow::Result<Value> {
                let text = std::fs::read_to_string(&answers)
                    .with_context(|| answers.display().to_string())?;
                serde_json::from_str(&text).with_context(|| answers.display().to_string())
            })
            .transpose()?;
        Ok(Self {
            events: Events::Read(Box::new(Columns::read(&generated.join("columns"))?)),
            files: Some(Files {
                by_time: generated.join("events_10m.parquet"),
                by_actor: generated.join("events_10m_actor.parquet"),
            }),
            answers,
        })
    }
}

/// Runs the generator into a folder that appears only when it is complete.
async fn generate(
    python: &Python,
    program: &Path,
    folder: &Path,
    count: u64,
    seed: u64,
) -> anyhow::Result<()> {
    ensure!(program.is_file(), "there is no generator {}", program.display());
    output::note(format!("generating {} events once, into {}", count, folder.display()));
    let unfinished = folder.with_extension("unfinished");
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished)?;
    }
    let actors = (count / EVENTS_OF_ACTOR).max(100);
    let mut command = Command::new(python.program());
    command.arg(program).arg(&unfinished).args(["--rows", &count.to_string()]).args([
        "--actors",
        &actors.to_string(),
        "--seed",
        &seed.to_string(),
    ]);
    python.run(command).await.context("generating the events")?;
    std::fs::rename(&unfinished, folder)?;
    Ok(())
}

impl Columns {
    fn read(folder: &Path) -> anyhow::Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read(&path).with_context(|| path.display().to_string())
        };
        let columns = Self {
            millis: read("ts.bin")?,
            actors: read("actor.bin")?,
            names: read("event.bin")?,
            plans: read("plan.bin")?,
            countries: read("country.bin")?,
            channels: read("channel.bin")?,
            devices: read("device.bin")?,
            amounts: read("amount.bin")?,
            ids: read("ids.bin")?,
            meta: serde_json::from_slice(&read("meta.json")?)?,
        };
        let rows = columns.meta.rows;
        let whole = columns.millis.len() == rows * 8
            && columns.actors.len() == rows * 4
            && columns.amounts.len() == rows * 4
            && columns.ids.len() == rows * 16
            && [
                &columns.names,
                &columns.plans,
                &columns.countries,
                &columns.channels,
                &columns.devices,
            ]
            .iter()
            .all(|column| column.len() == rows);
        ensure!(whole, "the columns in {} are not of {rows} events", folder.display());
        Ok(columns)
    }

    fn push(&self, at: usize, into: &mut ColumnsBuilder) -> anyhow::Result<()> {
        let text = |of: &[String], code: &[u8]| -> anyhow::Result<String> {
            let code = usize::from(code[at]);
            of.get(code).cloned().with_context(|| format!("event {at} has an unknown code {code}"))
        };
        let micros = (self.meta.t0_ms + i64::from_le_bytes(self.millis.as_chunks().0[at])) * 1_000;
        let actor = u32::from_le_bytes(self.actors.as_chunks().0[at]);
        let amount = i32::from_le_bytes(self.amounts.as_chunks().0[at]);
        let id = uuid::Uuid::from_bytes(self.ids.as_chunks().0[at]);
        let meta = &self.meta;
        let name = text(&meta.events, &self.names)?;
        let texts = [
            ("channel", text(&meta.channel, &self.channels)?),
            ("country", text(&meta.country, &self.countries)?),
            ("device", text(&meta.device, &self.devices)?),
            ("plan", text(&meta.plan, &self.plans)?),
        ];
        let variant = variant(actor);
        let properties = texts
            .iter()
            .map(|(key, text)| (*key, Property::Text(text)))
            .chain((name == "purchase").then_some(("amount", Property::Int(amount.into()))))
            .chain((name == "exp_exposure").then_some(("variant", Property::Text(variant))));
        into.push(
            Row {
                message_id: &id.to_string(),
                name: &name,
                user_id: &user(actor),
                occurred_micros: Some(micros),
                ..Row::default()
            },
            properties,
        );
        Ok(())
    }
}

/// Id of the user that an actor is.
fn user(actor: u32) -> String {
    format!("u{actor}")
}

/// The arm that an actor is in.
fn variant(actor: u32) -> &'static str {
    if actor.is_multiple_of(2) { "0" } else { "1" }
}

impl Events {
    pub(super) fn count(&self) -> u64 {
        match self {
            Self::Read(columns) => columns.meta.rows as u64,
            Self::Made { count, .. } => *count,
        }
    }

    /// The events of these numbers.
    pub(super) fn batch(&self, numbers: std::ops::Range<u64>) -> anyhow::Result<pb::EventColumns> {
        let mut columns = ColumnsBuilder::default();
        for number in numbers {
            match self {
                Self::Read(read) => read.push(usize::try_from(number)?, &mut columns)?,
                Self::Made { generator, .. } => {
                    push_made(&generator.distinct(number), &mut columns);
                }
            }
        }
        Ok(columns.finish())
    }
}

/// An event of the bench's own, of one of the users that the others are of.
pub(super) fn push_made(sample: &Sample, into: &mut ColumnsBuilder) {
    let actor: u32 = sample.user_id.trim_start_matches("user-").parse().unwrap_or_default();
    let arm = (sample.name == "exp_exposure").then(|| ("variant", Property::Text(variant(actor))));
    into.push(
        Row { user_id: &user(actor), anonymous_id: "", ..sample.row() },
        sample.properties().chain(arm),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_the_benchs_own_has_the_columns_of_the_data_set() {
        let events = Events::Made { generator: Generator::new(1), count: 500 };
        let batch = events.batch(0..500).unwrap();
        let keys: Vec<&str> = batch.properties.iter().map(|column| column.key.as_str()).collect();
        for key in ["amount", "channel", "country", "device", "plan", "variant"] {
            assert!(keys.contains(&key), "{key} is not in {keys:?}");
        }
        assert_eq!(events.count(), 500);
    }
}
