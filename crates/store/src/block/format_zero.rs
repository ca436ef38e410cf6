//! Format 0: rows as JSON, as the migration from one row an event wrote them.

use serde::Deserialize;

use super::{BlockWriter, MAX_EVENTS, NotABlock, Row};

#[derive(Deserialize)]
struct Old(
    i32,
    String,
    String,
    String,
    String,
    String,
    String,
    String,
    i64,
    Option<i64>,
    i64,
    i64,
    i64,
    u8,
    String,
);

/// The same events in the format that is written today.
pub(super) fn rewrite(json: &[u8]) -> Result<Vec<u8>, NotABlock> {
    let rows: Vec<Old> = serde_json::from_slice(json)
        .map_err(|_| NotABlock("its rows are not the expected JSON"))?;
    if rows.len() > MAX_EVENTS {
        return Err(NotABlock("more rows than a block holds"));
    }
    let mut writer = BlockWriter::default();
    for old in &rows {
        writer.push(&Row {
            source: old.0,
            message_id: &old.1,
            name: &old.2,
            user_id: &old.3,
            anonymous_id: &old.4,
            account_id: &old.5,
            region: &old.6,
            consent: &old.7,
            occurred_micros: old.8,
            sent_micros: old.9,
            received_micros: old.10,
            effective_micros: old.11,
            sequence: old.12,
            correction: old.13,
            properties: &old.14,
        });
    }
    Ok(writer.finish())
}
