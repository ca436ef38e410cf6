//! How a row of a file becomes an event: the mapping document.
//!
//! ```yaml
//! source: shop
//! event: {column: activity}
//! user_id: {column: user_id}
//! occurred_time: {column: timestamp, format: "%Y-%m-%d %H:%M:%S", zone: Europe/Berlin}
//! properties:
//!   platform: {column: platform}
//!   amount: {column: price, type: float}
//!   revenue: {expression: "double(row.quantity) * double(row.price)"}
//! ```

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
use cel::Program;
use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeZone as _, Utc};
use chrono_tz::Tz;
use northstar_proto::ingestion::v1::value::Kind;
use northstar_proto::ingestion::v1::{Event, Value};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// The mapping as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Name of the producing system.
    pub source: String,
    event: Text,
    #[serde(default)]
    message_id: Option<MessageId>,
    #[serde(default)]
    user_id: Option<Text>,
    #[serde(default)]
    anonymous_id: Option<Text>,
    #[serde(default)]
    account_id: Option<Text>,
    occurred_time: Time,
    #[serde(default)]
    properties: BTreeMap<String, Property>,
    /// Cells that mean "no value", besides the empty cell.
    #[serde(default)]
    empty_values: Vec<String>,
}

/// A text from a column, or the same for every row.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Text {
    Column { column: String },
    Value { value: String },
}

/// Columns that name a row; without them a row is named by its line and
/// content.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageId {
    columns: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Time {
    column: String,
    /// `strftime` format, `unix`, `unix_ms`; RFC 3339 and its usual relatives
    /// when absent.
    #[serde(default)]
    format: Option<String>,
    /// Zone of times that carry none.
    #[serde(default)]
    zone: Option<Tz>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Property {
    Column {
        column: String,
        #[serde(default, rename = "type")]
        kind: Kinds,
    },
    Value {
        value: serde_json::Value,
    },
    Expression {
        expression: String,
    },
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Kinds {
    #[default]
    String,
    Int,
    Float,
    Bool,
}

/// A row that cannot be an event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BadRow {
    /// Machine-readable reason.
    pub reason: &'static str,
    /// The column or property at fault.
    pub field: String,
    /// What is wrong, for people.
    pub message: String,
}

/// A mapping bound to the columns of one file.
pub struct Mapping {
    /// Name of the producing system.
    pub source: String,
    headers: Vec<String>,
    event: Cell,
    message_id: Vec<usize>,
    user_id: Option<Cell>,
    anonymous_id: Option<Cell>,
    account_id: Option<Cell>,
    time_column: usize,
    time_format: Option<String>,
    zone: Tz,
    properties: Vec<(String, Source)>,
    empty_values: Vec<String>,
    needs_row: bool,
}

enum Cell {
    Column(usize),
    Value(String),
}

enum Source {
    Column(usize, Kinds),
    Value(Option<Kind>),
    Expression(Box<Program>),
}

impl Document {
    /// Reads a mapping document.
    ///
    /// # Errors
    /// When the text is no mapping; the message names line and field.
    pub fn read(path: &std::path::Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("the mapping {} cannot be read", path.display()))?;
        let document: Self = serde_norway::from_str(&text)
            .with_context(|| format!("{} is not a mapping", path.display()))?;
        ensure!(!document.source.is_empty(), "{}: source must not be empty", path.display());
        ensure!(
            document.user_id.is_some() || document.anonymous_id.is_some(),
            "{}: user_id or anonymous_id is required, or no row has an actor",
            path.display()
        );
        Ok(document)
    }

    /// Binds the mapping to the columns of a file.
    ///
    /// # Errors
    /// When it names a column that the file does not have, or an expression
    /// does not compile.
    pub fn bind(self, headers: &[String]) -> anyhow::Result<Mapping> {
        let column = |name: &str| {
            headers.iter().position(|header| header == name).with_context(|| {
                format!("the file has no column {name:?}; it has {}", headers.join(", "))
            })
        };
        let cell = |text: Text| -> anyhow::Result<Cell> {
            Ok(match text {
                Text::Column { column: name } => Cell::Column(column(&name)?),
                Text::Value { value } => Cell::Value(value),
            })
        };
        let mut properties = Vec::with_capacity(self.properties.len());
        for (name, property) in self.properties {
            let source = match property {
                Property::Column { column: from, kind } => Source::Column(column(&from)?, kind),
                Property::Value { value } => Source::Value(json_kind(value)?),
                Property::Expression { expression } => {
                    let program = Program::compile(&expression).map_err(|error| {
                        anyhow::anyhow!("properties.{name}: {expression:?} is not CEL: {error}")
                    })?;
                    Source::Expression(Box::new(program))
                }
            };
            properties.push((name, source));
        }
        let needs_row =
            properties.iter().any(|(_, source)| matches!(source, Source::Expression(_)));
        Ok(Mapping {
            source: self.source,
            event: cell(self.event)?,
            message_id: self
                .message_id
                .map_or_else(Vec::new, |id| id.columns)
                .iter()
                .map(|name| column(name))
                .collect::<anyhow::Result<_>>()?,
            user_id: self.user_id.map(cell).transpose()?,
            anonymous_id: self.anonymous_id.map(cell).transpose()?,
            account_id: self.account_id.map(cell).transpose()?,
            time_column: column(&self.occurred_time.column)?,
            time_format: self.occurred_time.format,
            zone: self.occurred_time.zone.unwrap_or(Tz::UTC),
            properties,
            empty_values: self.empty_values,
            needs_row,
            headers: headers.to_vec(),
        })
    }
}

impl Mapping {
    /// The event of a row.
    ///
    /// # Errors
    /// When the row cannot be an event: what is wrong, and in which column.
    pub fn event(&self, line: u64, cells: &[Option<String>]) -> Result<Event, BadRow> {
        let name = self.text(&self.event, cells).ok_or_else(|| BadRow {
            reason: "missing_name",
            field: self.name_of(&self.event),
            message: "the row has no event name".to_owned(),
        })?;
        let user_id = self.optional(self.user_id.as_ref(), cells);
        let anonymous_id = self.optional(self.anonymous_id.as_ref(), cells);
        if user_id.is_empty() && anonymous_id.is_empty() {
            let cell = self.user_id.as_ref().or(self.anonymous_id.as_ref());
            return Err(BadRow {
                reason: "missing_actor",
                field: cell.map_or_else(String::new, |cell| self.name_of(cell)),
                message: "the row names nobody: its user and anonymous ids are empty".to_owned(),
            });
        }
        let occurred = self.time(cells)?;
        Ok(Event {
            message_id: self.message_id(line, cells),
            name: name.to_owned(),
            user_id,
            anonymous_id,
            account_id: self.optional(self.account_id.as_ref(), cells),
            occurred_time: Some(prost_types::Timestamp {
                seconds: occurred.timestamp(),
                nanos: occurred.timestamp_subsec_nanos().min(999_999_999) as i32,
            }),
            sequence: i64::try_from(line).unwrap_or(i64::MAX),
            properties: self.properties(cells)?,
            ..Event::default()
        })
    }

    /// The id of a row: its naming columns, or its line and content. The same
    /// row gets the same id at every import.
    pub fn message_id(&self, line: u64, cells: &[Option<String>]) -> String {
        if !self.message_id.is_empty() {
            let parts: Vec<&str> =
                self.message_id.iter().map(|column| cell(cells, *column)).collect();
            let id = parts.join("/");
            if !id.is_empty() && id.len() <= 200 {
                return id;
            }
        }
        let mut hasher = Sha256::new();
        for cell in cells {
            let bytes = cell.as_deref().unwrap_or_default().as_bytes();
            hasher.update((bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        }
        format!("{line}/{}", hex::encode(&hasher.finalize()[..12]))
    }

    fn present<'a>(&self, cells: &'a [Option<String>], column: usize) -> Option<&'a str> {
        let found = cell(cells, column);
        let empty = found.is_empty() || self.empty_values.iter().any(|value| value == found);
        (!empty).then_some(found)
    }

    fn text<'a>(&'a self, from: &'a Cell, cells: &'a [Option<String>]) -> Option<&'a str> {
        match from {
            Cell::Column(column) => self.present(cells, *column),
            Cell::Value(value) => Some(value),
        }
    }

    fn optional(&self, from: Option<&Cell>, cells: &[Option<String>]) -> String {
        from.and_then(|from| self.text(from, cells)).unwrap_or_default().to_owned()
    }

    fn name_of(&self, from: &Cell) -> String {
        match from {
            Cell::Column(column) => self.headers[*column].clone(),
            Cell::Value(_) => String::new(),
        }
    }

    fn time(&self, cells: &[Option<String>]) -> Result<DateTime<Utc>, BadRow> {
        let field = || self.headers[self.time_column].clone();
        let Some(text) = self.present(cells, self.time_column) else {
            return Err(BadRow {
                reason: "missing_timestamp",
                field: field(),
                message: "the row has no time".to_owned(),
            });
        };
        parse_time(text, self.time_format.as_deref(), self.zone).ok_or_else(|| BadRow {
            reason: "invalid_timestamp",
            field: field(),
            message: match &self.time_format {
                Some(format) => format!("{text:?} is not a time of the form {format}"),
                None => format!("{text:?} is not a time; give occurred_time a format"),
            },
        })
    }

    fn properties(&self, cells: &[Option<String>]) -> Result<BTreeMap<String, Value>, BadRow> {
        let row = self.needs_row.then(|| self.row(cells));
        let mut properties = BTreeMap::new();
        for (name, source) in &self.properties {
            let kind = match source {
                Source::Value(kind) => kind.clone(),
                Source::Column(column, kind) => match self.present(cells, *column) {
                    None => None,
                    Some(text) => Some(convert(text, *kind).ok_or_else(|| BadRow {
                        reason: "invalid_value",
                        field: self.headers[*column].clone(),
                        message: format!("{text:?} is not {}", describe(*kind)),
                    })?),
                },
                Source::Expression(program) => {
                    let row = row.clone().unwrap_or_default();
                    Some(evaluate(program, row).map_err(|message| BadRow {
                        reason: "invalid_value",
                        field: format!("properties.{name}"),
                        message,
                    })?)
                }
            };
            if let Some(kind) = kind {
                properties.insert(name.clone(), Value { kind: Some(kind) });
            }
        }
        Ok(properties)
    }

    fn row(&self, cells: &[Option<String>]) -> BTreeMap<String, String> {
        let columns = self.headers.iter().enumerate();
        columns
            .filter_map(|(column, header)| {
                Some((header.clone(), self.present(cells, column)?.to_owned()))
            })
            .collect()
    }
}

fn cell(cells: &[Option<String>], column: usize) -> &str {
    cells.get(column).and_then(Option::as_deref).unwrap_or_default().trim()
}

fn convert(text: &str, kind: Kinds) -> Option<Kind> {
    Some(match kind {
        Kinds::String => Kind::StringValue(text.to_owned()),
        Kinds::Int => Kind::IntValue(text.parse().ok()?),
        Kinds::Float => {
            Kind::DoubleValue(text.parse::<f64>().ok().filter(|number| number.is_finite())?)
        }
        Kinds::Bool => Kind::BoolValue(match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "y" | "t" => true,
            "false" | "0" | "no" | "n" | "f" => false,
            _ => return None,
        }),
    })
}

fn describe(kind: Kinds) -> &'static str {
    match kind {
        Kinds::String => "a text",
        Kinds::Int => "a whole number",
        Kinds::Float => "a number",
        Kinds::Bool => "true or false",
    }
}

fn json_kind(value: serde_json::Value) -> anyhow::Result<Option<Kind>> {
    Ok(match value {
        serde_json::Value::Null => None,
        serde_json::Value::Bool(value) => Some(Kind::BoolValue(value)),
        serde_json::Value::String(value) => Some(Kind::StringValue(value)),
        serde_json::Value::Number(number) => Some(match number.as_i64() {
            Some(value) => Kind::IntValue(value),
            None => Kind::DoubleValue(number.as_f64().context("a number is out of range")?),
        }),
        other => bail!("{other} cannot be a property of every row; use a text, number or boolean"),
    })
}

fn evaluate(program: &Program, row: BTreeMap<String, String>) -> Result<Kind, String> {
    let row: std::collections::HashMap<String, String> = row.into_iter().collect();
    let mut context = cel::Context::default();
    context.add_variable("row", row).map_err(|error| error.to_string())?;
    match program.execute(&context).map_err(|error| error.to_string())? {
        cel::Value::Int(value) => Ok(Kind::IntValue(value)),
        cel::Value::UInt(value) => {
            i64::try_from(value).map(Kind::IntValue).map_err(|error| error.to_string())
        }
        cel::Value::Float(value) if value.is_finite() => Ok(Kind::DoubleValue(value)),
        cel::Value::String(value) => Ok(Kind::StringValue(value.to_string())),
        cel::Value::Bool(value) => Ok(Kind::BoolValue(value)),
        other => Err(format!("the expression gives {other:?}, not a text, number or boolean")),
    }
}

/// Reads a time. Without a format: RFC 3339, `YYYY-MM-DD HH:MM:SS` with or
/// without fraction, and `YYYY-MM-DD`. A time that a change to summer time
/// skips is moved on by the gap; one that occurs twice is the earlier.
fn parse_time(text: &str, format: Option<&str>, zone: Tz) -> Option<DateTime<Utc>> {
    let local = |naive: NaiveDateTime| {
        zone.from_local_datetime(&naive)
            .earliest()
            .or_else(|| zone.from_local_datetime(&(naive + chrono::TimeDelta::hours(1))).earliest())
            .map(|time| time.to_utc())
    };
    match format {
        Some("unix") => {
            let seconds: f64 = text.parse().ok()?;
            DateTime::from_timestamp_micros((seconds * 1e6).round() as i64)
        }
        Some("unix_ms") => DateTime::from_timestamp_millis(text.parse().ok()?),
        Some(format) => DateTime::parse_from_str(text, format)
            .map(|time| time.to_utc())
            .ok()
            .or_else(|| NaiveDateTime::parse_from_str(text, format).ok().and_then(local))
            .or_else(|| {
                let date = NaiveDate::parse_from_str(text, format).ok()?;
                local(date.and_hms_opt(0, 0, 0)?)
            }),
        None => DateTime::parse_from_rfc3339(text)
            .map(|time| time.to_utc())
            .ok()
            .or_else(|| {
                ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M"]
                    .iter()
                    .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
                    .and_then(local)
            })
            .or_else(|| {
                let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
                local(date.and_hms_opt(0, 0, 0)?)
            }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(yaml: &str, headers: &[&str]) -> anyhow::Result<Mapping> {
        let document: Document = serde_norway::from_str(yaml)?;
        document.bind(&headers.iter().map(|header| (*header).to_owned()).collect::<Vec<_>>())
    }

    fn row(cells: &[&str]) -> Vec<Option<String>> {
        cells.iter().map(|cell| Some((*cell).to_owned())).collect()
    }

    const SHOP: &str = "
source: shop
event: {value: Purchase}
user_id: {column: customer}
occurred_time: {column: at, format: '%d.%m.%Y %H:%M', zone: Europe/Berlin}
properties:
  amount: {column: price, type: float}
  revenue: {expression: 'double(row.price) * double(row.quantity)'}
empty_values: [NA]
";
    const HEADERS: [&str; 4] = ["customer", "at", "price", "quantity"];

    #[test]
    fn a_row_becomes_an_event() {
        let shop = mapping(SHOP, &HEADERS).unwrap();
        let event = shop.event(2, &row(&["c1", "01.07.2025 12:00", "2.5", "4"])).unwrap();
        assert_eq!(event.name, "Purchase");
        assert_eq!(event.occurred_time.unwrap().seconds, 1_751_364_000, "noon in Berlin");
        assert_eq!(event.properties["amount"].kind, Some(Kind::DoubleValue(2.5)));
        assert_eq!(event.properties["revenue"].kind, Some(Kind::DoubleValue(10.0)));
        assert_eq!(event.sequence, 2);
    }

    #[test]
    fn a_bad_row_names_its_column() {
        let shop = mapping(SHOP, &HEADERS).unwrap();
        for (cells, reason, field) in [
            (["NA", "01.07.2025 12:00", "2.5", "4"], "missing_actor", "customer"),
            (["c1", "yesterday", "2.5", "4"], "invalid_timestamp", "at"),
            (["c1", "", "2.5", "4"], "missing_timestamp", "at"),
            (["c1", "01.07.2025 12:00", "much", "4"], "invalid_value", "price"),
            (["c1", "01.07.2025 12:00", "2.5", ""], "invalid_value", "properties.revenue"),
        ] {
            let bad = shop.event(2, &row(&cells)).unwrap_err();
            assert_eq!((bad.reason, bad.field.as_str()), (reason, field));
        }
    }

    #[test]
    fn the_same_row_keeps_its_id_and_another_line_gets_another() {
        let shop = mapping(SHOP, &HEADERS).unwrap();
        let cells = row(&["c1", "01.07.2025 12:00", "2.5", "4"]);
        assert_eq!(shop.message_id(7, &cells), shop.message_id(7, &cells));
        assert_ne!(shop.message_id(7, &cells), shop.message_id(8, &cells));
    }

    #[test]
    fn a_missing_column_lists_those_there_are() {
        let error = mapping(SHOP, &["customer", "at"]).err().unwrap().to_string();
        assert!(error.contains("\"price\"") && error.contains("customer, at"), "{error}");
    }
}
