//! The models of a procedure.

use std::marker::PhantomData;

use ser_core::{BoxError, Generator, Learner, Policy, Preference};

use super::data::ProcedureData;
use crate::observe::Observers;
use crate::{Error, RunFolder};

/// Makes the models of a [`Procedure`](crate::Procedure).
///
/// Each method makes a model in its initial state; what an earlier process trained is loaded from the run
/// folder. [`models_fn`] makes an implementation of two closures; `LanguageModels` is that for language models.
pub trait Models {
    /// Why a model could not be made.
    type Error: Into<BoxError>;
    /// The reward model.
    type Learner: Learner;
    /// A model that answers prompts and is not trained by PPO.
    type Generator: Generator;
    /// The policy that PPO trains.
    type Policy: Policy;

    /// Checks models against data, before the run folder is made. May remove data that the models cannot work on, with a
    /// sentence in [`ProcedureData::warnings`].
    ///
    /// # Errors
    /// Models that cannot be made, or data on which nothing can be trained.
    fn check(&mut self, data: &mut ProcedureData, observers: &mut Observers<'_>) -> Result<(), Self::Error> {
        let _ = (data, observers);
        Ok(())
    }

    /// Makes the model that all others start from, as stages of the run; with `policies`, by supervised fine-tuning on
    /// `data.prepared.sft`. By default there is nothing to do.
    ///
    /// # Errors
    /// The models' own.
    fn start(
        &mut self,
        data: &ProcedureData,
        policies: bool,
        run: &mut RunFolder,
        observers: &mut Observers<'_>,
    ) -> Result<(), Self::Error> {
        let _ = (data, policies, run, observers);
        Ok(())
    }

    /// The reward model, not trained yet.
    ///
    /// # Errors
    /// The models' own.
    fn learner(&mut self, run: &mut RunFolder) -> Result<Self::Learner, Self::Error>;

    /// The model that samples answers for the pool; by default [`generator`](Models::generator).
    ///
    /// # Errors
    /// The models' own.
    fn pool_generator(&mut self) -> Result<Self::Generator, Self::Error> {
        self.generator()
    }

    /// The model that policies start from, after supervised fine-tuning: the baseline of the comparison.
    ///
    /// # Errors
    /// The models' own.
    fn generator(&mut self) -> Result<Self::Generator, Self::Error>;

    /// A policy, not trained yet.
    ///
    /// # Errors
    /// The models' own.
    fn policy(&mut self, run: &mut RunFolder) -> Result<Self::Policy, Self::Error>;

    /// A model trained by DPO on these preferences as the stage `dpo` of the run. `None`, the default: no DPO.
    ///
    /// # Errors
    /// The models' own.
    fn dpo(
        &mut self,
        preferences: &[Preference],
        run: &mut RunFolder,
        observers: &mut Observers<'_>,
    ) -> Result<Option<Self::Generator>, Self::Error> {
        let _ = (preferences, run, observers);
        Ok(None)
    }
}

/// Models of two closures: one makes the reward model, the other the policy, which is also the generator.
pub fn models_fn<L, P, E, F, G>(learner: F, policy: G) -> ModelsFn<F, G, E>
where
    F: FnMut() -> Result<L, E>,
    G: FnMut() -> Result<P, E>,
    L: Learner,
    P: Policy,
    E: Into<BoxError>,
{
    ModelsFn { learner, policy, error: PhantomData }
}

/// What [`models_fn`] makes.
pub struct ModelsFn<F, G, E> {
    learner: F,
    policy: G,
    error: PhantomData<fn() -> E>,
}

impl<L, P, E, F, G> Models for ModelsFn<F, G, E>
where
    F: FnMut() -> Result<L, E>,
    G: FnMut() -> Result<P, E>,
    L: Learner,
    P: Policy,
    E: Into<BoxError>,
{
    type Error = E;
    type Learner = L;
    type Generator = P;
    type Policy = P;

    fn learner(&mut self, _: &mut RunFolder) -> Result<L, E> {
        (self.learner)()
    }

    fn generator(&mut self) -> Result<P, E> {
        (self.policy)()
    }

    fn policy(&mut self, _: &mut RunFolder) -> Result<P, E> {
        (self.policy)()
    }
}

/// Converts the error of models; an error of this crate stays what it is.
pub(super) fn of_models(error: impl Into<BoxError>) -> Error {
    match error.into().downcast::<Error>() {
        Ok(error) => *error,
        Err(other) => Error::Models(other),
    }
}
