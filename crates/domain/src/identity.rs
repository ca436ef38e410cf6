//! Who is who: identifiers, what is said about them, and the map that follows.
//!
//! Every statement is a [`Fact`], kept for ever: an event that carries two ids
//! says that they are one subject's; a person may link, unlink, merge and
//! unmerge. [`resolve`] makes the map from the set of facts and the policy alone,
//! so the order in which facts arrive does not matter, and whatever is undone is
//! as if it had never been said.

mod identifier;
mod leave;
mod map;
mod policy;

pub use identifier::{Identifier, IdentifierKind, InvalidIdentifier};
pub use leave::{MERGE_ACTION, MergeLeave, NoLeave, merge_diff, merge_subject};
pub use map::{Fact, IdentityMap, Refusal, SaidBy, Verb, resolve};
pub use policy::{IdentityPolicy, KindRule, LimitWindow, POLICY_NAME};

/// Ids that stand for nobody, as SDKs send them by mistake: they would link
/// everybody to one another. PostHog's list of illegal distinct ids and
/// Segment's blocked values; [`is_blank_code`] adds Segment's `^[0-]*$`.
const NOBODY: [&str; 21] = [
    "-1",
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
    "unknown",
    "user",
];

/// Whether an id names one actor. One that does not is kept with its event but
/// never linked.
pub fn may_be_linked(id: &str) -> bool {
    let trimmed = id.trim();
    !is_blank_code(trimmed) && !NOBODY.iter().any(|nobody| nobody.eq_ignore_ascii_case(trimmed))
}

/// Nothing but zeros and dashes, such as the nil UUID, or nothing at all.
fn is_blank_code(id: &str) -> bool {
    id.bytes().all(|byte| matches!(byte, b'0' | b'-'))
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
        for nobody in [
            "",
            "  ",
            "null",
            "NULL",
            " undefined ",
            "[object Object]",
            "0",
            "000",
            "Guest",
            "-1",
            "---",
            "00000000-0000-0000-0000-000000000000",
        ] {
            assert!(!may_be_linked(nobody), "{nobody:?}");
        }
        assert!(may_be_linked("user-1"));
        assert!(may_be_linked("0-1"));
        assert_eq!(linked_user("a1", "u1"), Some("u1"));
        assert_eq!(linked_user("a1", "none"), None);
        assert_eq!(linked_user("anonymous", "u1"), None);
        assert_eq!(linked_user("u1", "u1"), None);
    }
}
