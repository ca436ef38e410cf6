//! How one field of an event is read from a payload.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value as Json};

use crate::expression::{Condition, Formula, InvalidCondition, Vocabulary};

/// What is wrong with a text that is no pointer.
pub(super) const NO_POINTER: &str =
    "a JSON Pointer is empty or begins with `/`, for example /data/object/id";
/// Most ways of reading one field.
const MAX_CHOICES: usize = 10;
const MAX_POINTER_BYTES: usize = 1_000;

/// How a value is read. In documents a pointer is its text, `"/data/id"`;
/// the others are `{expression: "item.a + item.b"}`, `{value: 7}`, and a list of
/// readings, of which the first that finds something counts.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// By JSON Pointer from the item.
    Pointer(String),
    /// Computed in CEL.
    Expression(Expression),
    /// Always this.
    Value(Json),
    /// The first of these that finds something.
    First(Vec<Self>),
}

/// An expression over a payload.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression(pub(super) Formula);

impl Expression {
    /// Parses and checks an expression.
    ///
    /// # Errors
    /// [`InvalidCondition`] says what is wrong.
    pub fn parse(source: &str) -> Result<Self, InvalidCondition> {
        Formula::parse_in(source, Vocabulary::Payload).map(Self)
    }

    /// The expression as it was written.
    pub fn source(&self) -> &str {
        self.0.source()
    }
}

impl Reading {
    pub(super) fn check(&self, path: &str, say: &mut dyn FnMut(String, String)) {
        match self {
            Self::Pointer(pointer) => {
                if !is_pointer(pointer) {
                    say(path.to_owned(), NO_POINTER.to_owned());
                }
            }
            Self::Expression(_) | Self::Value(_) => {}
            Self::First(choices) => {
                if choices.is_empty() || choices.len() > MAX_CHOICES {
                    say(path.to_owned(), format!("list 1 to {MAX_CHOICES} ways of reading it"));
                }
                for (index, choice) in choices.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    match choice {
                        Self::First(_) => say(path, "a list holds no lists".to_owned()),
                        choice => choice.check(&path, say),
                    }
                }
            }
        }
    }
}

pub(super) fn is_pointer(text: &str) -> bool {
    (text.is_empty() || text.starts_with('/')) && text.len() <= MAX_POINTER_BYTES
}

impl Serialize for Reading {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let one =
            |name: &str, value: Json| Json::Object(Map::from_iter([(name.to_owned(), value)]));
        match self {
            Self::Pointer(pointer) => serializer.serialize_str(pointer),
            Self::Expression(expression) => {
                one("expression", expression.source().into()).serialize(serializer)
            }
            Self::Value(value) => one("value", value.clone()).serialize(serializer),
            Self::First(choices) => choices.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Reading {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(Json::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl TryFrom<Json> for Reading {
    type Error = String;

    fn try_from(json: Json) -> Result<Self, String> {
        const FORMS: &str = "write a JSON Pointer such as /data/id, {expression: \"..\"}, \
                             {value: ..} or a list of these";
        match json {
            Json::String(pointer) if is_pointer(&pointer) => Ok(Self::Pointer(pointer)),
            Json::String(text) => Err(format!("{text:?} is no JSON Pointer; {FORMS}")),
            Json::Array(choices) => {
                let choices: Result<_, _> = choices.into_iter().map(Self::try_from).collect();
                choices.map(Self::First)
            }
            Json::Object(fields) if fields.len() == 1 => {
                let (name, value) = fields.into_iter().next().expect("it has one field");
                match (name.as_str(), value) {
                    ("value", value) => Ok(Self::Value(value)),
                    ("expression", Json::String(source)) => Expression::parse(&source)
                        .map(Self::Expression)
                        .map_err(|error| format!("expression {source:?}: {error}")),
                    ("pointer", Json::String(pointer)) if is_pointer(&pointer) => {
                        Ok(Self::Pointer(pointer))
                    }
                    _ => Err(FORMS.to_owned()),
                }
            }
            _ => Err(FORMS.to_owned()),
        }
    }
}

/// When a rule is for an item.
#[derive(Clone, Debug, PartialEq)]
pub struct When(pub(super) Condition);

impl When {
    /// Parses and checks a condition over a payload.
    ///
    /// # Errors
    /// [`InvalidCondition`] says what is wrong.
    pub fn parse(source: &str) -> Result<Self, InvalidCondition> {
        Condition::parse_in(source, Vocabulary::Payload).map(Self)
    }

    /// Whether it holds for everything.
    pub fn is_always(&self) -> bool {
        self.0.source().trim().is_empty()
    }
}

impl Default for When {
    fn default() -> Self {
        Self::parse("").expect("nothing is a condition")
    }
}

impl Serialize for When {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.source())
    }
}

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let source = String::deserialize(deserializer)?;
        Self::parse(&source).map_err(|error| D::Error::custom(format!("when: {error}")))
    }
}

/// Where the time stands and how it is written. In documents
/// `{from: /created, format: unix}`, or the reading alone for RFC 3339.
#[derive(Clone, Debug, PartialEq)]
pub struct OccurredTime {
    /// Where it stands.
    pub from: Reading,
    /// How it is written.
    pub format: TimeFormat,
}

/// How a time is written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeFormat {
    /// As text, by [RFC 3339](https://www.rfc-editor.org/rfc/rfc3339).
    #[default]
    Rfc3339,
    /// Seconds since 1970, as number or text, with or without a fraction.
    Unix,
    /// Milliseconds since 1970.
    UnixMs,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Long {
    from: Reading,
    #[serde(default)]
    format: TimeFormat,
}

impl Serialize for OccurredTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.format {
            TimeFormat::Rfc3339 => self.from.serialize(serializer),
            format => Long { from: self.from.clone(), format }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for OccurredTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Json::deserialize(deserializer)?;
        if json.get("from").is_some() {
            let Long { from, format } = serde_json::from_value(json)
                .map_err(|error| D::Error::custom(error.to_string()))?;
            return Ok(Self { from, format });
        }
        let from = Reading::try_from(json).map_err(D::Error::custom)?;
        Ok(Self { from, format: TimeFormat::default() })
    }
}
