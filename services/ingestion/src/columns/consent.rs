//! Consent: few different ones, each checked and written once.

use northstar_domain::event::Fault;
use northstar_proto::ingestion::v1 as pb;

use super::differs;
use crate::convert::consent_text;
use crate::error::Error;

/// A consent for some events.
#[derive(Debug)]
pub(super) struct ConsentColumn {
    values: Vec<pb::Consent>,
    /// The text of each, or why it is none.
    texts: Vec<Result<String, Fault>>,
    /// One an event, from 1; none when no event says anything.
    codes: Vec<u32>,
}

impl ConsentColumn {
    pub(super) fn check(column: pb::ConsentColumn, count: usize) -> Result<Self, Error> {
        let pb::ConsentColumn { values, codes } = column;
        if !codes.is_empty() && codes.len() != count {
            return Err(differs("columns.consents.codes", codes.len(), count));
        }
        if let Some(place) = codes.iter().position(|code| *code as usize > values.len()) {
            return Err(Error::invalid(
                format!("columns.consents.codes[{place}]"),
                format!("is {}, but there are {} values", codes[place], values.len()),
            ));
        }
        let texts = values.iter().map(consent_text).collect();
        Ok(Self { values, texts, codes })
    }

    fn index(&self, event: usize) -> Option<usize> {
        (*self.codes.get(event)? as usize).checked_sub(1)
    }

    /// The consent of an event as text; the empty text when it says nothing.
    pub(super) fn get(&self, event: usize) -> Result<&str, Fault> {
        match self.index(event).map(|index| &self.texts[index]) {
            None => Ok(""),
            Some(Ok(text)) => Ok(text),
            Some(Err(fault)) => Err(fault.clone()),
        }
    }

    /// The consent of an event as it was sent.
    pub(super) fn sent(&self, event: usize) -> Option<&pb::Consent> {
        self.index(event).map(|index| &self.values[index])
    }

    /// Bytes of the purposes of all events.
    pub(super) fn bytes(&self) -> usize {
        let sizes: Vec<usize> = self
            .values
            .iter()
            .map(|consent| {
                let purposes = consent.granted_purposes.iter().chain(&consent.denied_purposes);
                purposes.map(String::len).sum()
            })
            .collect();
        self.codes
            .iter()
            .filter_map(|code| sizes.get((*code as usize).checked_sub(1)?))
            .fold(0, |bytes, size| bytes.saturating_add(*size))
    }
}
