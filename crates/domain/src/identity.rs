//! Which user an anonymous id belongs to.
//!
//! An event that carries both ids is a fact: this device is this person's. Of
//! all facts about one anonymous id the earliest wins, and of those of the same
//! time the one with the smaller user id. So the map is a function of the set of
//! facts; the order in which they arrive does not matter.

use chrono::{DateTime, Utc};

/// Ids that stand for nobody, as SDKs send them by mistake: they would link
/// everybody to one another.
const NOBODY: [&str; 21] = [
    "0",
    "00000000-0000-0000-0000-000000000000",
    "[object object]",
    "anonymous",
    "anonymous-user",
    "backend",
    "distinct_id",
    "distinctid",
    "email",
    "false",
    "guest",
    "id",
    "nan",
    "nil",
    "none",
    "not_authenticated",
    "null",
    "system",
    "true",
    "undefined",
    "user",
];

/// Whether an id names one actor. One that does not is kept with its event but
/// never linked.
pub fn may_be_linked(id: &str) -> bool {
    let trimmed = id.trim();
    !trimmed.is_empty() && !NOBODY.iter().any(|nobody| nobody.eq_ignore_ascii_case(trimmed))
}

/// What one event says about whom its anonymous id belongs to. Facts order by
/// strength: the smallest holds.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct LinkFact<'a> {
    /// Effective time of the event.
    pub linked_at: DateTime<Utc>,
    /// The user.
    pub user_id: &'a str,
    /// Where in the log the fact stands.
    pub position: i64,
}

/// The user an event links its anonymous id to, if it does.
pub fn linked_user<'a>(anonymous_id: &str, user_id: &'a str) -> Option<&'a str> {
    (may_be_linked(anonymous_id) && may_be_linked(user_id) && anonymous_id != user_id)
        .then_some(user_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_nobody_links_nobody() {
        for nobody in ["", "  ", "null", "NULL", " undefined ", "[object Object]", "0", "Guest"] {
            assert!(!may_be_linked(nobody), "{nobody:?}");
        }
        assert!(may_be_linked("user-1"));
        assert_eq!(linked_user("a1", "u1"), Some("u1"));
        assert_eq!(linked_user("a1", "none"), None);
        assert_eq!(linked_user("anonymous", "u1"), None);
        assert_eq!(linked_user("u1", "u1"), None);
    }

    #[test]
    fn the_earliest_fact_holds_and_then_the_smaller_user() {
        let fact = |seconds, user_id, position| LinkFact {
            linked_at: DateTime::from_timestamp(seconds, 0).unwrap(),
            user_id,
            position,
        };
        let facts = [fact(5, "a", 1), fact(3, "c", 2), fact(3, "b", 3), fact(3, "b", 9)];
        assert_eq!(facts.iter().min(), Some(&fact(3, "b", 3)));
    }
}
