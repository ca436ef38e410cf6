//! From the manifest and the segment files to a data set. Files are a cache:
//! what is missing or corrupt is dropped and read from the log again.

use std::path::{Path, PathBuf};

use northstar_domain::ProjectId;
use northstar_engine as engine;
use northstar_engine::{Dataset, SegmentInfo};
use northstar_store::PgConnection;
use northstar_store::metrics::segment::{self, Segment};
use tokio::task::spawn_blocking;

use super::{Datasets, Known, Loaded};
use crate::Result;

impl Datasets {
    /// Opens the project's segments, unless something was erased since they were
    /// made: then no copy may remain, and the log is read anew.
    pub(super) async fn load(
        &self,
        connection: &mut PgConnection,
        project: ProjectId,
        erasure_version: i64,
    ) -> Result<Loaded> {
        if segment::epoch(connection, self.folder.id(), project).await? != erasure_version {
            segment::begin_epoch(connection, self.folder.id(), project, erasure_version).await?;
        }
        let manifest: Vec<SegmentInfo> = segment::list(connection, self.folder.id(), project)
            .await?
            .into_iter()
            .map(info_from_segment)
            .collect();
        let folder = self.folder.project(project);
        let (dataset, dropped) = spawn_blocking(move || open(folder, manifest)).await??;
        if !dropped.is_empty() {
            segment::delete(connection, self.folder.id(), project, &dropped).await?;
        }
        let known = Known { erasure_version, ..Known::default() };
        Ok(Loaded { dataset, known })
    }
}

/// Opens as many of the oldest segments as are sound, and names the others. A
/// segment after an unsound one is of no use: the log is read on from where the
/// sound ones end.
fn open(folder: PathBuf, mut manifest: Vec<SegmentInfo>) -> engine::Result<(Dataset, Vec<String>)> {
    manifest.sort_by_key(|info| info.last_position);
    let mut dropped = Vec::new();
    let dataset = loop {
        match Dataset::open(&folder, manifest.clone()) {
            Ok(dataset) => break dataset,
            Err(error) => {
                let Some(last) = manifest.pop() else { return Err(error) };
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    segment.file = last.file,
                    segment.first_position = last.first_position,
                    "segment dropped, its events are read from the log again"
                );
                dropped.push(last.file);
            }
        }
    };
    remove_strays(&folder, &manifest);
    Ok((dataset, dropped))
}

/// Deletes files that the manifest does not know: dropped segments, and what a
/// crash left between writing a file and its manifest. Failure only costs disk.
pub(super) fn remove_strays(folder: &Path, manifest: &[SegmentInfo]) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if manifest.iter().any(|info| name == info.file.as_str()) {
            continue;
        }
        if let Err(error) = std::fs::remove_file(entry.path()) {
            let file = entry.path().display().to_string();
            tracing::warn!(%error, file, "cannot delete a file that no manifest knows");
        }
    }
}

fn info_from_segment(segment: Segment) -> SegmentInfo {
    SegmentInfo {
        file: segment.file,
        bytes: segment.bytes,
        events: segment.events,
        first_position: segment.first_position,
        last_position: segment.last_position,
        min_effective_micros: segment.min_effective_at.timestamp_micros(),
        max_effective_micros: segment.max_effective_at.timestamp_micros(),
        checksum: segment.checksum,
    }
}
