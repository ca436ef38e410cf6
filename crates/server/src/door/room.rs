//! The memory that bodies may take, all doors together.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room for bodies, in KiB.
#[derive(Clone)]
pub(crate) struct Room(Arc<Semaphore>);

impl Room {
    pub(crate) fn of_mebibytes(mebibytes: u32) -> Self {
        Self(Arc::new(Semaphore::new(mebibytes as usize * 1024)))
    }

    /// A share that grows with what it holds.
    pub(crate) fn share(&self) -> Share {
        Share { room: self.clone(), held: None }
    }
}

/// What one request holds of the room, until it is dropped.
pub(crate) struct Share {
    room: Room,
    held: Option<OwnedSemaphorePermit>,
}

impl Share {
    /// Holds at least so many bytes; `false` when there is no room for them.
    pub(crate) fn hold(&mut self, bytes: usize) -> bool {
        let wanted = bytes.div_ceil(1024);
        let missing = wanted - wanted.min(self.held.as_ref().map_or(0, |p| p.num_permits()));
        let Ok(missing) = u32::try_from(missing) else { return false };
        if missing == 0 {
            return true;
        }
        let Ok(more) = Arc::clone(&self.room.0).try_acquire_many_owned(missing) else {
            return false;
        };
        match &mut self.held {
            Some(held) => held.merge(more),
            held @ None => *held = Some(more),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_grows_while_there_is_room_and_gives_it_back() {
        let room = Room::of_mebibytes(1);
        let mut first = room.share();
        assert!(first.hold(1));
        assert!(first.hold(1024 * 1024));
        assert!(first.hold(1024 * 1024), "what is held need not be taken again");
        let mut second = room.share();
        assert!(!second.hold(1));
        assert!(!first.hold(1024 * 1024 + 1));
        drop(first);
        assert!(second.hold(1024 * 1024));
    }
}
