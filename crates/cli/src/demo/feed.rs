//! From what people did to what the company's systems send: events with the
//! faults that real producers have.
//!
//! - `web` and `app` send what people do; the app sends one event in a hundred
//!   twice, and one in fifty a day or two late.
//! - `billing` writes amounts as text for three days after a release.
//! - `kiosk` forgets who was there.

use std::collections::BTreeMap;

use northstar_proto::ingestion::v1::value::Kind;
use northstar_proto::ingestion::v1::{Event, Value};

use super::company::{Company, DAY, Fact, START_MICROS, What};

/// Days on which billing writes amounts as text.
const BROKEN_DAYS: std::ops::Range<i64> = 30..33;
/// Events the kiosk sends without anybody.
const NAMELESS: i64 = 250;

/// An event and the system that sends it.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The producing system.
    pub source: &'static str,
    /// When it arrives, in simulated microseconds.
    pub arrives: i64,
    /// The event.
    pub event: Event,
}

/// The user id of a person.
pub fn user_id(person: u32) -> String {
    format!("user-{person:05}")
}

/// The person behind a user id.
pub fn person(user_id: &str) -> Option<u32> {
    user_id.strip_prefix("user-")?.parse().ok()
}

/// What the company's systems send for these facts, in the order of arrival.
/// `part` keeps the message ids of several calls apart.
pub fn send(company: &Company, facts: &[Fact], part: &str) -> Vec<Sent> {
    let mut sent = Vec::with_capacity(facts.len() + facts.len() / 64);
    for (index, fact) in (0_u64..).zip(facts) {
        let event = event(company, fact, format!("{part}-{index:06}"));
        let source = source(fact.what);
        // A fixed scatter: which events are late or sent twice depends on their
        // number alone.
        let scatter = index.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        let app = source == "app";
        let late = app && scatter.is_multiple_of(50);
        let arrives = if late { fact.at + DAY + DAY / 2 } else { fact.at };
        if app && scatter % 100 == 7 {
            sent.push(Sent { source, arrives: arrives + 1, event: event.clone() });
        }
        sent.push(Sent { source, arrives, event });
    }
    sent.sort_by(|a, b| (a.arrives, &a.event.message_id).cmp(&(b.arrives, &b.event.message_id)));
    sent
}

/// What the kiosk sends: visits of nobody.
pub fn nameless() -> Vec<Sent> {
    let visit = |number: i64| {
        let at = START_MICROS + number * 3 * DAY / 16;
        let event = Event {
            message_id: format!("kiosk-{number:04}"),
            name: "Page Viewed".to_owned(),
            occurred_time: Some(timestamp(at)),
            ..Event::default()
        };
        Sent { source: "kiosk", arrives: at, event }
    };
    (0..NAMELESS).map(visit).collect()
}

/// Microseconds since the epoch on the wire.
pub fn timestamp(micros: i64) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: micros.div_euclid(1_000_000),
        nanos: (micros.rem_euclid(1_000_000) * 1_000) as i32,
    }
}

fn source(what: What) -> &'static str {
    match what {
        What::PageViewed(_) | What::SignedUp | What::TrialStarted => "web",
        What::Subscribed | What::InvoicePaid(_) => "billing",
        What::SetupStalled
        | What::Activated
        | What::FeatureUsed(_)
        | What::TicketOpened
        | What::TicketResolved => "app",
    }
}

fn event(company: &Company, fact: &Fact, message_id: String) -> Event {
    let somebody = &company.people[fact.person as usize];
    let mut properties = BTreeMap::new();
    let mut text = |name: &str, value: &str| {
        let kind = Some(Kind::StringValue(value.to_owned()));
        properties.insert(name.to_owned(), Value { kind });
    };
    let name = match fact.what {
        What::PageViewed(page) => {
            text("page", page);
            text("channel", somebody.channel);
            "Page Viewed"
        }
        What::SignedUp => {
            text("plan", somebody.plan);
            text("country", somebody.country);
            text("channel", somebody.channel);
            "Signed Up"
        }
        What::TrialStarted => {
            text("plan", somebody.plan);
            "Trial Started"
        }
        What::SetupStalled => {
            text("plan", somebody.plan);
            "Setup Stalled"
        }
        What::Activated => {
            text("plan", somebody.plan);
            "Activated"
        }
        What::FeatureUsed(feature) => {
            text("feature", feature);
            "Feature Used"
        }
        What::TicketOpened => "Ticket Opened",
        What::TicketResolved => "Ticket Resolved",
        What::Subscribed => {
            text("plan", somebody.plan);
            "Subscribed"
        }
        What::InvoicePaid(cents) => {
            text("plan", somebody.plan);
            let day = (fact.at - START_MICROS).div_euclid(DAY);
            let amount = cents as f64 / 100.0;
            let kind = if BROKEN_DAYS.contains(&day) {
                Kind::StringValue(format!("{amount:.2} USD"))
            } else {
                Kind::DoubleValue(amount)
            };
            properties.insert("amount".to_owned(), Value { kind: Some(kind) });
            "Invoice Paid"
        }
    };
    // Visitors are anonymous until they sign up, and that is when both ids meet.
    let anonymous = matches!(fact.what, What::PageViewed(_) | What::SignedUp);
    let known = !matches!(fact.what, What::PageViewed(_));
    Event {
        message_id,
        name: name.to_owned(),
        user_id: if known { user_id(fact.person) } else { String::new() },
        anonymous_id: if anonymous { format!("anon-{:05}", fact.person) } else { String::new() },
        occurred_time: Some(timestamp(fact.at)),
        properties,
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn faults_are_there_and_the_same_every_time() {
        let company = Company::new(5);
        let facts = company.after(|_| false, |_| false);
        let (one, two) = (send(&company, &facts, "b"), send(&company, &facts, "b"));
        assert_eq!(one.len(), two.len());
        let ids: HashSet<_> = one.iter().map(|sent| sent.event.message_id.as_str()).collect();
        let repeated = one.len() - ids.len();
        assert!(repeated > facts.len() / 200, "{repeated} repeated of {}", facts.len());
        let late = one
            .iter()
            .filter(|sent| {
                let occurred = sent.event.occurred_time.expect("every event has a time").seconds;
                sent.arrives / 1_000_000 > occurred + 3600
            })
            .count();
        assert!(late > facts.len() / 100, "{late} late");
        let broken = one.iter().filter(|sent| {
            let amount = sent.event.properties.get("amount").and_then(|value| value.kind.as_ref());
            matches!(amount, Some(Kind::StringValue(_)))
        });
        assert!(broken.count() > 50);
    }

    #[test]
    fn a_user_id_names_its_person() {
        assert_eq!(person(&user_id(123)), Some(123));
        assert_eq!(person("anon-00123"), None);
    }
}
