//! Events on their way into the log: noted by whoever received them, in one piece of memory.

use northstar_domain::event::Event;
use northstar_domain::time_correction::TimeCorrection;

/// An event of a block, all but its position. Times are microseconds since 1970-01-01 UTC; an id, region or consent that
/// the event does not have is empty.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Row<'a> {
    /// Number of the source.
    pub source: i32,
    /// Id given by the producer.
    pub message_id: &'a str,
    /// What happened.
    pub name: &'a str,
    /// Id of a known person.
    pub user_id: &'a str,
    /// Id of a device or session.
    pub anonymous_id: &'a str,
    /// Id of the account.
    pub account_id: &'a str,
    /// Region it belongs to.
    pub region: &'a str,
    /// The text form of its consent.
    pub consent: &'a str,
    /// When it happened, by the producer's clock.
    pub occurred_micros: i64,
    /// When it was sent, by the producer's clock.
    pub sent_micros: Option<i64>,
    /// When it was received.
    pub received_micros: i64,
    /// The time every KPI uses.
    pub effective_micros: i64,
    /// Orders events of the same time.
    pub sequence: i64,
    /// How the effective time was derived: 0 as given, 1 skew corrected, 2 clamped.
    pub correction: u8,
    /// The properties as JSON text.
    pub properties: &'a str,
}

impl<'a> Row<'a> {
    /// The row of an event.
    pub fn of_event(
        source: i32,
        event: &Event<'a>,
        received_micros: i64,
        effective_micros: i64,
        correction: TimeCorrection,
    ) -> Self {
        Self {
            source,
            message_id: event.message_id,
            name: event.name,
            user_id: event.user_id,
            anonymous_id: event.anonymous_id,
            account_id: event.account_id,
            region: event.region,
            consent: event.consent,
            occurred_micros: event.occurred_at.timestamp_micros(),
            sent_micros: event.sent_at.map(|sent| sent.timestamp_micros()),
            received_micros,
            effective_micros,
            sequence: event.sequence,
            correction: match correction {
                TimeCorrection::None => 0,
                TimeCorrection::Skew => 1,
                TimeCorrection::Clamped => 2,
            },
            properties: event.properties,
        }
    }

    /// How the effective time was derived; `None` for a number that is never written.
    pub fn time_correction(&self) -> Option<TimeCorrection> {
        match self.correction {
            0 => Some(TimeCorrection::None),
            1 => Some(TimeCorrection::Skew),
            2 => Some(TimeCorrection::Clamped),
            _ => None,
        }
    }
}

/// Events in the order in which they were pushed, their texts in one piece.
#[derive(Debug, Default)]
pub struct Events {
    texts: String,
    rows: Vec<Noted>,
}

/// A row whose texts lie in [`Events::texts`], one after the other.
#[derive(Debug)]
struct Noted {
    /// Where the texts begin.
    begin: usize,
    lengths: [u32; 8],
    source: i32,
    occurred_micros: i64,
    sent_micros: Option<i64>,
    received_micros: i64,
    effective_micros: i64,
    sequence: i64,
    correction: u8,
}

impl Events {
    /// Room for so many events and bytes of text.
    pub fn with_capacity(events: usize, bytes: usize) -> Self {
        Self { texts: String::with_capacity(bytes), rows: Vec::with_capacity(events) }
    }

    /// Notes an event and returns its index.
    pub fn push(&mut self, row: &Row<'_>) -> usize {
        let texts = [
            row.message_id,
            row.name,
            row.user_id,
            row.anonymous_id,
            row.account_id,
            row.region,
            row.consent,
            row.properties,
        ];
        let begin = self.texts.len();
        for text in texts {
            self.texts.push_str(text);
        }
        self.rows.push(Noted {
            begin,
            // An event is bounded far below 4 GiB.
            lengths: texts.map(|text| text.len() as u32),
            source: row.source,
            occurred_micros: row.occurred_micros,
            sent_micros: row.sent_micros,
            received_micros: row.received_micros,
            effective_micros: row.effective_micros,
            sequence: row.sequence,
            correction: row.correction,
        });
        self.rows.len() - 1
    }

    /// An event by its index.
    ///
    /// # Panics
    /// When there is no such event.
    pub fn get(&self, index: usize) -> Row<'_> {
        let noted = &self.rows[index];
        let mut begin = noted.begin;
        let [message_id, name, user_id, anonymous_id, account_id, region, consent, properties] =
            noted.lengths.map(|length| {
                let text = &self.texts[begin..][..length as usize];
                begin += length as usize;
                text
            });
        Row {
            message_id,
            name,
            user_id,
            anonymous_id,
            account_id,
            region,
            consent,
            properties,
            source: noted.source,
            occurred_micros: noted.occurred_micros,
            sent_micros: noted.sent_micros,
            received_micros: noted.received_micros,
            effective_micros: noted.effective_micros,
            sequence: noted.sequence,
            correction: noted.correction,
        }
    }

    /// Number of events.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.texts.len() + self.rows.len() * size_of::<Noted>()
    }
}
