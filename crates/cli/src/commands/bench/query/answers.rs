//! Whether two engines say the same.

use anyhow::bail;
use serde_json::Value;

use super::questions::{Question, Rows};

/// What floating-point sums may differ by, as a share.
const TOLERANCE: f64 = 1e-6;

/// Fails with the first row that differs; the order of rows does not matter.
pub(super) fn compare(
    question: Question,
    (left_name, left): (&str, &Rows),
    (right_name, right): (&str, &Rows),
) -> anyhow::Result<()> {
    let (left, right) = (sorted(left), sorted(right));
    if left.len() != right.len() {
        let (left, right) = (left.len(), right.len());
        bail!("{question}: {left_name} gives {left} rows and {right_name} {right}");
    }
    for (mine, theirs) in left.iter().zip(&right) {
        if mine.len() != theirs.len() || !mine.iter().zip(theirs).all(|(a, b)| same(a, b)) {
            let (mine, theirs) = (Value::from(mine.clone()), Value::from(theirs.clone()));
            bail!("{question}: {left_name} gives the row {mine} and {right_name} {theirs}");
        }
    }
    Ok(())
}

/// The rows in the order of what identifies them, which comes first in each.
fn sorted(rows: &Rows) -> Rows {
    let mut rows = rows.clone();
    rows.sort_by_cached_key(|row| {
        let key = |value: &Value| match value.as_f64() {
            Some(number) => format!("{number:020.3}"),
            None => value.to_string(),
        };
        row.iter().take(2).map(key).collect::<Vec<String>>()
    });
    rows
}

fn same(left: &Value, right: &Value) -> bool {
    match (left.as_f64(), right.as_f64()) {
        (Some(left), Some(right)) => (left - right).abs() <= TOLERANCE * left.abs().max(1.0),
        _ => left == right,
    }
}

/// The rows of a question in a document of answers.
pub(super) fn golden(answers: &Value, question: Question) -> Option<Rows> {
    let rows = answers.get(question.name())?.as_array()?;
    rows.iter().map(|row| row.as_array().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows(value: Value) -> Rows {
        golden(&json!({ "Q1": value }), Question::DailyActive).unwrap()
    }

    #[test]
    fn the_order_of_rows_and_the_last_bits_of_sums_do_not_matter() {
        let (left, right) =
            (rows(json!([[2, 1.0], [10, 3]])), rows(json!([[10, 3.000_000_1], [2, 1]])));
        compare(Question::DailyActive, ("us", &left), ("them", &right)).unwrap();
    }

    #[test]
    fn a_difference_is_named_with_its_row() {
        let (left, right) = (rows(json!([[0, 7], [1, 8]])), rows(json!([[0, 7], [1, 9]])));
        let problem = compare(Question::DailyActive, ("us", &left), ("them", &right)).unwrap_err();
        let text = problem.to_string();
        assert!(text.contains("us gives the row [1,8] and them [1,9]"), "{text}");
        let fewer = rows(json!([[0, 7]]));
        let problem = compare(Question::DailyActive, ("us", &left), ("them", &fewer)).unwrap_err();
        assert!(problem.to_string().contains("2 rows"), "{problem}");
    }
}
