//! Rows of an expression over other metrics: cell by cell, each input from its own time.

use std::{collections::BTreeMap, vec};

use super::{Key, Leaf};
use crate::{
    calendar::{Buckets, Grain},
    error::Result,
    formula::Formula,
    kernels::offset::{Shifted, Source, shifted},
    query::{DerivedInput, Detail, Query, Row},
};

pub(super) fn rows(
    formula: &Formula,
    inputs: &[DerivedInput],
    query: &Query,
    as_of: i64,
    leaves: &mut vec::IntoIter<Leaf>,
) -> Result<Vec<Row>> {
    let mut cells: BTreeMap<Key, Vec<Option<Row>>> = BTreeMap::new();
    for (number, input) in inputs.iter().enumerate() {
        for (bucket, row) in input_rows(input, query, as_of, leaves)? {
            let key = (bucket, row.dimensions.clone());
            cells.entry(key).or_insert_with(|| vec![None; inputs.len()])[number] = Some(row);
        }
    }
    Ok(cells.into_iter().map(|(key, found)| row(formula, inputs, key, &found)).collect())
}

/// The rows of an input, each with the bucket of the question that it stands for.
fn input_rows(
    input: &DerivedInput,
    query: &Query,
    as_of: i64,
    leaves: &mut vec::IntoIter<Leaf>,
) -> Result<Vec<(Option<i64>, Row)>> {
    let Some(offset) = input.offset else {
        let rows = super::rows(&input.metric, query, as_of, leaves)?;
        return Ok(rows.into_iter().map(|row| (row.bucket_start, row)).collect());
    };
    let Shifted { questions, sources } = shifted(query, &input.metric, offset)?;
    let mut by_source: BTreeMap<Source, Vec<Row>> = BTreeMap::new();
    for (question, elsewhere) in questions.iter().enumerate() {
        for row in super::rows(&input.metric, elsewhere, as_of, leaves)? {
            let source = Source { question, bucket: row.bucket_start };
            by_source.entry(source).or_default().push(row);
        }
    }
    let buckets = Buckets::covering(query.from_micros, query.to_micros, query.zone, query.grain)?;
    let here = |bucket| (query.grain != Grain::Total).then(|| buckets.start(bucket));
    Ok(sources
        .iter()
        .enumerate()
        .flat_map(|(bucket, source)| {
            let rows = by_source.get(source).into_iter().flatten();
            rows.map(move |row| (bucket, row.clone()))
        })
        .map(|(bucket, row)| (here(bucket), row))
        .collect())
}

fn row(formula: &Formula, inputs: &[DerivedInput], key: Key, found: &[Option<Row>]) -> Row {
    let values: Vec<Option<f64>> = inputs
        .iter()
        .zip(found)
        .map(|(input, row)| match row {
            Some(row) => row.value,
            None => input.metric.is_zero_without_events().then_some(0.0),
        })
        .collect();
    let (bucket_start, dimensions) = key;
    Row {
        bucket_start,
        dimensions,
        value: formula.value(&values),
        n: found.iter().map(|row| row.as_ref().map_or(0, |row| row.n)).min().unwrap_or(0),
        numerator: None,
        denominator: None,
        complete: found.iter().flatten().all(|row| row.complete),
        detail: Detail::None,
    }
}
