//! The traits for references and boxes, so that `Box<dyn Learner<Error = E>>`, `&mut dyn Scorer<Error = E>` and the like
//! are accepted wherever an implementation is.

use std::path::Path;
use std::sync::Arc;

use ndarray::ArrayView2;

use crate::{
    BoxError, BoxedTraining, Context, Control, Event, FitSummary, Generator, Judge, Learner, LearningStatus,
    LossOutput, Message, Objective, Observer, Pair, PairLoss, PairScores, PairSource, PairTarget, Policy, PoolView,
    Preference, PreferenceStore, PreferenceTraining, Response, Reward, Rollout, Sampling, Saving, Scorer, Screening,
    StatusRule, StepOutcome, Stopped, Training, Verdict,
};

macro_rules! forward_mut {
    ($($pointer:ty),*) => {$(
        impl<T: PairSource + ?Sized> PairSource for $pointer {
            type Error = T::Error;

            fn next_preferences(&mut self, max: usize) -> Result<Vec<Preference>, T::Error> {
                (**self).next_preferences(max)
            }
        }

        impl<T: Scorer + ?Sized> Scorer for $pointer {
            type Error = T::Error;

            fn score(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<Vec<PairScores>, T::Error> {
                (**self).score(pairs, cx)
            }

            fn screen(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<Vec<Screening>, T::Error> {
                (**self).screen(pairs, cx)
            }

            fn score_truncated(
                &mut self,
                pairs: &[Arc<Pair>],
                cx: &mut Context<'_>,
            ) -> Result<(Vec<PairScores>, usize), T::Error> {
                (**self).score_truncated(pairs, cx)
            }
        }

        impl<T: Learner + ?Sized> Learner for $pointer {
            fn fit(
                &mut self,
                data: &dyn PreferenceStore,
                loss: &dyn PairLoss,
                cx: &mut Context<'_>,
            ) -> Result<FitSummary, T::Error> {
                (**self).fit(data, loss, cx)
            }

            fn training<'a>(
                &'a mut self,
                data: &'a dyn PreferenceStore,
                loss: &'a dyn PairLoss,
                seed: u64,
            ) -> Result<Option<BoxedTraining<'a, T::Error>>, T::Error> {
                (**self).training(data, loss, seed)
            }

            fn snapshot(&mut self, folder: &Path) -> Result<(), T::Error> {
                (**self).snapshot(folder)
            }

            fn restore(&mut self, folder: &Path) -> Result<(), T::Error> {
                (**self).restore(folder)
            }
        }

        impl<T: Generator + ?Sized> Generator for $pointer {
            type Error = T::Error;

            fn generate(
                &mut self,
                prompts: &[Vec<Message>],
                sampling: &Sampling,
                cx: &mut Context<'_>,
            ) -> Result<Vec<Vec<Response>>, T::Error> {
                (**self).generate(prompts, sampling, cx)
            }
        }

        impl<T: Reward + ?Sized> Reward for $pointer {
            type Error = T::Error;

            fn reward(&mut self, answers: &[(&[Message], &str)], cx: &mut Context<'_>) -> Result<Vec<f64>, T::Error> {
                (**self).reward(answers, cx)
            }
        }

        impl<T: Policy + ?Sized> Policy for $pointer {
            fn rollout(
                &mut self,
                prompts: &[Vec<Message>],
                sampling: &Sampling,
                full_kl: bool,
                cx: &mut Context<'_>,
            ) -> Result<Vec<Rollout>, T::Error> {
                (**self).rollout(prompts, sampling, full_kl, cx)
            }

            fn accumulate(
                &mut self,
                mini_batch: &[&Rollout],
                weight: f64,
                objective: &mut Objective<'_>,
            ) -> Result<(), T::Error> {
                (**self).accumulate(mini_batch, weight, objective)
            }

            fn step(&mut self, learning_rate: f64) -> Result<f64, T::Error> {
                (**self).step(learning_rate)
            }

            fn end_tokens(&self) -> Vec<u32> {
                (**self).end_tokens()
            }

            fn snapshot(&mut self, folder: &Path) -> Result<(), T::Error> {
                (**self).snapshot(folder)
            }

            fn restore(&mut self, folder: &Path) -> Result<(), T::Error> {
                (**self).restore(folder)
            }
        }

        impl<T: Training + ?Sized> Training for $pointer {
            type Error = T::Error;

            fn done(&self) -> u64 {
                (**self).done()
            }

            fn total(&self) -> u64 {
                (**self).total()
            }

            fn step(&mut self) -> Result<StepOutcome, T::Error> {
                (**self).step()
            }

            fn saving(&self) -> Saving {
                (**self).saving()
            }

            fn run(&mut self, cx: &mut Context<'_>) -> Result<(), T::Error>
            where
                T::Error: From<Stopped>,
            {
                (**self).run(cx)
            }

            fn snapshot(&mut self, folder: &Path) -> Result<(), T::Error> {
                (**self).snapshot(folder)
            }

            fn restore(&mut self, folder: &Path) -> Result<(), T::Error> {
                (**self).restore(folder)
            }

            fn save(&mut self, folder: &Path) -> Result<(), T::Error> {
                (**self).save(folder)
            }

            fn load(&mut self, folder: &Path) -> Result<(), T::Error> {
                (**self).load(folder)
            }
        }

        impl<T: PreferenceTraining + ?Sized> PreferenceTraining for $pointer {
            fn summary(&self) -> FitSummary {
                (**self).summary()
            }
        }

        impl<T: Judge + ?Sized> Judge for $pointer {
            type Error = T::Error;

            fn judge(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<Vec<Verdict>, T::Error> {
                (**self).judge(pairs, cx)
            }
        }

        impl<T: Observer + ?Sized> Observer for $pointer {
            fn observe(&mut self, event: &Event<'_>) -> Control {
                (**self).observe(event)
            }
        }
    )*};
}

macro_rules! forward_shared {
    ($($pointer:ty),*) => {$(
        impl<T: PairLoss + ?Sized> PairLoss for $pointer {
            fn evaluate(&self, scores: ArrayView2<'_, f64>, targets: &[PairTarget]) -> Result<LossOutput, BoxError> {
                (**self).evaluate(scores, targets)
            }
        }

        impl<T: StatusRule + ?Sized> StatusRule for $pointer {
            type Error = T::Error;

            fn classify(&self, pool: &PoolView<'_>) -> Result<Vec<LearningStatus>, T::Error> {
                (**self).classify(pool)
            }
        }
    )*};
}

forward_mut!(&mut T, Box<T>);
forward_shared!(&T, Box<T>, Arc<T>);
