//! What was worked out of a run of events for one question and serves the next ones, too: a run never changes.

use std::{
    any::Any,
    sync::{Arc, Mutex, PoisonError},
};

/// Bytes an event that are kept at most.
const BYTES_OF_EVENT: usize = 6;

/// Bytes that are kept in any case.
const LEAST_BYTES: usize = 1 << 16;

/// What is kept of one run; what was asked for least recently goes first.
#[derive(Debug)]
pub(crate) struct Derived {
    room: usize,
    /// The most recent last.
    kept: Mutex<Vec<Kept>>,
}

#[derive(Debug)]
struct Kept {
    key: String,
    bytes: usize,
    value: Arc<dyn Any + Send + Sync>,
}

impl Derived {
    /// Room for what is derived from so many events.
    pub(crate) fn of(events: usize) -> Self {
        Self { room: (events * BYTES_OF_EVENT).max(LEAST_BYTES), kept: Mutex::default() }
    }

    /// What is kept under a key.
    pub(crate) fn get<T: Any + Send + Sync>(&self, key: &str) -> Option<Arc<T>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|kept| kept.key == key && kept.value.is::<T>())?;
        let found = kept.remove(at);
        let value = Arc::clone(&found.value);
        kept.push(found);
        value.downcast().ok()
    }

    /// Keeps a value, unless it is too large, in place of those that were not asked for lately.
    pub(crate) fn keep<T: Any + Send + Sync>(&self, key: String, value: &Arc<T>, bytes: usize) {
        if bytes > self.room {
            return;
        }
        let value: Arc<dyn Any + Send + Sync> = Arc::<T>::clone(value);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Two questions may have worked it out at the same time.
        kept.retain(|other| other.key != key || !other.value.is::<T>());
        kept.push(Kept { key, bytes, value });
        let mut held: usize = kept.iter().map(|kept| kept.bytes).sum();
        let mut gone = 0;
        while held > self.room {
            held -= kept[gone].bytes;
            gone += 1;
        }
        kept.drain(..gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_asked_for_lately_makes_room() {
        let derived = Derived::of(0);
        let third = LEAST_BYTES / 3;
        for (key, value) in [("a", 1u32), ("b", 2), ("c", 3)] {
            derived.keep(key.to_owned(), &Arc::new(value), third);
        }
        assert_eq!(derived.get::<u32>("a").as_deref(), Some(&1));
        derived.keep("d".to_owned(), &Arc::new(4u32), third);
        assert_eq!(derived.get::<u32>("b"), None);
        for (key, value) in [("a", 1), ("c", 3), ("d", 4)] {
            assert_eq!(derived.get::<u32>(key).as_deref(), Some(&value), "{key}");
        }
    }

    #[test]
    fn a_value_of_another_kind_or_too_large_is_not_found() {
        let derived = Derived::of(0);
        derived.keep("a".to_owned(), &Arc::new(1u32), 1);
        derived.keep("b".to_owned(), &Arc::new(2u32), LEAST_BYTES + 1);
        assert_eq!((derived.get::<u64>("a"), derived.get::<u32>("b")), (None, None));
    }
}
