//! The events of the bench: a software company's, by seed. Each is a function
//! of its number, so that nothing is kept to send one again.

use chrono::{DateTime, TimeDelta, Utc};
use northstar_client::columns::{Property, Row};
use northstar_proto::ingestion::v1 as pb;
use pb::value::Kind;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

const ACTORS: u32 = 200_000;
const DAYS: i64 = 90;
/// One in so many events is one that was sent before.
const DUPLICATE_IN: u32 = 100;

/// Names and how often each occurs, in a thousand.
const NAMES: [(&str, u32); 20] = [
    ("page_view", 290),
    ("view_item", 123),
    ("use_feature", 96),
    ("session_start", 88),
    ("click", 79),
    ("search", 70),
    ("login", 53),
    ("error", 18),
    ("add_to_cart", 18),
    ("logout", 18),
    ("purchase", 24),
    ("signup", 30),
    ("activate", 20),
    ("exp_exposure", 15),
    ("upload", 11),
    ("comment", 14),
    ("download", 11),
    ("settings", 11),
    ("share", 8),
    ("invite", 3),
];
const PLANS: [&str; 4] = ["free", "basic", "pro", "enterprise"];
const COUNTRIES: [&str; 20] = [
    "US", "IN", "BR", "GB", "DE", "FR", "JP", "ID", "MX", "CA", "ES", "IT", "NG", "PL", "TR", "AU",
    "NL", "KR", "VN", "SE",
];
const CHANNELS: [&str; 5] = ["organic", "paid", "referral", "email", "social"];
const DEVICES: [&str; 4] = ["ios", "android", "web", "desktop"];

/// Makes events.
#[derive(Clone, Debug)]
pub(super) struct Generator {
    seed: u64,
    start: DateTime<Utc>,
}

/// An event.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) message_id: String,
    pub(super) name: &'static str,
    pub(super) user_id: String,
    /// Empty unless the event ties a device to its user.
    pub(super) anonymous_id: String,
    pub(super) occurred_micros: i64,
    pub(super) plan: &'static str,
    pub(super) country: &'static str,
    pub(super) channel: &'static str,
    pub(super) device: &'static str,
    /// Cents, of purchases.
    pub(super) amount: Option<i64>,
}

impl Generator {
    /// Events of the 90 days before a fixed day.
    pub(super) fn new(seed: u64) -> Self {
        let start = DateTime::from_timestamp(1_772_409_600, 0).unwrap_or_default();
        Self { seed, start }
    }

    /// The event of a number, of which some are events of smaller numbers from
    /// `first` on.
    pub(super) fn sent(&self, first: u64, number: u64) -> Sample {
        let mut random = self.random(number ^ 0x5eed_0000_0000_0000);
        if number > first && random.random_ratio(1, DUPLICATE_IN) {
            return self.distinct(random.random_range(first..number));
        }
        self.distinct(number)
    }

    /// The event of a number, which no other number has.
    pub(super) fn distinct(&self, number: u64) -> Sample {
        let mut random = self.random(number);
        let id = uuid::Builder::from_random_bytes({
            let mut bytes = [0; 16];
            random.fill_bytes(&mut bytes);
            bytes
        });
        // A few actors do much: the cube crowds them towards the first numbers.
        let share: f64 = random.random();
        let actor = ((share * share * share) * f64::from(ACTORS)) as u32;
        let mut traits = self.random(u64::from(actor) | 1 << 40);
        let plan = pick(&mut traits, &PLANS);
        let country = pick(&mut traits, &COUNTRIES);
        let channel = pick(&mut traits, &CHANNELS);
        let device = pick(&mut traits, &DEVICES);
        let mut thousandth = random.random_range(0..1000);
        let name = NAMES
            .iter()
            .find(|(_, often)| {
                let found = thousandth < *often;
                thousandth = thousandth.saturating_sub(*often);
                found
            })
            .map_or("page_view", |found| found.0);
        let occurred =
            self.start + TimeDelta::milliseconds(random.random_range(0..DAYS * 86_400_000));
        let ties = name == "signup" || name == "login";
        Sample {
            message_id: id.into_uuid().to_string(),
            name,
            user_id: format!("user-{actor:06}"),
            anonymous_id: if ties { format!("device-{actor:06}") } else { String::new() },
            occurred_micros: occurred.timestamp_micros(),
            plan,
            country,
            channel,
            device,
            amount: (name == "purchase").then(|| random.random_range(99..25_000)),
        }
    }

    fn random(&self, number: u64) -> ChaCha8Rng {
        // An odd factor keeps numbers apart and streams of seeds from meeting.
        ChaCha8Rng::seed_from_u64(
            self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number),
        )
    }
}

fn pick(random: &mut ChaCha8Rng, values: &[&'static str]) -> &'static str {
    // The first values are the most frequent.
    let share: f64 = random.random();
    values[(share * share * values.len() as f64) as usize]
}

impl Sample {
    fn texts(&self) -> [(&'static str, &'static str); 4] {
        [
            ("channel", self.channel),
            ("country", self.country),
            ("device", self.device),
            ("plan", self.plan),
        ]
    }

    /// As a message.
    pub(super) fn to_event(&self) -> pb::Event {
        let mut properties: std::collections::BTreeMap<_, _> = self
            .texts()
            .map(|(key, text)| {
                let value = pb::Value { kind: Some(Kind::StringValue(text.to_owned())) };
                (key.to_owned(), value)
            })
            .into();
        if let Some(amount) = self.amount {
            let value = pb::Value { kind: Some(Kind::IntValue(amount)) };
            properties.insert("amount".to_owned(), value);
        }
        pb::Event {
            message_id: self.message_id.clone(),
            name: self.name.to_owned(),
            user_id: self.user_id.clone(),
            anonymous_id: self.anonymous_id.clone(),
            occurred_time: Some(prost_types::Timestamp {
                seconds: self.occurred_micros.div_euclid(1_000_000),
                nanos: i32::try_from(self.occurred_micros.rem_euclid(1_000_000) * 1000)
                    .unwrap_or_default(),
            }),
            properties,
            ..pb::Event::default()
        }
    }

    /// As a row of columns.
    pub(super) fn row(&self) -> Row<'_> {
        Row {
            message_id: &self.message_id,
            name: self.name,
            user_id: &self.user_id,
            anonymous_id: &self.anonymous_id,
            occurred_micros: Some(self.occurred_micros),
            ..Row::default()
        }
    }

    /// As a message of the Segment tracking API.
    pub(super) fn to_segment(&self) -> serde_json::Value {
        let time = DateTime::from_timestamp_micros(self.occurred_micros).unwrap_or_default();
        let mut message = serde_json::json!({
            "type": "track",
            "messageId": self.message_id,
            "event": self.name,
            "userId": self.user_id,
            "timestamp": time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            "properties": {
                "channel": self.channel,
                "country": self.country,
                "device": self.device,
                "plan": self.plan,
            },
        });
        if let Some(amount) = self.amount {
            message["properties"]["amount"] = amount.into();
        }
        if !self.anonymous_id.is_empty() {
            message["anonymousId"] = self.anonymous_id.as_str().into();
        }
        message
    }

    /// Its properties, for columns.
    pub(super) fn properties(&self) -> impl Iterator<Item = (&'static str, Property<'static>)> {
        let amount = self.amount.map(|amount| ("amount", Property::Int(amount)));
        amount.into_iter().chain(self.texts().map(|(key, text)| (key, Property::Text(text))))
    }

    /// Its properties as the log keeps them.
    pub(super) fn json(&self) -> String {
        let amount = self.amount.map(|amount| format!("\"amount\":{amount},")).unwrap_or_default();
        let texts = self.texts().map(|(key, text)| format!("\"{key}\":\"{text}\""));
        format!("{{{amount}{}}}", texts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn one_event_in_a_hundred_is_sent_again() {
        let generator = Generator::new(1);
        let sent: Vec<String> =
            (0..20_000).map(|number| generator.sent(0, number).message_id).collect();
        let distinct: HashSet<&String> = sent.iter().collect();
        let again = sent.len() - distinct.len();
        assert!((140..=260).contains(&again), "{again} of 20,000");
    }

    #[test]
    fn a_seed_makes_the_same_events_and_another_makes_others() {
        let id = |seed, number| Generator::new(seed).distinct(number).message_id;
        assert_eq!(id(7, 3), id(7, 3));
        assert_ne!(id(7, 3), id(8, 3));
        assert_ne!(id(7, 3), id(7, 4));
    }

    #[test]
    fn names_add_up_to_a_whole() {
        assert_eq!(NAMES.iter().map(|(_, often)| often).sum::<u32>(), 1000);
    }
}
