//! What a file is, by its name and its first bytes.

use std::path::Path;

use super::{
    Format,
    delimited::next_record,
    lines::{Line, Lines},
};

const PARQUET: &[u8] = b"PAR1";
const COMPRESSED: [&str; 4] = ["gz", "gzip", "zst", "zstd"];

/// The format of a file whose first (decompressed) bytes are `head`.
pub(super) fn format(path: &Path, head: &[u8]) -> Format {
    if head.starts_with(PARQUET) {
        return Format::Parquet;
    }
    let mut name = path
        .file_name()
        .map(|name| name.to_string_lossy().to_ascii_lowercase())
        .unwrap_or_default();
    for suffix in COMPRESSED {
        if let Some(inner) = name.strip_suffix(suffix).and_then(|name| name.strip_suffix('.')) {
            name = inner.to_owned();
            break;
        }
    }
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("jsonl" | "ndjson" | "json") => Format::JsonLines,
        Some("parquet") => Format::Parquet,
        Some("csv" | "tsv" | "tab") => Format::Csv,
        _ if head.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') => {
            Format::JsonLines
        }
        _ => Format::Csv,
    }
}

/// The delimiter under which the first lines have the same number of fields as the header, and most of them.
///
/// Where none splits the lines evenly, the one most frequent in the header; a comma if there is none at all.
pub(super) fn delimiter(head: &[Line]) -> u8 {
    let mut best = (false, 0, b',');
    for candidate in [b',', b';', b'\t'] {
        let mut text = Vec::new();
        head.iter().for_each(|line| text.extend_from_slice(&line.bytes));
        let mut lines = Lines::new(Box::new(std::io::Cursor::new(text)));
        let mut widths = Vec::new();
        while let Ok(Some(record)) = next_record(&mut lines, candidate) {
            widths.push(record.fields.map_or(0, |fields| fields.len()));
        }
        // The last record may be cut off by the end of the sample.
        if widths.len() > 2 {
            widths.pop();
        }
        let header = widths.first().copied().unwrap_or(0);
        let even = header > 1 && widths.iter().all(|width| *width == header);
        if (even, header) > (best.0, best.1) {
            best = (even, header, candidate);
        }
    }
    if best.1 > 1 { best.2 } else { b',' }
}
