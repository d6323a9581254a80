//! Length-controlled win rates.

use std::cmp::Ordering;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use ser_core::{Clusters, RawScore};

use crate::tally::{Scale, cluster_index};
use crate::{Bootstrap, Estimate, EvalError};

/// Penalty on the square of the length coefficient, so that a fit exists even if length alone separates wins from
/// losses. Its effect is negligible against a hundred pairs.
const RIDGE: f64 = 0.01;

/// Newton's method converges in a few steps; more mean that rounding prevents progress.
const MOST_STEPS: usize = 50;

/// Stop at a step this short: the remaining error is of the order of its square, below the resolution of the objective.
const SMALL_STEP: f64 = 1e-6;

/// Win rate at equal length (AlpacaEval 2, arXiv 2404.04475), from outcomes (1 a win, 1/2 a tie, 0 a loss) and the
/// difference in length of each pair (ours minus the other's, in any unit).
///
/// A logistic regression of the outcome with two terms, P(win) = sigmoid(theta + phi tanh(d / s)), s the standard
/// deviation (n - 1) of the differences d. It minimises the cross-entropy summed over pairs plus 0.005 phi^2, and the
/// rate is its prediction at d = 0: sigmoid(theta). AlpacaEval's third term, the difficulty of its own 805
/// instructions, does not apply to other sets and is left out; so are its cross-validated L1 penalty and the
/// pseudo-data of its gamed baselines.
///
/// The interval is the [`Bootstrap`] over clusters with s fixed and each resample refitted. None if the effect of
/// length cannot be estimated: fewer than two pairs, or equal differences that are not zero. Outcomes that are all wins
/// or all losses have no finite theta; the rate is then 1 or 0, with the interval of such a win rate.
///
/// # Errors
/// [`EvalError::LengthMismatch`] and the errors of [`Bootstrap::check`].
pub fn length_controlled(
    outcomes: &[f64],
    length_differences: &[f64],
    clusters: Clusters<'_>,
    bootstrap: &Bootstrap,
) -> Result<Option<Estimate>, EvalError> {
    bootstrap.check()?;
    if outcomes.len() != length_differences.len() {
        return Err(EvalError::LengthMismatch {
            left_name: "the outcomes",
            left: outcomes.len(),
            right_name: "the differences in length",
            right: length_differences.len(),
        });
    }
    let index = cluster_index(outcomes.len(), clusters)?;
    let rows: Vec<Row> = outcomes.iter().zip(length_differences).map(|(&y, &x)| Row { y, x }).collect();
    // Sorted within clusters and by cluster, so that the order of the pairs does not change a single digit.
    let mut groups: Vec<Vec<Row>> = index
        .members()
        .iter()
        .map(|indices| {
            let mut group: Vec<Row> = indices.iter().filter_map(|&index| rows.get(index).copied()).collect();
            group.sort_by(Row::order);
            group
        })
        .collect();
    groups.sort_by(|a, b| {
        let different = a.iter().zip(b).map(|(x, y)| x.order(y)).find(|order| order.is_ne());
        different.unwrap_or_else(|| a.len().cmp(&b.len()))
    });
    let Some(scale) = scale(&groups.concat()) else { return Ok(None) };
    for row in groups.iter_mut().flatten() {
        row.x = (row.x / scale).tanh();
    }
    let value = rate_at_equal_length(&groups.concat());
    let count = groups.len();
    let (low, high) = if value <= 0.0 || value >= 1.0 {
        bootstrap.ends_where_all_are_alike(value, count as u64, Scale::HALVES)
    } else {
        let mut rng = ChaCha8Rng::seed_from_u64(bootstrap.seed);
        let mut resample = Vec::with_capacity(rows.len());
        let draws = (0..bootstrap.resamples).map(|_| {
            resample.clear();
            for _ in 1..count.max(2) {
                resample.extend(groups.get(rng.random_range(0..count)).into_iter().flatten().copied());
            }
            rate_at_equal_length(&resample)
        });
        bootstrap.percentiles(draws.collect())
    };
    let (pairs, count) = (rows.len() as u64, count as u64);
    let clusters = (count < pairs).then_some(count);
    Ok(Some(Estimate { value, low: low.min(value), high: high.max(value), pairs, clusters }))
}

/// A pair's outcome and its difference in length, raw or scaled.
#[derive(Clone, Copy)]
struct Row {
    y: f64,
    x: f64,
}

impl Row {
    fn order(&self, other: &Row) -> Ordering {
        self.x.total_cmp(&other.x).then(self.y.total_cmp(&other.y))
    }
}

/// The scale of differences in length; none if they are all equal and not zero, or too few.
fn scale(rows: &[Row]) -> Option<f64> {
    if rows.len() < 2 {
        return None;
    }
    let n = rows.len() as f64;
    let mean = rows.iter().map(|row| row.x).sum::<f64>() / n;
    let deviation = (rows.iter().map(|row| (row.x - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    match deviation {
        d if d > 0.0 && d.is_finite() => Some(d),
        // All lengths are equal: there is nothing to control for.
        0.0 if mean == 0.0 => Some(1.0),
        _ => None,
    }
}

fn rate_at_equal_length(rows: &[Row]) -> f64 {
    let mean = rows.iter().map(|row| row.y).sum::<f64>() / rows.len().max(1) as f64;
    if mean <= 0.0 || mean >= 1.0 {
        return mean;
    }
    let (mut theta, mut phi) = ((mean / (1.0 - mean)).ln(), 0.0);
    let mut loss = objective(rows, theta, phi);
    for _ in 0..MOST_STEPS {
        // Gradient and second derivatives by theta and phi.
        let (mut g, mut h) = ([0.0, RIDGE * phi], [0.0, 0.0, RIDGE]);
        for Row { y, x } in rows {
            let p = RawScore(theta + phi * x).sigmoid().get();
            let (error, weight) = (p - y, p * (1.0 - p));
            g = [g[0] + error, g[1] + error * x];
            h = [h[0] + weight, h[1] + weight * x, h[2] + weight * x * x];
        }
        let determinant = h[0] * h[2] - h[1] * h[1];
        let step = [(h[2] * g[0] - h[1] * g[1]) / determinant, (h[0] * g[1] - h[1] * g[0]) / determinant];
        if !(step[0].is_finite() && step[1].is_finite()) {
            break;
        }
        if step[0].abs().max(step[1].abs()) < SMALL_STEP {
            theta -= step[0];
            break;
        }
        // The objective is convex: a sufficiently short step never raises it.
        let shorter = std::iter::successors(Some(1.0), |share| Some(share / 2.0)).take(30);
        let tried = shorter.map(|share| (theta - share * step[0], phi - share * step[1]));
        let Some((t, p, lower)) = tried.map(|(t, p)| (t, p, objective(rows, t, p))).find(|(_, _, value)| *value < loss)
        else {
            break;
        };
        (theta, phi, loss) = (t, p, lower);
    }
    RawScore(theta).sigmoid().get()
}

/// The summed cross-entropy and the penalty.
fn objective(rows: &[Row], theta: f64, phi: f64) -> f64 {
    let cross_entropy = |Row { y, x }: &Row| {
        let z = theta + phi * x;
        // ln(1 + e^z) - y z, in a form that does not overflow.
        z.max(0.0) + (-z.abs()).exp().ln_1p() - y * z
    };
    rows.iter().map(cross_entropy).sum::<f64>() + 0.5 * RIDGE * phi * phi
}
