//! Quantiles by selection, which costs a pass or two where sorting costs twenty.

const MICROS_PER_SECOND: f64 = 1e6;

/// Seconds at a share of times, whose order changes: linear interpolation between closest ranks (definition 7 of
/// Hyndman and Fan, Sample quantiles in statistical packages, 1996; SQL's `percentile_cont`).
pub(crate) fn seconds_at(micros: &mut [i64], share: f64) -> Option<f64> {
    let last = micros.len().checked_sub(1)?;
    let rank = last as f64 * share;
    let below = rank.floor() as usize;
    let (_, low, above) = micros.select_nth_unstable(below);
    let low = *low;
    let high = above.iter().copied().min().unwrap_or(low);
    Some((low as f64 + (high - low) as f64 * (rank - below as f64)) / MICROS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn selection_and_sorting_agree(mut times in proptest::collection::vec(0i64..1_000, 1..60), percent in 0u32..=100) {
            let share = f64::from(percent) / 100.0;
            let found = seconds_at(&mut times, share).expect("there are times");
            times.sort_unstable();
            let rank = (times.len() - 1) as f64 * share;
            let (low, high) = (times[rank.floor() as usize], times[rank.ceil() as usize]);
            let wanted = low as f64 + (high - low) as f64 * rank.fract();
            prop_assert!((found * MICROS_PER_SECOND - wanted).abs() < 1e-6);
        }
    }

    #[test]
    fn nothing_has_no_median() {
        assert_eq!(seconds_at(&mut [], 0.5), None);
    }
}
