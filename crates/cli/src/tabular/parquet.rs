//! Parquet, every column as text.

use std::{collections::VecDeque, fmt, sync::Arc};

use arrow_array::{Array, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::ArrowError;
use northstar_archive::Batches;

use super::{
    OpenError, Row, RowError,
    delimited::file_name,
    source::{Meter, Source},
};

const BATCH_ROWS: usize = 1_024;

pub(super) struct Parquet {
    file: Arc<str>,
    batches: Batches,
    headers: Vec<String>,
    ready: VecDeque<Result<Row, RowError>>,
    rows_read: u64,
    rows_total: u64,
    meter: Arc<Meter>,
}

impl fmt::Debug for Parquet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Parquet").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Parquet {
    pub(super) fn open(source: Source) -> Result<Self, OpenError> {
        let path = source.path().to_owned();
        let meter = source.meter();
        let file = source.into_seekable()?;
        let failed = |source| OpenError::Parquet { path: path.clone(), source };
        let batches = Batches::open(file, BATCH_ROWS).map_err(failed)?;
        let headers = batches.schema().fields().iter().map(|field| field.name().clone()).collect();
        let rows_total = batches.rows();
        Ok(Self {
            file: file_name(&path),
            batches,
            headers,
            ready: VecDeque::new(),
            rows_read: 0,
            rows_total,
            meter,
        })
    }

    pub(super) fn headers(&self) -> &[String] {
        &self.headers
    }

    pub(super) fn next(&mut self) -> Option<Result<Row, RowError>> {
        while self.ready.is_empty() {
            let read = match self.batches.next()? {
                Ok(batch) => self.read(&batch),
                Err(error) => Err(error),
            };
            if let Err(error) = read {
                let reason = format!("the file cannot be read any further: {error}");
                return Some(Err(self.refuse(self.rows_read + 1, reason, true)));
            }
        }
        self.ready.pop_front()
    }

    fn read(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let options = FormatOptions::new().with_display_error(false);
        let columns: Vec<(ArrayFormatter<'_>, _)> = batch
            .columns()
            .iter()
            .map(|column| Ok((ArrayFormatter::try_new(column, &options)?, column.logical_nulls())))
            .collect::<Result<_, ArrowError>>()?;
        for index in 0..batch.num_rows() {
            self.rows_read += 1;
            let values = columns
                .iter()
                .map(|(formatter, nulls)| match nulls {
                    Some(nulls) if nulls.is_null(index) => Ok(None),
                    _ => formatter.value(index).try_to_string().map(Some),
                })
                .collect::<Result<Vec<_>, _>>();
            let row = match values {
                Ok(values) => Ok(Row { line: self.rows_read, values }),
                Err(error) => Err(self.refuse(
                    self.rows_read,
                    format!("a value cannot be written as text: {error}"),
                    false,
                )),
            };
            self.ready.push_back(row);
        }
        // By rows: the columns of a row lie far apart in the file, so the bytes read of it say little.
        let bytes_total = self.meter.get().bytes_total as f64;
        self.meter
            .set((bytes_total * self.rows_read as f64 / self.rows_total.max(1) as f64) as u64);
        Ok(())
    }

    fn refuse(&self, line: u64, reason: String, fatal: bool) -> RowError {
        RowError { file: Arc::clone(&self.file), line, reason, raw: String::new(), fatal }
    }
}
