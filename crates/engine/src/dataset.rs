//! The events of one project: segments on disk, a fresh tail in memory, and the identity map.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::{
    columns::EventColumns,
    error::{Error, Result},
    event::EventRecord,
    identity::Identity,
    runs::{self, Run},
    segment::{ActorKind, Segment},
    snapshot::Snapshot,
    subjects::SubjectSet,
    tail::{Tail, Taking},
};

/// A segment file is merged into a new one while it is at most this many times as large as what was collected so
/// far: files grow in levels, so that there are few of them and every event is rewritten only a few times.
const LEVEL_RATIO: usize = 4;

/// The same for runs in memory, which are cheap to rewrite.
const MEMORY_LEVEL_RATIO: usize = 2;

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
    /// xxh3-64 of the directory of the file, which in turn holds the checksum of every column.
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
pub struct CompactionJob {
    dir: PathBuf,
    inputs: Vec<Arc<Run>>,
    subjects: Vec<u32>,
    /// Highest position that the inputs cover.
    covers: i64,
}

impl CompactionJob {
    /// Writes the new segment: to a temporary file, flushed to disk, then renamed.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written.
    pub fn run(self) -> Result<FinishedCompaction> {
        let first =
            self.inputs.iter().map(|run| run.segment.positions().0).min().unwrap_or(self.covers);
        // Positions in hexadecimal sort by name; the sign is moved out of the way.
        let rank = |position: i64| (position as u64) ^ (1 << 63);
        let file = format!("{:016x}-{:016x}.seg", rank(first), rank(self.covers));
        let mut output = runs::merge_to_file(&self.inputs, &self.subjects, &self.dir, &file)?;
        if let Some(info) = &mut output.info {
            info.last_position = self.covers;
        }
        Ok(FinishedCompaction { inputs: self.inputs, output })
    }
}

/// A written segment that is not in the data set yet.
#[derive(Debug)]
pub struct FinishedCompaction {
    inputs: Vec<Arc<Run>>,
    output: Run,
}

/// The events of one project.
///
/// One writer, many readers: wrap it in a lock, append under the write lock, take a [`Snapshot`] under the read lock
/// and query it without any.
#[derive(Debug)]
pub struct Dataset {
    dir: PathBuf,
    identity: Identity,
    /// Runs in files, oldest first.
    files: Vec<Arc<Run>>,
    watermark: i64,
    fresh: Mutex<Fresh>,
}

/// What is in memory only; behind a lock of its own because taking a snapshot orders it.
#[derive(Debug, Default)]
struct Fresh {
    tail: Tail,
    /// Runs that a compaction is writing; they stay as they are until it is installed.
    pinned: Vec<Arc<Run>>,
    /// Runs in memory, oldest and largest first.
    runs: Vec<Arc<Run>>,
    snapshot: Option<Snapshot>,
}

impl Fresh {
    fn events(&self) -> usize {
        self.tail.len()
            + self.pinned.iter().chain(&self.runs).map(|run| run.events()).sum::<usize>()
    }

    /// Orders the tail, and merges runs in levels.
    fn freeze(&mut self, identity: &Identity) -> Result<()> {
        if self.tail.len() == 0 {
            return Ok(());
        }
        let run =
            runs::freeze(&self.tail, identity.subjects(), |kind, key| identity.known(kind, key))?;
        self.runs.push(Arc::new(run));
        self.tail = Tail::default();
        let mut merged = self.runs.len() - 1;
        let mut events = self.runs[merged].events();
        while merged > 0 && self.runs[merged - 1].events() <= MEMORY_LEVEL_RATIO * events {
            merged -= 1;
            events += self.runs[merged].events();
        }
        if merged + 1 < self.runs.len() {
            let run = runs::merge_in_memory(&self.runs[merged..], identity.subjects())?;
            self.runs.truncate(merged);
            self.runs.push(Arc::new(run));
        }
        Ok(())
    }
}

impl Dataset {
    /// An empty data set whose segments go to `dir`, which is created when absent.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder cannot be made.
    pub fn new(dir: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        fs::create_dir_all(&dir).map_err(|source| Error::Io {
            action: "create",
            path: dir.clone(),
            source,
        })?;
        Ok(Self {
            dir,
            identity: Identity::default(),
            files: Vec::new(),
            watermark: i64::MIN,
            fresh: Mutex::default(),
        })
    }

    /// The data set that a manifest describes. Every file is checked completely (sizes, checksums, offsets, codes).
    ///
    /// # Errors
    /// [`Error::Segment`] names the file that is truncated or corrupt, [`Error::Io`] the one that is absent;
    /// [`Error::Manifest`] when segments overlap or a file is not the one that the manifest means.
    pub fn open(dir: impl Into<PathBuf>, mut manifest: Vec<SegmentInfo>) -> Result<Self> {
        let mut dataset = Self::new(dir)?;
        manifest.sort_by_key(|info| info.first_position);
        for info in manifest {
            if dataset.watermark >= info.first_position && !dataset.files.is_empty() {
                return Err(Error::Manifest(format!(
                    "segment {} begins at position {}, but the one before covers up to {}",
                    info.file, info.first_position, dataset.watermark
                )));
            }
            if Path::new(&info.file).components().count() != 1 {
                return Err(Error::Manifest(format!("`{}` is not a plain file name", info.file)));
            }
            let segment = Segment::open(&dataset.dir.join(&info.file))?;
            let found = SegmentInfo {
                last_position: info.last_position,
                ..segment.info(info.file.clone())
            };
            if found != info || info.last_position < segment.positions().1 {
                return Err(Error::Manifest(format!(
                    "segment {} is {found:?}, but the manifest says {info:?}",
                    info.file
                )));
            }
            dataset.watermark = info.last_position;
            let run = Run::new(segment, Some(info), &mut dataset.identity);
            dataset.files.push(Arc::new(run));
        }
        Ok(dataset)
    }

    /// Takes events in. Positions rise; an event at or below [`Dataset::watermark`] is already known and ignored.
    ///
    /// # Errors
    /// [`Error::PropertiesNotAnObject`] and [`Error::TooLarge`]; events before the one at fault stay appended.
    pub fn append<'a>(
        &mut self,
        events: impl IntoIterator<Item = EventRecord<'a>>,
    ) -> Result<Appended> {
        let fresh = self.fresh.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut appended = Appended::default();
        for event in events {
            if event.position <= self.watermark {
                appended.ignored += 1;
                continue;
            }
            let key = match (event.actor.user_id, event.actor.anonymous_id) {
                (Some(user), _) => (ActorKind::User, user),
                (None, Some(anonymous)) => (ActorKind::Anonymous, anonymous),
                (None, None) => (ActorKind::Nobody, ""),
            };
            let actor = self.identity.actor(key.0, key.1);
            fresh.tail.push(&event, actor, key)?;
            fresh.snapshot = None;
            self.watermark = event.position;
            appended.accepted += 1;
        }
        Ok(appended)
    }

    /// Takes many events in, as [`Dataset::append`] does one by one.
    ///
    /// # Errors
    /// [`Error::PropertiesNotAnObject`] and [`Error::TooLarge`]; events before the one at fault stay appended.
    ///
    /// # Panics
    /// When a column has no value for an event, or a code is beyond its entries.
    pub fn append_columns(&mut self, columns: &EventColumns<'_>) -> Result<Appended> {
        let fresh = self.fresh.get_mut().unwrap_or_else(PoisonError::into_inner);
        let (users, anonymous) = (&columns.user_ids, &columns.anonymous_ids);
        let mut known_users = vec![None; users.entries.len()];
        let mut known_anonymous = vec![None; anonymous.entries.len()];
        let mut taking = Taking::new(columns);
        let mut appended = Appended::default();
        for index in 0..columns.rows.len() {
            let position = columns.first_position + index as i64;
            if position <= self.watermark {
                taking.skip(index);
                appended.ignored += 1;
                continue;
            }
            let (user, device) = (users.codes[index] as usize, anonymous.codes[index] as usize);
            let (kind, key, known) = match (users.entries[user], anonymous.entries[device]) {
                ("", "") => (ActorKind::Nobody, "", &mut known_users[user]),
                ("", key) => (ActorKind::Anonymous, key, &mut known_anonymous[device]),
                (key, _) => (ActorKind::User, key, &mut known_users[user]),
            };
            let (actor, key) = match *known {
                Some(actor) => (actor, None),
                None => {
                    let actor = self.identity.actor(kind, key);
                    *known = Some(actor);
                    (actor, Some((kind, key)))
                }
            };
            fresh.tail.push_coded(&mut taking, index, actor, key)?;
            fresh.snapshot = None;
            self.watermark = position;
            appended.accepted += 1;
        }
        Ok(appended)
    }

    /// Notes that the log holds nothing more for this project up to `position`.
    pub fn advance(&mut self, position: i64) {
        if position > self.watermark {
            self.watermark = position;
            self.forget_snapshot();
        }
    }

    /// From now on the anonymous id is that user, for past events too; a second call moves it to another user.
    pub fn link(&mut self, anonymous_id: &str, user_id: &str) {
        let before = self.identity.version();
        self.identity.link(anonymous_id, user_id);
        self.links_changed_since(before);
    }

    /// From now on the identifier's subject is the one that another names, for past events too; an identifier that
    /// names itself stands alone. Both are kind and value, of the kinds `user_id`, `anonymous_id` and whatever else
    /// names subjects without being the actor of an event.
    pub fn point(&mut self, identifier: (&str, &str), subject: (&str, &str)) {
        let before = self.identity.version();
        self.identity.point_to(identifier, subject);
        self.links_changed_since(before);
    }

    /// Says which purposes count, by name and whether a grant is required: the events of subjects that refuse one, or
    /// do not grant one that is required, are in no answer.
    pub fn set_purposes(&mut self, purposes: &[(&str, bool)]) {
        let before = self.identity.version();
        self.identity.set_purposes(purposes);
        self.links_changed_since(before);
    }

    /// Takes in what the holder of an identifier, as in [`Dataset::point`], said about a purpose at a time. The last
    /// word of a subject holds, and of two of the same time the refusal.
    pub fn word(&mut self, identifier: (&str, &str), purpose: &str, at_micros: i64, granted: bool) {
        let before = self.identity.version();
        self.identity.word(identifier, purpose, at_micros, granted);
        self.links_changed_since(before);
    }

    /// The subjects that these identifiers, of kind and value, name in a snapshot taken now. Those that the data set has
    /// never seen name nobody.
    pub fn subjects_named<'a>(
        &self,
        identifiers: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> SubjectSet {
        let of = |(kind, value)| self.identity.subject_of(kind, value);
        identifiers.into_iter().filter_map(of).collect()
    }

    /// Takes a link back.
    pub fn unlink(&mut self, anonymous_id: &str) {
        let before = self.identity.version();
        self.identity.unlink(anonymous_id);
        self.links_changed_since(before);
    }

    /// Replaces the whole identity map, anonymous id to user id.
    pub fn relink(&mut self, links: &HashMap<String, String>) {
        let before = self.identity.version();
        self.identity.relink(links);
        self.links_changed_since(before);
    }

    /// Highest position taken in; `i64::MIN` when there is none.
    pub fn watermark(&self) -> i64 {
        self.watermark
    }

    /// Highest position that the segment files cover; `i64::MIN` when there is none.
    pub fn persisted_watermark(&self) -> i64 {
        self.files
            .last()
            .and_then(|run| run.info.as_ref())
            .map_or(i64::MIN, |info| info.last_position)
    }

    /// Events that are in memory only.
    pub fn tail_len(&self) -> usize {
        self.fresh().events()
    }

    /// Events in all.
    pub fn len(&self) -> u64 {
        (self.files.iter().map(|run| run.events()).sum::<usize>() + self.tail_len()) as u64
    }

    /// Whether there is no event at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the manifest should hold now.
    pub fn manifest(&self) -> Vec<SegmentInfo> {
        self.files.iter().filter_map(|run| run.info.clone()).collect()
    }

    /// Folder of the segment files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A consistent view of everything appended and linked before the call. Free when nothing changed since the last.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when the tail holds more than one segment can number.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let mut fresh = self.fresh();
        if let Some(snapshot) = &fresh.snapshot {
            return Ok(snapshot.clone());
        }
        fresh.freeze(&self.identity)?;
        let runs: Vec<Arc<Run>> =
            self.files.iter().chain(&fresh.pinned).chain(&fresh.runs).cloned().collect();
        let snapshot = Snapshot::new(runs, &self.identity, self.watermark, &self.dir);
        fresh.snapshot = Some(snapshot.clone());
        Ok(snapshot)
    }

    /// Writes the tail, merged with the small newest segments, to a new file; `None` when the tail is empty.
    /// Holds the data set for as long as it takes; see [`Dataset::plan_compaction`] for the way that does not.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written; the data set is unchanged then.
    pub fn compact(&mut self) -> Result<Option<Compacted>> {
        match self.plan_compaction()? {
            None => Ok(None),
            Some(job) => self.install(job.run()?).map(Some),
        }
    }

    /// Chooses what to write and merge; run the job anywhere, then [`Dataset::install`] the result. At most one job
    /// at a time; a job that is dropped or fails loses nothing. `None` when the tail is empty.
    ///
    /// # Errors
    /// As [`Dataset::snapshot`].
    pub fn plan_compaction(&self) -> Result<Option<CompactionJob>> {
        let mut fresh = self.fresh();
        fresh.freeze(&self.identity)?;
        let newer = std::mem::take(&mut fresh.runs);
        fresh.pinned.extend(newer);
        if fresh.pinned.is_empty() {
            return Ok(None);
        }
        let mut events: usize = fresh.pinned.iter().map(|run| run.events()).sum();
        let mut from = self.files.len();
        while from > 0 && self.files[from - 1].events() <= LEVEL_RATIO * events {
            from -= 1;
            events += self.files[from].events();
        }
        let inputs = self.files[from..].iter().chain(&fresh.pinned).cloned().collect();
        let subjects = self.identity.subjects().to_vec();
        Ok(Some(CompactionJob { dir: self.dir.clone(), inputs, subjects, covers: self.watermark }))
    }

    /// Swaps the written segment in for what it was made from.
    ///
    /// # Errors
    /// [`Error::Manifest`] when the data set no longer holds what the job was made from.
    pub fn install(&mut self, finished: FinishedCompaction) -> Result<Compacted> {
        let FinishedCompaction { inputs, output } = finished;
        let Some(added) = output.info.clone() else {
            return Err(Error::Manifest("the compaction wrote no file".to_owned()));
        };
        let fresh = self.fresh.get_mut().unwrap_or_else(PoisonError::into_inner);
        let is_input = |run: &Arc<Run>| inputs.iter().any(|input| Arc::ptr_eq(input, run));
        let held = self.files.iter().chain(&fresh.pinned).filter(|run| is_input(run)).count();
        if held != inputs.len() {
            return Err(Error::Manifest(
                "another compaction was installed in the meantime; plan a new one".to_owned(),
            ));
        }
        let removed = self
            .files
            .iter()
            .filter(|run| is_input(run))
            .filter_map(|run| run.info.clone())
            .collect();
        self.files.retain(|run| !is_input(run));
        fresh.pinned.retain(|run| !is_input(run));
        fresh.snapshot = None;
        self.files.push(Arc::new(output));
        Ok(Compacted { added, removed })
    }

    /// Deletes files that a compaction replaced; snapshots that still read them stay valid.
    ///
    /// # Errors
    /// [`Error::Io`] when a file that exists cannot be deleted.
    pub fn remove_files(&self, removed: &[SegmentInfo]) -> Result<()> {
        for info in removed {
            let path = self.dir.join(&info.file);
            match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::Io { action: "delete", path, source });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn links_changed_since(&mut self, version: u64) {
        if self.identity.version() != version {
            self.forget_snapshot();
        }
    }

    fn forget_snapshot(&mut self) {
        self.fresh.get_mut().unwrap_or_else(PoisonError::into_inner).snapshot = None;
    }

    fn fresh(&self) -> MutexGuard<'_, Fresh> {
        // A panic while the lock was held can only have left runs that are complete.
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
