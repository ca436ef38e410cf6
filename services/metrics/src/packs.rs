//! Ready packs: documents that others have thought of already, with settings for
//! what differs from one project to the next.
//!
//! A pack is a YAML file: first a document of kind `Pack` with title and settings,
//! then documents in which `${key}` stands for a setting.

use std::collections::{BTreeMap, BTreeSet};

use northstar_domain::ResourceName;
use northstar_domain::activity::Activity;
use northstar_domain::metric::Metric;
use northstar_store::metrics::definition::Stored;
use serde::{Deserialize, Serialize};
use serde_norway::Value;
use thiserror::Error;

/// The packs as they were written.
const TEXTS: [&str; 6] = [
    include_str!("../packs/clv.yaml"),
    include_str!("../packs/pipeline.yaml"),
    include_str!("../packs/product.yaml"),
    include_str!("../packs/saas-revenue.yaml"),
    include_str!("../packs/service-level.yaml"),
    include_str!("../packs/support.yaml"),
];

/// Longest value of a setting, in bytes.
const MAX_VALUE: usize = 200;

/// A pack.
#[derive(Clone, Debug)]
pub struct Pack {
    about: About,
    documents: Vec<Value>,
}

/// What a pack measures, and what can be set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct About {
    /// Its name.
    pub name: String,
    /// What it measures, in a few words.
    pub title: String,
    /// What it needs and what it leaves out.
    pub description: String,
    /// What can be set, by name.
    pub settings: BTreeMap<String, Setting>,
}

/// Something that differs from one project to the next.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// What it is when nobody sets it.
    pub default: String,
    /// What it is for.
    pub description: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    #[serde(rename = "kind")]
    _kind: Kind,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
enum Kind {
    Pack,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    title: String,
    description: String,
    settings: BTreeMap<String, Setting>,
}

/// A pack cannot be used as asked.
#[derive(Debug, Error)]
pub enum PackError {
    /// The file is not a pack: a defect of this program.
    #[error("the pack cannot be read")]
    Unreadable(#[source] serde_norway::Error),
    /// The pack has no such setting.
    #[error("there is no setting {name:?}; there are {known}")]
    UnknownSetting {
        /// As it was given.
        name: String,
        /// All there are.
        known: String,
    },
    /// The value of a setting cannot stand in a document.
    #[error(
        "{value:?} cannot stand for {name}: write 1 to 200 bytes without quotes, backslashes and \
         control characters"
    )]
    BadValue {
        /// The setting.
        name: String,
        /// As it was given.
        value: String,
    },
}

/// Every pack, by name.
///
/// # Errors
/// [`PackError::Unreadable`], never in a program that passed its tests.
pub fn all() -> Result<Vec<Pack>, PackError> {
    TEXTS.iter().map(|text| Pack::read(text)).collect()
}

impl Pack {
    fn read(text: &str) -> Result<Self, PackError> {
        let mut documents = serde_norway::Deserializer::from_str(text);
        let header = documents.next().map(Header::deserialize).transpose();
        let Some(Header { metadata, spec, .. }) = header.map_err(PackError::Unreadable)? else {
            return Err(PackError::Unreadable(serde::de::Error::custom("the file is empty")));
        };
        let about = About {
            name: metadata.name,
            title: spec.title,
            description: spec.description,
            settings: spec.settings,
        };
        let documents = documents.map(Value::deserialize).collect::<Result<_, _>>();
        Ok(Self { about, documents: documents.map_err(PackError::Unreadable)? })
    }

    /// What it measures, and what can be set.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Its documents as YAML, with the settings in their places.
    ///
    /// # Errors
    /// When a setting is unknown or its value cannot stand in a document.
    pub fn render(&self, settings: &BTreeMap<String, String>) -> Result<String, PackError> {
        let mut values: BTreeMap<&str, &str> = self
            .about
            .settings
            .iter()
            .map(|(name, setting)| (name.as_str(), setting.default.as_str()))
            .collect();
        for (name, value) in settings {
            let Some(known) = values.get_mut(name.as_str()) else {
                let known: Vec<_> = self.about.settings.keys().map(String::as_str).collect();
                let (name, known) = (name.clone(), known.join(", "));
                return Err(PackError::UnknownSetting { name, known });
            };
            // The value may land in a string of an expression.
            let bad = |letter: char| letter.is_control() || matches!(letter, '"' | '\'' | '\\');
            if value.trim().is_empty() || value.len() > MAX_VALUE || value.contains(bad) {
                return Err(PackError::BadValue { name: name.clone(), value: value.clone() });
            }
            *known = value;
        }
        let mut texts = Vec::with_capacity(self.documents.len());
        for document in &self.documents {
            let document = substitute(document, &values);
            texts.push(serde_norway::to_string(&document).map_err(PackError::Unreadable)?);
        }
        Ok(texts.join("---\n"))
    }
}

/// The events that metrics and activities read, each with the properties of it that they read, by dotted path.
pub fn needs(
    metrics: impl IntoIterator<Item = (ResourceName, Metric)>,
    activities: impl IntoIterator<Item = (ResourceName, Activity)>,
) -> BTreeMap<String, BTreeSet<String>> {
    let metrics = metrics.into_iter().map(unstored).collect();
    let activities = activities.into_iter().map(unstored).collect();
    crate::lineage::events_and_properties(metrics, activities)
}

fn unstored<D>((name, document): (ResourceName, D)) -> Stored<D> {
    Stored { name, version: 0, etag: String::new(), document }
}

/// A document with the settings in their places: in its texts, and nowhere else.
fn substitute(value: &Value, settings: &BTreeMap<&str, &str>) -> Value {
    match value {
        Value::String(text) => {
            let replace = |text: String, (name, value): (&&str, &&str)| {
                text.replace(&format!("${{{name}}}"), value)
            };
            Value::String(settings.iter().fold(text.clone(), replace))
        }
        Value::Sequence(values) => {
            Value::Sequence(values.iter().map(|value| substitute(value, settings)).collect())
        }
        Value::Mapping(fields) => Value::Mapping(
            fields.iter().map(|(key, value)| (key.clone(), substitute(value, settings))).collect(),
        ),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_setting_of_every_pack_has_its_place() {
        for pack in all().unwrap() {
            let name = &pack.about().name;
            let text = pack.render(&BTreeMap::new()).unwrap();
            assert!(!text.contains("${"), "{name} names a setting it does not have");
            for key in pack.about().settings.keys() {
                let set = pack.render(&settings(&[(key, "4711")])).unwrap();
                assert_ne!(set, text, "{name}: {key} stands nowhere");
            }
        }
    }

    #[test]
    fn every_document_says_what_it_is_computed_from_and_by_whom_it_was_defined() {
        for pack in all().unwrap() {
            for document in &pack.documents {
                let text = |path: [&str; 2]| {
                    let at = path.iter().try_fold(document, |value, key| value.get(*key));
                    at.and_then(Value::as_str).unwrap_or_default().to_owned()
                };
                let name = text(["metadata", "name"]);
                assert!(!text(["spec", "title"]).is_empty(), "{name} has no title");
                let description = text(["spec", "description"]);
                for part in ["Formula: ", "Source: "] {
                    assert!(description.contains(part), "{name}: no {part:?} in {description:?}");
                }
            }
        }
    }

    #[test]
    fn a_setting_is_known_and_cannot_leave_its_place() {
        let packs = all().unwrap();
        let product = packs.iter().find(|pack| pack.about().name == "product").unwrap();
        let refused = product.render(&settings(&[("colour", "red")])).unwrap_err();
        assert!(matches!(refused, PackError::UnknownSetting { .. }), "{refused}");
        for value in ["", "x\" || true", "it's", "two\nlines", &"x".repeat(201)] {
            let refused = product.render(&settings(&[("signed_up", value)])).unwrap_err();
            assert!(matches!(refused, PackError::BadValue { .. }), "{value:?}");
        }
        let text = product.render(&settings(&[("signed_up", "Joined: #1")])).unwrap();
        assert!(text.contains("'Joined: #1'"), "{text}");
    }
}
