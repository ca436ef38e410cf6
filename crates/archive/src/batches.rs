//! Reading Parquet that nobody vouches for.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, SchemaRef};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use parquet::file::reader::ChunkReader;

/// The batches of a Parquet file that may be damaged.
///
/// The reader below panics at some damages. Here each is an error, after which there are no more batches.
pub struct Batches {
    /// `None` after an error.
    reader: Option<ParquetRecordBatchReader>,
    schema: SchemaRef,
    rows: u64,
}

impl Batches {
    /// Opens a file, to be read by so many rows.
    ///
    /// # Errors
    /// When it is not Parquet, or damaged where it says what it holds.
    pub fn open<R: ChunkReader + 'static>(
        file: R,
        batch_rows: usize,
    ) -> Result<Self, ParquetError> {
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
            let schema = builder.schema().clone();
            let rows = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
            let reader = Some(builder.with_batch_size(batch_rows).build()?);
            Ok(Self { reader, schema, rows })
        }));
        opened.unwrap_or_else(|_| Err(ParquetError::General("the file is damaged".to_owned())))
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows in the file, as it says.
    pub fn rows(&self) -> u64 {
        self.rows
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut reader = self.reader.take()?;
        let read = catch_unwind(AssertUnwindSafe(move || {
            let batch = reader.next();
            (reader, batch)
        }));
        match read {
            Ok((reader, Some(Ok(batch)))) => {
                self.reader = Some(reader);
                Some(Ok(batch))
            }
            Ok((_, ended)) => ended,
            Err(_) => Some(Err(ArrowError::ParquetError("the file is damaged".to_owned()))),
        }
    }
}

impl std::fmt::Debug for Batches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batches").field("rows", &self.rows).finish_non_exhaustive()
    }
}
