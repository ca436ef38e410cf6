//! What can go wrong in the engine, by what a caller can do about it.

use std::{io, path::PathBuf};

use crate::filter::FilterError;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything the engine can refuse.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of the data set could not be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, for example `open`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A segment file is not what it claims to be; rebuild it from the log.
    #[error("segment {} is unusable: {fault}; drop it from the manifest and rebuild it from the log", path.display())]
    Segment {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: SegmentFault,
    },
    /// A filter could not be compiled.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The question contradicts itself.
    #[error("invalid query: {field}: {problem}")]
    InvalidQuery {
        /// The field at fault, as a path in the query.
        field: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The question was taken back before it was answered, see [`Cancel`](crate::Cancel).
    #[error("the question was taken back before it was answered")]
    Cancelled,
    /// The rows of the answer alone would take more memory than a question may use.
    #[error(
        "the answer needs more than the {bytes} bytes that a question may use; ask for fewer dimensions, a coarser grain or a shorter range"
    )]
    AnswerTooLarge {
        /// The bytes that it may use.
        bytes: u64,
    },
    /// More data than one segment can number.
    #[error("{what} exceeds the {limit} that one segment can hold; split the append")]
    TooLarge {
        /// What overflowed.
        what: &'static str,
        /// The largest possible count.
        limit: u64,
    },
    /// The manifest names segments that do not fit together.
    #[error("manifest is inconsistent: {0}")]
    Manifest(String),
    /// Properties of an event are not a JSON object.
    #[error("properties of the event at position {position} are not a JSON object")]
    PropertiesNotAnObject {
        /// Position of the event in the log.
        position: i64,
    },
}

/// Why a segment file was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentFault {
    /// Shorter than its parts.
    #[error("truncated: {needed} bytes needed, {found} found")]
    Truncated {
        /// Bytes that the part needs.
        needed: u64,
        /// Bytes there are.
        found: u64,
    },
    /// Not a segment file.
    #[error("does not start and end with the segment mark")]
    BadMagic,
    /// Written by a different version of the format.
    #[error("format version {found} is not the supported version {supported}")]
    BadVersion {
        /// Version in the file.
        found: u32,
        /// Version this build reads.
        supported: u32,
    },
    /// Bytes changed since they were written.
    #[error("checksum of {section} does not match")]
    BadChecksum {
        /// The part whose checksum differs.
        section: String,
    },
    /// The description of the columns cannot be read.
    #[error("column directory is unreadable: {0}")]
    BadDirectory(String),
    /// A column holds values that point outside its dictionary, its rows or its order.
    #[error("{section} is inconsistent: {problem}")]
    Inconsistent {
        /// The part.
        section: String,
        /// What does not fit.
        problem: String,
    },
}
