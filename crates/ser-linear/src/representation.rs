//! One view's features, standardized and reduced to principal components.

use nalgebra::{DMatrix, SymmetricEigen};
use ndarray::{Array1, Array2, ArrayView2, ArrayView3, Axis, s};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// Directions that the iteration keeps beside those that are asked for; they speed up its convergence.
const OVERSAMPLING: usize = 10;
/// Iterations: each multiplies the ratio of a wanted to an unwanted singular value by itself squared.
const ITERATIONS: usize = 12;

/// A linear map from a view's features to components of unit scale.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Representation {
    /// Mean of each feature over the answers, `[features]`.
    pub(crate) mean: Array1<f64>,
    /// Features minus mean, times this, are the components: `[features, components]`.
    pub(crate) projection: Array2<f64>,
}

impl Representation {
    /// Fits on unlabelled pairs: features of the shape `[pairs, 2, features]`.
    ///
    /// The components are the leading right singular vectors of the standardized differences of the answers, scaled to a root
    /// mean square of 1. Exchanging a pair's answers changes nothing.
    pub(crate) fn fit(features: ArrayView3<'_, f32>, components: usize, seed: u64) -> Self {
        let (pairs, _, size) = features.dim();
        let rows = (2 * pairs) as f64;
        let mut mean = Array1::<f64>::zeros(size);
        for answer in features.axis_iter(Axis(1)) {
            mean += &answer.mapv(f64::from).sum_axis(Axis(0));
        }
        mean /= rows;
        let mut variance = Array1::<f64>::zeros(size);
        for answer in features.axis_iter(Axis(1)) {
            variance += &(answer.mapv(f64::from) - &mean).mapv(|x| x * x).sum_axis(Axis(0));
        }
        // A feature that never changes is left out: its difference is 0.
        let inverse = variance.mapv(|v| if v > 0.0 { (rows / v).sqrt() } else { 0.0 });
        let [a, b] = [0, 1].map(|answer| features.slice(s![.., answer, ..]).mapv(f64::from));
        let differences = (a - b) * &inverse;
        let (vectors, scales) = leading_singular_vectors(differences.view(), components, seed);
        let unit = scales.mapv(|scale| if scale > 0.0 { (pairs as f64).sqrt() / scale } else { 0.0 });
        Representation { mean, projection: vectors * &inverse.insert_axis(Axis(1)) * &unit }
    }

    /// The number of components.
    pub(crate) fn components(&self) -> usize {
        self.projection.ncols()
    }

    /// Components of answers: `[answers, features]` to `[answers, components]`.
    pub(crate) fn apply(&self, features: ArrayView2<'_, f32>) -> Array2<f64> {
        (features.mapv(f64::from) - &self.mean).dot(&self.projection)
    }
}

/// The right singular vectors of the largest singular values, `[columns, count]`, and those values, by subspace iteration
/// from a random start. There are at most as many as rows and columns.
fn leading_singular_vectors(matrix: ArrayView2<'_, f64>, count: usize, seed: u64) -> (Array2<f64>, Array1<f64>) {
    let (rows, columns) = matrix.dim();
    let count = count.min(rows).min(columns);
    let width = (count + OVERSAMPLING).min(rows).min(columns);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut basis = Array2::from_shape_simple_fn((columns, width), || StandardNormal.sample(&mut rng));
    for _ in 0..ITERATIONS {
        basis = orthonormal(&matrix.t().dot(&matrix.dot(&basis)));
    }
    // The small matrix of the subspace has the same leading singular values.
    let image = matrix.dot(&basis);
    let gram = to_nalgebra(&image.t().dot(&image));
    let eigen = SymmetricEigen::new(gram);
    let mut order: Vec<usize> = (0..width).collect();
    order.sort_by(|&i, &j| eigen.eigenvalues[j].total_cmp(&eigen.eigenvalues[i]));
    order.truncate(count);
    let rotation = Array2::from_shape_fn((width, count), |(i, k)| eigen.eigenvectors[(i, order[k])]);
    let values = order.iter().map(|&k| eigen.eigenvalues[k].max(0.0).sqrt()).collect();
    let mut vectors = basis.dot(&rotation);
    // A vector's sign is arbitrary; with its largest component positive it is the same on every machine.
    for mut vector in vectors.columns_mut() {
        let largest = vector.iter().copied().fold(0.0_f64, |most, x| if x.abs() > most.abs() { x } else { most });
        if largest < 0.0 {
            vector.mapv_inplace(|x| -x);
        }
    }
    (vectors, values)
}

/// An orthonormal basis of the columns' span.
fn orthonormal(matrix: &Array2<f64>) -> Array2<f64> {
    let (rows, columns) = matrix.dim();
    let q = to_nalgebra(matrix).qr().q();
    Array2::from_shape_fn((rows, columns), |at| q[at])
}

fn to_nalgebra(matrix: &Array2<f64>) -> DMatrix<f64> {
    DMatrix::from_row_iterator(matrix.nrows(), matrix.ncols(), matrix.iter().copied())
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;
    use ndarray::{Array3, array};
    use rand::Rng;

    use super::*;

    #[test]
    fn singular_vectors_of_a_diagonal_matrix_are_its_axes() {
        let matrix = array![[0.0, 3.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]];
        let (vectors, values) = leading_singular_vectors(matrix.view(), 2, 0);
        assert_abs_diff_eq!(values, array![3.0, 2.0], epsilon = 1e-9);
        assert_abs_diff_eq!(vectors, array![[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], epsilon = 1e-6);
    }

    fn random(pairs: usize, size: usize) -> Array3<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        Array3::from_shape_fn((pairs, 2, size), |(_, _, k)| rng.random::<f32>() * (k + 1) as f32)
    }

    #[test]
    fn components_of_differences_have_a_root_mean_square_of_one_and_are_uncorrelated() {
        let features = random(300, 12);
        let fitted = Representation::fit(features.view(), 5, 0);
        let [a, b] = [0, 1].map(|answer| fitted.apply(features.slice(s![.., answer, ..])));
        let differences = a - b;
        let moments = differences.t().dot(&differences) / 300.0;
        assert_abs_diff_eq!(moments, Array2::eye(5), epsilon = 1e-4);
    }

    #[test]
    fn the_order_of_answers_and_constant_features_change_nothing() {
        let mut features = random(50, 6);
        features.slice_mut(s![.., .., 4]).fill(2.5);
        let mut swapped = features.clone();
        for pair in (0..50).step_by(3) {
            for (at, from) in [(0, 1), (1, 0)] {
                swapped.slice_mut(s![pair, at, ..]).assign(&features.slice(s![pair, from, ..]));
            }
        }
        assert_ne!(features, swapped);
        let [one, other] = [&features, &swapped].map(|f| Representation::fit(f.view(), 3, 0));
        assert_abs_diff_eq!(one.projection, other.projection, epsilon = 1e-9);
        assert!(one.projection.row(4).iter().all(|&x| x == 0.0));
        assert!(one.projection.iter().all(|x| x.is_finite()));
    }

    #[test]
    fn fewer_pairs_than_components_give_fewer_components() {
        assert_eq!(Representation::fit(random(3, 8).view(), 5, 0).components(), 3);
    }
}
