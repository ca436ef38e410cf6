//! The report for people.

use std::fmt;

use comfy_table::{Table, presets};

use super::{
    arguments::Kind,
    report::{Estimate, Report},
};

/// How a number is printed.
#[derive(Debug, Clone, Copy)]
enum Unit {
    Plain,
    Percent,
    /// Percentage points, so that the difference of two rates is not taken for a lift.
    Points,
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, value) = match self.kind {
            Kind::Proportion => ("proportion", "rate"),
            Kind::Mean => ("mean", "mean"),
            Kind::Ratio => ("ratio", "ratio"),
        };
        writeln!(
            formatter,
            "{} ({kind}) by {}, against '{}', {} % intervals; {} of {} rows",
            self.metric,
            self.variant_column,
            self.control,
            significant(self.confidence * 100.0),
            self.rows.used,
            self.rows.read,
        )?;
        let (unit, unit_of_difference) = if self.kind == Kind::Proportion {
            (Unit::Percent, Unit::Points)
        } else {
            (Unit::Plain, Unit::Plain)
        };
        let variants = self.variants.iter().map(|variant| {
            vec![variant.name.clone(), variant.n.to_string(), shown(variant.mean, unit)]
        });
        writeln!(formatter, "{}", table(&["variant", "n", value], variants))?;
        let several = self.comparisons.len() > 1;
        let mut header = vec!["against control", "difference", "p", "lift", "p of lift"];
        if several {
            header.insert(3, "p (Holm)");
        }
        let comparisons = self.comparisons.iter().map(|comparison| {
            let mut row = vec![
                comparison.variant.clone(),
                interval(&comparison.absolute, unit_of_difference),
                p_value(comparison.absolute.p_value),
                interval(&comparison.relative, Unit::Percent),
                p_value(comparison.relative.p_value),
            ];
            if several {
                row.insert(3, p_value(comparison.p_value_holm));
            }
            row
        });
        writeln!(formatter, "{}", table(&header, comparisons))?;
        let verdict = if self.srm.alarm { "MISMATCH" } else { "no sign of a mismatch" };
        write!(
            formatter,
            "traffic: {verdict} (chi-square {}, {} df, p {})",
            significant(self.srm.chi2),
            self.srm.df,
            p_value(Some(self.srm.p_value)),
        )?;
        for comparison in &self.comparisons {
            for (what, estimate) in
                [("difference", &comparison.absolute), ("lift", &comparison.relative)]
            {
                if let Some(reason) = &estimate.reason {
                    write!(
                        formatter,
                        "\nno interval of the {what} of '{}': {reason}",
                        comparison.variant
                    )?;
                }
            }
        }
        for note in &self.notes {
            write!(formatter, "\nnote: {note}")?;
        }
        Ok(())
    }
}

fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(header.to_vec());
    rows.for_each(|row| {
        table.add_row(row);
    });
    table.to_string()
}

fn interval(estimate: &Estimate, unit: Unit) -> String {
    match (estimate.ci_low, estimate.ci_high) {
        (Some(low), Some(high)) => format!(
            "{} [{}, {}]",
            shown(estimate.estimate, unit),
            shown(Some(low), unit),
            shown(Some(high), unit)
        ),
        _ => shown(estimate.estimate, unit),
    }
}

fn shown(value: Option<f64>, unit: Unit) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) => match unit {
            Unit::Plain => significant(value),
            Unit::Percent => format!("{} %", significant(value * 100.0)),
            Unit::Points => format!("{} pp", significant(value * 100.0)),
        },
    }
}

pub(super) fn p_value(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(0.0) => "< 1e-300".to_owned(),
        Some(value) if value < 0.0001 => format!("{value:.1e}"),
        Some(value) => format!("{value:.4}"),
    }
}

/// Four significant digits.
fn significant(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let magnitude = value.abs().log10().floor();
    if !(-5.0..15.0).contains(&magnitude) {
        return format!("{value:.3e}");
    }
    let decimals = (3.0 - magnitude).clamp(0.0, 9.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_four_significant_digits() {
        for (value, text) in [
            (0.0, "0"),
            (95.0, "95"),
            (0.001_234_56, "0.001235"),
            (-12.345_6, "-12.35"),
            (1_234_567.0, "1234567"),
            (1.5e-9, "1.500e-9"),
        ] {
            assert_eq!(significant(value), text);
        }
        assert_eq!(p_value(Some(5.685e-112)), "5.7e-112");
        assert_eq!(p_value(Some(0.05)), "0.0500");
        assert_eq!(p_value(Some(0.0)), "< 1e-300");
    }
}
