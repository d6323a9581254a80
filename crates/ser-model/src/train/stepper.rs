//! The optimizer step of every training.

use std::path::Path;

use tch::{Kind, Tensor};

use super::loss_scale::LossScale;
use super::optimizer::{Optimizer, Parameter};
use super::settings::TrainingSettings;
use crate::ModelError;
use crate::checkpoint::{Weights, save};

const FILE: &str = "optimizer.safetensors";
const LOSS_SCALE: &str = "loss_scale";

/// An optimizer with loss scaling and clipping.
///
/// A step consists of one or more backward passes, each of a loss times [`loss_factor`](Stepper::loss_factor), whose
/// gradients accumulate in the parameters, and of one call of [`step`](Stepper::step).
pub(crate) struct Stepper {
    optimizer: Optimizer,
    settings: TrainingSettings,
    loss_scale: Option<LossScale>,
}

/// The result of a step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    /// The gradient's norm before clipping; infinite if the step was skipped.
    pub(crate) grad_norm: f64,
    /// The loss scale of the step; `None` unless the network computes in f16.
    pub(crate) loss_scale: Option<f64>,
    /// A sentence for the user if the step was skipped.
    pub(crate) note: Option<String>,
}

impl Stepper {
    /// The optimizer of `params`, in a network that computes in `kind`.
    pub(crate) fn new(params: Vec<Parameter>, settings: &TrainingSettings, kind: Kind) -> Result<Self, ModelError> {
        let optimizer = Optimizer::new(params, settings.optim)?;
        Ok(Stepper { optimizer, settings: settings.clone(), loss_scale: LossScale::of(kind) })
    }

    pub(crate) fn settings(&self) -> &TrainingSettings {
        &self.settings
    }

    /// The number of optimizer steps taken, without skipped ones.
    pub(crate) fn steps(&self) -> u64 {
        self.optimizer.steps()
    }

    /// The factor on a loss before its backward pass: the loss scale in f16, else 1.
    pub(crate) fn loss_factor(&self) -> f64 {
        self.loss_scale.as_ref().map_or(1.0, LossScale::scale)
    }

    /// Unscales and clips the accumulated gradients, takes a step along them and clears them.
    ///
    /// Gradients that overflowed f16 are dropped without a step, and the loss scale is halved.
    ///
    /// # Errors
    /// [`ModelError::Diverged`] for gradients that are not finite without loss scaling.
    pub(crate) fn step(&mut self, learning_rate: f64) -> Result<Step, ModelError> {
        let scale = self.loss_scale.as_ref().map(LossScale::scale);
        if let Some(loss_scale) = &mut self.loss_scale {
            let finite = self.optimizer.unscale(loss_scale.scale())?;
            loss_scale.update(finite);
            if !finite {
                let step = self.optimizer.steps() + 1;
                if scale == Some(1.0) {
                    let (what, value) = ("the gradient's norm", f64::INFINITY);
                    return Err(ModelError::Diverged { step, what, value, learning_rate });
                }
                let note = format!(
                    "optimizer step {step} is skipped: gradients overflowed float16; the loss scale is now {}",
                    loss_scale.scale()
                );
                tracing::warn!("{note}");
                return Ok(Step { grad_norm: f64::INFINITY, loss_scale: scale, note: Some(note) });
            }
        }
        let grad_norm = self.optimizer.step(&self.settings, learning_rate)?;
        Ok(Step { grad_norm, loss_scale: scale, note: None })
    }

    /// Writes the state of optimizer and loss scale into a checkpoint's folder. Accumulated gradients are not included.
    pub(crate) fn save(&self, folder: &Path) -> Result<(), ModelError> {
        let mut tensors = self.optimizer.state()?;
        if let Some(scale) = &self.loss_scale {
            tensors.push((LOSS_SCALE.into(), Tensor::f_from_slice(&scale.state())?));
        }
        save(&folder.join(FILE), &tensors)
    }

    /// Restores the state that [`save`](Self::save) wrote for the same parameters and settings.
    pub(crate) fn load(&mut self, folder: &Path) -> Result<(), ModelError> {
        let saved = Weights::from_file(&folder.join(FILE))?;
        self.optimizer.restore(&saved)?;
        if let Some(scale) = &mut self.loss_scale {
            let state = saved.load(LOSS_SCALE, &[2], Kind::Float, tch::Device::Cpu)?;
            scale.restore([0, 1].map(|i| state.double_value(&[i]) as f32));
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn params(&self) -> Vec<Tensor> {
        self.optimizer.params()
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;
    use crate::train::Optim;

    fn leaf() -> Tensor {
        Tensor::from_slice(&[0.5f32, -1.0, 2.0, 0.25, 3.0, -0.125]).view([2, 3])
    }

    fn stepper(leaf: &Tensor, settings: &TrainingSettings, kind: Kind) -> Stepper {
        Stepper::new(vec![Parameter::new("weight", leaf)], settings, kind).unwrap()
    }

    #[test]
    fn overflowing_steps_are_skipped_and_lower_the_scale() {
        let (leaf, settings) = (leaf(), TrainingSettings::default());
        let mut stepper = stepper(&leaf, &settings, Kind::Half);
        let leaf = stepper.params().remove(0);
        let before = leaf.detach_copy();
        assert_eq!(stepper.loss_factor(), 1024.0);
        (leaf.sum(Kind::Float) * f64::INFINITY).backward();
        let step = stepper.step(0.1).unwrap();
        assert!(step.grad_norm.is_infinite() && step.loss_scale == Some(1024.0));
        assert!(step.note.unwrap().contains("the loss scale is now 512"));
        assert_eq!((stepper.loss_factor(), stepper.steps()), (512.0, 0));
        assert!(!leaf.grad().defined());
        assert_eq!(leaf.detach(), before);
        (leaf.sum(Kind::Float) * stepper.loss_factor()).backward();
        let step = stepper.step(0.1).unwrap();
        // Six gradients of 1, whatever the scale.
        assert_abs_diff_eq!(step.grad_norm, 6f64.sqrt(), epsilon = 1e-6);
        assert!(step.note.is_none() && leaf.detach() != before);
        for _ in 0..9 {
            (leaf.sum(Kind::Float) * f64::INFINITY).backward();
            stepper.step(0.1).unwrap();
        }
        assert_eq!(stepper.loss_factor(), 1.0);
        (leaf.sum(Kind::Float) * f64::INFINITY).backward();
        let error = stepper.step(0.1).unwrap_err().to_string();
        assert!(error.contains("the gradient's norm is inf"), "{error}");
    }

    #[test]
    fn without_a_scale_gradients_that_are_not_finite_are_an_error() {
        let mut stepper = stepper(&leaf(), &TrainingSettings::default(), Kind::BFloat16);
        let leaf = stepper.params().remove(0);
        assert_eq!(stepper.loss_factor(), 1.0);
        (leaf.sum(Kind::Float) * f64::NAN).backward();
        let error = stepper.step(0.1).unwrap_err().to_string();
        assert!(error.contains("step 1: the gradient's norm is NaN"), "{error}");
    }

    #[test]
    fn a_restored_state_goes_on_with_the_same_bits() {
        let folder = tempfile::tempdir().unwrap();
        for optim in [Optim::AdamW, Optim::Adafactor] {
            let settings = TrainingSettings { weight_decay: 0.1, optim, ..TrainingSettings::default() };
            let step = |stepper: &mut Stepper, i: i64| {
                let leaf = stepper.params().remove(0);
                (((&leaf + i) * &leaf).sum(Kind::Float) * stepper.loss_factor()).backward();
                stepper.step(0.1).unwrap();
            };
            let mut whole = stepper(&leaf(), &settings, Kind::Half);
            (0..3).for_each(|i| step(&mut whole, i));
            whole.save(folder.path()).unwrap();
            let copy = tch::no_grad(|| whole.params()[0].detach_copy());
            let mut resumed = stepper(&copy, &settings, Kind::Half);
            resumed.load(folder.path()).unwrap();
            for stepper in [&mut whole, &mut resumed] {
                (3..6).for_each(|i| step(stepper, i));
            }
            assert_eq!(whole.params(), resumed.params());
            assert_eq!(resumed.steps(), 6);
        }
        let mut other = stepper(&leaf(), &TrainingSettings::default(), Kind::Half);
        let error = other.load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("optimizer.safetensors: tensor 0.exp_avg is missing"), "{error}");
    }
}
