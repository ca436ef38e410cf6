//! Tails and quantiles of the normal, Student and chi-square laws.
//!
//! Experiments on large samples produce p-values such as 1e-216, and a reader may rank them, so
//! everything here is an upper tail computed directly: never `1 - cdf`, which is 0 from z = 8.3 on.
//! Written on the error and gamma functions of `libm` (exact to the last bit or so) rather than taken
//! from a statistics crate: `statrs` carries 11 digits of `erfc`, and its incomplete beta function
//! stops after 140 terms, too early for the millions of degrees of freedom of Welch's test on real traffic.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use libm::{erfc, lgamma};

/// `P(Z > z)` for a standard normal `Z`.
pub fn normal_upper_tail(z: f64) -> f64 {
    0.5 * erfc(z * FRAC_1_SQRT_2)
}

/// `P(|Z| > |z|)` for a standard normal `Z`: the two-sided p-value of a z statistic.
pub fn normal_two_sided(z: f64) -> f64 {
    erfc(z.abs() * FRAC_1_SQRT_2)
}

/// The `z` with `P(Z > z) = tail`; infinite for a tail of 0 or less, or of 1 or more.
///
/// The rational approximation of Abramowitz & Stegun 26.2.23 (error below 5e-4), refined by Newton's method.
pub fn normal_upper_quantile(tail: f64) -> f64 {
    if tail <= 0.0 {
        return f64::INFINITY;
    }
    if tail > 0.5 {
        return -normal_upper_quantile(1.0 - tail);
    }
    let r = (-2.0 * tail.ln()).sqrt();
    let mut z = r
        - (2.515_517 + r * (0.802_853 + r * 0.010_328))
            / (1.0 + r * (1.432_788 + r * (0.189_269 + r * 0.001_308)));
    for _ in 0..4 {
        let density = (-0.5 * z * z).exp() / (2.0 * PI).sqrt();
        if density <= 0.0 {
            break;
        }
        z += (normal_upper_tail(z) - tail) / density;
    }
    z
}

/// `P(|T| > |t|)` for Student's `T` with `df > 0` degrees of freedom, not necessarily whole.
///
/// `I_x(df/2, 1/2)` with `x = df / (df + t^2)` (Abramowitz & Stegun 26.7.1), by the continued
/// fraction of the incomplete beta function on whichever side it converges fast.
pub fn t_two_sided(t: f64, df: f64) -> f64 {
    if t == 0.0 {
        return 1.0;
    }
    if t.is_infinite() {
        return 0.0;
    }
    let a = 0.5 * df;
    let squared_over_df = (t / df) * t;
    let x = 1.0 / (1.0 + squared_over_df);
    let complement = squared_over_df * x;
    // x^a (1-x)^(1/2) / B(a, 1/2), in logarithms where the power is large.
    let front =
        (-a * squared_over_df.ln_1p()).exp() * complement.sqrt() * gamma_half_step(a) / PI.sqrt();
    if x < (a + 1.0) / (a + 2.5) {
        front / beta_fraction(a, 0.5, x, complement)
    } else {
        1.0 - front / beta_fraction(0.5, a, complement, x)
    }
}

/// The `t >= 0` with `P(T > t) = tail`, for a tail in (0, 0.5] and `df > 0`.
///
/// Newton's method from the normal quantile. Student's tail is heavier, so the start lies to the
/// left of the root, and the tail is convex there, so the steps rise to the root without passing it.
pub fn t_upper_quantile(tail: f64, df: f64) -> f64 {
    let mut t = normal_upper_quantile(tail).max(0.0);
    for _ in 0..500 {
        let density = t_density(t, df);
        if density <= 0.0 {
            break;
        }
        let step = (0.5 * t_two_sided(t, df) - tail) / density;
        t += step;
        if step.abs() <= 1e-14 * t.abs() {
            break;
        }
    }
    t
}

/// `P(X > chi2)` for a chi-square `X` with `df` degrees of freedom; 1 for `df` 0 or `chi2 <= 0`.
///
/// With `h = chi2 / 2`, the exact finite sum of `h^k e^-h / Gamma(k + 1)` over `k = 0, 1, ...` below `df / 2`
/// for even `df`, and over `k = 1/2, 3/2, ...` plus `erfc(sqrt(h))` for odd `df` (Abramowitz & Stegun
/// 26.4.4, 26.4.5). All terms are positive, so the far tail keeps its digits; the sum starts at its
/// largest term, so nothing that matters underflows.
pub fn chi_square_upper_tail(chi2: f64, df: u32) -> f64 {
    if df == 0 || chi2 <= 0.0 {
        return 1.0;
    }
    let h = 0.5 * chi2;
    let odd = df % 2 == 1;
    let (first, mut tail) = if odd { (0.5, erfc(h.sqrt())) } else { (0.0, 0.0) };
    let last = 0.5 * f64::from(df) - 1.0;
    if last < first {
        return tail;
    }
    let peak = first + (h.min(last) - first).max(0.0).floor();
    let largest = (peak * h.ln() - h - lgamma(peak + 1.0)).exp();

    let (mut order, mut term) = (peak, largest);
    while order <= last {
        tail += term;
        order += 1.0;
        term *= h / order;
    }
    (order, term) = (peak, largest);
    while order > first {
        term *= order / h;
        order -= 1.0;
        tail += term;
    }
    tail.min(1.0)
}

/// Density of Student's t.
fn t_density(t: f64, df: f64) -> f64 {
    let a = 0.5 * df;
    gamma_half_step(a) / (df * PI).sqrt() * (-(a + 0.5) * ((t / df) * t).ln_1p()).exp()
}

/// `Gamma(a + 1/2) / Gamma(a)` to full precision: the asymptotic series (Tricomi & Erdelyi 1951)
/// far out, reached from small `a` by the recurrence of the gamma function.
fn gamma_half_step(a: f64) -> f64 {
    let mut factor = 1.0;
    let mut shifted = a;
    while shifted < 64.0 {
        factor *= shifted / (shifted + 0.5);
        shifted += 1.0;
    }
    let r = 1.0 / shifted;
    let series = 1.0
        + r * (-1.0 / 8.0
            + r * (1.0 / 128.0
                + r * (5.0 / 1024.0
                    + r * (-21.0 / 32_768.0
                        + r * (-399.0 / 262_144.0 + r * (869.0 / 4_194_304.0))))));
    factor * shifted.sqrt() * series
}

/// The continued fraction whose reciprocal times `x^a y^b / B(a, b)` is `I_x(a, b)`, with `y = 1 - x`
/// (DiDonato & Morris 1992, "Algorithm 708", eq. 9), by Lentz's method.
///
/// It takes `y` besides `x` because `1 - x` has no digits left when the degrees of freedom run to millions.
fn beta_fraction(a: f64, b: f64, x: f64, y: f64) -> f64 {
    const TINY: f64 = 1e-300;
    // About the square root of the larger parameter is needed; this is enough for 1e11 degrees of freedom.
    const MOST_TERMS: u32 = 1_000_000;
    let guard = |value: f64| if value.abs() < TINY { TINY } else { value };
    let denominator = |m: f64| {
        m + m * (b - m) * x / (a + 2.0 * m - 1.0)
            + (a + m) / (a + 2.0 * m + 1.0) * (a * y - b * x + 1.0 + m * (1.0 + y))
    };

    let mut result = guard(a / (a + 1.0) * (a * y - b * x + 1.0));
    let (mut c, mut d) = (result, 0.0);
    for term in 1..=MOST_TERMS {
        let m = f64::from(term);
        let step = x / (a + 2.0 * m - 1.0);
        let numerator = (a + m - 1.0) * step * (a + b + m - 1.0) * step * m * (b - m);
        let next = denominator(m);
        d = 1.0 / guard(next + numerator * d);
        c = guard(next + numerator / c);
        let change = c * d;
        result *= change;
        if (change - 1.0).abs() <= 2.0 * f64::EPSILON {
            break;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_close(actual: f64, expected: f64, relative: f64) {
        assert!(
            (actual - expected).abs() <= relative * expected.abs(),
            "{actual:e} is not {expected:e}"
        );
    }

    // Expected numbers to 17 digits: mpmath 1.3 at 30 digits (erfc, erfinv, regularised betainc and gammainc).

    #[test]
    fn normal_tails_keep_their_digits_far_out() {
        assert_close(normal_upper_tail(1.0), 0.158_655_253_931_457_05, 1e-14);
        assert_close(normal_upper_tail(10.0), 7.619_853_024_160_525e-24, 1e-13);
        assert_close(normal_upper_tail(30.0), 4.906_713_927_148_187e-198, 1e-12);
        assert_close(normal_upper_tail(-3.0), 0.998_650_101_968_369_9, 1e-14);
    }

    #[test]
    fn normal_quantile_is_exact_to_the_last_digits() {
        assert_close(normal_upper_quantile(0.025), 1.959_963_984_540_054_2, 1e-15);
        assert_close(normal_upper_quantile(1e-10), 6.361_340_902_404_057, 1e-14);
        assert_close(normal_upper_quantile(0.975), -1.959_963_984_540_054_2, 1e-14);
        assert!(normal_upper_quantile(0.5).abs() < 1e-15);
        assert_eq!(normal_upper_quantile(0.0), f64::INFINITY);
        assert_eq!(normal_upper_quantile(1.0), f64::NEG_INFINITY);
    }

    #[test]
    fn student_tail_equals_reference_values() {
        for (t, df, expected) in [
            (2.0, 10.0, 0.073_388_034_770_740_37),
            (0.5, 3.7, 0.645_335_633_319_931_9),
            (34.5, 5_755.9, 2.984_384_789_027_946e-237),
            (40.0, 50.0, 1.241_242_378_437_270_6e-39),
            (0.001, 2.5, 0.999_276_382_720_784_9),
            (1.732_050_8, 1_000.0, 0.083_572_878_478_951_03),
            (5.0, 2e6, 5.733_514_637_831_463e-7),
            (1.959_965_170_676_375, 2e6, 0.05),
            (1.0, 0.3, 0.683_222_781_761_033_5),
        ] {
            assert_close(t_two_sided(t, df), expected, 1e-12);
        }
    }

    #[test]
    fn student_tail_equals_its_closed_forms() {
        // df 1 is the Cauchy law, df 2 is algebraic.
        for t in [1e-9_f64, 0.1, 0.9, 1.0, 1.5, 3.0, 100.0, 1e6] {
            let cauchy = 2.0 / PI * (1.0 / t).atan();
            assert_close(t_two_sided(t, 1.0), cauchy, 1e-12);
            let root = (2.0 + t * t).sqrt();
            let algebraic = 2.0 / (root * (root + t));
            assert_close(t_two_sided(t, 2.0), algebraic, 1e-12);
        }
    }

    #[test]
    fn student_tail_meets_the_normal_at_many_degrees_of_freedom() {
        for t in [0.01, 0.7, 1.0, 1.3, 2.0, 8.0] {
            assert_close(t_two_sided(t, 1e10), normal_two_sided(t), 1e-6);
        }
    }

    #[test]
    fn student_quantile_is_the_inverse_of_the_tail() {
        for df in [0.7, 1.0, 2.5, 10.0, 347.0, 2e6] {
            for tail in [0.4, 0.1, 0.025, 1e-4, 1e-9] {
                let t = t_upper_quantile(tail, df);
                assert_close(0.5 * t_two_sided(t, df), tail, 1e-12);
            }
        }
        assert_close(t_upper_quantile(0.025, 10.0), 2.228_138_851_986_275, 1e-14);
    }

    #[test]
    fn chi_square_tail_equals_reference_values() {
        for (chi2, df, expected) in [
            (9.0, 1, 0.002_699_796_063_260_189),
            (9.0, 2, 0.011_108_996_538_242_306),
            (7.5, 3, 0.057_558_451_972_636_407),
            (199.0, 200, 0.506_673_339_680_036_5),
            (1_500.0, 1_501, 0.502_428_253_996_111_8),
            (4_000.0, 1_501, 5.789_015_920_268_44e-226),
            (100.0, 3_000, 1.0),
            (1_000.0, 4, 3.569_412_779_777_384_1e-215),
            (983.0, 7, 5.671_590_712_338_659e-208),
        ] {
            assert_close(chi_square_upper_tail(chi2, df), expected, 1e-11);
        }
        assert_eq!(chi_square_upper_tail(0.0, 3), 1.0);
        assert_eq!(chi_square_upper_tail(5.0, 0), 1.0);
    }
}
