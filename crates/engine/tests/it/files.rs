//! Damaged segment files are refused with a typed error, never read wrong and never a panic.

use std::fs;

use northstar_engine::{Actor, Dataset, Error, EventRecord, SegmentFault, SegmentInfo};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::EPOCH;

/// A folder with one segment that uses every kind of column.
fn one_segment() -> (tempfile::TempDir, SegmentInfo, Vec<u8>) {
    let dir = tempfile::tempdir().expect("a folder");
    let mut dataset = Dataset::new(dir.path()).expect("a folder");
    let properties: Vec<Value> = (0..6_000i64)
        .map(|at| {
            if at % 100 == 0 {
                json!({ "rare": "é", "many": at * 7, "list": [at], "nothing": null, "yes": true })
            } else {
                json!({ "many": at * 7, "price": at as f64 / 3.0, "plan": { "name": if at % 2 == 0 { "free" } else { "pro" } } })
            }
        })
        .collect();
    let users: Vec<String> = (0..6_000).map(|at| format!("user {}", at % 271)).collect();
    let records =
        (0i64..).zip(properties.iter().zip(&users)).map(|(at, (properties, user))| EventRecord {
            position: 10 + at,
            name: if at % 3 == 0 { "a" } else { "b" },
            source: "web",
            actor: Actor {
                user_id: Some(user).filter(|_| at % 5 > 0).map(String::as_str),
                anonymous_id: Some("device"),
            },
            account_id: None,
            effective_micros: EPOCH + at,
            sequence: at % 2,
            properties,
        });
    dataset.append(records).expect("an append");
    let info = dataset.compact().expect("a compaction").expect("a segment").added;
    let bytes = fs::read(dir.path().join(&info.file)).expect("the file");
    (dir, info, bytes)
}

fn fault(dir: &std::path::Path, info: &SegmentInfo, bytes: &[u8]) -> Error {
    // The file is mapped by nobody here, so it can be rewritten in place.
    fs::write(dir.join(&info.file), bytes).expect("a write");
    Dataset::open(dir, vec![info.clone()]).expect_err("a damaged file must be refused")
}

#[test]
fn an_undamaged_file_opens() {
    let (dir, info, _) = one_segment();
    let dataset = Dataset::open(dir.path(), vec![info.clone()]).expect("opens");
    assert_eq!((dataset.len(), dataset.watermark(), dataset.tail_len()), (6_000, 6_009, 0));
    assert_eq!(dataset.manifest(), [info]);
    let snapshot = dataset.snapshot().expect("a snapshot");
    assert_eq!(snapshot.event_names(), [("a".to_owned(), 2_000), ("b".to_owned(), 4_000)]);
    assert_eq!(
        snapshot.property_paths(),
        ["list", "many", "nothing", "plan.name", "price", "rare", "yes"]
    );
}

#[test]
fn a_truncated_file_is_refused() {
    let (dir, info, bytes) = one_segment();
    for length in [
        0,
        1,
        8,
        47,
        48,
        64,
        1_000,
        bytes.len() / 2,
        bytes.len() - 33,
        bytes.len() - 32,
        bytes.len() - 1,
    ] {
        match fault(dir.path(), &info, &bytes[..length]) {
            Error::Segment { .. } => {}
            // An empty file cannot be mapped.
            Error::Io { .. } if length == 0 => {}
            other => panic!("{length} bytes: {other}"),
        }
    }
}

#[test]
fn a_foreign_or_newer_file_is_refused_by_name() {
    let (dir, info, mut bytes) = one_segment();
    bytes[8] = 9;
    let error = fault(dir.path(), &info, &bytes);
    assert!(
        matches!(&error, Error::Segment { fault: SegmentFault::BadVersion { found: 9, .. }, .. }),
        "{error}"
    );
    let error = fault(dir.path(), &info, &vec![b'x'; 5_000]);
    assert!(matches!(&error, Error::Segment { fault: SegmentFault::BadMagic, .. }), "{error}");
    assert!(
        error.to_string().contains(&info.file) && error.to_string().contains("rebuild"),
        "{error}"
    );
}

#[test]
fn a_manifest_that_does_not_fit_the_files_is_refused() {
    let (dir, info, _) = one_segment();
    let other = SegmentInfo { events: 5, ..info.clone() };
    assert!(matches!(Dataset::open(dir.path(), vec![other]), Err(Error::Manifest(_))));
    assert!(matches!(
        Dataset::open(dir.path(), vec![info.clone(), info.clone()]),
        Err(Error::Manifest(_))
    ));
    let absent = SegmentInfo { file: "absent.seg".to_owned(), ..info };
    assert!(matches!(Dataset::open(dir.path(), vec![absent]), Err(Error::Io { .. })));
    let outside = SegmentInfo { file: format!("../{}", info.file), ..info };
    assert!(matches!(Dataset::open(dir.path(), vec![outside]), Err(Error::Manifest(_))));
}

#[test]
fn a_directory_that_lies_is_refused_although_its_checksum_fits() {
    let (dir, info, bytes) = one_segment();
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let trailer = bytes.len() - 32;
    let (offset, length) = (word(trailer) as usize, word(trailer + 8) as usize);
    let directory: Value = serde_json::from_slice(&bytes[offset..offset + length]).expect("json");
    let lies: [fn(&mut Value); 9] = [
        |directory| directory["events"] = json!(5_999),
        |directory| directory["events"] = json!(u64::MAX),
        |directory| directory["effective"]["bytes"] = json!(8),
        |directory| directory["effective"]["offset"] = json!(u64::MAX),
        |directory| directory["fields"][0]["strings"] = directory["fields"][3]["strings"].clone(),
        |directory| directory["properties"][1]["codes"]["width"] = json!(2),
        |directory| directory["properties"][3]["tags"] = directory["properties"][0]["tags"].clone(),
        |directory| directory["actor_rows"] = directory["actor_keys"]["offsets"].clone(),
        |directory| directory["max_effective"] = directory["min_effective"].clone(),
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let mut changed = directory.clone();
        lie(&mut changed);
        let text = serde_json::to_vec(&changed).expect("json");
        let mut forged = bytes[..offset].to_vec();
        forged.extend(&text);
        forged.extend((offset as u64).to_le_bytes());
        forged.extend((text.len() as u64).to_le_bytes());
        forged.extend(xxhash_rust::xxh3::xxh3_64(&text).to_le_bytes());
        forged.extend(&bytes[trailer + 24..]);
        let error = fault(dir.path(), &info, &forged);
        assert!(matches!(&error, Error::Segment { .. }), "lie {number}: {error}");
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let (dir, info, bytes) = one_segment();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    // All of the edges, and samples of the rest.
    let edges = (0..200).chain(bytes.len() - 5_000..bytes.len());
    let samples: Vec<usize> = (0..1_500)
        .map(|_| {
            (0..bytes.len())
                .new_tree(&mut runner)
                .map(|tree| proptest::strategy::ValueTree::current(&tree))
                .expect("a place")
        })
        .collect();
    let places: Vec<usize> = edges.step_by(7).chain(samples).collect();
    let mut damaged = bytes;
    for place in places {
        damaged[place] ^= 1 << (place % 8);
        let error = fault(dir.path(), &info, &damaged);
        assert!(matches!(error, Error::Segment { .. }), "byte {place}: {error}");
        damaged[place] ^= 1 << (place % 8);
    }
}
