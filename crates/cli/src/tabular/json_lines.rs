//! JSON Lines: one object a line, its keys as columns.

use std::{
    collections::{HashMap, VecDeque},
    path::Path,
    sync::Arc,
};

use serde_json::Value;

use super::{
    LONGEST_RECORD_BYTES, OpenError, Row, RowError,
    delimited::{file_name, unreadable},
    lines::Lines,
    source::Source,
};

/// How many objects are read ahead to learn the columns.
const READ_AHEAD: usize = 1_000;

#[derive(Debug)]
pub(super) struct JsonLines {
    file: Arc<str>,
    lines: Lines,
    headers: Vec<String>,
    columns: HashMap<String, usize>,
    ahead: VecDeque<Result<Row, RowError>>,
}

impl JsonLines {
    pub(super) fn open(mut source: Source) -> Result<Self, OpenError> {
        let path = source.path().to_owned();
        refuse_array(&path, source.peek()?)?;
        let mut reader = Self {
            file: file_name(&path),
            lines: Lines::new(source.into_bytes()),
            headers: Vec::new(),
            columns: HashMap::new(),
            ahead: VecDeque::new(),
        };
        while reader.ahead.len() < READ_AHEAD
            && let Some(item) = reader.read()
        {
            let fatal = item.as_ref().is_err_and(|error| error.fatal);
            reader.ahead.push_back(item);
            if fatal {
                break;
            }
        }
        if reader.ahead.is_empty() {
            let reason = "the file is empty; one JSON object a line is needed".to_owned();
            return Err(OpenError::NoTable { path, line: 1, reason });
        }
        Ok(reader)
    }

    pub(super) fn headers(&self) -> &[String] {
        &self.headers
    }

    pub(super) fn next(&mut self) -> Option<Result<Row, RowError>> {
        let mut item = match self.ahead.pop_front() {
            Some(item) => Some(item),
            None => self.read(),
        };
        if let Some(Ok(row)) = &mut item {
            row.values.resize(self.headers.len(), None);
        }
        item
    }

    fn read(&mut self) -> Option<Result<Row, RowError>> {
        loop {
            let line = match self.lines.next() {
                Ok(line) => line?,
                Err(error) => {
                    return Some(Err(unreadable(&self.file, self.lines.next_number(), &error)));
                }
            };
            if line.content().trim_ascii().is_empty() {
                continue;
            }
            let row = if line.cut {
                Err(format!("the record is longer than {LONGEST_RECORD_BYTES} bytes"))
            } else {
                self.row(line.content())
            };
            return Some(row.map(|values| Row { line: line.number, values }).map_err(|reason| {
                RowError {
                    file: Arc::clone(&self.file),
                    line: line.number,
                    reason,
                    raw: String::from_utf8_lossy(line.content()).into_owned(),
                    fatal: false,
                }
            }));
        }
    }

    fn row(&mut self, text: &[u8]) -> Result<Vec<Option<String>>, String> {
        let object = match serde_json::from_slice(text) {
            Ok(Value::Object(object)) => object,
            Ok(_) => return Err("the line is JSON, but not an object".to_owned()),
            Err(error) => return Err(format!("the line is not JSON: {error}")),
        };
        let mut values = vec![None; self.headers.len()];
        for (key, value) in object {
            self.place(key, value, &mut values)?;
        }
        Ok(values)
    }

    /// Puts a value into its column, the fields of an object into theirs.
    fn place(
        &mut self,
        name: String,
        value: Value,
        values: &mut Vec<Option<String>>,
    ) -> Result<(), String> {
        let text = match value {
            Value::Object(fields) => {
                for (key, inner) in fields {
                    self.place(format!("{name}.{key}"), inner, values)?;
                }
                return Ok(());
            }
            Value::Null => None,
            Value::String(text) => Some(text),
            other => Some(other.to_string()),
        };
        let next = self.headers.len();
        let column = *self.columns.entry(name).or_insert_with_key(|name| {
            self.headers.push(name.clone());
            next
        });
        if values.len() <= column {
            values.resize(column + 1, None);
        }
        let slot = &mut values[column];
        if slot.is_some() && text.is_some() {
            return Err(format!("two values for '{}'", self.headers[column]));
        }
        if text.is_some() {
            *slot = text;
        }
        Ok(())
    }
}

/// A file that is one large array is the most frequent confusion, and would be one enormous bad row.
fn refuse_array(path: &Path, head: &[u8]) -> Result<(), OpenError> {
    if head.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        let reason = "the file is a JSON array, but one object a line is needed; convert it with: jq -c '.[]'";
        return Err(OpenError::NoTable {
            path: path.to_owned(),
            line: 1,
            reason: reason.to_owned(),
        });
    }
    Ok(())
}
