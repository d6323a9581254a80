//! The fitted model: a representation and a head per view, and the weights of their sum.

use std::ops::Range;

use ndarray::{Array1, Array2, Array3, ArrayView1, ArrayView2, ArrayView3, Axis, s};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use ser_core::{PairLoss, PairTarget};

use crate::lbfgs::minimize;
use crate::representation::Representation;
use crate::{Combination, LinearError, LinearSettings};

/// The gradient's largest component at a minimum, per pair.
const TOLERANCE: f64 = 1e-7;
/// Folds by which combination weights are fitted.
const FOLDS: usize = 5;
/// The penalty on the distance of a combination's weights to 1, in pairs.
const COMBINATION_L2: f64 = 20.0;

/// One view of the features: its columns and its head.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct View {
    pub(crate) representation: Representation,
    /// b: a score is `components · b`.
    pub(crate) head: Array1<f64>,
    /// The weight of this view's score in the sum.
    pub(crate) weight: f64,
}

/// All views.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Committee {
    pub(crate) views: Vec<View>,
}

/// The result of fitting all heads.
pub(crate) struct Fitted {
    /// L-BFGS iterations of all heads together.
    pub(crate) iterations: usize,
}

impl Committee {
    /// Fits representations on the features of unlabelled pairs, `[pairs, 2, features]`. Heads are 0.
    pub(crate) fn represent(features: ArrayView3<'_, f32>, sizes: &[usize], settings: &LinearSettings) -> Self {
        let view = |columns: Range<usize>| {
            let features = features.slice(s![.., .., columns]);
            let representation = Representation::fit(features, settings.components, settings.seed);
            View { head: Array1::zeros(representation.components()), representation, weight: 1.0 }
        };
        Committee { views: columns(sizes).map(view).collect() }
    }

    /// Scores of both answers, `[pairs, 2]`.
    pub(crate) fn score(&self, features: ArrayView3<'_, f32>) -> Array2<f64> {
        let mut scores = Array2::zeros((features.dim().0, 2));
        for (view, columns) in self.views.iter().zip(self.columns()) {
            let components = view.components(features.slice(s![.., .., columns]));
            scores.scaled_add(view.weight, &head_scores(&components, &view.head));
        }
        scores
    }

    /// Fits the heads, and the combination's weights if they are fitted.
    ///
    /// `features` are those of the preferred answers, then of the others.
    pub(crate) fn fit(
        &mut self,
        features: ArrayView3<'_, f32>,
        targets: &[PairTarget],
        loss: &dyn PairLoss,
        settings: &LinearSettings,
    ) -> Result<Fitted, LinearError> {
        let all: Vec<Array3<f64>> = self
            .views
            .iter()
            .zip(self.columns())
            .map(|(view, columns)| view.components(features.slice(s![.., .., columns])))
            .collect();
        let mut iterations = 0;
        for (view, components) in self.views.iter_mut().zip(&all) {
            let head = fit_head(components.view(), targets, loss, settings)?;
            iterations += head.iterations;
            view.head = head.x;
        }
        let weights = match settings.combination {
            Combination::Sum => Array1::ones(self.views.len()),
            Combination::Fitted => combination_weights(&all, targets, loss, settings)?,
        };
        for (view, &weight) in self.views.iter_mut().zip(&weights) {
            view.weight = weight;
        }
        Ok(Fitted { iterations })
    }

    fn columns(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let sizes: Vec<usize> = self.views.iter().map(|view| view.representation.mean.len()).collect();
        columns(&sizes).collect::<Vec<_>>().into_iter()
    }
}

/// The columns of each view.
fn columns(sizes: &[usize]) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut start = 0;
    sizes.iter().map(move |size| {
        let columns = start..start + size;
        start += size;
        columns
    })
}

impl View {
    /// `[pairs, 2, features of the view]` to `[pairs, 2, components]`.
    fn components(&self, features: ArrayView3<'_, f32>) -> Array3<f64> {
        let mut all = Array3::zeros((features.dim().0, 2, self.representation.components()));
        for (mut components, features) in all.axis_iter_mut(Axis(1)).zip(features.axis_iter(Axis(1))) {
            components.assign(&self.representation.apply(features));
        }
        all
    }
}

fn head_scores(components: &Array3<f64>, head: &Array1<f64>) -> Array2<f64> {
    let mut scores = Array2::zeros((components.dim().0, 2));
    for (mut scores, components) in scores.axis_iter_mut(Axis(1)).zip(components.axis_iter(Axis(1))) {
        scores.assign(&components.dot(head));
    }
    scores
}

/// Minimizes `sum(w_i * loss_i) + l2 / 2 * |b|²` over b, from 0.
fn fit_head(
    components: ArrayView3<'_, f64>,
    targets: &[PairTarget],
    loss: &dyn PairLoss,
    settings: &LinearSettings,
) -> Result<crate::lbfgs::Minimum, LinearError> {
    let start = Array1::zeros(components.dim().2);
    let penalty = Penalty { l2: settings.l2, center: 0.0 };
    minimize_loss(components, targets, loss, penalty, start, settings.max_iterations)
}

/// A quadratic penalty on the distance of each coefficient to `center`.
struct Penalty {
    l2: f64,
    center: f64,
}

fn minimize_loss(
    components: ArrayView3<'_, f64>,
    targets: &[PairTarget],
    loss: &dyn PairLoss,
    penalty: Penalty,
    start: Array1<f64>,
    max_iterations: usize,
) -> Result<crate::lbfgs::Minimum, LinearError> {
    let weights: f64 = targets.iter().map(|target| target.weight).sum();
    let [preferred, other]: [ArrayView2<'_, f64>; 2] = [0, 1].map(|side| components.slice_move(s![.., side, ..]));
    let minimum = minimize(start, max_iterations, TOLERANCE * targets.len() as f64, |b| {
        let scores = ndarray::stack![Axis(1), preferred.dot(b), other.dot(b)];
        let output = loss.evaluate(scores.view(), targets).map_err(LinearError::Loss)?;
        let away = b.mapv(|b| b - penalty.center);
        // A batch's loss is the weighted mean of its pairs'.
        let value = weights * output.value + penalty.l2 / 2.0 * away.dot(&away);
        let [first, second]: [ArrayView1<'_, f64>; 2] = [0, 1].map(|side| output.gradient.column(side));
        let gradient = weights * (preferred.t().dot(&first) + other.t().dot(&second)) + penalty.l2 * away;
        Ok::<_, LinearError>((value, gradient))
    })?;
    if minimum.value.is_finite() && minimum.x.iter().all(|b| b.is_finite()) {
        Ok(minimum)
    } else {
        Err(LinearError::Diverged { value: minimum.value, iterations: minimum.iterations })
    }
}

/// Weights of the views' scores, fitted to scores of pairs by heads that were not trained on them.
fn combination_weights(
    all: &[Array3<f64>],
    targets: &[PairTarget],
    loss: &dyn PairLoss,
    settings: &LinearSettings,
) -> Result<Array1<f64>, LinearError> {
    let pairs = targets.len();
    let folds = FOLDS.min(pairs);
    if folds < 2 {
        return Ok(Array1::ones(all.len()));
    }
    let mut order: Vec<usize> = (0..pairs).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(settings.seed));
    let mut scores = Array3::zeros((pairs, 2, all.len()));
    for fold in 0..folds {
        let (mut held_out, mut kept) = (Vec::new(), Vec::new());
        for (position, &pair) in order.iter().enumerate() {
            if position % folds == fold { held_out.push(pair) } else { kept.push(pair) }
        }
        let kept_targets: Vec<PairTarget> = kept.iter().filter_map(|&pair| targets.get(pair).copied()).collect();
        for (index, components) in all.iter().enumerate() {
            let head = fit_head(components.select(Axis(0), &kept).view(), &kept_targets, loss, settings)?;
            let held_out_scores = head_scores(&components.select(Axis(0), &held_out), &head.x);
            for (&pair, row) in held_out.iter().zip(held_out_scores.outer_iter()) {
                scores.slice_mut(s![pair, .., index]).assign(&row);
            }
        }
    }
    let penalty = Penalty { l2: COMBINATION_L2, center: 1.0 };
    Ok(minimize_loss(scores.view(), targets, loss, penalty, Array1::ones(all.len()), settings.max_iterations)?.x)
}
