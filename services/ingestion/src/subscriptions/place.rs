//! Where a place in the log is.

use chrono::{DateTime, TimeDelta, Utc};
use northstar_domain::ProjectId;
use northstar_proto::ingestion::v1 as pb;
use northstar_store::ingestion::{heads, log, retention};
use northstar_store::{PgConnection, Result as Stored};
use pb::log_place::Place;

use crate::convert::time_from_proto;
use crate::error::Error;

/// Requests that are received together may be stored in another order; none
/// waits longer than this.
const DISORDER: TimeDelta = TimeDelta::seconds(10);

/// The position after which a place begins.
pub(super) async fn find(
    connection: &mut PgConnection,
    project: ProjectId,
    field: &str,
    place: Option<&pb::LogPlace>,
) -> Result<i64, Error> {
    let head = heads::read(connection, project).await?.position;
    // The log begins where the archive ends.
    let start = retention::archived_through(connection, project).await?;
    match place.and_then(|place| place.place.as_ref()) {
        None | Some(Place::Now(false) | Place::Position(0)) => Ok(start),
        Some(Place::Now(true)) => Ok(head),
        Some(Place::Position(position)) if (start..=head).contains(position) => Ok(*position),
        Some(Place::Position(_)) => Err(Error::invalid(
            format!("{field}.position"),
            format!(
                "must be 0 for the beginning, or lie between {start}, where the log begins, and \
                 its end, {head}"
            ),
        )),
        Some(Place::Time(time)) => {
            let time = time_from_proto(time).ok_or_else(|| {
                Error::invalid(format!("{field}.time"), "lies outside of the years 1 to 9999")
            })?;
            Ok(before_time(connection, project, (start, head), time - DISORDER).await?)
        }
    }
}

/// The position before the first event received at a time or later, by
/// bisection.
async fn before_time(
    connection: &mut PgConnection,
    project: ProjectId,
    (start, head): (i64, i64),
    time: DateTime<Utc>,
) -> Stored<i64> {
    // All up to `low` are earlier; all after `high` are not.
    let (mut low, mut high) = (start, head);
    while low < high {
        let middle = low + (high - low) / 2;
        let next = log::read_after(connection, project, middle, 1).await?;
        if next.first().is_some_and(|event| event.received_at >= time) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(low)
}
