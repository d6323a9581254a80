//! The learner in its run folder: every training and every scoring is a stage that is done once.

use std::io::Write;
use std::path::{Path, PathBuf};

use ser_core::{
    Context, FitSummary, Learner, PairId, PairLoss, PairScores, PairSet, PairStore, PreferenceStore, Scorer, Screening,
    Stage,
};

use crate::Error;
use crate::crash::crash_point;
use crate::observe::Observers;
use crate::run_folder::{Parts, RunFolder, read_scores, remove, write_scores};
use crate::seeds::seed_for;
use crate::training::{Fit, fit_stage};

/// The stage of the untrained model. All stages of the iterations are under `rounds` and `baselines`.
pub(super) const BASE: &str = "rounds/base";

/// A learner with the run folder that its stages are in.
pub(crate) struct LearnerStages<'r, 'o, L: ?Sized> {
    pub(crate) learner: &'r mut L,
    pub(crate) run: &'r mut RunFolder,
    pub(crate) observers: &'r mut Observers<'o>,
    pub(crate) loss: &'r dyn PairLoss,
    pub(crate) seed: u64,
    /// The stage whose weights the learner has, if known.
    loaded: Option<String>,
}

impl<'r, 'o, L: Learner + ?Sized> LearnerStages<'r, 'o, L> {
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

    /// Screens the parts of the data by the learner.
    pub(crate) fn screen(&mut self, parts: &[PairSet; 4]) -> Result<[Vec<Screening>; 4], Error> {
        let (stage, learner) = (Stage::Screen, &mut *self.learner);
        let name = stage.to_string();
        self.observers.run_stage(self.run.path(), &stage, 0, |cx| {
            let pairs: usize = parts.iter().map(PairSet::len).sum();
            cx.start(Some(pairs as u64), "pairs").map_err(Error::stage(&name))?;
            let mut screened: [Vec<Screening>; 4] = Default::default();
            for (part, screened) in parts.iter().zip(&mut screened) {
                for chunk in part.chunks(CHUNK) {
                    let chunk = chunk.map_err(Error::store)?;
                    let found = learner.screen(&chunk, cx).map_err(Error::stage(&name))?;
                    Error::count(&name, chunk.len(), found.len())?;
                    screened.extend(found);
                }
            }
            Ok(screened)
        })
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

    /// Trains from the weights of `start` and saves the result as `model`. A learner whose
    /// training can be stopped between steps writes checkpoints beside the model; a resumed run continues from these.
    pub(crate) fn train(
        &mut self,
        stage: &Stage,
        model: &str,
        start: &str,
        data: &dyn PreferenceStore,
    ) -> Result<FitSummary, Error> {
        if !self.run.is_done(model) {
            self.load(start)?;
        }
        let seed = seed_for(self.seed, &stage.to_string());
        let LearnerStages { learner, run, observers, loss, loaded, .. } = self;
        let work = Fit { data, loss: *loss, seed };
        if run.is_done(model) {
            return fit_stage(&mut **learner, work, run, stage, model, observers);
        }
        *loaded = None;
        let summary = fit_stage(&mut **learner, work, run, stage, model, observers)?;
        *loaded = Some(model.to_owned());
        Ok(summary)
    }

    /// Scores pairs with the weights of `model` and keeps the scores in the stage `file`. `ids` are those of the pairs.
    pub(crate) fn score(
        &mut self,
        stage: &Stage,
        file: &str,
        model: &str,
        pairs: &dyn PairStore,
        ids: &[PairId],
    ) -> Result<Vec<PairScores>, Error> {
        if !self.run.is_done(file) {
            self.load(model)?;
        }
        let LearnerStages { learner, run, observers, .. } = self;
        let (path, target) = (run.path().to_owned(), run.stage_path(file));
        // One part would be lost as a whole anyway.
        let key = run.checksum(model).filter(|_| pairs.len() > CHUNK).map(str::to_owned);
        let parts = target.with_extension("parts");
        run.file_stage(file, |out| {
            observers.run_stage(&path, stage, 0, |cx| match &key {
                Some(key) => score_in_parts(*learner, pairs, cx, out, Parts::open(&parts, key)?),
                None => score_in_chunks(*learner, pairs, cx, out, &target),
            })
        })?;
        remove(&parts)?;
        // Always read from the file, so that a resumed run gets the same scores.
        read_scores(&target, ids.iter().copied())
    }

    /// Removes the models of all iterations, those of the random baseline included, except `kept`.
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

/// Pairs that are read and scored, or screened, at a time.
const CHUNK: usize = 16_384;

/// Scores pairs and writes the scores to a file, a chunk of pairs at a time.
pub(crate) fn score_in_chunks<S: Scorer + ?Sized>(
    scorer: &mut S,
    pairs: &dyn PairStore,
    cx: &mut Context<'_>,
    out: &mut dyn Write,
    path: &Path,
) -> Result<(), Error> {
    let stage = cx.stage().to_string();
    cx.start(Some(pairs.len() as u64), "pairs").map_err(Error::stage(&stage))?;
    (0..pairs.len()).step_by(CHUNK).try_for_each(|start| score_chunk(scorer, pairs, start, cx, out, path))
}

/// Scores the chunks that are not among the parts, adds them there, and writes all parts to the file.
fn score_in_parts<S: Scorer + ?Sized>(
    scorer: &mut S,
    pairs: &dyn PairStore,
    cx: &mut Context<'_>,
    out: &mut dyn Write,
    mut parts: Parts,
) -> Result<(), Error> {
    let stage = cx.stage().to_string();
    let done = (parts.len() * CHUNK).min(pairs.len());
    cx.resume(done as u64, Some(pairs.len() as u64), "pairs").map_err(Error::stage(&stage))?;
    for start in (done..pairs.len()).step_by(CHUNK) {
        let mut part = Vec::new();
        score_chunk(scorer, pairs, start, cx, &mut part, parts.path())?;
        parts.append(&part)?;
        crash_point("part", &parts.path().join(parts.len().to_string()));
    }
    parts.copy_to(out)
}

fn score_chunk<S: Scorer + ?Sized>(
    scorer: &mut S,
    pairs: &dyn PairStore,
    start: usize,
    cx: &mut Context<'_>,
    out: &mut dyn Write,
    path: &Path,
) -> Result<(), Error> {
    let stage = cx.stage().to_string();
    let chunk = pairs.read_range(start..(start + CHUNK).min(pairs.len())).map_err(Error::store)?;
    let scores = scorer.score(&chunk, cx).map_err(Error::stage(&stage))?;
    Error::count(&stage, chunk.len(), scores.len())?;
    write_scores(out, path, &chunk, &scores)
}
