//! Events for property tests.

use northstar_proto::ingestion::v1 as pb;
use pb::value::Kind;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use prost_types::Timestamp;

use crate::events::Events;

/// What the pipeline sees of events.
pub(crate) fn seen(events: &dyn Events) -> Vec<String> {
    let mut seen = Vec::new();
    events.each(&mut |event| seen.push(format!("{event:?}")));
    assert_eq!(seen.len(), events.len());
    seen
}

fn value() -> impl Strategy<Value = pb::Value> {
    let leaf = prop_oneof![
        Just(None),
        ".{0,8}".prop_map(|text| Some(Kind::StringValue(text))),
        any::<i64>().prop_map(|value| Some(Kind::IntValue(value))),
        any::<f64>().prop_map(|value| Some(Kind::DoubleValue(value))),
        Just(Some(Kind::DoubleValue(f64::NAN))),
        any::<bool>().prop_map(|value| Some(Kind::BoolValue(value))),
    ];
    let kind = leaf.prop_recursive(4, 16, 4, |inner| {
        let inner = inner.prop_map(|kind| pb::Value { kind });
        prop_oneof![
            vec(inner.clone(), 0..4)
                .prop_map(|values| Some(Kind::ListValue(pb::ListValue { values }))),
            btree_map(".{0,4}", inner, 0..4)
                .prop_map(|fields| Some(Kind::StructValue(pb::StructValue { fields }))),
        ]
    });
    kind.prop_map(|kind| pb::Value { kind })
}

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![(0..4_000_000_000_i64, 0..1_000_000_000_i32), (any::<i64>(), any::<i32>()),]
        .prop_map(|(seconds, nanos)| Timestamp { seconds, nanos })
}

fn consent() -> impl Strategy<Value = pb::Consent> {
    (vec("[a-c]{0,2}", 0..3), vec("[a-c]{0,2}", 0..3)).prop_map(
        |(granted_purposes, denied_purposes)| pb::Consent { granted_purposes, denied_purposes },
    )
}

/// Any event, good or bad.
pub(crate) fn event() -> impl Strategy<Value = pb::Event> {
    let ids = [".{0,6}", "[a-z]{0,6}", ".{0,6}", ".{0,3}", "a?", "(eu)?"];
    let times = (option::of(time()), option::of(time()));
    let properties = btree_map(".{0,5}", value(), 0..5);
    (ids, times, any::<i64>(), properties, option::of(consent())).prop_map(
        |(ids, (occurred_time, sent_time), sequence, properties, consent)| {
            let [message_id, name, user_id, anonymous_id, account_id, region] = ids;
            pb::Event {
                message_id,
                name,
                user_id,
                anonymous_id,
                account_id,
                occurred_time,
                sent_time,
                sequence,
                properties,
                region,
                consent,
            }
        },
    )
}
