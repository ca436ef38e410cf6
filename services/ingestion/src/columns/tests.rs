//! Columns say what the same events say one by one, and never more than a batch
//! may hold.

use northstar_client::columns::{ColumnsBuilder, Property, Row};
use pb::property_column::Values;
use pb::value::Kind;
use proptest::collection::vec;
use proptest::prelude::*;
use tonic::Status;

use super::*;
use crate::strategies::{event, seen};

/// NaN within a list or an object has no JSON text, so that columns refuse it
/// for another reason.
fn can_be_json(value: &pb::Value) -> bool {
    match &value.kind {
        Some(Kind::DoubleValue(double)) => double.is_finite(),
        Some(Kind::ListValue(list)) => list.values.iter().all(can_be_json),
        Some(Kind::StructValue(object)) => object.fields.values().all(can_be_json),
        _ => true,
    }
}

/// Whether a time is one, if perhaps of another age.
fn is_time(time: &Option<prost_types::Timestamp>) -> bool {
    time.is_none_or(|time| {
        (0..1_000_000_000).contains(&time.nanos) && time.seconds.unsigned_abs() < 1 << 40
    })
}

fn columns_of(events: &[pb::Event]) -> pb::EventColumns {
    let mut columns = ColumnsBuilder::default();
    for event in events {
        columns.push_event(event);
    }
    columns.finish()
}

proptest! {
    #[test]
    fn columns_say_what_the_events_say(events in vec(event(), 0..40)) {
        let events: Vec<pb::Event> = events
            .into_iter()
            .filter(|event| is_time(&event.occurred_time) && is_time(&event.sent_time))
            .filter(|event| event.properties.values().all(can_be_json))
            .collect();
        let columns = Columns::check(columns_of(&events)).unwrap();
        prop_assert_eq!(seen(&columns), seen(&events));
    }

    #[test]
    fn damaged_columns_are_refused_or_read(
        events in vec(event(), 1..5),
        place in any::<prop::sample::Index>(),
        new in vec(any::<u8>(), 0..3),
    ) {
        let mut bytes = columns_of(&events).encode_to_vec();
        let start = place.index(bytes.len() + 1);
        let end = (start + 1).min(bytes.len());
        bytes.splice(start..end, new);
        if let Ok(columns) = pb::EventColumns::decode(&*bytes)
            && let Ok(columns) = Columns::check(columns)
        {
            seen(&columns);
            for index in 0..columns.len() {
                columns.encode(index);
            }
        }
    }
}

/// Two events with a property each.
fn two() -> pb::EventColumns {
    let mut columns = ColumnsBuilder::default();
    for (message_id, plan) in [("m1", "pro"), ("m2", "free")] {
        columns.push(
            Row {
                message_id,
                name: "Signed Up",
                user_id: "ü1",
                occurred_micros: Some(1_772_409_600_000_000),
                ..Row::default()
            },
            [("plan", plan.into()), ("seats", Property::Int(3))],
        );
    }
    columns.finish()
}

/// The field that columns are refused for.
fn blamed(columns: pb::EventColumns) -> String {
    match Columns::check(columns).unwrap_err() {
        Error::Invalid { field, .. } => field,
        other => panic!("{}", Status::from(other)),
    }
}

#[test]
fn columns_that_do_not_fit_are_blamed_by_name() {
    assert_eq!(Columns::check(two()).unwrap().len(), 2);
    let changed = |change: fn(&mut pb::EventColumns)| {
        let mut columns = two();
        change(&mut columns);
        blamed(columns)
    };
    let ids = |change: fn(&mut pb::Texts)| {
        let mut columns = two();
        let ids = columns.message_ids.as_mut().and_then(|ids| ids.values.as_mut()).unwrap();
        change(ids);
        blamed(columns)
    };
    assert_eq!(ids(|ids| ids.lengths = vec![4]), "columns.message_ids.values");
    assert_eq!(ids(|ids| ids.lengths = vec![2, 3]), "columns.message_ids.values.lengths[1]");
    assert_eq!(ids(|ids| ids.lengths = vec![2, 1]), "columns.message_ids.values.text");
    assert_eq!(ids(|ids| ids.lengths = vec![u32::MAX; 2]), "columns.message_ids.values.lengths[0]");
    let cut = |columns: &mut pb::EventColumns| {
        let users = columns.user_ids.as_mut().unwrap();
        users.values = Some(pb::Texts { text: "ü".to_owned(), lengths: vec![1, 1] });
    };
    assert_eq!(changed(cut), "columns.user_ids.values.lengths[0]");
    assert_eq!(
        changed(|columns| columns.names.as_mut().unwrap().codes = vec![0, 1]),
        "columns.names.codes[1]"
    );
    assert_eq!(
        changed(|columns| columns.names.as_mut().unwrap().codes = vec![0]),
        "columns.names.codes"
    );
    assert_eq!(changed(|columns| columns.sequences = vec![1]), "columns.sequences");
    let consents = |codes| Some(pb::ConsentColumn { values: vec![pb::Consent::default()], codes });
    let said = |codes| {
        let mut columns = two();
        columns.consents = consents(codes);
        blamed(columns)
    };
    assert_eq!(said(vec![1]), "columns.consents.codes");
    assert_eq!(said(vec![0, 2]), "columns.consents.codes[1]");
    let times = |steps_micros, presence| Some(pb::TimeColumn { steps_micros, presence });
    let sent = |column| {
        let mut columns = two();
        columns.sent_times = column;
        blamed(columns)
    };
    assert_eq!(sent(times(vec![1], vec![])), "columns.sent_times.steps_micros");
    assert_eq!(sent(times(vec![1], vec![0b11])), "columns.sent_times.steps_micros");
    assert_eq!(sent(times(vec![1], vec![0b101])), "columns.sent_times.presence");
    assert_eq!(sent(times(vec![1], vec![1, 0])), "columns.sent_times.presence");
    assert_eq!(sent(times(vec![i64::MAX, 1], vec![])), "columns.sent_times.steps_micros[1]");
    assert_eq!(
        changed(|columns| columns.properties[1].values = None),
        "columns.properties[1].values"
    );
    assert_eq!(
        changed(|columns| columns.properties[1].key = "plan".to_owned()),
        "columns.properties[1].presence"
    );
}

#[test]
fn a_value_that_is_none_is_the_fault_of_its_events_alone() {
    let mut columns = two();
    columns.properties = vec![pb::PropertyColumn {
        key: "tags".to_owned(),
        presence: Vec::new(),
        codes: vec![1, 0],
        values: Some(Values::JsonValues(pb::Texts {
            text: "[1,2][1,".to_owned(),
            lengths: vec![5, 3],
        })),
    }];
    let columns = Columns::check(columns).unwrap();
    let mut outcomes = Vec::new();
    columns.each(&mut |event| {
        outcomes.push(match event {
            Ok(event) => event.properties.to_owned(),
            Err(fault) => format!("{} {}", fault.reason, fault.field),
        });
    });
    assert_eq!(outcomes, ["invalid_json properties.tags", r#"{"tags":[1,2]}"#]);
}

#[test]
fn a_dictionary_can_not_make_more_of_an_event_than_a_batch_may_hold() {
    let bomb = |count: u32, text: usize| pb::EventColumns {
        event_count: count,
        properties: vec![pb::PropertyColumn {
            key: "a".to_owned(),
            codes: vec![0; count as usize],
            values: Some(Values::StringValues(pb::Texts {
                text: "x".repeat(text),
                lengths: vec![u32::try_from(text).unwrap()],
            })),
            ..pb::PropertyColumn::default()
        }],
        ..pb::EventColumns::default()
    };
    let too_large = |columns| match Columns::check(columns) {
        Err(Error::TooLarge { what, .. }) => Some(what),
        _ => None,
    };
    assert_eq!(too_large(bomb(60, 60_000)), None);
    assert_eq!(too_large(bomb(10_000, 60_000)), Some("bytes"));
    assert_eq!(too_large(bomb(10_001, 1)), Some("events"));
    let mut keys = bomb(10_000, 1);
    keys.properties[0].key = "k".repeat(60_000);
    assert_eq!(too_large(keys), Some("bytes"));
    let mut names = bomb(10_000, 1);
    names.names = Some(pb::TextColumn {
        values: Some(pb::Texts { text: "n".repeat(60_000), lengths: vec![60_000] }),
        codes: vec![0; 10_000],
    });
    assert_eq!(too_large(names), Some("bytes"));
}

#[test]
fn the_builder_counts_bytes_as_the_service_does() {
    let mut columns = ColumnsBuilder::default();
    let row = Row { message_id: "m", name: "n", occurred_micros: Some(1), ..Row::default() };
    columns.push(Row { sequence: 1, ..row }, [("text", "abc".into()), ("flag", true.into())]);
    columns.push(Row { sequence: 2, ..row }, [("list", Property::Json("[1]"))]);
    let counted = columns.bytes();
    assert_eq!(Columns::check(columns.finish()).unwrap().bytes(), counted);
    assert!(columns.is_empty());
}
