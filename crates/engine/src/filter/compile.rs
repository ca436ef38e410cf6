//! From a condition to a predicate over the columns of one segment.
//!
//! Every test is evaluated once per dictionary entry, which leaves one table look-up per event; numbers that are not
//! in a dictionary are compared as numbers. Predicates are evaluated a block of rows at a time, column by column.

use std::ops::Range;

use super::{Condition, Operand, Test};
use crate::segment::{Codes, Numbers, PropertyColumn, Scalar, Segment};

/// Rows that are evaluated together, so that the intermediate results stay in the first-level cache.
pub(crate) const BLOCK: usize = 2_048;

/// A condition, ready to run over the rows of one segment.
#[derive(Debug)]
pub(crate) enum Predicate<'a> {
    Always(bool),
    All(Vec<Predicate<'a>>),
    Not(Box<Predicate<'a>>),
    /// Whether the code of the row passes.
    Table {
        codes: Codes<'a>,
        passes: Vec<bool>,
    },
    /// The same, where a cell may also hold a number of its own.
    Numbers {
        codes: Codes<'a>,
        passes: Vec<bool>,
        numbers: Numbers<'a>,
        test: &'a Test,
    },
    /// The rows whose result differs from that of a row without the property, for a column that few rows have.
    Rows {
        rows: Vec<u32>,
        passes_when_listed: bool,
    },
}

impl<'a> Predicate<'a> {
    pub(crate) fn new(condition: &'a Condition, segment: &'a Segment) -> Self {
        match condition {
            Condition::Always(value) => Self::Always(*value),
            Condition::All(parts) => Self::all(parts.iter().map(|part| Self::new(part, segment))),
            Condition::Any(parts) => {
                Self::not(Self::all(parts.iter().map(|part| Self::not(Self::new(part, segment)))))
            }
            Condition::Not(part) => Self::not(Self::new(part, segment)),
            Condition::Test(Operand::Field(field), test) => {
                let column = segment.field(*field);
                let values = column.strings.iter().map(|text| Some(Scalar::Str(text)));
                let mut passes: Vec<bool> =
                    [None].into_iter().chain(values).map(|value| test.passes(value)).collect();
                if segment.is_complete(*field) {
                    // No row is without it, so what such a row would give must not keep a test from being decided.
                    passes[0] = passes[passes.len() - 1];
                }
                Self::table(column.codes, passes)
            }
            Condition::Test(Operand::Property(path), test) => Self::property(path, test, segment),
        }
    }

    fn property(path: &str, test: &'a Test, segment: &'a Segment) -> Self {
        let Some(column) = segment.property(path) else {
            if matches!(test, Test::IsPresent) {
                let prefix = format!("{path}.");
                let members = segment.property_paths().filter(|path| path.starts_with(&prefix));
                let absent = members.map(|member| Self::not(Self::property(member, test, segment)));
                return Self::not(Self::all(absent));
            }
            return Self::Always(test.passes(None));
        };
        let missing = test.passes(None);
        let mut passes = vec![missing, false];
        passes.extend(column.entries.iter().map(|value| test.passes(Some(value))));
        if let Some(rows) = column.rows {
            // Few rows have it: list those that differ from a missing one.
            let mut differing = Vec::new();
            for (cell, row) in rows.iter().enumerate() {
                let result = match (column.codes.get(cell), column.numbers) {
                    (PropertyColumn::NUMBER, Some(numbers)) => {
                        test.passes(Some(numbers.scalar(cell)))
                    }
                    (code, _) => passes[code as usize],
                };
                if result != missing {
                    differing.push(u32::from_le_bytes(*row));
                }
            }
            return Self::Rows { rows: differing, passes_when_listed: !missing };
        }
        match column.numbers {
            None => Self::table(column.codes, passes),
            Some(numbers) => Self::Numbers { codes: column.codes, passes, numbers, test },
        }
    }

    fn table(codes: Codes<'a>, passes: Vec<bool>) -> Self {
        if matches!(codes, Codes::Zero) || passes.iter().all(|pass| *pass == passes[0]) {
            return Self::Always(passes[0]);
        }
        Self::Table { codes, passes }
    }

    fn all(parts: impl Iterator<Item = Self>) -> Self {
        let mut kept: Vec<Self> = Vec::new();
        for part in parts {
            match part {
                Self::Always(true) => {}
                Self::Always(false) => return Self::Always(false),
                Self::All(nested) => kept.extend(nested),
                part => kept.push(part),
            }
        }
        match kept.len() {
            0 => Self::Always(true),
            1 => kept.swap_remove(0),
            _ => Self::All(kept),
        }
    }

    fn not(part: Self) -> Self {
        match part {
            Self::Always(value) => Self::Always(!value),
            Self::Not(inner) => *inner,
            Self::Table { codes, passes } => {
                Self::Table { codes, passes: passes.iter().map(|pass| !pass).collect() }
            }
            Self::Rows { rows, passes_when_listed } => {
                Self::Rows { rows, passes_when_listed: !passes_when_listed }
            }
            part => Self::Not(Box::new(part)),
        }
    }

    /// Whether one row passes.
    pub(crate) fn holds(&self, row: usize) -> bool {
        match self {
            Self::Always(value) => *value,
            Self::All(parts) => parts.iter().all(|part| part.holds(row)),
            Self::Not(part) => !part.holds(row),
            Self::Table { codes, passes } => passes[codes.get(row) as usize],
            Self::Numbers { codes, passes, numbers, test } => match codes.get(row) {
                PropertyColumn::NUMBER => test.passes(Some(numbers.scalar(row))),
                code => passes[code as usize],
            },
            Self::Rows { rows, passes_when_listed } => {
                (rows.binary_search(&(row as u32)).is_ok()) == *passes_when_listed
            }
        }
    }

    /// The rows of a block that pass, as 1 and 0.
    pub(crate) fn evaluate(&self, rows: Range<usize>, out: &mut [u8]) {
        match self {
            Self::Always(value) => out.fill(u8::from(*value)),
            Self::All(parts) => {
                let Some((first, rest)) = parts.split_first() else { return out.fill(1) };
                first.evaluate(rows.clone(), out);
                let mut buffer = [0; BLOCK];
                let buffer = &mut buffer[..out.len()];
                for part in rest {
                    part.evaluate(rows.clone(), buffer);
                    out.iter_mut().zip(buffer.iter()).for_each(|(left, right)| *left &= right);
                }
            }
            Self::Not(part) => {
                part.evaluate(rows, out);
                out.iter_mut().for_each(|pass| *pass ^= 1);
            }
            Self::Table { codes, passes } => {
                let start = rows.start;
                codes
                    .for_each(rows, |row, code| out[row - start] = u8::from(passes[code as usize]));
            }
            Self::Numbers { codes, passes, numbers, test } => {
                let start = rows.start;
                codes.for_each(rows, |row, code| {
                    let pass = match code {
                        PropertyColumn::NUMBER => test.passes(Some(numbers.scalar(row))),
                        code => passes[code as usize],
                    };
                    out[row - start] = u8::from(pass);
                });
            }
            Self::Rows { rows: listed, passes_when_listed } => {
                out.fill(u8::from(!passes_when_listed));
                let from = listed.partition_point(|row| (*row as usize) < rows.start);
                for row in listed[from..].iter().take_while(|row| (**row as usize) < rows.end) {
                    out[*row as usize - rows.start] = u8::from(*passes_when_listed);
                }
            }
        }
    }
}
