//! Says how far the making of a read model from the log has come.

use northstar_domain::ProjectId;

/// Shorter stretches are read before anybody wonders.
const WORTH_A_WORD: i64 = 100_000;

/// The reading of a long stretch of the log.
pub(super) struct Progress {
    project: ProjectId,
    first: i64,
    last: i64,
    /// Tenths that were told.
    told: i64,
}

impl Progress {
    /// Begins to read the positions after one and up to another; `None` when there
    /// are few.
    pub(super) fn begin(project: ProjectId, after: i64, up_to: i64) -> Option<Self> {
        if up_to - after < WORTH_A_WORD {
            return None;
        }
        tracing::info!(
            project.id = project.0,
            log.after_position = after,
            log.position = up_to,
            "read model is being made from the log, questions wait for it"
        );
        Some(Self { project, first: after, last: up_to, told: 0 })
    }

    /// Tells every tenth of the way, the last one included.
    pub(super) fn reached(&mut self, position: i64) {
        let tenths = tenths(self.first, self.last, position);
        if tenths > self.told {
            self.told = tenths;
            tracing::info!(
                project.id = self.project.0,
                log.position = position,
                progress.percent = tenths * 10,
                "read model is being made from the log"
            );
        }
    }
}

/// Whole tenths of the way from one position to another.
fn tenths(first: i64, last: i64, position: i64) -> i64 {
    let (way, whole) = (position.min(last) - first, last - first);
    (way.max(0) * 10).checked_div(whole).unwrap_or(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_has_ten_tenths() {
        let reached = [0, 5, 10, 99, 100, 105, 1_000].map(|position| tenths(5, 105, position));
        assert_eq!(reached, [0, 0, 0, 9, 9, 10, 10]);
        assert_eq!(tenths(7, 7, 7), 10);
    }

    #[test]
    fn a_short_way_is_not_worth_a_word() {
        assert!(Progress::begin(ProjectId(1), 0, WORTH_A_WORD - 1).is_none());
        let mut progress = Progress::begin(ProjectId(1), 0, WORTH_A_WORD).unwrap();
        progress.reached(WORTH_A_WORD / 2);
        assert_eq!(progress.told, 5);
    }
}
