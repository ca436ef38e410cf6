//! Numbers as people read them in a sentence.

pub(super) use northstar_domain::report::number;
use northstar_proto::metrics::v1 as pb;

/// A number with its sign.
pub(super) fn signed(value: f64) -> String {
    if value > 0.0 { format!("+{}", number(value)) } else { number(value) }
}

/// A share in percent.
pub(super) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// An estimate with its interval.
pub(super) fn with_interval(effect: &pb::EffectEstimate, confidence: f64) -> String {
    format!(
        "{} ({} interval {} to {})",
        signed(effect.estimate),
        percent(confidence),
        number(effect.ci_low),
        number(effect.ci_high)
    )
}

/// `n` of something.
pub(super) fn count(n: usize, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{} {many}", number(n as f64)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        for (value, text) in [
            (0.0, "0"),
            (12.0, "12"),
            (0.123_456, "0.1235"),
            (-12.5, "-12.5"),
            (1_234_567.8, "1,234,568"),
            (-1_000.0, "-1,000"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(signed(0.5), "+0.5");
        assert_eq!(count(1, "series", "series"), "1 series");
    }
}
