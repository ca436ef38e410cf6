//! Times as steps.

use chrono::{DateTime, Datelike as _, Utc};
use northstar_proto::ingestion::v1 as pb;

use super::{Presence, differs};
use crate::error::Error;

/// A time for some events.
#[derive(Debug, Default)]
pub(super) struct TimeColumn {
    presence: Presence,
    /// Microseconds since 1970 of each event that has a time.
    micros: Vec<i64>,
}

impl TimeColumn {
    pub(super) fn check(
        field: &str,
        column: Option<pb::TimeColumn>,
        count: usize,
    ) -> Result<Self, Error> {
        let Some(pb::TimeColumn { steps_micros, presence }) = column else {
            return Ok(Self::default());
        };
        let (presence, present) = Presence::check(field, &presence, count)?;
        if steps_micros.len() != present {
            return Err(differs(format!("{field}.steps_micros"), steps_micros.len(), present));
        }
        let mut time = 0_i64;
        let mut micros = steps_micros;
        for (place, micros) in micros.iter_mut().enumerate() {
            time = time.checked_add(*micros).ok_or_else(|| {
                let problem = "leads beyond what 64 bits hold";
                Error::invalid(format!("{field}.steps_micros[{place}]"), problem)
            })?;
            *micros = time;
        }
        Ok(Self { presence, micros })
    }

    /// How many events have a time.
    pub(super) fn len(&self) -> usize {
        self.micros.len()
    }

    /// The time of an event, if it has one; within, `None` when the time lies
    /// outside of the years 1 to 9999.
    pub(super) fn get(&self, event: usize) -> Option<Option<DateTime<Utc>>> {
        let micros = self.micros.get(self.presence.rank(event)?)?;
        Some(
            DateTime::from_timestamp_micros(*micros)
                .filter(|time| (1..=9999).contains(&time.year())),
        )
    }
}
