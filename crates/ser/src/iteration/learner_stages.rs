//! The learner in its run folder: every training and every scoring is a stage that is done once.

use std::path::PathBuf;
use std::sync::Arc;

use ser_core::{FitSummary, Learner, Pair, PairLoss, PairScores, Preference, Screening};

use crate::Error;
use crate::observe::Observers;
use crate::run_folder::{RunFolder, read_scores, write_scores};
use crate::seeds::seed_for;
use crate::training::{Fit, fit_stage};

/// The stage of the untrained model. All stages of the iterations are under `rounds` and `baselines`.
pub(super) const BASE: &str = "rounds/base";

/// A learner with the run folder that its stages are in.
pub(crate) struct LearnerStages<'r, 'o, L> {
    pub(crate) learner: &'r mut L,
    pub(crate) run: &'r mut RunFolder,
    pub(crate) observers: &'r mut Observers<'o>,
    pub(crate) loss: &'r dyn PairLoss,
    pub(crate) seed: u64,
    /// The stage whose weights the learner has, if known.
    loaded: Option<String>,
}

impl<'r, 'o, L: Learner> LearnerStages<'r, 'o, L> {
    /// Saves an untrained learner as the stage [`BASE`].
    pub(crate) fn new(
        learner: &'r mut L,
        run: &'r mut RunFolder,
        observers: &'r mut Observers<'o>,
        loss: &'r dyn PairLoss,
        seed: u64,
    ) -> Result<Self, Error> {
        run.folder_stage(BASE, |folder| learner.snapshot(folder).map_err(Error::stage("saving the base model")))?;
        // In a resumed run the caller's model may differ from the one that the run started with.
        Ok(LearnerStages { learner, run, observers, loss, seed, loaded: None })
    }

    /// Screens pairs by the learner.
    pub(crate) fn screen(&mut self, pairs: &[Arc<Pair>]) -> Result<Vec<Screening>, Error> {
        let stage = "screen the pairs";
        let learner = &mut *self.learner;
        let total = Some(pairs.len() as u64);
        let screened = self.observers.run_stage(self.run.path(), stage, total, "pairs", |_| learner.screen(pairs))?;
        Error::count(stage, pairs.len(), screened.len())?;
        Ok(screened)
    }

    /// Loads a stage's weights into the learner, unless it has them.
    pub(crate) fn load(&mut self, model: &str) -> Result<(), Error> {
        if self.loaded.as_deref() != Some(model) {
            self.loaded = None;
            if self.run.is_pruned(model) {
                return Err(Error::Pruned { path: self.run.stage_path(model) });
            }
            self.learner.restore(&self.run.stage_path(model)).map_err(Error::stage(&format!("loading {model}")))?;
            self.loaded = Some(model.to_owned());
        }
        Ok(())
    }

    /// Trains from the weights of `start` and saves the result as the stage `model`, reported as `name`. A learner whose
    /// training can be stopped between steps writes checkpoints beside the model; a resumed run continues from these.
    pub(crate) fn train(
        &mut self,
        name: &str,
        model: &str,
        start: &str,
        preferences: &[Preference],
    ) -> Result<FitSummary, Error> {
        let stage = format!("train {name}");
        if !self.run.is_done(model) {
            self.load(start)?;
        }
        let seed = seed_for(self.seed, &stage);
        let LearnerStages { learner, run, observers, loss, loaded, .. } = self;
        let work = Fit { preferences, loss: *loss, seed };
        if run.is_done(model) {
            return fit_stage(&mut **learner, work, run, &stage, model, observers);
        }
        *loaded = None;
        let summary = fit_stage(&mut **learner, work, run, &stage, model, observers)?;
        *loaded = Some(model.to_owned());
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
            self.load(model)?;
        }
        let LearnerStages { learner, run, observers, .. } = self;
        let (path, target) = (run.path().to_owned(), run.stage_path(file));
        run.file_stage(file, |out| {
            let scores = observers.run_stage(&path, &stage, Some(pairs.len() as u64), "pairs", |observer| {
                learner.score_observed(pairs, &stage, observer)
            })?;
            Error::count(&stage, pairs.len(), scores.len())?;
            write_scores(out, &target, pairs, &scores)
        })?;
        // Always read from the file, so that a resumed run gets the same scores.
        read_scores(&target, pairs)
    }

    /// Removes the models of all iterations, those of the random baseline included, except `kept`.
    pub(crate) fn prune(&mut self, kept: &str) -> Result<(), Error> {
        let iteration = |stage: &str| {
            let parts: Vec<&str> = stage.split('/').collect();
            matches!(parts[..], ["iterations", _, "model"] | ["baselines", "random", _, "model"])
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
