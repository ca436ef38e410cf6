//! Tables from files: CSV, TSV, JSON Lines and Parquet, plain or compressed, as rows of optional text.
//!
//! One row at a time, so a file of any size takes the memory of a row (a batch of rows for Parquet).
//! A row that cannot be read is an item like any other, with its line, the reason and its raw text;
//! the rows after it are still read. Nothing is guessed into place or dropped.
//!
//! ```ignore
//! let mut reader = tabular::open(path, tabular::Options::default())?;
//! let email = reader.column("email");
//! for row in &mut reader {
//!     match row {
//!         Ok(row) => println!("{}: {:?}", row.line, email.and_then(|index| row.get(index))),
//!         Err(bad) if bad.fatal => return Err(bad.into()),
//!         Err(bad) => eprintln!("{bad}"),
//!     }
//! }
//! ```

mod delimited;
mod json_lines;
mod lines;
mod parquet;
mod sniff;
mod source;

#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use self::{
    delimited::Delimited,
    json_lines::JsonLines,
    parquet::Parquet,
    source::{Meter, Source},
};

/// The longest record, in bytes. Longer ones are bad rows: they are a missing line end or a binary
/// file far more often than data.
pub const LONGEST_RECORD_BYTES: usize = 1 << 20;

/// How the rows are written in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Fields between delimiters, quoted as in RFC 4180; TSV is this with a tab.
    #[value(alias = "tsv")]
    Csv,
    /// One JSON object a line.
    #[value(name = "jsonl", alias = "ndjson")]
    JsonLines,
    /// Apache Parquet.
    Parquet,
}

/// How far the reading has come, in bytes of the file as it lies on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes read so far.
    pub bytes_read: u64,
    /// Size of the file.
    pub bytes_total: u64,
}

/// Called after each read of the file, at most once per buffer of 128 KiB.
pub type ProgressCallback = Box<dyn FnMut(Progress) + Send>;

/// What to know about a file beforehand. The default finds out by itself.
#[derive(Default)]
pub struct Options {
    /// The format; by default from the file name and the first bytes.
    pub format: Option<Format>,
    /// The delimiter of CSV; by default comma, semicolon or tab, whichever splits the first lines evenly.
    pub delimiter: Option<u8>,
    /// Where to report progress.
    pub on_progress: Option<ProgressCallback>,
}

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Options")
            .field("format", &self.format)
            .field("delimiter", &self.delimiter.map(char::from))
            .finish_non_exhaustive()
    }
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Line of the file, from 1, where the row starts; for Parquet the number of the row, from 1.
    pub line: u64,
    /// A value for each of the headers known so far. An empty CSV field and a JSON or Parquet null are `None`.
    pub values: Vec<Option<String>>,
}

impl Row {
    /// The value of a column, `None` if it is absent.
    pub fn get(&self, column: usize) -> Option<&str> {
        self.values.get(column).and_then(Option::as_deref)
    }
}

/// A row that could not be read. Prints as `file:line: reason`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {reason}")]
pub struct RowError {
    /// The file as it was named to [`open`].
    pub file: Arc<str>,
    /// Line of the file where the row starts, from 1; for Parquet the number of the row.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
    /// The row as it stands in the file, bytes that are not UTF-8 replaced; empty where the format has no text.
    pub raw: String,
    /// The file cannot be read any further: this is the last item. Otherwise reading goes on with the next row.
    pub fatal: bool,
}

/// Why a file cannot be read as a table at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file could not be opened or its beginning not be read.
    #[error("{}: cannot be read", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system or the decompressor said.
        #[source]
        source: io::Error,
    },
    /// The file holds no table.
    #[error("{}:{line}: {reason}", .path.display())]
    NoTable {
        /// The file.
        path: PathBuf,
        /// The offending line, from 1.
        line: u64,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The file is no valid Parquet.
    #[error("{}: is not a Parquet file this program can read", .path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What the Parquet reader said.
        #[source]
        source: ::parquet::errors::ParquetError,
    },
}

/// An open table: an iterator over its rows.
///
/// Ends after the last row, or after an error with [`RowError::fatal`].
#[derive(Debug)]
pub struct Reader {
    rows: Rows,
    headers: Vec<String>,
    meter: Arc<Meter>,
    ended: bool,
}

#[derive(Debug)]
enum Rows {
    Delimited(Delimited),
    JsonLines(JsonLines),
    Parquet(Parquet),
}

/// Opens a table. Compression (gzip, zstd) is recognised by its first bytes, whatever the name says.
///
/// # Errors
/// [`OpenError`] if the file cannot be read or has no header. Bad rows come later, one by one.
pub fn open(path: &Path, options: Options) -> Result<Reader, OpenError> {
    let mut source = Source::open(path, options.on_progress)?;
    let format = match options.format {
        Some(format) => format,
        None => sniff::format(path, source.peek()?),
    };
    let meter = source.meter();
    let (rows, headers) = match format {
        Format::Csv => {
            let delimited = Delimited::open(source, options.delimiter)?;
            let headers = delimited.headers().to_vec();
            (Rows::Delimited(delimited), headers)
        }
        Format::JsonLines => {
            let json_lines = JsonLines::open(source)?;
            let headers = json_lines.headers().to_vec();
            (Rows::JsonLines(json_lines), headers)
        }
        Format::Parquet => {
            let parquet = Parquet::open(source)?;
            let headers = parquet.headers().to_vec();
            (Rows::Parquet(parquet), headers)
        }
    };
    Ok(Reader { rows, headers, meter, ended: false })
}

impl Reader {
    /// The names of the columns, each once, in the order of the file.
    ///
    /// JSON Lines has no header: there these are the keys of the first thousand objects, and a key
    /// that appears later is added when its row is read. A nested object counts as columns `outer.inner`.
    pub fn headers(&self) -> &[String] {
        &self.headers
    }

    /// The position of a column in [`Row::values`].
    pub fn column(&self, name: &str) -> Option<usize> {
        self.headers.iter().position(|header| header == name)
    }

    /// The delimiter of CSV, given or found; `None` for the other formats.
    pub fn delimiter(&self) -> Option<char> {
        match &self.rows {
            Rows::Delimited(delimited) => Some(delimited.delimiter()),
            Rows::JsonLines(_) | Rows::Parquet(_) => None,
        }
    }

    /// How much of the file has been read. A little ahead of the rows, by what is buffered.
    pub fn progress(&self) -> Progress {
        self.meter.get()
    }
}

impl Iterator for Reader {
    type Item = Result<Row, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = match &mut self.rows {
            Rows::Delimited(delimited) => delimited.next(),
            Rows::Parquet(parquet) => parquet.next(),
            Rows::JsonLines(json_lines) => {
                let item = json_lines.next();
                self.headers.extend_from_slice(&json_lines.headers()[self.headers.len()..]);
                item
            }
        };
        self.ended = match &item {
            None => true,
            Some(Ok(_)) => false,
            Some(Err(error)) => error.fatal,
        };
        item
    }
}
