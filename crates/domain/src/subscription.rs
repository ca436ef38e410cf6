//! Consumer groups with members: which partition an event belongs to, and which
//! member reads which partition.

use std::collections::BTreeMap;

use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

/// Partitions of every group. The number is part of the meaning of stored
/// cursors and never changes.
pub const PARTITIONS: u8 = 64;
/// Most members of a group: one for each partition.
pub const MAX_MEMBERS: usize = PARTITIONS as usize;

/// The partition of an event: by its user, or by its anonymous id while the user
/// is unknown. All events that carry the same actor are in one partition, so
/// they keep their order whoever reads them.
pub fn partition_of(user_id: &str, anonymous_id: &str) -> u8 {
    let actor = if user_id.is_empty() { anonymous_id } else { user_id };
    (xxh3_64(actor.as_bytes()) % u64::from(PARTITIONS)) as u8
}

/// Gives every partition to a session, evenly, and moves no more of them than
/// that needs. `current` holds the session that each partition was last given
/// to. Without sessions nobody has any.
pub fn assign(sessions: &[Uuid], current: &[Option<Uuid>]) -> Vec<Option<Uuid>> {
    if sessions.is_empty() {
        return vec![None; current.len()];
    }
    let (least, more) = (current.len() / sessions.len(), current.len() % sessions.len());
    let mut held: BTreeMap<Uuid, usize> = sessions.iter().map(|session| (*session, 0)).collect();
    // So many sessions have one more than the others.
    let mut larger = 0;
    let mut assigned: Vec<Option<Uuid>> = current
        .iter()
        .map(|session| {
            let held = held.get_mut(session.as_ref()?)?;
            if *held < least {
                *held += 1;
            } else if *held == least && larger < more {
                *held += 1;
                larger += 1;
            } else {
                return None;
            }
            *session
        })
        .collect();
    for session in assigned.iter_mut().filter(|session| session.is_none()) {
        let next = held.iter_mut().min_by_key(|(_, held)| **held);
        *session = next.map(|(next, held)| {
            *held += 1;
            *next
        });
    }
    assigned
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_actor_keeps_its_partition() {
        // These are stored: cursors would point elsewhere if they changed.
        assert_eq!(partition_of("u1", ""), partition_of("u1", "phone"));
        let some = ["a", "b", "c", "d"].map(|actor| partition_of(actor, ""));
        assert_eq!(some, ["a", "b", "c", "d"].map(|actor| partition_of("", actor)));
        let all: BTreeSet<u8> =
            (0..2_000).map(|number| partition_of(&format!("user-{number}"), "")).collect();
        assert_eq!(all.len(), usize::from(PARTITIONS));
    }

    fn sessions(numbers: &BTreeSet<u8>) -> Vec<Uuid> {
        numbers.iter().map(|number| Uuid::from_u128(u128::from(*number))).collect()
    }

    proptest! {
        #[test]
        fn partitions_are_spread_evenly_and_none_is_left_out(
            first in prop::collection::btree_set(any::<u8>(), 1..20),
            then in prop::collection::btree_set(any::<u8>(), 1..20),
        ) {
            let nobody = vec![None; usize::from(PARTITIONS)];
            let before = assign(&sessions(&first), &nobody);
            let after = assign(&sessions(&then), &before);
            let mut held: BTreeMap<Uuid, usize> =
                sessions(&then).into_iter().map(|session| (session, 0)).collect();
            for session in &after {
                *held.get_mut(&session.unwrap()).unwrap() += 1;
            }
            let (least, most) = (held.values().min().unwrap(), held.values().max().unwrap());
            prop_assert!(most - least <= 1, "{held:?}");
            // Nothing moves when nobody came or went.
            prop_assert_eq!(assign(&sessions(&then), &after), after);
        }

        #[test]
        fn a_newcomer_takes_only_its_share(members in 1..20_u8) {
            let before_numbers: BTreeSet<u8> = (0..members).collect();
            let all: BTreeSet<u8> = (0..=members).collect();
            let nobody = vec![None; usize::from(PARTITIONS)];
            let before = assign(&sessions(&before_numbers), &nobody);
            let after = assign(&sessions(&all), &before);
            let moved = before.iter().zip(&after).filter(|(a, b)| a != b).count();
            prop_assert!(moved <= usize::from(PARTITIONS) / all.len() + 1, "{moved} moved");
        }
    }
}
