//! Digamma and Gauss's hypergeometric function, for the arguments that lifetime models have.

/// `d/dx ln Gamma(x)` for `x > 0`: the asymptotic series (Abramowitz & Stegun 6.3.18), reached by the recurrence 6.3.5.
pub(crate) fn digamma(x: f64) -> f64 {
    let (mut shifted, mut sum) = (x, 0.0);
    while shifted < 10.0 {
        sum -= 1.0 / shifted;
        shifted += 1.0;
    }
    let r = 1.0 / (shifted * shifted);
    let series = r
        * (1.0 / 12.0
            - r * (1.0 / 120.0
                - r * (1.0 / 252.0
                    - r * (1.0 / 240.0 - r * (1.0 / 132.0 - r * (691.0 / 32_760.0))))));
    sum + shifted.ln() - 0.5 / shifted - series
}

/// `2F1(a, b; c; z)` for `0 <= z < 1` and `c > 0`, by its series (Abramowitz & Stegun 15.1.1).
pub(crate) fn hypergeometric(a: f64, b: f64, c: f64, z: f64) -> f64 {
    const MOST_TERMS: u32 = 1_000_000;
    let (mut term, mut sum) = (1.0, 1.0);
    for n in 0..MOST_TERMS {
        let n = f64::from(n);
        term *= (a + n) * (b + n) / (c + n) * z / (n + 1.0);
        sum += term;
        // Past the largest term each is less than `z` times the one before, nearly.
        if term == 0.0 || (n > a.abs() && n > b.abs() && term.abs() < 1e-17 * sum.abs() * (1.0 - z))
        {
            break;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digamma_agrees_with_tables() {
        // Abramowitz & Stegun, table 6.1, and -Euler's constant.
        for (x, expected) in [
            (1.0, -0.577_215_664_901_532_9),
            (0.5, -1.963_510_026_021_423_5),
            (2.0, 0.422_784_335_098_467_1),
            (10.0, 2.251_752_589_066_721),
        ] {
            assert!((digamma(x) - expected).abs() < 1e-13, "{x}");
        }
    }

    #[test]
    fn the_series_sums_what_has_a_closed_form() {
        // 2F1(1, 1; 2; z) = -ln(1 - z) / z and 2F1(a, b; b; z) = (1 - z)^-a.
        for z in [0.1_f64, 0.5, 0.9, 0.99] {
            assert!((hypergeometric(1.0, 1.0, 2.0, z) + (-z).ln_1p() / z).abs() < 1e-11, "{z}");
            let power = (1.0 - z).powf(-0.3);
            assert!((hypergeometric(0.3, 1.7, 1.7, z) - power).abs() < 1e-11, "{z}");
        }
    }
}
