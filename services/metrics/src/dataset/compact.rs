//! Moving a long tail from memory into a segment file.

use chrono::{DateTime, Utc};
use northstar_domain::ProjectId;
use northstar_engine as engine;
use northstar_engine::{Compacted, SegmentInfo};
use northstar_store::Error as StoreError;
use northstar_store::metrics::segment::{self, Segment};
use tokio::task::spawn_blocking;

use super::Datasets;
use super::load::remove_strays;
use crate::Result;

impl Datasets {
    /// Writes the tail to a segment when it holds at least so many events, and
    /// returns whether it did. Questions are answered meanwhile: the lock is only
    /// held to choose what to write and to swap it in.
    ///
    /// The file comes first, then the manifest, then the end of the files it
    /// replaces. A crash in between leaves a stray file, never a missing one.
    pub(crate) async fn compact(&self, project: ProjectId, at_least: usize) -> Result<bool> {
        let loaded = self.slot(project).lock_owned().await;
        let written = spawn_blocking(move || -> engine::Result<_> {
            let job = match loaded.as_ref() {
                Some(loaded) if loaded.dataset.tail_len() >= at_least.max(1) => {
                    loaded.dataset.plan_compaction()?
                }
                _ => None,
            };
            drop(loaded);
            job.map(engine::CompactionJob::run).transpose()
        })
        .await??;
        let Some(written) = written else { return Ok(false) };

        let slot = self.slot(project);
        let mut guard = slot.lock().await;
        let Some(loaded) = guard.as_mut() else { return Ok(false) };
        let compacted = match loaded.dataset.install(written) {
            Ok(compacted) => compacted,
            Err(error) => {
                // The data set was made anew meanwhile, because something was
                // erased: what was written from the old one must not stay.
                remove_strays(loaded.dataset.dir(), &loaded.dataset.manifest());
                return Err(error.into());
            }
        };
        if let Err(error) = self.write_manifest(project, &compacted).await {
            // The manifest still names the old files, which are all there: begin
            // again from them.
            *guard = None;
            return Err(error);
        }
        loaded.dataset.remove_files(&compacted.removed)?;
        tracing::info!(
            project.id = project.0,
            segment.file = compacted.added.file,
            segment.events = compacted.added.events,
            segment.replaced = compacted.removed.len(),
            "tail written to a segment"
        );
        Ok(true)
    }

    async fn write_manifest(&self, project: ProjectId, compacted: &Compacted) -> Result<()> {
        let added = segment_from_info(&compacted.added)?;
        let removed: Vec<String> = compacted.removed.iter().map(|info| info.file.clone()).collect();
        let mut transaction = self.pool.begin().await.map_err(StoreError::from)?;
        let folder = self.folder.id();
        segment::delete(&mut transaction, folder, project, &removed).await?;
        segment::insert(&mut transaction, folder, project, &added, self.clock.now()).await?;
        transaction.commit().await.map_err(StoreError::from)?;
        Ok(())
    }
}

fn segment_from_info(info: &SegmentInfo) -> Result<Segment, engine::Error> {
    let time = |micros: i64| -> Result<DateTime<Utc>, engine::Error> {
        DateTime::from_timestamp_micros(micros).ok_or_else(|| {
            engine::Error::Manifest(format!("{} is no time of {}", micros, info.file))
        })
    };
    Ok(Segment {
        file: info.file.clone(),
        first_position: info.first_position,
        last_position: info.last_position,
        events: info.events,
        bytes: info.bytes,
        min_effective_at: time(info.min_effective_micros)?,
        max_effective_at: time(info.max_effective_micros)?,
        checksum: info.checksum,
    })
}
