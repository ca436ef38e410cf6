//! Texts in dictionaries.

use northstar_proto::ingestion::v1 as pb;

use super::{check_codes, differs};
use crate::error::Error;

/// A list of texts in one piece of memory.
#[derive(Debug)]
pub(super) struct Texts {
    text: String,
    /// Where each text ends.
    ends: Vec<usize>,
}

impl Texts {
    pub(super) fn check(field: &str, texts: pb::Texts) -> Result<Self, Error> {
        let pb::Texts { text, lengths } = texts;
        let mut ends = Vec::with_capacity(lengths.len());
        let mut end = 0_usize;
        for (place, length) in lengths.into_iter().enumerate() {
            end = end.saturating_add(length as usize);
            if !text.is_char_boundary(end) {
                let problem = format!("ends within a character or beyond {} bytes", text.len());
                return Err(Error::invalid(format!("{field}.lengths[{place}]"), problem));
            }
            ends.push(end);
        }
        if end != text.len() {
            return Err(differs(format!("{field}.text"), text.len(), end));
        }
        Ok(Self { text, ends })
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, index: usize) -> &str {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.text[start..self.ends[index]]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|index| self.get(index))
    }
}

/// A text for every event.
#[derive(Debug)]
pub(super) enum TextColumn {
    /// The empty text.
    Empty,
    /// One of its own.
    Own(Texts),
    /// One of a dictionary.
    Coded(Texts, Vec<u32>),
}

impl TextColumn {
    pub(super) fn check(
        field: &str,
        column: Option<pb::TextColumn>,
        count: usize,
    ) -> Result<Self, Error> {
        let Some(pb::TextColumn { values, codes }) = column else { return Ok(Self::Empty) };
        let texts = Texts::check(&format!("{field}.values"), values.unwrap_or_default())?;
        check_codes(field, &codes, texts.len(), count)?;
        Ok(if codes.is_empty() { Self::Own(texts) } else { Self::Coded(texts, codes) })
    }

    pub(super) fn get(&self, index: usize) -> &str {
        match self {
            Self::Empty => "",
            Self::Own(texts) => texts.get(index),
            Self::Coded(texts, codes) => texts.get(codes[index] as usize),
        }
    }

    pub(super) fn bytes(&self, count: usize) -> usize {
        match self {
            Self::Empty => 0,
            Self::Own(texts) => texts.text.len(),
            Self::Coded(..) => (0..count).map(|index| self.get(index).len()).sum(),
        }
    }
}
