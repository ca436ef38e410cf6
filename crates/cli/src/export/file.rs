//! One file of an export.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use northstar_archive::{ArchivedEvent, ParquetWriter, to_line};
use northstar_proto::ingestion::v1 as pb;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::manifest::{File, Place};
use crate::archived::from_logged;

/// What the files are.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Parquet, compressed with zstd.
    Parquet,
    /// JSON Lines.
    Jsonl,
}

impl Format {
    /// The end of the files' names.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Parquet => ".parquet",
            Self::Jsonl => ".jsonl",
        }
    }
}

/// A file that is being written.
pub struct Writing {
    sink: Sink,
    draft: PathBuf,
    format: Format,
    first_position: i64,
    events: u64,
}

enum Sink {
    Parquet(Box<ParquetWriter<Digested>>),
    Lines(Box<Digested>),
}

/// A file whose content is digested on its way.
struct Digested {
    file: BufWriter<fs::File>,
    digest: Sha256,
    bytes: u64,
}

impl Write for Digested {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Writing {
    /// Begins the file whose first position is this.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin(place: &Place, format: Format, first_position: i64) -> anyhow::Result<Self> {
        let name = format!("events-{first_position:012}{}", format.extension());
        let draft = place.draft(&name);
        let file = fs::File::create(&draft).with_context(|| format!("{}", draft.display()))?;
        let digested = Digested { file: BufWriter::new(file), digest: Sha256::new(), bytes: 0 };
        let sink = match format {
            Format::Parquet => Sink::Parquet(Box::new(ParquetWriter::new(digested)?)),
            Format::Jsonl => Sink::Lines(Box::new(digested)),
        };
        Ok(Self { sink, draft, format, first_position, events: 0 })
    }

    /// Adds events.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&mut self, events: &[pb::LoggedEvent]) -> anyhow::Result<()> {
        let events =
            events.iter().map(from_logged).collect::<anyhow::Result<Vec<ArchivedEvent>>>()?;
        match &mut self.sink {
            Sink::Parquet(writer) => writer.write(&events)?,
            Sink::Lines(file) => {
                for event in &events {
                    writeln!(file, "{}", to_line(event)?)?;
                }
            }
        }
        self.events += events.len() as u64;
        Ok(())
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Bytes so far, about.
    pub fn bytes(&self) -> u64 {
        match &self.sink {
            Sink::Parquet(writer) => writer.bytes() as u64,
            Sink::Lines(file) => file.bytes,
        }
    }

    /// Brings the file to disk, gives it its name, and tells what it is.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn finish(self, place: &Place, last_position: i64) -> anyhow::Result<File> {
        let mut digested = match self.sink {
            Sink::Parquet(writer) => writer.finish()?,
            Sink::Lines(file) => *file,
        };
        digested.flush()?;
        digested.file.get_ref().sync_all()?;
        let name = format!(
            "events-{:012}-{last_position:012}{}",
            self.first_position,
            self.format.extension()
        );
        place.publish(&self.draft, &name).await?;
        Ok(File {
            name,
            first_position: self.first_position,
            last_position,
            events: self.events,
            bytes: digested.bytes,
            sha256: hex::encode(digested.digest.finalize()),
        })
    }
}
