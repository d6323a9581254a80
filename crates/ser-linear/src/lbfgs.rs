//! L-BFGS: minimizes a function of a few hundred variables by values and gradients (Nocedal and Wright, Numerical
//! Optimization, algorithms 7.4 and 3.1).

use std::collections::VecDeque;

use ndarray::Array1;

/// Pairs of steps and gradient changes that are kept.
const MEMORY: usize = 10;
/// A step must lower the function by this share of what its slope promises (Armijo).
const SUFFICIENT: f64 = 1e-4;
/// Halvings of a step before the search ends.
const MAX_HALVINGS: usize = 40;

/// The end of a minimization.
pub(crate) struct Minimum {
    pub(crate) x: Array1<f64>,
    pub(crate) value: f64,
    pub(crate) iterations: usize,
}

/// Minimizes `function`, which returns value and gradient, from `start`. It ends when the gradient's largest component is at most
/// `tolerance`, when no step lowers the value, or after `max_iterations`.
pub(crate) fn minimize<E>(
    start: Array1<f64>,
    max_iterations: usize,
    tolerance: f64,
    mut function: impl FnMut(&Array1<f64>) -> Result<(f64, Array1<f64>), E>,
) -> Result<Minimum, E> {
    let (mut x, mut memory) = (start, VecDeque::with_capacity(MEMORY));
    let (mut value, mut gradient) = function(&x)?;
    for iteration in 0..max_iterations {
        let largest = gradient.iter().fold(0.0_f64, |most, g| most.max(g.abs()));
        // A value that is not finite ends the search too.
        if !value.is_finite() || largest <= tolerance {
            return Ok(Minimum { x, value, iterations: iteration });
        }
        let mut direction = direction(&gradient, &memory);
        let mut slope = gradient.dot(&direction);
        if slope >= 0.0 {
            // The memory no longer describes the function, at a kink for example.
            memory.clear();
            direction = -&gradient;
            slope = gradient.dot(&direction);
        }
        // Without memory the scale of the gradient says nothing about the length of the step.
        let mut length = if memory.is_empty() { 1.0 / largest.max(1.0) } else { 1.0 };
        let mut found = None;
        for _ in 0..MAX_HALVINGS {
            let next = &x + &(&direction * length);
            let (next_value, next_gradient) = function(&next)?;
            if next_value <= value + SUFFICIENT * length * slope {
                found = Some((next, next_value, next_gradient));
                break;
            }
            length /= 2.0;
        }
        let Some((next, next_value, next_gradient)) = found else {
            return Ok(Minimum { x, value, iterations: iteration });
        };
        let (step, change) = (&next - &x, &next_gradient - &gradient);
        let curvature = step.dot(&change);
        if curvature > 1e-10 * change.dot(&change) {
            if memory.len() == MEMORY {
                memory.pop_front();
            }
            memory.push_back((step, change, 1.0 / curvature));
        }
        (x, value, gradient) = (next, next_value, next_gradient);
    }
    Ok(Minimum { x, value, iterations: max_iterations })
}

/// The direction of the two-loop recursion: the inverse Hessian that the memory describes, times the negative gradient.
fn direction(gradient: &Array1<f64>, memory: &VecDeque<(Array1<f64>, Array1<f64>, f64)>) -> Array1<f64> {
    let mut q = gradient.clone();
    let mut shares = Vec::with_capacity(memory.len());
    for (step, change, inverse) in memory.iter().rev() {
        let share = inverse * step.dot(&q);
        q.scaled_add(-share, change);
        shares.push(share);
    }
    if let Some((step, change, _)) = memory.back() {
        q *= step.dot(change) / change.dot(change);
    }
    for ((step, change, inverse), share) in memory.iter().zip(shares.iter().rev()) {
        let correction = share - inverse * change.dot(&q);
        q.scaled_add(correction, step);
    }
    -q
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use approx::assert_abs_diff_eq;
    use ndarray::array;

    use super::*;

    #[test]
    fn rosenbrocks_function_has_its_minimum_at_one_and_one() {
        let found = minimize(array![-1.2, 1.0], 200, 1e-10, |x| {
            let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
            Ok::<_, Infallible>((a * a + 100.0 * b * b, array![-2.0 * a - 400.0 * b * x[0], 200.0 * b]))
        })
        .unwrap();
        assert_abs_diff_eq!(found.x[0], 1.0, epsilon = 1e-8);
        assert_abs_diff_eq!(found.x[1], 1.0, epsilon = 1e-8);
        assert!(found.iterations < 100, "{}", found.iterations);
    }

    #[test]
    fn a_kink_is_approached_until_no_step_helps() {
        let found = minimize(array![3.0], 200, 0.0, |x| {
            Ok::<_, Infallible>((x[0].abs(), array![if x[0] >= 0.0 { 1.0 } else { -1.0 }]))
        })
        .unwrap();
        assert_abs_diff_eq!(found.x[0], 0.0, epsilon = 1e-6);
    }

    #[test]
    fn errors_of_the_function_are_returned() {
        assert_eq!(minimize(array![0.0], 5, 0.0, |_| Err::<(f64, Array1<f64>), _>("no")).err(), Some("no"));
    }
}
