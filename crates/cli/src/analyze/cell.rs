//! What a cell of the metric's column says.

/// A cell, understood.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Cell {
    /// Nothing was recorded.
    Missing,
    /// `yes`, `no`, `true` or `false`.
    Word(bool),
    /// A finite number.
    Number(f64),
}

impl Cell {
    /// Reads a cell; `None` if it is neither a number nor a word of yes or no.
    pub(super) fn read(text: Option<&str>) -> Option<Self> {
        let text = text.unwrap_or_default().trim();
        let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
        if text.is_empty() || is(&["na", "n/a", "nan", "null", "none"]) {
            return Some(Self::Missing);
        }
        if is(&["true", "yes"]) {
            return Some(Self::Word(true));
        }
        if is(&["false", "no"]) {
            return Some(Self::Word(false));
        }
        text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Self::Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_numbers_words_or_missing() {
        for (text, cell) in [
            (None, Some(Cell::Missing)),
            (Some("  "), Some(Cell::Missing)),
            (Some("NaN"), Some(Cell::Missing)),
            (Some("TRUE"), Some(Cell::Word(true))),
            (Some("No"), Some(Cell::Word(false))),
            (Some(" 1.5e2 "), Some(Cell::Number(150.0))),
            (Some("-0"), Some(Cell::Number(-0.0))),
            (Some("inf"), None),
            (Some("1e999"), None),
            (Some("1,5"), None),
            (Some("abc"), None),
        ] {
            assert_eq!(Cell::read(text), cell, "{text:?}");
        }
    }
}
