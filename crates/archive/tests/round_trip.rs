//! What is written reads back the same.

#![expect(clippy::unwrap_used, reason = "what a test cannot do fails it")]

use bytes::Bytes;
use northstar_archive::{ArchivedEvent, Consent, ParquetEvents, ParquetWriter, from_line, to_line};
use proptest::prelude::*;

fn event(position: i64) -> ArchivedEvent {
    ArchivedEvent {
        position,
        source: "web".to_owned(),
        message_id: format!("m{position}"),
        name: "Signed Up".to_owned(),
        user_id: if position % 2 == 0 { "ü".to_owned() } else { String::new() },
        anonymous_id: "phone".to_owned(),
        account_id: String::new(),
        occurred_at: "2026-03-02T11:59:00.000001Z".parse().unwrap(),
        sent_at: (position % 3 == 0).then(|| "0001-01-01T00:00:00Z".parse().unwrap()),
        received_at: "2026-03-02T12:00:00Z".parse().unwrap(),
        effective_at: "9999-12-31T23:59:59.999999Z".parse().unwrap(),
        correction: "skew".to_owned(),
        sequence: i64::MIN,
        region: if position % 2 == 0 { "eu".to_owned() } else { String::new() },
        consent: (position % 5 == 0)
            .then(|| Consent { granted: vec!["ads".to_owned()], denied: Vec::new() }),
        properties: r#"{"big":9223372036854775807,"double":2.0,"deep":{"a":[1,null]}}"#.to_owned(),
    }
}

#[test]
fn events_read_back_from_parquet_as_they_were_written() {
    let events: Vec<_> = (1..=60_000).map(event).collect();
    let file = tempfile::tempfile().unwrap();
    let mut writer = ParquetWriter::new(file.try_clone().unwrap()).unwrap();
    for chunk in events.chunks(7_000) {
        writer.write(chunk).unwrap();
    }
    writer.write(&[]).unwrap();
    writer.finish().unwrap();
    let read = ParquetEvents::open(file).unwrap();
    assert_eq!(read.events(), 60_000);
    let read: Vec<_> = read.map(Result::unwrap).collect();
    assert!(read == events, "some of the events differ");
}

#[test]
fn events_read_back_from_lines_as_they_were_written() {
    for position in 1..=30 {
        let line = to_line(&event(position)).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(from_line(line.as_bytes()).unwrap(), event(position));
    }
}

#[test]
fn what_is_no_stretch_of_a_log_is_refused_with_its_fault() {
    let file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut &file, b"PAR1 is not enough").unwrap();
    assert!(ParquetEvents::open(file).is_err());
    let error = from_line(br#"{"position":1}"#).unwrap_err().to_string();
    assert!(error.contains("missing field"), "{error}");
    assert!(from_line(b"[]").is_err());
}

/// A file of a few events.
fn small_file() -> Vec<u8> {
    let mut file = tempfile::tempfile().unwrap();
    let mut writer = ParquetWriter::new(file.try_clone().unwrap()).unwrap();
    writer.write(&(1..=30).map(event).collect::<Vec<_>>()).unwrap();
    writer.finish().unwrap();
    let mut content = Vec::new();
    std::io::Seek::rewind(&mut file).unwrap();
    std::io::Read::read_to_end(&mut file, &mut content).unwrap();
    content
}

proptest! {
    #[test]
    fn a_damaged_file_is_refused_or_read_and_never_worse(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        let mut content = small_file();
        for (place, byte) in damage {
            let place = place.index(content.len());
            content[place] = byte;
        }
        if cuts {
            content.truncate(cut.index(content.len()));
        }
        if let Ok(events) = ParquetEvents::open(Bytes::from(content)) {
            // What the columns hold is one thing or the other, row by row.
            events.take(100).filter(Result::is_ok).count();
        }
    }

    #[test]
    fn a_damaged_line_is_refused_or_read_and_never_worse(
        place in any::<prop::sample::Index>(), bytes in prop::collection::vec(any::<u8>(), 0..5),
    ) {
        let mut line = to_line(&event(5)).unwrap().into_bytes();
        let place = place.index(line.len());
        line.splice(place..(place + bytes.len()).min(line.len()), bytes);
        if let Ok(read) = from_line(&line) {
            prop_assert!(to_line(&read).is_ok());
        }
    }
}
