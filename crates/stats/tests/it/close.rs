//! Comparison to a number of significant digits.

/// Fails unless `actual` equals `expected` to a relative error, or both are within `1e-15` of zero.
#[track_caller]
pub fn assert_relative(actual: f64, expected: f64, relative: f64, what: &str) {
    let error = (actual - expected).abs();
    assert!(
        error <= relative * expected.abs() || error <= 1e-15,
        "{what}: {actual:e} is not {expected:e}"
    );
}

/// Twelve digits were written to the reference files; nine must agree.
#[track_caller]
pub fn assert_close(actual: f64, expected: f64, what: &str) {
    assert_relative(actual, expected, 1e-9, what);
}
