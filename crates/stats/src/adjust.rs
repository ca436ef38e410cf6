//! Adjustment of p-values for asking several questions at once.

use crate::InputError;

/// Holm's step-down adjustment (Holm 1979): controls the chance of any false positive in the family.
///
/// The i-th smallest of m p-values becomes `max over j <= i of min(1, (m - j + 1) p_j)`.
/// The answer is in the order given.
///
/// # Errors
/// [`InputError::OutOfRange`] for a value outside [0, 1].
pub fn holm(p_values: &[f64]) -> Result<Vec<f64>, InputError> {
    let order = ascending(p_values)?;
    let mut adjusted = vec![0.0; p_values.len()];
    let mut largest = 0.0_f64;
    for (rank, &index) in order.iter().enumerate() {
        let hypotheses_left = (p_values.len() - rank) as f64;
        largest = largest.max((hypotheses_left * p_values[index]).min(1.0));
        adjusted[index] = largest;
    }
    Ok(adjusted)
}

/// Benjamini and Hochberg's step-up adjustment (1995): controls the expected share of false positives among the positives.
///
/// The i-th smallest of m p-values becomes `min over j >= i of min(1, m p_j / j)`.
/// The answer is in the order given.
///
/// # Errors
/// [`InputError::OutOfRange`] for a value outside [0, 1].
pub fn benjamini_hochberg(p_values: &[f64]) -> Result<Vec<f64>, InputError> {
    let order = ascending(p_values)?;
    let mut adjusted = vec![0.0; p_values.len()];
    let mut smallest = 1.0_f64;
    for (rank, &index) in order.iter().enumerate().rev() {
        smallest = smallest.min(p_values.len() as f64 * p_values[index] / (rank + 1) as f64);
        adjusted[index] = smallest;
    }
    Ok(adjusted)
}

/// Indices of the p-values from smallest to largest.
fn ascending(p_values: &[f64]) -> Result<Vec<usize>, InputError> {
    if let Some(&value) = p_values.iter().find(|p| !(0.0..=1.0).contains(*p)) {
        return Err(InputError::OutOfRange { name: "p-value", value, range: "between 0 and 1" });
    }
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&left, &right| p_values[left].total_cmp(&p_values[right]));
    Ok(order)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_family_needs_no_adjustment() {
        assert_eq!(holm(&[]), Ok(vec![]));
        assert_eq!(benjamini_hochberg(&[]), Ok(vec![]));
    }

    #[test]
    fn a_value_that_is_no_probability_is_refused() {
        assert!(matches!(holm(&[0.5, f64::NAN]), Err(InputError::OutOfRange { .. })));
        assert!(matches!(benjamini_hochberg(&[1.5]), Err(InputError::OutOfRange { .. })));
    }

    proptest! {
        #[test]
        fn adjustment_never_lowers_a_value_and_holm_is_the_stricter(p_values in proptest::collection::vec(0.0..=1.0_f64, 1..40)) {
            let holm = holm(&p_values).expect("probabilities");
            let discovery = benjamini_hochberg(&p_values).expect("probabilities");
            for index in 0..p_values.len() {
                prop_assert!(p_values[index] <= discovery[index] + 1e-15);
                prop_assert!(discovery[index] <= holm[index] + 1e-12);
                prop_assert!(holm[index] <= 1.0);
            }
        }
    }
}
