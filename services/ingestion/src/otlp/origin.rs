//! What records have in common: the resource and the scope that they come from.

use std::collections::{BTreeMap, HashMap};

use northstar_domain::event::MAX_PROPERTIES_BYTES;
use northstar_proto::ingestion::v1 as pb;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use prost_types::Timestamp;
use sha2::{Digest as _, Sha256};

use super::attributes::{Ids, Properties, fields_of, find_text, object, text};
use crate::arrivals::Misfit;

/// Name of a service that does not say its own, by OpenTelemetry's conventions.
const UNKNOWN_SERVICE: &str = "unknown_service";

/// The resource and scope of a run of records, prepared once for all of them.
pub(super) struct Origin {
    pub(super) resource: Option<Resource>,
    pub(super) resource_schema_url: String,
    pub(super) scope: Option<InstrumentationScope>,
    pub(super) scope_schema_url: String,
    ids: Ids,
    service: String,
    subject: String,
    /// Properties that each event gets; `None` when they alone are too large.
    shared: Option<BTreeMap<String, pb::Value>>,
    size: usize,
    digest: Sha256,
}

impl Origin {
    pub(super) fn new(
        resource: Option<Resource>,
        resource_schema_url: String,
        scope: Option<InstrumentationScope>,
        scope_schema_url: String,
    ) -> Self {
        let attributes: &[KeyValue] =
            resource.as_ref().map_or(&[][..], |resource| resource.attributes.as_slice());
        let service = find_text(attributes, "service.name").unwrap_or(UNKNOWN_SERVICE).to_owned();
        let subject = match find_text(attributes, "service.namespace") {
            Some(namespace) => format!("service:{namespace}/{service}"),
            None => format!("service:{service}"),
        };
        let ids = Ids::of(attributes);
        let size = resource.as_ref().map_or(0, Message::encoded_len)
            + scope.as_ref().map_or(0, Message::encoded_len);
        let shared = (size <= MAX_PROPERTIES_BYTES).then(|| shared(attributes, scope.as_ref()));
        let mut digest = Sha256::new();
        let mut add = |bytes: &[u8]| {
            digest.update((bytes.len() as u64).to_le_bytes());
            digest.update(bytes);
        };
        add(&resource.as_ref().map(Message::encode_to_vec).unwrap_or_default());
        add(&scope.as_ref().map(Message::encode_to_vec).unwrap_or_default());
        Self {
            resource,
            resource_schema_url,
            scope,
            scope_schema_url,
            ids,
            service,
            subject,
            shared,
            size,
            digest,
        }
    }

    /// Encoded bytes of resource and scope.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// An event of a record with these attributes and properties. Its message
    /// id, name and time are the caller's to set.
    pub(super) fn event(
        &self,
        signal: &str,
        mut properties: Properties,
        attributes: &[KeyValue],
    ) -> Result<pb::Event, Misfit> {
        let shared = self.shared.as_ref().ok_or_else(|| {
            Misfit::new(
                "properties_too_large",
                "resource",
                "resource and scope alone are larger than the properties of an event may be",
            )
        })?;
        properties.set("signal", text(signal));
        properties.set("service", text(&self.service));
        for (name, value) in shared {
            properties.set(name, value.clone());
        }
        let own = Ids::of(attributes);
        let properties = properties.with_attributes(attributes, &own);
        let mut ids = own.or(&self.ids);
        if ids.user.is_empty() && ids.anonymous.is_empty() {
            ids.anonymous = self.subject.clone();
        }
        Ok(pb::Event {
            user_id: ids.user,
            anonymous_id: ids.anonymous,
            account_id: ids.account,
            properties,
            ..pb::Event::default()
        })
    }

    /// A digest of a record and of where it comes from, which is the message id
    /// of what has no id of its own.
    pub(super) fn digest(&self, kind: &str, parts: &[Vec<u8>]) -> [u8; 16] {
        let mut digest = self.digest.clone();
        for part in std::iter::once(kind.as_bytes()).chain(parts.iter().map(Vec::as_slice)) {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        let digest = digest.finalize();
        let (first, _) = digest.split_first_chunk().expect("a SHA-256 digest has 32 bytes");
        *first
    }
}

fn shared(
    resource: &[KeyValue],
    scope: Option<&InstrumentationScope>,
) -> BTreeMap<String, pb::Value> {
    let mut shared = BTreeMap::new();
    if !resource.is_empty() {
        shared.insert("resource".to_owned(), object(fields_of(resource)));
    }
    if let Some(scope) = scope {
        let mut fields = Properties::default();
        fields.set_text("name", &scope.name);
        fields.set_text("version", &scope.version);
        let fields = fields.with_attributes(&scope.attributes, &Ids::default());
        if !fields.is_empty() {
            shared.insert("scope".to_owned(), object(fields));
        }
    }
    shared
}

/// Tells records apart that are alike in every byte: the second of a request is
/// another one, and the same request sent again gives the same ids.
#[derive(Default)]
pub(super) struct Twins(HashMap<[u8; 16], u32>);

impl Twins {
    /// The message id of a record with this digest.
    pub(super) fn message_id(&mut self, digest: [u8; 16]) -> String {
        let seen = self.0.entry(digest).or_insert(0);
        *seen += 1;
        match *seen {
            1 => hex::encode(digest),
            again => format!("{}-{again}", hex::encode(digest)),
        }
    }
}

/// A time in nanoseconds since 1970; 0 is no time.
pub(super) fn time(nanos: u64) -> Option<Timestamp> {
    if nanos == 0 {
        return None;
    }
    Some(Timestamp {
        seconds: i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX),
        nanos: i32::try_from(nanos % 1_000_000_000).unwrap_or(0),
    })
}

/// The same as text in properties, RFC 3339 with all its digits.
pub(super) fn time_text(nanos: u64) -> String {
    let nanos = i64::try_from(nanos).unwrap_or(i64::MAX);
    chrono::DateTime::from_timestamp_nanos(nanos)
        .to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twins_in_one_request_have_ids_of_their_own() {
        let ids = || {
            let mut twins = Twins::default();
            [[1; 16], [2; 16], [1; 16]].map(|digest| twins.message_id(digest))
        };
        assert_eq!(ids()[2], format!("{}-2", ids()[0]));
        assert_ne!(ids()[0], ids()[1]);
        assert_eq!(ids(), ids());
    }

    #[test]
    fn times_are_exact() {
        let found = time(1_700_000_000_123_456_789).unwrap();
        assert_eq!((found.seconds, found.nanos), (1_700_000_000, 123_456_789));
        assert_eq!(time_text(1_700_000_000_123_456_789), "2023-11-14T22:13:20.123456789Z");
        assert_eq!(time(0), None);
        assert!(time(u64::MAX).is_some());
    }
}
