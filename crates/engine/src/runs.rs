//! Runs of events that belong to one data set: making them from the tail, merging them, writing them to files.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    dataset::SegmentInfo,
    derived::Derived,
    error::{Error, Result, SegmentFault},
    identity::{Identity, NOBODY},
    segment::{self, Pick, Segment, View, Written},
    tail::Tail,
};

/// A segment, and what its actors are called in the data set.
#[derive(Debug)]
pub(crate) struct Run {
    pub segment: Segment,
    /// Number in the data set of each actor of the segment.
    pub actors: Vec<u32>,
    /// Time of the first event of each actor, side by side: an index asks for all of them.
    pub first_times: Vec<i64>,
    /// Present when the run lies in a file.
    pub info: Option<SegmentInfo>,
    /// What questions worked out of it.
    pub derived: Derived,
}

impl Run {
    pub(crate) fn new(
        segment: Segment,
        info: Option<SegmentInfo>,
        identity: &mut Identity,
    ) -> Self {
        let actors = (0..segment.actors())
            .map(|actor| {
                let (kind, key) = segment.actor(actor);
                identity.actor(kind, key)
            })
            .collect();
        Self::of(segment, actors, info)
    }

    /// A segment whose actors are numbered already.
    fn of(segment: Segment, actors: Vec<u32>, info: Option<SegmentInfo>) -> Self {
        let derived = Derived::of(segment.events());
        let (times, rows) = (segment.effective(), segment.actor_rows());
        let first = |row: &[u8; 4]| times.get(u32::from_le_bytes(*row) as usize);
        let first_times = rows[..actors.len()]
            .iter()
            .map(|row| first(row).map_or(i64::MAX, |time| i64::from_le_bytes(*time)))
            .collect();
        Self { segment, actors, first_times, info, derived }
    }

    pub(crate) fn events(&self) -> usize {
        self.segment.events()
    }

    /// The actor of the segment whose event a row is.
    pub(crate) fn actor_of(&self, row: u32) -> usize {
        let starts = self.segment.actor_rows();
        // The last one that begins at or before it; actors without events would come before.
        starts.partition_point(|start| u32::from_le_bytes(*start) <= row).saturating_sub(1)
    }

    /// Rows of an actor of the segment.
    pub(crate) fn rows(&self, actor: usize) -> (u32, u32) {
        let rows = self.segment.actor_rows();
        (u32::from_le_bytes(rows[actor]), u32::from_le_bytes(rows[actor + 1]))
    }
}

/// The tail as a run in memory. Every actor of it is known to `subjects`.
pub(crate) fn freeze(
    tail: &Tail,
    subjects: &[u32],
    actor: impl Fn(crate::segment::ActorKind, &str) -> u32,
) -> Result<Run> {
    let order = tail.order(subjects);
    let segment = image(&[tail.view()], &order)?;
    let actors = order.actors.iter().map(|(kind, key)| actor(*kind, key)).collect();
    Ok(Run::of(segment, actors, None))
}

/// Several runs as one run in memory.
pub(crate) fn merge_in_memory(runs: &[Arc<Run>], subjects: &[u32]) -> Result<Run> {
    let views: Vec<View<'_>> = runs.iter().map(|run| run.segment.view()).collect();
    let (order, actors) = merged_order(runs, &views, subjects)?;
    Ok(Run::of(image(&views, &order)?, actors, None))
}

/// Several runs as one file in `dir`, which appears under its name only when it is complete and on disk.
pub(crate) fn merge_to_file(
    runs: &[Arc<Run>],
    subjects: &[u32],
    dir: &Path,
    file: &str,
) -> Result<Run> {
    let views: Vec<View<'_>> = runs.iter().map(|run| run.segment.view()).collect();
    let (order, actors) = merged_order(runs, &views, subjects)?;
    let (path, temporary) = (dir.join(file), dir.join(format!("{file}.tmp")));
    let io = |action, path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { action, path, source }
    };
    let handle = File::create(&temporary).map_err(io("create", &temporary))?;
    let mut sink = BufWriter::with_capacity(1 << 20, handle);
    segment::write(&views, &order, &mut sink).map_err(io("write", &temporary))?;
    sink.flush().map_err(io("write", &temporary))?;
    sink.get_ref().sync_all().map_err(io("flush", &temporary))?;
    fs::rename(&temporary, &path).map_err(io("rename", &temporary))?;
    File::open(dir).and_then(|folder| folder.sync_all()).map_err(io("flush", dir))?;
    let segment = Segment::open(&path)?;
    let info = segment.info(file.to_owned());
    Ok(Run::of(segment, actors, Some(info)))
}

fn image(views: &[View<'_>], order: &Written<'_>) -> Result<Segment> {
    let in_memory = || PathBuf::from("(in memory)");
    let mut image = Vec::new();
    segment::write(views, order, &mut image).map_err(|source| Error::Io {
        action: "lay out the tail in",
        path: in_memory(),
        source,
    })?;
    Segment::from_image(image)
        .map_err(|fault: SegmentFault| Error::Segment { path: in_memory(), fault })
}

/// The order of the merged events, and the number in the data set of each of its actors.
fn merged_order<'a>(
    runs: &'a [Arc<Run>],
    views: &[View<'_>],
    subjects: &[u32],
) -> Result<(Written<'a>, Vec<u32>)> {
    let events: usize = runs.iter().map(|run| run.events()).sum();
    if u32::try_from(events).is_err() {
        return Err(Error::TooLarge { what: "number of events", limit: u64::from(u32::MAX) });
    }
    // Actors of one subject stand side by side, so that its history is read in one go.
    let mut parts: Vec<(u32, u32, u32, u32)> = Vec::new();
    for (number, run) in runs.iter().enumerate() {
        parts.extend(run.actors.iter().enumerate().map(|(local, actor)| {
            (
                subjects.get(*actor as usize).copied().unwrap_or(NOBODY),
                *actor,
                number as u32,
                local as u32,
            )
        }));
    }
    parts.sort_unstable();
    let mut order =
        Written { actors: Vec::new(), actor_rows: Vec::new(), picks: Vec::with_capacity(events) };
    let mut actors = Vec::new();
    let mut keys: Vec<(i64, i64, i64, Pick)> = Vec::new();
    for of_actor in parts.chunk_by(|left, right| left.1 == right.1) {
        let (_, actor, run, local) = of_actor[0];
        order.actors.push(runs[run as usize].segment.actor(local as usize));
        order.actor_rows.push(order.picks.len() as u32);
        actors.push(actor);
        if let [(_, _, run, local)] = *of_actor {
            let (start, end) = runs[run as usize].rows(local as usize);
            order.picks.extend((start..end).map(|row| Pick { run, row }));
            continue;
        }
        keys.clear();
        for (_, _, run, local) in of_actor {
            let (start, end) = runs[*run as usize].rows(*local as usize);
            let view = &views[*run as usize];
            keys.extend((start..end).map(|row| {
                let at = row as usize;
                let time = i64::from_le_bytes(view.effective[at]);
                (time, view.sequence.get(at), view.position.get(at), Pick { run: *run, row })
            }));
        }
        keys.sort_by_key(|(time, sequence, position, _)| (*time, *sequence, *position));
        order.picks.extend(keys.iter().map(|key| key.3));
    }
    order.actor_rows.push(order.picks.len() as u32);
    Ok((order, actors))
}
