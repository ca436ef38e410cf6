use proptest::prelude::*;

use super::*;

/// An event whose texts are its own.
#[derive(Clone, Debug)]
struct Sample {
    texts: [String; 8],
    numbers: (i32, i64, Option<i64>, i64, i64, i64, u8),
}

impl Sample {
    fn row(&self) -> Row<'_> {
        let [message_id, name, user_id, anonymous_id, account_id, region, consent, properties] =
            self.texts.each_ref().map(String::as_str);
        let (
            source,
            occurred_micros,
            sent_micros,
            received_micros,
            effective_micros,
            sequence,
            correction,
        ) = self.numbers;
        Row {
            source,
            message_id,
            name,
            user_id,
            anonymous_id,
            account_id,
            region,
            consent,
            occurred_micros,
            sent_micros,
            received_micros,
            effective_micros,
            sequence,
            correction,
            properties,
        }
    }
}

fn properties() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        any::<i64>().prop_map(|integer| integer.to_string()),
        any::<bool>().prop_map(|truth| truth.to_string()),
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        Just("null".to_owned()),
        Just("1.0e300".to_owned()),
        Just(r#"{"a":[1,{"b":"}],{\""}],"c":{}}"#.to_owned()),
        Just("[]".to_owned()),
    ];
    let key = prop_oneof![Just("plan".to_owned()), Just("a\"b\\".to_owned()), any::<String>()];
    let object = prop::collection::vec((key, value), 0..5).prop_map(|members| {
        let members: Vec<String> = members
            .iter()
            .map(|(key, value)| format!("{}:{value}", serde_json::to_string(key).unwrap()))
            .collect();
        format!("{{{}}}", members.join(","))
    });
    // Not only objects, and not only JSON: a block keeps what it is given.
    prop_oneof![
        8 => object,
        1 => any::<String>(),
        1 => prop::sample::select(vec!["", "{", "}", "{}", "{ }", "{\"a\":}", "{\"a\":1,}", "{\"a\":1}}", "[1]",
            "{\"a\" :1}", "{\"a\":\"\\", "{\"a\":]}", "{\"a\":1,\"a\":2}"]).prop_map(str::to_owned),
    ]
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let text = || prop_oneof![Just(String::new()), Just("Signed Up".to_owned()), any::<String>()];
    let integer = || {
        prop_oneof![any::<i64>(), Just(0), Just(1_700_000_000_000_000), Just(1_700_000_003_000_000)]
    };
    let sample = (
        (text(), text(), text(), text(), text(), text(), text(), properties()),
        (
            any::<i32>(),
            integer(),
            prop::option::of(integer()),
            integer(),
            integer(),
            integer(),
            0..3_u8,
        ),
    )
        .prop_map(|((a, b, c, d, e, f, g, h), numbers)| Sample {
            texts: [a, b, c, d, e, f, g, h],
            numbers,
        });
    prop::collection::vec(sample, 1..40)
}

fn encode<'a>(rows: impl IntoIterator<Item = Row<'a>>) -> Vec<u8> {
    let mut writer = BlockWriter::default();
    for row in rows {
        writer.push(&row);
    }
    writer.finish()
}

fn assert_reads_back<'a>(content: Vec<u8>, rows: impl IntoIterator<Item = Row<'a>>) {
    let mut rows = rows.into_iter();
    let block = Block::open(content).unwrap();
    block.visit(0..block.len(), |read| assert_eq!(Some(read), rows.next())).unwrap();
    assert_eq!(rows.next(), None);
}

proptest! {
    #[test]
    fn a_block_gives_back_every_byte_of_every_event(samples in samples()) {
        let mut events = Events::default();
        for sample in &samples {
            events.push(&sample.row());
        }
        let content = encode((0..samples.len()).map(|index| events.get(index)));
        assert_reads_back(content, samples.iter().map(Sample::row));
    }

    #[test]
    fn a_block_that_was_damaged_anywhere_says_so(samples in samples(), place in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let mut content = encode(samples.iter().map(Sample::row));
        let place = place.index(content.len());
        content[place] ^= flip;
        prop_assert!(Block::open(content.clone()).is_err());
        content.truncate(place);
        prop_assert!(Block::open(content).is_err());
    }

    /// A damage that keeps the checksum: what reads the sections must not trust them.
    #[test]
    fn reading_a_forged_block_fails_or_not_but_never_panics(samples in samples(), place in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let mut content = encode(samples.iter().map(Sample::row));
        let place = 5 + place.index(content.len() - 5);
        content[place] ^= flip;
        let checksum = crc32fast::hash(&content[5..]).to_le_bytes();
        content[1..5].copy_from_slice(&checksum);
        if let Ok(block) = Block::open(content) {
            let _ = block.visit(0..block.len(), |row| { std::hint::black_box(row); });
        }
    }
}

fn sample(number: usize) -> Sample {
    let texts = [
        format!("message-{number}"),
        "Signed Up".to_owned(),
        format!("user-{}", number % 300),
        String::new(),
        String::new(),
        "eu".to_owned(),
        String::new(),
        format!(r#"{{"amount":{}.5,"plan":"pro"}}"#, number % 1_000),
    ];
    let time = 1_700_000_000_000_000 + number as i64 * 1_000_000;
    Sample { texts, numbers: (1, time, None, time, time, 0, 0) }
}

#[test]
fn a_large_block_is_a_fraction_of_its_events_and_its_columns_are_read_alone() {
    let samples: Vec<Sample> = (0..5_000).map(sample).collect();
    let content = encode(samples.iter().map(Sample::row));
    assert!(content.len() < 5_000 * 20, "{} bytes for 5,000 events", content.len());
    assert_reads_back(content.clone(), samples.iter().map(Sample::row));

    let block = Block::open(content).unwrap();
    assert_eq!(block.facts().unwrap().user_ids.entries().len(), 300);
    let properties = block.properties().unwrap();
    let columns: Vec<_> =
        properties.columns().map(|(key, values)| (key, values.entries().len())).collect();
    assert_eq!(columns, [("amount", 1_000), ("plan", 1)]);
    assert_eq!(properties.whole().codes().len(), 0);
    let mut found = Vec::new();
    block.visit(4_321..4_323, |row| found.push(row.message_id.to_owned())).unwrap();
    assert_eq!(found, ["message-4321", "message-4322"]);
}

#[test]
fn keys_without_end_do_not_make_columns_without_end() {
    let samples: Vec<Sample> = (0..3_000)
        .map(|number| {
            let mut sample = sample(number);
            sample.texts[7] = format!(r#"{{"key-{number}":{number}}}"#);
            sample
        })
        .collect();
    let content = encode(samples.iter().map(Sample::row));
    let block = Block::open(content.clone()).unwrap();
    assert_eq!(block.properties().unwrap().columns().len(), 1_024);
    assert_reads_back(content, samples.iter().map(Sample::row));
}

#[test]
fn rows_of_the_old_layout_are_read() {
    let mut content = vec![0];
    content.extend_from_slice(
        br#"[[7,"m1","Signed Up","u1","","","","",5,null,6,5,0,0,"{\"plan\":\"pro\"}"],
             [7,"m2","Signed Up","","d1","acme","eu","",-5,4,6,5,3,1,"{}"]]"#,
    );
    let old = |message_id, user_id, anonymous_id| Row {
        source: 7,
        message_id,
        name: "Signed Up",
        user_id,
        anonymous_id,
        account_id: "",
        region: "",
        consent: "",
        occurred_micros: 5,
        sent_micros: None,
        received_micros: 6,
        effective_micros: 5,
        sequence: 0,
        correction: 0,
        properties: r#"{"plan":"pro"}"#,
    };
    let first = old("m1", "u1", "");
    let second = Row {
        account_id: "acme",
        region: "eu",
        occurred_micros: -5,
        sent_micros: Some(4),
        sequence: 3,
        correction: 1,
        properties: "{}",
        ..old("m2", "", "d1")
    };
    assert_reads_back(content, [first, second]);
    assert!(Block::open(b"\0[[1]]".to_vec()).is_err());
    assert!(Block::open(b"\0[]".to_vec()).is_err());
    assert!(Block::open(b"\x02".to_vec()).is_err());
    assert!(Block::open(Vec::new()).is_err());
}
