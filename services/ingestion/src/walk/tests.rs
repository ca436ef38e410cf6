//! Whatever the bytes, the walk answers as prost does, or leaves it to prost.

use std::collections::BTreeMap;

use pb::value::Kind;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::strategies::{event, seen};

/// Compares both ways; says whether the walk was enough.
fn compare(bytes: &[u8]) -> bool {
    let bytes = Bytes::copy_from_slice(bytes);
    let judged = pb::IngestEventsRequest::decode(bytes.clone());
    let walked = walk(&bytes, Numbers { sequence: None, source: 1, events: 2 });
    let Ok(walked) = walked else {
        let read = ingest_events(&Encoded::from(bytes));
        assert_eq!(
            read.map(|batch| batch.events.len()).map_err(|error| error.to_string()),
            judged.map(|request| request.events.len()).map_err(|error| error.to_string())
        );
        return false;
    };
    let judged = judged.expect("what the walk reads prost decodes");
    assert_eq!(walked.source, judged.source);
    assert_eq!(seen(&*walked.events), seen(&judged.events));
    for (index, event) in judged.events.iter().enumerate() {
        let kept = pb::Event::decode(walked.events.encode(index).as_slice()).unwrap();
        assert_eq!(format!("{kept:?}"), format!("{event:?}"));
    }
    true
}

fn request() -> impl Strategy<Value = pb::IngestEventsRequest> {
    ("[a-z]{0,5}", vec(event(), 0..4))
        .prop_map(|(source, events)| pb::IngestEventsRequest { source, events })
}

/// A damage: at a place, so many bytes give way to others.
fn damage() -> impl Strategy<Value = (prop::sample::Index, usize, Vec<u8>)> {
    (any::<prop::sample::Index>(), 0..3_usize, vec(any::<u8>(), 0..3))
}

proptest! {
    #[test]
    fn a_batch_reads_as_prost_decodes_it(request in request()) {
        compare(&request.encode_to_vec());
    }

    #[test]
    fn a_damaged_batch_is_refused_like_prost_refuses_it(
        request in request(),
        damages in vec(damage(), 1..4),
    ) {
        let mut bytes = request.encode_to_vec();
        for (place, gone, new) in damages {
            let start = place.index(bytes.len() + 1);
            let end = (start + gone).min(bytes.len());
            bytes.splice(start..end, new);
        }
        compare(&bytes);
    }

    #[test]
    fn noise_is_refused_like_prost_refuses_it(bytes in vec(any::<u8>(), 0..64)) {
        compare(&bytes);
    }
}

fn plain() -> pb::Event {
    pb::Event {
        message_id: "m1".to_owned(),
        name: "Signed Up".to_owned(),
        user_id: "u1".to_owned(),
        occurred_time: Some(Timestamp { seconds: 1_700_000_000, nanos: 5_000 }),
        properties: BTreeMap::from([
            ("plan".to_owned(), pb::Value { kind: Some(Kind::StringValue("pro".to_owned())) }),
            ("seats".to_owned(), pb::Value { kind: Some(Kind::IntValue(3)) }),
        ]),
        ..pb::Event::default()
    }
}

/// A request of one event, whose encoding ends in these bytes.
fn ending_in(more: &[u8]) -> Vec<u8> {
    let event = [plain().encode_to_vec(), more.to_vec()].concat();
    let mut request = vec![0x0a, 1, b'w', 0x12];
    prost::encoding::encode_varint(event.len() as u64, &mut request);
    [request, event].concat()
}

#[test]
fn an_ordinary_event_needs_no_prost() {
    assert!(compare(&ending_in(&[])));
    // The last of two texts counts, and of two numbers.
    assert!(compare(&ending_in(&[0x12, 2, b'h', b'i', 0x40, 7, 0x40, 9])));
    // Properties in another order than that of their keys.
    assert!(compare(&ending_in(&[0x4a, 3, 0x0a, 1, b'a', 0x4a, 0])));
}

#[test]
fn what_is_legal_and_rare_is_left_to_prost() {
    let long = [&[0xd2, 0x0f, 3][..], b"new"].concat();
    for (what, more) in [
        ("a field of a later version", long.as_slice()),
        ("a time in two pieces", &[0x32, 2, 0x10, 9]),
        ("a property twice", &[0x4a, 8, 0x0a, 4, b'p', b'l', b'a', b'n', 0x12, 0]),
        ("a value of two kinds", &[0x4a, 8, 0x0a, 0, 0x12, 4, 0x10, 1, 0x20, 1]),
        ("a value in two pieces", &[0x4a, 8, 0x12, 2, 0x10, 1, 0x12, 2, 0x20, 1]),
        ("a group", &[0xdb, 0x0f, 0xdc, 0x0f]),
        ("NaN", &[0x4a, 11, 0x12, 9, 0x19, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f]),
    ] {
        assert!(pb::IngestEventsRequest::decode(&*ending_in(more)).is_ok(), "{what} is legal");
        assert!(!compare(&ending_in(more)), "{what} was not left to prost");
    }
}

#[test]
fn what_is_illegal_is_refused_with_the_words_of_prost() {
    for (what, more) in [
        ("bad UTF-8", &[0x0a, 1, 0xff][..]),
        ("a wrong type", &[0x08, 1]),
        ("a text beyond the end", &[0x0a, 9, b'a']),
        ("an endless number", &[0x40, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2]),
        ("field zero", &[0x02, 0]),
        ("an open group", &[0xdb, 0x0f]),
    ] {
        assert!(!compare(&ending_in(more)), "{what} was walked");
        assert!(ingest_events(&Encoded::from(Bytes::from(ending_in(more)))).is_err(), "{what}");
    }
}

#[test]
fn a_stream_brings_its_sequence_and_leaves_columns_to_prost() {
    let request = pb::StreamEventsRequest {
        sequence: -7,
        source: "web".to_owned(),
        events: vec![plain()],
        ..pb::StreamEventsRequest::default()
    };
    let read = |request: &pb::StreamEventsRequest| {
        stream_events(&Encoded::from(Bytes::from(request.encode_to_vec()))).unwrap()
    };
    let batch = read(&request);
    assert_eq!((batch.sequence, batch.source.as_str()), (-7, "web"));
    assert_eq!(seen(&*batch.events), seen(&vec![plain()]));
    let columns = Some(pb::EventColumns { event_count: 3, ..pb::EventColumns::default() });
    let batch = read(&pb::StreamEventsRequest { columns: columns.clone(), ..request });
    assert_eq!(batch.columns, columns);
}
