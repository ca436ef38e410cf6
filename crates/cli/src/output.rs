//! What commands print: one JSON document, or a table for people.

use std::io::{self, Write as _};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

/// Writes one line to standard output. A reader that has gone away is no error.
pub fn line(text: impl AsRef<str>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{}", text.as_ref()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Writes one line to standard error: progress and hints, never results.
pub fn note(text: impl AsRef<str>) {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
}

/// Writes a value as one indented JSON document.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(serde_json::to_string_pretty(value)?)?;
    Ok(())
}

/// Writes a value as one line of JSON.
pub fn json_line(value: &impl Serialize) -> anyhow::Result<()> {
    line(serde_json::to_string(value)?)?;
    Ok(())
}

/// A table with a header, fitted to the terminal.
pub fn table<R>(header: &[&str], rows: impl IntoIterator<Item = R>) -> String
where
    R: IntoIterator<Item = String>,
{
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    table.to_string()
}

/// A number for people: whole numbers with thousands apart, others with four
/// significant digits.
pub fn number(value: f64) -> String {
    if value == value.trunc() && value.abs() < 1e15 {
        let digits = format!("{:.0}", value.abs());
        let mut text = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        return if value < 0.0 { format!("-{text}") } else { text };
    }
    let digits = (3 - value.abs().log10().floor() as i32).clamp(0, 9) as usize;
    let text = format!("{value:.digits$}");
    // What rounding left of nothing is nothing.
    let is_nothing = text.chars().all(|letter| matches!(letter, '-' | '0' | '.'));
    if is_nothing { "0".to_owned() } else { text }
}

/// A number that may be missing.
pub fn optional(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), number)
}

/// A bar chart of a series, one line high: the largest value is a full block.
pub fn sparkline(values: &[Option<f64>]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let known = || values.iter().flatten().copied();
    let (low, high) = (known().fold(0.0_f64, f64::min), known().fold(f64::MIN, f64::max));
    let span = high - low;
    values
        .iter()
        .map(|value| match value {
            None => ' ',
            Some(_) if span <= 0.0 => BLOCKS[0],
            Some(value) => BLOCKS[(((value - low) / span) * 7.0).round() as usize],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        for (value, text) in [
            (0.0, "0"),
            (1_234_567.0, "1,234,567"),
            (-1_000.0, "-1,000"),
            (0.123_456, "0.1235"),
            (12.345_6, "12.35"),
            (123_456.7, "123457"),
            (-1e-17, "0"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_chart_spans_from_zero_to_the_largest() {
        assert_eq!(sparkline(&[Some(0.0), None, Some(7.0), Some(14.0)]), "▁ ▅█");
    }
}
