//! The minimum of a smooth function of a few variables whose gradient is known.

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Minimum {
    pub at: Vec<f64>,
    pub value: f64,
    pub iterations: u32,
    /// Whether the gradient vanished; otherwise the search gave up.
    pub converged: bool,
}

const MOST_ITERATIONS: u32 = 500;
const MOST_HALVINGS: u32 = 60;
/// Armijo's constant: the share of the slope that a step must earn.
const SUFFICIENT: f64 = 1e-4;
/// Largest component of the gradient at a minimum, for functions that are of the order of 1.
const FLAT: f64 = 1e-9;
/// Share of a value by which rounding may change it.
const ROUNDING: f64 = 1e-13;
/// Longest first step, for variables that are logarithms.
const LONGEST_STEP: f64 = 2.0;

/// Quasi-Newton minimisation (Broyden, Fletcher, Goldfarb & Shanno 1970; Nocedal & Wright 2006, algorithm 6.1) with
/// backtracking. Written out because the likelihoods here have three or four variables and exact gradients: the
/// libraries for this bring a framework for problems of other sizes.
///
/// `objective` gives the value and writes the gradient.
pub(crate) fn minimise(
    start: &[f64],
    mut objective: impl FnMut(&[f64], &mut [f64]) -> f64,
) -> Minimum {
    let n = start.len();
    let mut at = start.to_vec();
    let mut gradient = vec![0.0; n];
    let mut value = objective(&at, &mut gradient);
    let mut inverse = identity(n);
    let mut iterations = 0;
    while iterations < MOST_ITERATIONS && value.is_finite() {
        if steepest(&gradient) <= FLAT {
            return Minimum { at, value, iterations, converged: true };
        }
        iterations += 1;
        let mut step: Vec<f64> =
            (0..n).map(|row| -dot(&inverse[row * n..(row + 1) * n], &gradient)).collect();
        if dot(&step, &gradient) >= 0.0 {
            inverse = identity(n);
            step = gradient.iter().map(|slope| -slope).collect();
        }
        let length = dot(&step, &step).sqrt();
        if length > LONGEST_STEP {
            step.iter_mut().for_each(|part| *part *= LONGEST_STEP / length);
        }
        let slope = dot(&step, &gradient);
        let mut scale = 1.0;
        let mut next = vec![0.0; n];
        let mut next_gradient = vec![0.0; n];
        let mut found = None;
        for _ in 0..MOST_HALVINGS {
            for ((next, at), step) in next.iter_mut().zip(&at).zip(&step) {
                *next = at + scale * step;
            }
            let tried = objective(&next, &mut next_gradient);
            let lower = tried <= value + SUFFICIENT * scale * slope;
            // So near the minimum that values differ by rounding only, the gradient tells the way.
            let flatter = (tried - value).abs() <= ROUNDING * value.abs()
                && steepest(&next_gradient) < steepest(&gradient);
            if tried.is_finite() && (lower || flatter) {
                found = Some(tried);
                break;
            }
            scale *= 0.5;
        }
        let Some(lower) = found else {
            // No step gains anything that 64 bits can show: this is as low as it gets.
            let converged = steepest(&gradient) < FLAT.sqrt();
            return Minimum { at, value, iterations, converged };
        };
        let moved: Vec<f64> = next.iter().zip(&at).map(|(next, at)| next - at).collect();
        let bent: Vec<f64> =
            next_gradient.iter().zip(&gradient).map(|(next, old)| next - old).collect();
        update(&mut inverse, &moved, &bent);
        (at, gradient, value) = (next, next_gradient, lower);
    }
    let converged = value.is_finite() && steepest(&gradient) < FLAT.sqrt();
    Minimum { at, value, iterations, converged }
}

/// The update of the inverse Hessian, left out where the function is not convex along the step.
fn update(inverse: &mut [f64], moved: &[f64], bent: &[f64]) {
    let n = moved.len();
    let curvature = dot(moved, bent);
    if curvature <= 1e-12 * dot(moved, moved).sqrt() * dot(bent, bent).sqrt() {
        return;
    }
    let turned: Vec<f64> = (0..n).map(|row| dot(&inverse[row * n..(row + 1) * n], bent)).collect();
    let factor = (1.0 + dot(bent, &turned) / curvature) / curvature;
    for row in 0..n {
        for column in 0..n {
            inverse[row * n + column] += factor * moved[row] * moved[column]
                - (turned[row] * moved[column] + moved[row] * turned[column]) / curvature;
        }
    }
}

/// The largest component of a gradient; NaN when one is.
fn steepest(gradient: &[f64]) -> f64 {
    gradient.iter().map(|slope| slope.abs()).max_by(f64::total_cmp).unwrap_or(0.0)
}

fn identity(n: usize) -> Vec<f64> {
    (0..n * n).map(|cell| if cell / n == cell % n { 1.0 } else { 0.0 }).collect()
}

fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_valley_of_rosenbrock_is_walked_to_its_end() {
        let found = minimise(&[-1.2, 1.0], |at, gradient| {
            let (x, y) = (at[0], at[1]);
            gradient[0] = -400.0 * x * (y - x * x) - 2.0 * (1.0 - x);
            gradient[1] = 200.0 * (y - x * x);
            100.0 * (y - x * x).powi(2) + (1.0 - x).powi(2)
        });
        assert!(found.converged);
        assert!((found.at[0] - 1.0).abs() < 1e-7 && (found.at[1] - 1.0).abs() < 1e-7);
    }

    #[test]
    fn a_function_without_minimum_is_reported() {
        let found = minimise(&[0.0], |at, gradient| {
            gradient[0] = -1.0;
            -at[0]
        });
        assert!(!found.converged);
    }
}
