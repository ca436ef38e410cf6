//! One pass over the file: sufficient statistics for each variant, and what could not be used.

use std::collections::BTreeMap;

use anyhow::{bail, ensure};
use northstar_stats::{Moments, PairMoments};

use super::{AnalyzeFile, arguments::Kind, cell::Cell};
use crate::tabular::{Reader, Row};

/// More values than this in the variant column mean that it is another column.
const MOST_VARIANTS: usize = 50;

/// How many bad rows are shown.
const BAD_ROWS_SHOWN: usize = 5;

/// Where the needed values are.
#[derive(Debug)]
pub(super) struct Columns {
    variant: usize,
    value: Named,
    /// The denominator of a ratio, or the covariate of a mean.
    second: Option<Named>,
    pub(super) delimiter: Option<char>,
}

#[derive(Debug)]
struct Named {
    index: usize,
    name: String,
}

/// One variant's rows.
#[derive(Debug, Default)]
pub(super) struct Arm {
    /// Rows that name the variant, with or without a value.
    pub(super) assigned: u64,
    /// The values, words counting as 1 and 0.
    pub(super) values: Moments,
    /// How many values are 1.
    pub(super) ones: u64,
    /// Values with their denominator or covariate, when there is one.
    pub(super) pairs: PairMoments,
}

impl Arm {
    /// Rows of this variant without a value.
    pub(super) fn missing(&self) -> u64 {
        self.assigned - self.values.n()
    }
}

/// Rows that could not be used.
#[derive(Debug, Default)]
pub(super) struct BadRows {
    pub(super) count: u64,
    /// The first of them, as `file:line: reason`.
    pub(super) first: Vec<String>,
}

impl BadRows {
    fn add(&mut self, what: String) {
        self.count += 1;
        if self.first.len() < BAD_ROWS_SHOWN {
            self.first.push(what);
        }
    }
}

/// All that is known after the pass.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) rows_read: u64,
    pub(super) missing_variant: u64,
    pub(super) bad: BadRows,
    /// By name, so that the order does not depend on the order of the rows.
    pub(super) arms: BTreeMap<String, Arm>,
    /// The estimator, named or inferred.
    pub(super) kind: Kind,
}

impl Columns {
    pub(super) fn find(reader: &Reader, args: &AnalyzeFile) -> anyhow::Result<Self> {
        let find = |name: &str| {
            reader.column(name).map(|index| Named { index, name: name.to_owned() }).ok_or_else(
                || {
                    let known = reader.headers().join(", ");
                    anyhow::anyhow!(
                        "{}: there is no column '{name}'; the columns are {known}",
                        args.file.display()
                    )
                },
            )
        };
        let variant = find(&args.variant)?.index;
        let metric = &args.metric.column;
        let (value, second) = if args.metric.kind == Some(Kind::Ratio) {
            ensure!(
                args.covariate.is_none(),
                "--covariate works with a mean or a proportion, not with a ratio"
            );
            // A name may contain the slash itself, so every place to cut is tried.
            let cut = metric
                .match_indices('/')
                .map(|(place, _)| (&metric[..place], &metric[place + 1..]))
                .find(|(numerator, denominator)| {
                    reader.column(numerator).is_some() && reader.column(denominator).is_some()
                })
                .or_else(|| metric.split_once('/'));
            let Some((numerator, denominator)) = cut else { bail!("a ratio needs two columns") };
            (find(numerator)?, Some(find(denominator)?))
        } else {
            (find(metric)?, args.covariate.as_deref().map(find).transpose()?)
        };
        Ok(Self { variant, value, second, delimiter: reader.delimiter() })
    }

    /// The numbers of a row; `None` if one of them is missing.
    fn numbers(&self, row: &Row) -> Result<Option<(Cell, f64)>, String> {
        let cell = |column: &Named| {
            Cell::read(row.get(column.index)).ok_or_else(|| {
                let text = row.get(column.index).unwrap_or_default();
                format!("'{text}' in column '{}' is not a number", column.name)
            })
        };
        let value = cell(&self.value)?;
        let second = match &self.second {
            None => 0.0,
            Some(column) => match cell(column)? {
                Cell::Missing => return Ok(None),
                Cell::Word(word) => f64::from(u8::from(word)),
                Cell::Number(number) => number,
            },
        };
        Ok((value != Cell::Missing).then_some((value, second)))
    }
}

pub(super) fn collect(
    mut reader: Reader,
    columns: &Columns,
    args: &AnalyzeFile,
) -> anyhow::Result<Collected> {
    let file = args.file.display();
    let mut arms: BTreeMap<String, Arm> = BTreeMap::new();
    let mut bad = BadRows::default();
    let (mut rows_read, mut missing_variant) = (0, 0);
    // The first value that only a yes-or-no metric has, and the first that it cannot have.
    let (mut first_word, mut first_amount) = (None, None);
    for row in &mut reader {
        rows_read += 1;
        let row = match row {
            Ok(row) => row,
            Err(error) if error.fatal => return Err(error.into()),
            Err(error) => {
                bad.add(error.to_string());
                continue;
            }
        };
        let variant = row.get(columns.variant).unwrap_or_default().trim();
        if variant.is_empty() {
            missing_variant += 1;
            continue;
        }
        let numbers = match columns.numbers(&row) {
            Ok(numbers) => numbers,
            Err(reason) => {
                bad.add(format!("{file}:{}: {reason}", row.line));
                continue;
            }
        };
        if !arms.contains_key(variant) {
            ensure!(
                arms.len() < MOST_VARIANTS,
                "{file}:{}: column '{}' has more than {MOST_VARIANTS} different values, so it is no variant",
                row.line,
                args.variant,
            );
            arms.insert(variant.to_owned(), Arm::default());
        }
        let Some(arm) = arms.get_mut(variant) else { continue };
        arm.assigned += 1;
        let Some((cell, second)) = numbers else { continue };
        let value = match cell {
            Cell::Missing => continue,
            Cell::Word(word) => {
                first_word.get_or_insert(row.line);
                f64::from(u8::from(word))
            }
            Cell::Number(number) => {
                if number != 0.0 && number != 1.0 {
                    first_amount.get_or_insert((row.line, number));
                }
                number
            }
        };
        arm.values.push(value);
        arm.ones += u64::from(value == 1.0);
        arm.pairs.push(value, second);
    }
    let kind = match (args.metric.kind, first_amount) {
        (Some(Kind::Proportion), Some((line, number))) => bail!(
            "{file}:{line}: {number} in column '{}' is no yes or no, so the metric is no proportion; use :mean",
            columns.value.name
        ),
        (Some(kind), _) => kind,
        (None, None) => Kind::Proportion,
        (None, Some(_)) => Kind::Mean,
    };
    if let (Some(word), Some((line, number))) = (first_word, first_amount) {
        bail!(
            "{file}:{line}: {number} in column '{}', which has yes or no in line {word}",
            columns.value.name
        );
    }
    Ok(Collected { rows_read, missing_variant, bad, arms, kind })
}
