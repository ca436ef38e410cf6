//! CSV and TSV, read strictly.
//!
//! Not by the `csv` crate, because it accepts any quoting: a quote that is never closed would swallow
//! the rest of the file into one field. Here that is one bad row, and the next line is read as usual.

use std::{io, path::Path, sync::Arc};

use super::{
    LONGEST_RECORD_BYTES, OpenError, Row, RowError,
    lines::{Line, Lines, without_end},
    sniff,
    source::Source,
};

/// How many lines the delimiter is judged by.
const SNIFFED_LINES: usize = 20;

#[derive(Debug)]
pub(super) struct Delimited {
    file: Arc<str>,
    lines: Lines,
    delimiter: u8,
    headers: Vec<String>,
}

/// One record, read or refused.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) line: u64,
    pub(super) fields: Result<Vec<String>, Refused>,
}

#[derive(Debug)]
pub(super) struct Refused {
    pub(super) reason: String,
    pub(super) raw: Vec<u8>,
}

impl Delimited {
    pub(super) fn open(source: Source, delimiter: Option<u8>) -> Result<Self, OpenError> {
        let path = source.path().to_owned();
        let mut lines = Lines::new(source.into_bytes());
        let failed = |source| OpenError::Read { path: path.clone(), source };
        let delimiter = match delimiter {
            Some(delimiter) => delimiter,
            None => {
                let mut head = Vec::new();
                while head.len() < SNIFFED_LINES
                    && let Some(line) = lines.next().map_err(failed)?
                {
                    head.push(line);
                }
                let delimiter = sniff::delimiter(&head);
                lines.put_back(head);
                delimiter
            }
        };
        let no_table =
            |line, reason: String| OpenError::NoTable { path: path.clone(), line, reason };
        let header = next_record(&mut lines, delimiter).map_err(failed)?.ok_or_else(|| {
            no_table(1, "the file is empty; a header line with column names is needed".to_owned())
        })?;
        let fields = header.fields.map_err(|refused| no_table(header.line, refused.reason))?;
        let headers = unique_names(fields).map_err(|reason| no_table(header.line, reason))?;
        Ok(Self { file: file_name(&path), lines, delimiter, headers })
    }

    pub(super) fn headers(&self) -> &[String] {
        &self.headers
    }

    pub(super) fn delimiter(&self) -> char {
        char::from(self.delimiter)
    }

    pub(super) fn next(&mut self) -> Option<Result<Row, RowError>> {
        let record = match next_record(&mut self.lines, self.delimiter) {
            Ok(record) => record?,
            Err(error) => {
                return Some(Err(unreadable(&self.file, self.lines.next_number(), &error)));
            }
        };
        let refuse = |reason, raw: String| RowError {
            file: Arc::clone(&self.file),
            line: record.line,
            reason,
            raw,
            fatal: false,
        };
        let fields = match record.fields {
            Ok(fields) => fields,
            Err(refused) => {
                let raw = String::from_utf8_lossy(without_end(&refused.raw)).into_owned();
                return Some(Err(refuse(refused.reason, raw)));
            }
        };
        if fields.len() != self.headers.len() {
            let reason =
                format!("{} fields where the header has {}", fields.len(), self.headers.len());
            return Some(Err(refuse(reason, fields.join(&self.delimiter().to_string()))));
        }
        let values = fields.into_iter().map(|field| (!field.is_empty()).then_some(field)).collect();
        Some(Ok(Row { line: record.line, values }))
    }
}

/// The name of a file as errors print it.
pub(super) fn file_name(path: &Path) -> Arc<str> {
    path.display().to_string().into()
}

/// The error that ends the reading.
pub(super) fn unreadable(file: &Arc<str>, line: u64, error: &io::Error) -> RowError {
    let reason = format!("the file cannot be read any further: {error}");
    RowError { file: Arc::clone(file), line, reason, raw: String::new(), fatal: true }
}

/// Header names: a column without a name is called by its place, a name given twice is refused.
fn unique_names(fields: Vec<String>) -> Result<Vec<String>, String> {
    let mut names: Vec<String> = Vec::with_capacity(fields.len());
    for (index, field) in fields.into_iter().enumerate() {
        let trimmed = field.trim();
        let name =
            if trimmed.is_empty() { format!("column_{}", index + 1) } else { trimmed.to_owned() };
        if let Some(earlier) = names.iter().position(|known| *known == name) {
            return Err(format!(
                "columns {} and {} are both called '{name}'; rename one of them",
                earlier + 1,
                index + 1
            ));
        }
        names.push(name);
    }
    Ok(names)
}

/// Reads the next record that is not a blank line; `None` at the end of the file.
pub(super) fn next_record(lines: &mut Lines, delimiter: u8) -> io::Result<Option<Record>> {
    loop {
        let Some(first) = lines.next()? else { return Ok(None) };
        if first.content().is_empty() {
            continue;
        }
        return read_record(first, lines, delimiter).map(Some);
    }
}

/// Reads the record that starts with `first`, taking more lines where a quoted field spans them.
/// A refused record gives back every line but its first, so the damage of a stray quote ends there.
fn read_record(first: Line, lines: &mut Lines, delimiter: u8) -> io::Result<Record> {
    let number = first.number;
    let mut splitter = Splitter::new(delimiter);
    let mut bytes = first.bytes.len();
    let mut more: Vec<Line> = Vec::new();
    let fields = loop {
        let line = more.last().unwrap_or(&first);
        if line.cut || bytes > LONGEST_RECORD_BYTES {
            break Err(format!("the record is longer than {LONGEST_RECORD_BYTES} bytes"));
        }
        match splitter.feed(&line.bytes) {
            Err(reason) => break Err(reason),
            Ok(State::Complete) => break splitter.into_fields(),
            Ok(State::InsideQuotes) => match lines.next()? {
                Some(line) => {
                    bytes += line.bytes.len();
                    more.push(line);
                }
                None => {
                    break Err(format!(
                        "the quote that opens field {} is never closed",
                        splitter.fields.len() + 1
                    ));
                }
            },
        }
    };
    let fields = fields.map_err(|reason| {
        let reason = if more.is_empty() {
            reason
        } else {
            format!("{reason}; a quote on this line opens a field that goes on over the next")
        };
        lines.put_back(more);
        Refused { reason, raw: first.bytes }
    });
    Ok(Record { line: number, fields })
}

/// Whether a record is over at the end of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Complete,
    InsideQuotes,
}

/// Splits a record into its fields, line by line.
///
/// RFC 4180: a field that starts with a quote ends with one, and a quote inside is written twice. Between tabs a
/// quote inside an unquoted field is itself, because many programs write TSV without any quoting.
#[derive(Debug)]
struct Splitter {
    delimiter: u8,
    fields: Vec<Vec<u8>>,
    /// What a quoted field holds so far, when the last line ended inside it.
    open: Option<Vec<u8>>,
}

impl Splitter {
    fn new(delimiter: u8) -> Self {
        Self { delimiter, fields: Vec::new(), open: None }
    }

    /// Takes the next line of the record, with its end.
    fn feed(&mut self, line: &[u8]) -> Result<State, String> {
        let mut rest = line;
        loop {
            let quoted = match (self.open.take(), rest.strip_prefix(b"\"")) {
                (Some(open), _) => Some(open),
                (None, Some(after)) => {
                    rest = after;
                    Some(Vec::new())
                }
                (None, None) => None,
            };
            rest = match quoted {
                Some(field) => match self.quoted(field, rest) {
                    Some(after) => after,
                    None => return Ok(State::InsideQuotes),
                },
                None => self.unquoted(rest)?,
            };
            match rest.split_first() {
                Some((byte, after)) if *byte == self.delimiter => rest = after,
                _ if without_end(rest).is_empty() => return Ok(State::Complete),
                _ => {
                    return Err(format!(
                        "text after the closing quote of field {}",
                        self.fields.len()
                    ));
                }
            }
        }
    }

    /// Reads on inside quotes; gives what follows the closing one, or `None` when the line ends first.
    fn quoted<'line>(&mut self, mut field: Vec<u8>, mut rest: &'line [u8]) -> Option<&'line [u8]> {
        loop {
            let Some(quote) = rest.iter().position(|byte| *byte == b'"') else {
                field.extend_from_slice(rest);
                self.open = Some(field);
                return None;
            };
            field.extend_from_slice(&rest[..quote]);
            rest = &rest[quote + 1..];
            match rest.strip_prefix(b"\"") {
                Some(after) => {
                    field.push(b'"');
                    rest = after;
                }
                None => {
                    self.fields.push(field);
                    return Some(rest);
                }
            }
        }
    }

    /// Reads a field without quotes; gives what follows it.
    fn unquoted<'line>(&mut self, rest: &'line [u8]) -> Result<&'line [u8], String> {
        let content = without_end(rest);
        let end = content.iter().position(|byte| *byte == self.delimiter).unwrap_or(content.len());
        let number = self.fields.len() + 1;
        let field = &content[..end];
        if self.delimiter != b'\t' && field.contains(&b'"') {
            return Err(format!("a quote inside field {number}, which does not start with one"));
        }
        if field.contains(&b'\r') {
            return Err(format!("a carriage return inside field {number}, which is not quoted"));
        }
        self.fields.push(field.to_vec());
        Ok(&rest[end..])
    }

    fn into_fields(self) -> Result<Vec<String>, String> {
        let text = |(index, field)| {
            String::from_utf8(field).map_err(|_| {
                format!(
                    "field {} is not UTF-8; convert the file, for example with iconv",
                    index + 1
                )
            })
        };
        self.fields.into_iter().enumerate().map(text).collect()
    }
}
