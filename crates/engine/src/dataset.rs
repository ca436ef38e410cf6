//! The events of one project: segments on disk, a fresh tail in memory, and the identity map.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{error::Result, event::EventRecord, snapshot::Snapshot};

/// What the manifest must hold about one segment file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentInfo {
    /// File name inside the folder of the data set.
    pub file: String,
    /// Size of the file.
    pub bytes: u64,
    /// Events in it.
    pub events: u64,
    /// Lowest log position in it.
    pub first_position: i64,
    /// Highest log position that it covers; events at or below it need not be appended again.
    pub last_position: i64,
    /// Earliest effective time in it.
    pub min_effective_micros: i64,
    /// Latest effective time in it.
    pub max_effective_micros: i64,
    /// xxh3-64 of the whole file.
    pub checksum: u64,
}

/// What an append did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Appended {
    /// Events taken in.
    pub accepted: u64,
    /// Events at or below the watermark, already known and left out.
    pub ignored: u64,
}

/// What a compaction changed. Write the manifest first, then call [`Dataset::remove_files`] on `removed`: a crash in
/// between leaves a stray file, never a missing one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compacted {
    /// The new segment.
    pub added: SegmentInfo,
    /// Segments that it replaces.
    pub removed: Vec<SegmentInfo>,
}

/// A compaction that can run without holding the data set.
#[derive(Debug)]
pub struct CompactionJob {}

impl CompactionJob {
    /// Writes the new segment: to a temporary file, flushed to disk, then renamed.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) when the file cannot be written.
    pub fn run(self) -> Result<FinishedCompaction> {
        todo!()
    }
}

/// A written segment that is not in the data set yet.
#[derive(Debug)]
pub struct FinishedCompaction {}

/// The events of one project.
///
/// One writer, many readers: wrap it in a lock, append under the write lock, take a [`Snapshot`] under the read lock
/// and query it without any.
#[derive(Debug)]
pub struct Dataset {}

impl Dataset {
    /// An empty data set whose segments go to `dir`, which is created when absent.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) when the folder cannot be made.
    pub fn new(dir: impl Into<PathBuf>) -> Result<Self> {
        let _ = dir.into();
        todo!()
    }

    /// The data set that a manifest describes. Every file is checked completely (sizes, checksums, offsets, codes).
    ///
    /// # Errors
    /// [`Error::Segment`](crate::Error::Segment) names the file that is truncated, corrupt or missing something;
    /// [`Error::Manifest`](crate::Error::Manifest) when segments overlap.
    pub fn open(dir: impl Into<PathBuf>, manifest: Vec<SegmentInfo>) -> Result<Self> {
        let _ = (dir.into(), manifest);
        todo!()
    }

    /// Takes events in. Positions rise; an event at or below [`Dataset::watermark`] is already known and ignored.
    ///
    /// # Errors
    /// [`Error::PropertiesNotAnObject`](crate::Error::PropertiesNotAnObject) and
    /// [`Error::TooLarge`](crate::Error::TooLarge); events before the one at fault stay appended.
    pub fn append<'a>(
        &mut self,
        events: impl IntoIterator<Item = EventRecord<'a>>,
    ) -> Result<Appended> {
        let _ = events.into_iter();
        todo!()
    }

    /// Notes that the log holds nothing more for this project up to `position`.
    pub fn advance(&mut self, position: i64) {
        let _ = position;
        todo!()
    }

    /// From now on the anonymous id is that user, for past events too; a second call moves it to another user.
    pub fn link(&mut self, anonymous_id: &str, user_id: &str) {
        let _ = (anonymous_id, user_id);
        todo!()
    }

    /// Takes a link back.
    pub fn unlink(&mut self, anonymous_id: &str) {
        let _ = anonymous_id;
        todo!()
    }

    /// Replaces the whole identity map, anonymous id to user id.
    pub fn relink(&mut self, links: &HashMap<String, String>) {
        let _ = links;
        todo!()
    }

    /// Highest position taken in; `i64::MIN` when there is none.
    pub fn watermark(&self) -> i64 {
        todo!()
    }

    /// Highest position that the segment files cover; `i64::MIN` when there is none.
    pub fn persisted_watermark(&self) -> i64 {
        todo!()
    }

    /// Events that are in memory only.
    pub fn tail_len(&self) -> usize {
        todo!()
    }

    /// Events in all.
    pub fn len(&self) -> u64 {
        todo!()
    }

    /// Whether there is no event at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the manifest should hold now.
    pub fn manifest(&self) -> Vec<SegmentInfo> {
        todo!()
    }

    /// Folder of the segment files.
    pub fn dir(&self) -> &Path {
        todo!()
    }

    /// A consistent view of everything appended and linked before the call. Free when nothing changed since the last.
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge) when the tail holds more than one segment can number.
    pub fn snapshot(&self) -> Result<Snapshot> {
        todo!()
    }

    /// Writes the tail, merged with the small newest segments, to a new file; `None` when the tail is empty.
    /// Holds the data set for as long as it takes; see [`Dataset::plan_compaction`] for the way that does not.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) when the file cannot be written; the data set is unchanged then.
    pub fn compact(&mut self) -> Result<Option<Compacted>> {
        todo!()
    }

    /// Chooses what to write and merge; run the job anywhere, then [`Dataset::install`] the result. At most one job
    /// at a time. `None` when the tail is empty.
    ///
    /// # Errors
    /// As [`Dataset::snapshot`].
    pub fn plan_compaction(&self) -> Result<Option<CompactionJob>> {
        todo!()
    }

    /// Swaps the written segment in for what it was made from.
    ///
    /// # Errors
    /// [`Error::Manifest`](crate::Error::Manifest) when the data set no longer holds what the job was made from.
    pub fn install(&mut self, finished: FinishedCompaction) -> Result<Compacted> {
        let _ = finished;
        todo!()
    }

    /// Deletes files that a compaction replaced; snapshots that still read them stay valid.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) when a file that exists cannot be deleted.
    pub fn remove_files(&self, removed: &[SegmentInfo]) -> Result<()> {
        let _ = removed;
        todo!()
    }
}
