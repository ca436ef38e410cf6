//! The memory that bodies may take, all doors together.
//!
//! A part of it is for strangers: requests whose key is within the body, if
//! anywhere. However many of them come, who shows a key in a header has room.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room for bodies, in KiB.
#[derive(Clone)]
pub(crate) struct Room {
    callers: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
}

/// Whether somebody who holds a key sends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sender {
    Caller,
    Stranger,
}

impl Room {
    /// A quarter of it is for strangers.
    pub(crate) fn of_mebibytes(mebibytes: u32) -> Self {
        let quarter = mebibytes as usize * 256;
        Self {
            callers: Arc::new(Semaphore::new(3 * quarter)),
            strangers: Arc::new(Semaphore::new(quarter)),
        }
    }

    /// A share that grows with what it holds.
    pub(crate) fn share(&self, sender: Sender) -> Share {
        let room = match sender {
            Sender::Caller => &self.callers,
            Sender::Stranger => &self.strangers,
        };
        Share { room: Arc::clone(room), held: None }
    }
}

/// What one request holds of the room, until it is dropped.
pub(crate) struct Share {
    room: Arc<Semaphore>,
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
        let Ok(more) = Arc::clone(&self.room).try_acquire_many_owned(missing) else {
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
        let (mut first, mut second) = (room.share(Sender::Caller), room.share(Sender::Caller));
        assert!(first.hold(1));
        assert!(first.hold(768 * 1024));
        assert!(first.hold(768 * 1024), "what is held need not be taken again");
        assert!(!second.hold(1));
        assert!(!first.hold(768 * 1024 + 1));
        drop(first);
        assert!(second.hold(768 * 1024));
    }

    #[test]
    fn strangers_leave_room_for_callers() {
        let room = Room::of_mebibytes(1);
        let mut stranger = room.share(Sender::Stranger);
        assert!(stranger.hold(256 * 1024));
        assert!(!room.share(Sender::Stranger).hold(1));
        assert!(room.share(Sender::Caller).hold(768 * 1024));
    }
}
