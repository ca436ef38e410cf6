//! Reading Parquet back.

use std::collections::VecDeque;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array as _, RecordBatch};
use chrono::{DateTime, Utc};
use parquet::file::reader::ChunkReader;

use crate::batches::Batches;
use crate::columns::SCHEMA;
use crate::{ArchivedEvent, Error};

const BATCH_EVENTS: usize = 1_024;

/// The events of a Parquet file, in order.
pub struct ParquetEvents {
    batches: Batches,
    ready: VecDeque<ArchivedEvent>,
}

impl ParquetEvents {
    /// Opens a file.
    ///
    /// # Errors
    /// When it is not Parquet, or its columns are not those of a stretch of a
    /// log.
    pub fn open<R: ChunkReader + 'static>(file: R) -> Result<Self, Error> {
        let batches = Batches::open(file, BATCH_EVENTS)?;
        let found = batches.schema();
        for wanted in SCHEMA.fields() {
            let fits = found
                .field_with_name(wanted.name())
                .is_ok_and(|field| field.data_type() == wanted.data_type());
            if !fits {
                return Err(Error::Shape(format!(
                    "the file is no exported stretch of a log: it has no column {:?} of type {}",
                    wanted.name(),
                    wanted.data_type()
                )));
            }
        }
        Ok(Self { batches, ready: VecDeque::new() })
    }

    /// Events in the file, as it says.
    pub fn events(&self) -> u64 {
        self.batches.rows()
    }
}

impl Iterator for ParquetEvents {
    type Item = Result<ArchivedEvent, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() {
            let read = match self.batches.next()? {
                Ok(batch) => rows(&batch),
                Err(error) => Err(error.into()),
            };
            match read {
                Ok(rows) => self.ready = rows,
                Err(error) => return Some(Err(error)),
            }
        }
        self.ready.pop_front().map(Ok)
    }
}

impl std::fmt::Debug for ParquetEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetEvents").field("events", &self.events()).finish_non_exhaustive()
    }
}

fn rows(batch: &RecordBatch) -> Result<VecDeque<ArchivedEvent>, Error> {
    let column = |name: &str| {
        batch
            .column_by_name(name)
            .ok_or_else(|| Error::Shape(format!("the column {name:?} is missing")))
    };
    let texts = |name: &str| -> Result<Vec<String>, Error> {
        let column = column(name)?.as_string::<i32>();
        Ok(column.iter().map(|text| text.unwrap_or_default().to_owned()).collect())
    };
    let integers = |name: &str| -> Result<Vec<i64>, Error> {
        let column = column(name)?.as_primitive::<Int64Type>();
        Ok(column.iter().map(Option::unwrap_or_default).collect())
    };
    let times = |name: &str| -> Result<Vec<Option<DateTime<Utc>>>, Error> {
        let column = column(name)?.as_primitive::<TimestampMicrosecondType>();
        (0..column.len())
            .map(|row| {
                if column.is_null(row) {
                    return Ok(None);
                }
                let micros = column.value(row);
                DateTime::from_timestamp_micros(micros).map(Some).ok_or_else(|| {
                    Error::Shape(format!("{name}: {micros} microseconds are no time"))
                })
            })
            .collect()
    };
    let required = |name: &str| -> Result<Vec<DateTime<Utc>>, Error> {
        let missing = || Error::Shape(format!("{name} is missing in a row"));
        times(name)?.into_iter().map(|time| time.ok_or_else(missing)).collect()
    };
    let consents = texts("consent")?
        .into_iter()
        .map(|text| match text.as_str() {
            "" => Ok(None),
            text => serde_json::from_str(text)
                .map(Some)
                .map_err(|error| Error::Shape(format!("consent: {error}"))),
        })
        .collect::<Result<Vec<_>, Error>>()?;
    let positions = integers("position")?;
    let (mut sources, mut message_ids, mut names) =
        (texts("source")?, texts("message_id")?, texts("name")?);
    let (mut user_ids, mut anonymous_ids, mut account_ids) =
        (texts("user_id")?, texts("anonymous_id")?, texts("account_id")?);
    let (occurred, sent) = (required("occurred_time")?, times("sent_time")?);
    let (received, effective) = (required("received_time")?, required("effective_time")?);
    let (mut corrections, sequences) = (texts("correction")?, integers("sequence")?);
    let (mut regions, mut properties) = (texts("region")?, texts("properties")?);
    Ok(consents
        .into_iter()
        .enumerate()
        .map(|(row, consent)| ArchivedEvent {
            position: positions[row],
            source: std::mem::take(&mut sources[row]),
            message_id: std::mem::take(&mut message_ids[row]),
            name: std::mem::take(&mut names[row]),
            user_id: std::mem::take(&mut user_ids[row]),
            anonymous_id: std::mem::take(&mut anonymous_ids[row]),
            account_id: std::mem::take(&mut account_ids[row]),
            occurred_at: occurred[row],
            sent_at: sent[row],
            received_at: received[row],
            effective_at: effective[row],
            correction: std::mem::take(&mut corrections[row]),
            sequence: sequences[row],
            region: std::mem::take(&mut regions[row]),
            consent,
            properties: std::mem::take(&mut properties[row]),
        })
        .collect())
}
