//! Writing Parquet.

use std::io::Write;
use std::sync::Arc;

use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::columns::{SCHEMA, batch};
use crate::{ArchivedEvent, Error};

/// Events in a row group: what is held in memory while it is written, and the
/// least that is read.
const GROUP_EVENTS: usize = 50_000;

/// Writes events to one Parquet file, compressed with zstd.
pub struct ParquetWriter<W: Write + Send> {
    writer: ArrowWriter<W>,
}

impl<W: Write + Send> ParquetWriter<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// When the target cannot be written to.
    pub fn new(target: W) -> Result<Self, Error> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(GROUP_EVENTS))
            .build();
        let writer = ArrowWriter::try_new(target, Arc::clone(&SCHEMA), Some(properties))?;
        Ok(Self { writer })
    }

    /// Adds events, in ascending order of their positions.
    ///
    /// # Errors
    /// When the target cannot be written to.
    pub fn write(&mut self, events: &[ArchivedEvent]) -> Result<(), Error> {
        if events.is_empty() {
            return Ok(());
        }
        Ok(self.writer.write(&batch(events)?)?)
    }

    /// Bytes written, and those that wait in memory.
    pub fn bytes(&self) -> usize {
        self.writer.bytes_written() + self.writer.in_progress_size()
    }

    /// Ends the file and gives the target back.
    ///
    /// # Errors
    /// When the target cannot be written to.
    pub fn finish(self) -> Result<W, Error> {
        Ok(self.writer.into_inner()?)
    }
}

impl<W: Write + Send> std::fmt::Debug for ParquetWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetWriter").finish_non_exhaustive()
    }
}
