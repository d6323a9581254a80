//! The model and the run folder as one: every training and every scoring is a stage that is done once.

use std::path::PathBuf;
use std::sync::Arc;

use ser_core::{FitSummary, Learner, Pair, PairLoss, PairScores, Preference, Screening};

use crate::Error;
use crate::observers::Observers;
use crate::run_folder::RunFolder;
use crate::scores_file::{read_scores, write_scores};
use crate::seeds::seed_for;
use crate::training::{Fit, fit_stage};

/// The model before any training, as a stage. All stages of the loop stand under `rounds` and `baselines`.
pub(crate) const BASE: &str = "rounds/base";

/// A learner at work in a run folder.
pub(crate) struct Stages<'r, 'o, L> {
    pub(crate) learner: &'r mut L,
    pub(crate) run: &'r mut RunFolder,
    pub(crate) observers: &'r mut Observers<'o>,
    pub(crate) loss: &'r dyn PairLoss,
    pub(crate) seed: u64,
    /// The stage whose weights the learner holds, where that is known.
    held: Option<String>,
}

impl<'r, 'o, L: Learner> Stages<'r, 'o, L> {
    /// Begins with a learner that was never trained, whose state becomes the stage [`BASE`].
    pub(crate) fn new(
        learner: &'r mut L,
        run: &'r mut RunFolder,
        observers: &'r mut Observers<'o>,
        loss: &'r dyn PairLoss,
        seed: u64,
    ) -> Result<Self, Error> {
        run.folder_stage(BASE, |folder| learner.snapshot(folder).map_err(Error::stage("saving the base model")))?;
        // In a resumed run the caller's model may differ from the one the run began with.
        Ok(Stages { learner, run, observers, loss, seed, held: None })
    }

    /// Which of the pairs the learner can work on.
    pub(crate) fn screen(&mut self, pairs: &[Arc<Pair>]) -> Result<Vec<Screening>, Error> {
        let stage = "screen the pairs";
        let learner = &mut *self.learner;
        let total = Some(pairs.len() as u64);
        let screened = self.observers.watch(self.run.path(), stage, total, "pairs", |_| learner.screen(pairs))?;
        Error::count(stage, pairs.len(), screened.len())?;
        Ok(screened)
    }

    /// Brings a stage's weights into the learner, unless it holds them.
    pub(crate) fn hold(&mut self, model: &str) -> Result<(), Error> {
        if self.held.as_deref() != Some(model) {
            self.held = None;
            if self.run.is_pruned(model) {
                return Err(Error::Pruned { path: self.run.stage_path(model) });
            }
            self.learner.restore(&self.run.stage_path(model)).map_err(Error::stage(&format!("loading {model}")))?;
            self.held = Some(model.to_owned());
        }
        Ok(())
    }

    /// Trains from the weights of `start` and saves the result as the stage `model`, shown as `name`. A learner that can
    /// be stopped within a training has checkpoints beside it, from which a resumed run goes on.
    pub(crate) fn train(
        &mut self,
        name: &str,
        model: &str,
        start: &str,
        preferences: &[Preference],
    ) -> Result<FitSummary, Error> {
        let stage = format!("train {name}");
        if !self.run.is_done(model) {
            self.hold(start)?;
        }
        let seed = seed_for(self.seed, &stage);
        let Stages { learner, run, observers, loss, held, .. } = self;
        let work = Fit { preferences, loss: *loss, seed };
        if run.is_done(model) {
            return fit_stage(&mut **learner, work, run, &stage, model, observers);
        }
        *held = None;
        let summary = fit_stage(&mut **learner, work, run, &stage, model, observers)?;
        *held = Some(model.to_owned());
        Ok(summary)
    }

    /// Scores pairs with the weights of `model` and keeps the scores in the stage `file`.
    pub(crate) fn score(
        &mut self,
        name: &str,
        file: &str,
        model: &str,
        pairs: &[Arc<Pair>],
    ) -> Result<Vec<PairScores>, Error> {
        let stage = format!("score {name}");
        if !self.run.is_done(file) {
            self.hold(model)?;
        }
        let Stages { learner, run, observers, .. } = self;
        let (path, target) = (run.path().to_owned(), run.stage_path(file));
        run.file_stage(file, |out| {
            let scores = observers.watch(&path, &stage, Some(pairs.len() as u64), "pairs", |observer| {
                learner.score_observed(pairs, &stage, observer)
            })?;
            Error::count(&stage, pairs.len(), scores.len())?;
            write_scores(out, &target, pairs, &scores)
        })?;
        // Always from the file, so that a resumed run sees what this one does.
        read_scores(&target, pairs)
    }

    /// Removes the models of all iterations, of the loop and of the random baseline, but `kept`.
    pub(crate) fn prune(&mut self, kept: &str) -> Result<(), Error> {
        let iteration = |stage: &str| {
            let parts: Vec<&str> = stage.split('/').collect();
            matches!(parts[..], ["rounds", _, "model"] | ["baselines", "random", _, "model"])
        };
        let stages: Vec<String> = self.run.timing().map(|(stage, _)| stage.to_owned()).collect();
        for stage in stages.iter().filter(|stage| iteration(stage) && *stage != kept) {
            self.run.prune(stage)?;
        }
        Ok(())
    }

    /// Where a stage's file or folder is.
    pub(crate) fn path(&self, stage: &str) -> PathBuf {
        self.run.stage_path(stage)
    }
}
