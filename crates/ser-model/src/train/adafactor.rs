//! Adafactor (Shazeer and Stern, 2018), as transformers computes it.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::ModelError;

/// Added to squared gradients.
const EPSILON: f64 = 1e-30;
/// The lower bound of a parameter's root mean square for relative steps.
const SMALLEST_SCALE: f64 = 1e-3;
/// The largest root mean square of an update.
const CLIP: f64 = 1.0;
/// The exponent of the second moment's decay, 1 - step^DECAY.
const DECAY: f64 = -0.8;

/// Options of Adafactor, under transformers' names. `Default` = the given learning rate and no relative steps, as in
/// transformers' trainer and the authors' code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdafactorSettings {
    /// Steps are multiplied by the parameter's root mean square.
    pub scale_parameter: bool,
    /// Step sizes depend on the number of the step; learning rate and schedule are not used.
    pub relative_step: bool,
    /// Relative steps start small.
    pub warmup_init: bool,
}

/// The second moment of one parameter: factored into rows and columns for matrices, full for vectors.
pub(crate) struct Moments {
    row: Tensor,
    column: Option<Tensor>,
}

impl Moments {
    /// Zero moments.
    pub(crate) fn new(param: &Tensor) -> Result<Self, ModelError> {
        let options = (Kind::Float, param.device());
        Ok(match param.size().as_slice() {
            [rows, columns] => {
                Moments { row: Tensor::f_zeros([*rows], options)?, column: Some(Tensor::f_zeros([*columns], options)?) }
            }
            other => Moments { row: Tensor::f_zeros(other, options)?, column: None },
        })
    }

    /// The state under transformers' names.
    pub(crate) fn tensors(&self) -> Vec<(&'static str, &Tensor)> {
        match &self.column {
            Some(column) => vec![("exp_avg_sq_row", &self.row), ("exp_avg_sq_col", column)],
            None => vec![("exp_avg_sq", &self.row)],
        }
    }

    /// Step number `step` (from 1) on `param` along `grad`, which may be overwritten.
    pub(crate) fn step(
        &mut self,
        param: &Tensor,
        grad: &Tensor,
        step: u64,
        learning_rate: f64,
        weight_decay: f64,
        settings: &AdafactorSettings,
    ) -> Result<(), ModelError> {
        let step = step as f64;
        let mut rate = learning_rate;
        if settings.relative_step {
            rate = (if settings.warmup_init { 1e-6 * step } else { 1e-2 }).min(1.0 / step.sqrt());
        }
        if settings.scale_parameter {
            rate *= rms(param)?.f_double_value(&[])?.max(SMALLEST_SCALE);
        }
        let decay = 1.0 - step.powf(DECAY);
        let squares = grad.f_square()?.f_add_scalar(EPSILON)?;
        let update = match &mut self.column {
            None => {
                average(&mut self.row, &squares, decay)?;
                self.row.f_rsqrt()?
            }
            Some(column) => {
                average(&mut self.row, &squares.f_mean_dim(-1i64, false, Kind::Float)?, decay)?;
                average(column, &squares.f_mean_dim(-2i64, false, Kind::Float)?, decay)?;
                let rows = self.row.f_div(&self.row.f_mean_dim(-1i64, true, Kind::Float)?)?.f_rsqrt()?;
                rows.f_unsqueeze(-1)?.f_mul(&column.f_rsqrt()?.f_unsqueeze(-2)?)?
            }
        };
        let update = update.f_mul(grad)?;
        let update = update.f_div(&rms(&update)?.f_div_scalar(CLIP)?.f_clamp_min(1.0)?)?.f_mul_scalar(rate)?;
        let mut param = param.shallow_clone();
        if weight_decay != 0.0 {
            let _ = param.f_mul_scalar_(1.0 - weight_decay * rate)?;
        }
        let _ = param.f_sub_(&update)?;
        Ok(())
    }
}

/// Updates the moving average `mean` with `value`.
fn average(mean: &mut Tensor, value: &Tensor, decay: f64) -> Result<(), ModelError> {
    let _ = mean.f_mul_scalar_(decay)?.f_add_(&value.f_mul_scalar(1.0 - decay)?)?;
    Ok(())
}

/// Root mean square.
fn rms(x: &Tensor) -> Result<Tensor, ModelError> {
    Ok(x.f_norm()?.f_div_scalar((x.numel() as f64).sqrt())?)
}

#[cfg(test)]
mod tests {
    use approx::abs_diff_eq;

    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        matrix: Vec<f64>,
        vector: Vec<f64>,
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        settings: AdafactorSettings,
        weight_decay: f64,
        matrix: Vec<f64>,
        vector: Vec<f64>,
    }

    /// Five steps of transformers' Adafactor on the gradients sin(w + step) (tests/golden/make_optimizers.py).
    #[test]
    fn five_steps_equal_transformers() {
        let golden: Golden = serde_json::from_str(include_str!("../../tests/golden/adafactor.json")).unwrap();
        let float = |values: &[f64]| Tensor::from_slice(values).to_kind(Kind::Float);
        for case in golden.cases {
            for (start, want, shape) in
                [(&golden.matrix, &case.matrix, vec![4, 3]), (&golden.vector, &case.vector, vec![5])]
            {
                let param = float(start).view(shape.as_slice());
                let mut moments = Moments::new(&param).unwrap();
                for step in 1..=5 {
                    let grad = (&param + step as f64).sin();
                    moments.step(&param, &grad, step, 0.01, case.weight_decay, &case.settings).unwrap();
                }
                let gap = (param.view(-1) - float(want)).abs().max().double_value(&[]);
                assert!(abs_diff_eq!(gap, 0.0, epsilon = 1e-6), "{:?}: {gap}", case.settings);
            }
        }
    }
}
