//! Identifiers as people write them.

use northstar_domain::identity::Identifier;
use northstar_proto::ingestion::v1 as pb;

/// An identifier on the command line.
#[derive(Clone, Debug)]
pub struct Identified(pub(super) Identifier);

impl std::str::FromStr for Identified {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let has_kind = text.split_once(':').is_some_and(|(kind, _)| {
            kind.parse::<northstar_domain::identity::IdentifierKind>().is_ok()
        });
        let full = if has_kind { text.to_owned() } else { format!("user_id:{text}") };
        full.parse()
            .map(Self)
            .map_err(|error: northstar_domain::identity::InvalidIdentifier| error.to_string())
    }
}

impl From<Identified> for pb::Identifier {
    fn from(from: Identified) -> Self {
        Self { kind: from.0.kind.to_string(), value: from.0.value }
    }
}

pub(super) fn text(identifier: Option<&pb::Identifier>) -> String {
    identifier.map(|found| format!("{}:{}", found.kind, found.value)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_without_a_kind_is_a_user() {
        let of = |text: &str| text.parse::<Identified>().unwrap().0.to_string();
        assert_eq!(of("ada"), "user_id:ada");
        assert_eq!(of("anonymous_id:phone"), "anonymous_id:phone");
        assert_eq!(of("Org:7"), "user_id:Org:7");
        assert!("email:".parse::<Identified>().is_err());
    }
}
