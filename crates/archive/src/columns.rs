//! The columns of a file, and events as columns.

use std::sync::{Arc, LazyLock};

use arrow_array::builder::{Int64Builder, StringBuilder, TimestampMicrosecondBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::{ArchivedEvent, Error};

fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The schema of every file.
pub(crate) static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = |name, optional| Field::new(name, DataType::Utf8, optional);
    Arc::new(Schema::new(vec![
        Field::new("position", DataType::Int64, false),
        text("source", false),
        text("message_id", false),
        text("name", false),
        text("user_id", true),
        text("anonymous_id", true),
        text("account_id", true),
        Field::new("occurred_time", time(), false),
        Field::new("sent_time", time(), true),
        Field::new("received_time", time(), false),
        Field::new("effective_time", time(), false),
        text("correction", false),
        Field::new("sequence", DataType::Int64, false),
        text("region", true),
        text("consent", true),
        text("properties", false),
    ]))
});

/// Events as columns.
pub(crate) fn batch(events: &[ArchivedEvent]) -> Result<RecordBatch, Error> {
    let integers = |value: fn(&ArchivedEvent) -> i64| -> ArrayRef {
        let mut column = Int64Builder::with_capacity(events.len());
        events.iter().for_each(|event| column.append_value(value(event)));
        Arc::new(column.finish())
    };
    let texts = |value: fn(&ArchivedEvent) -> &str| -> ArrayRef {
        let mut column = StringBuilder::new();
        events.iter().for_each(|event| column.append_value(value(event)));
        Arc::new(column.finish())
    };
    let optional = |value: fn(&ArchivedEvent) -> &str| -> ArrayRef {
        let mut column = StringBuilder::new();
        for event in events {
            column.append_option(Some(value(event)).filter(|text| !text.is_empty()));
        }
        Arc::new(column.finish())
    };
    let times = |value: fn(&ArchivedEvent) -> Option<i64>| -> ArrayRef {
        let mut column = TimestampMicrosecondBuilder::with_capacity(events.len());
        events.iter().for_each(|event| column.append_option(value(event)));
        Arc::new(column.finish().with_timezone("UTC"))
    };
    let mut consents = StringBuilder::new();
    for event in events {
        let consent = event.consent.as_ref().map(serde_json::to_string).transpose();
        consents.append_option(consent.map_err(|error| Error::Shape(error.to_string()))?);
    }
    let columns = vec![
        integers(|event| event.position),
        texts(|event| &event.source),
        texts(|event| &event.message_id),
        texts(|event| &event.name),
        optional(|event| &event.user_id),
        optional(|event| &event.anonymous_id),
        optional(|event| &event.account_id),
        times(|event| Some(event.occurred_at.timestamp_micros())),
        times(|event| event.sent_at.map(|time| time.timestamp_micros())),
        times(|event| Some(event.received_at.timestamp_micros())),
        times(|event| Some(event.effective_at.timestamp_micros())),
        texts(|event| &event.correction),
        integers(|event| event.sequence),
        optional(|event| &event.region),
        Arc::new(consents.finish()),
        texts(|event| &event.properties),
    ];
    Ok(RecordBatch::try_new(Arc::clone(&SCHEMA), columns)?)
}
