//! The change a decision is about, in its one spelling.

use serde_json::Value;
use thiserror::Error;

use crate::canonical_json::{self, Digest};

/// Largest diff, in bytes of its canonical spelling.
const LIMIT: usize = 256 * 1024;

/// A change as canonical JSON, and its digest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Diff {
    json: String,
    digest: Digest,
}

/// A text is not a diff.
#[derive(Debug, Error)]
pub enum InvalidDiff {
    /// It is not JSON.
    #[error("must be JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    /// It is too long.
    #[error("must have at most {LIMIT} bytes, not {0}")]
    TooLong(usize),
}

impl Diff {
    /// Reads JSON text in any spelling.
    ///
    /// # Errors
    /// When it is not JSON, nested deeper than 128 levels, or longer than
    /// 256 KiB.
    pub fn parse(text: &str) -> Result<Self, InvalidDiff> {
        let diff = Self::from(&serde_json::from_str::<Value>(text)?);
        if diff.json.len() > LIMIT {
            return Err(InvalidDiff::TooLong(diff.json.len()));
        }
        Ok(diff)
    }

    /// The canonical spelling.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// SHA-256 of the canonical spelling; a verdict names it.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl From<&Value> for Diff {
    fn from(value: &Value) -> Self {
        let json = canonical_json::to_string(value);
        let digest = canonical_json::digest_of_text(&json);
        Self { json, digest }
    }
}
