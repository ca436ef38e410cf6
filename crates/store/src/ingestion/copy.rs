//! Rows in the binary format of COPY
//! (<https://www.postgresql.org/docs/15/sql-copy.html>, "Binary Format"): half
//! the work of text on both sides, and nothing to escape.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::Result;

const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
/// How much is handed to the socket at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// Begins a row of so many fields.
pub(super) fn begin_row(out: &mut Vec<u8>, fields: i16) {
    out.extend_from_slice(&fields.to_be_bytes());
}

fn field(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = i32::try_from(bytes.len()).expect("fields are bounded far below 2 GiB");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

pub(super) fn bigint(out: &mut Vec<u8>, value: i64) {
    field(out, &value.to_be_bytes());
}

pub(super) fn integer(out: &mut Vec<u8>, value: i32) {
    field(out, &value.to_be_bytes());
}

pub(super) fn bytes(out: &mut Vec<u8>, value: &[u8]) {
    field(out, value);
}

pub(super) fn uuid(out: &mut Vec<u8>, value: Uuid) {
    field(out, value.as_bytes());
}

/// Runs a `COPY .. FROM STDIN (FORMAT binary)` with rows that `write` appends
/// one by one until it returns `false`.
pub(super) async fn copy(
    connection: &mut PgConnection,
    statement: &'static str,
    mut write: impl FnMut(&mut Vec<u8>) -> bool,
) -> Result<u64> {
    let mut copy = connection.copy_in_raw(statement).await?;
    let mut buffer = Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 4);
    buffer.extend_from_slice(HEADER);
    let mut more = true;
    while more {
        while more && buffer.len() < CHUNK_BYTES {
            more = write(&mut buffer);
        }
        if !more {
            buffer.extend_from_slice(&TRAILER);
        }
        copy.send(buffer.as_slice()).await?;
        buffer.clear();
    }
    Ok(copy.finish().await?)
}
