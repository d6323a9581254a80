//! The baselines that SER is compared with: Full, random and oracle.

use std::sync::Arc;

use rand::SeedableRng;
use rand::seq::IteratorRandom;
use rand_chacha::ChaCha8Rng;
use ser_core::{Learner, LearningStatus, PreferenceStore, Stage, StageModel};
use ser_eval::BaselineKind;
use ser_status::{Anchor, ScheduleSettings, Selected};

use super::held_out::Scored;
use super::learner_stages::{BASE, LearnerStages};
use super::types::{Iteration, LoopInputs, Selection, stage_of};
use crate::Error;
use crate::pool::TrainingSet;
use crate::seeds::seed_for;
use crate::settings::{LoopSettings, ModelSelection, PoolReuse, WarmStart};

/// A baseline's model, measured on the test pairs.
pub(crate) struct Comparison {
    pub(crate) kind: BaselineKind,
    pub(crate) test: Scored,
    /// Pairs that it was trained on.
    pub(crate) trained_on: usize,
    /// Human labels that it depends on.
    pub(crate) human_labels: usize,
    /// Optimizer steps of all its trainings; `None` if it starts from weights that other trainings made.
    pub(crate) steps: Option<u64>,
}

impl LoopInputs<'_> {
    /// Trains and measures the baselines of the settings. They are compared with the last of `iterations`.
    pub(crate) fn baselines<L: Learner + ?Sized>(
        &self,
        stages: &mut LearnerStages<'_, '_, L>,
        iterations: &[&Iteration],
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Comparison>, Error> {
        let wanted = self.settings.baselines;
        let gold = self.data.gold.as_ref().filter(|gold| !gold.is_empty());
        if gold.is_none() && (wanted.full || wanted.oracle) {
            warnings.push("The pool has no gold labels, so Full and oracle are left out.".to_owned());
        }
        let last = iterations.last().and_then(|iteration| iteration.selection.as_ref());
        if last.is_none() && (wanted.random || wanted.oracle) {
            warnings.push("No loop selected any pair, so random and oracle are left out.".to_owned());
        }
        let mut done = Vec::new();
        if let Some(gold) = gold.filter(|_| wanted.full) {
            let positions = self.with_gold(0..self.gold.len() as u32);
            let preferences = TrainingSet::new(self.data.seed.clone(), &self.data.pool).with_gold(positions, gold);
            let n = preferences.len();
            // It depends on no validation label.
            done.push(self.compare(stages, BaselineKind::Full, BASE, &preferences, [n, n])?);
        }
        let Some(last) = last else {
            return Ok(done);
        };
        if wanted.random {
            done.push(self.at_random(stages, iterations)?);
        }
        if let Some(gold) = gold.filter(|_| wanted.oracle) {
            let selections: Vec<&Selection> = iterations.iter().filter_map(|i| i.selection.as_ref()).collect();
            let positions = self.with_gold(self.trained_positions(&selections));
            let seen = self.seed_seen() + positions.len();
            let preferences = TrainingSet::new(self.replayed_seed(), &self.data.pool).with_gold(positions, gold);
            let human = seen + self.validation_read();
            done.push(self.compare(stages, BaselineKind::Oracle, &last.start, &preferences, [seen, human])?);
        }
        Ok(done)
    }

    /// The positions in the pool that the last of these iterations was trained on, in the order of its training set: the
    /// labels that it kept of earlier iterations, then its own.
    pub(crate) fn trained_positions(&self, selections: &[&Selection]) -> impl Iterator<Item = u32> {
        let own = selections.len().saturating_sub(1);
        let first = if self.settings.pool_reuse == PoolReuse::RestKeepingLabels { 0 } else { own };
        selections.iter().skip(first).flat_map(|selection| selection.labelled.iter())
    }

    /// The positions in the pool whose pairs have gold labels.
    fn with_gold(&self, positions: impl Iterator<Item = u32>) -> Vec<u32> {
        positions.filter(|position| self.gold.get(*position as usize).is_some_and(Option::is_some)).collect()
    }

    /// The number of labelled seed pairs that an iteration's weights were trained on, in Loop 0 or in its own training.
    pub(crate) fn seed_seen(&self) -> usize {
        let seen = self.settings.replay_seed || self.settings.warm_start != WarmStart::Base;
        if seen { self.data.seed.len() } else { 0 }
    }

    /// The number of validation labels that the iterations or the selection of the model depend on. They are human labels
    /// too, though no model is trained on them. Drift warnings do not count.
    pub(crate) fn validation_read(&self) -> usize {
        let LoopSettings { model_selection, anchor, precision_target, schedule, .. } = self.settings;
        let read = *model_selection != ModelSelection::Last
            || *anchor == Anchor::Fitted
            || precision_target.is_some()
            || matches!(schedule, ScheduleSettings::Automatic(_));
        if read { self.data.validation.len() } else { 0 }
    }

    /// Repeats the iterations without the filter: each model labels as many pairs for the next one as in SER, drawn at
    /// random from the candidates.
    fn at_random<L: Learner + ?Sized>(
        &self,
        stages: &mut LearnerStages<'_, '_, L>,
        iterations: &[&Iteration],
    ) -> Result<Comparison, Error> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed_for(self.settings.seed, "random baseline"));
        let mut pool = self.pool_state();
        let mut teacher = stage_of(0, "model");
        let mut seen = 0;
        let mut steps = iterations.first().map_or(0, |loop_0| loop_0.fit.steps);
        let selections =
            iterations.iter().filter_map(|iteration| Some((iteration.number, iteration.selection.as_ref()?)));
        for (number, selection) in selections {
            let name = StageModel::Random(Some(number));
            let stage = |what| format!("baselines/random/{number:02}/{what}");
            let candidates = pool.candidates();
            let (scored, file) = match number {
                // Both label the first selection by the model of Loop 0, so these scores are there.
                1 => (Stage::ScorePool(StageModel::Iteration(1)), stage_of(1, "scores.jsonl")),
                _ => (Stage::ScorePool(name), stage("scores.jsonl")),
            };
            let scores = stages.score(&scored, &file, &teacher, &candidates.pairs, &candidates.ids())?;
            // SER's anchor serves here too: no anchor changes which answer scores higher. A tie or a NaN has no label.
            let probabilities = selection.summary.anchor.apply(&scores);
            let labelled = probabilities.iter().enumerate().filter_map(|(index, probability)| {
                let delta = probability.delta();
                Some(Selected { index, preferred: probability.higher()?, status: LearningStatus::Stop, delta })
            });
            let mut selected = labelled.choose_multiple(&mut rng, selection.labelled.len());
            selected.sort_unstable_by_key(|chosen| chosen.index);
            let labels = Arc::new(candidates.label(number, &scores, &selected));
            drop((candidates, scores, probabilities, selected));
            let preferences = self.training_set(&labels, pool.kept());
            seen = self.seed_seen() + labels.len() + pool.kept().iter().map(|kept| kept.len()).sum::<usize>();
            pool.record(&labels);
            let start = if self.settings.warm_start == WarmStart::Previous { &teacher } else { &selection.start };
            let model = stage("model");
            steps += stages.train(&Stage::Train(name), &model, start, &preferences)?.steps;
            teacher = model;
        }
        let human = self.seed_seen() + self.validation_read();
        self.measure(stages, BaselineKind::Random, &teacher, [seen, human], Some(steps))
    }

    fn compare<L: Learner + ?Sized>(
        &self,
        stages: &mut LearnerStages<'_, '_, L>,
        kind: BaselineKind,
        start: &str,
        preferences: &dyn PreferenceStore,
        seen: [usize; 2],
    ) -> Result<Comparison, Error> {
        let (name, folder) = named(kind);
        let model = format!("baselines/{folder}/model");
        let fit = stages.train(&Stage::Train(name), &model, start, preferences)?;
        // Steps that led to other weights than the base's are not counted.
        let steps = (start == BASE).then_some(fit.steps);
        self.measure(stages, kind, &model, seen, steps)
    }

    fn measure<L: Learner + ?Sized>(
        &self,
        stages: &mut LearnerStages<'_, '_, L>,
        kind: BaselineKind,
        model: &str,
        [trained_on, human_labels]: [usize; 2],
        steps: Option<u64>,
    ) -> Result<Comparison, Error> {
        let (name, folder) = named(kind);
        let file = format!("baselines/{folder}/test.jsonl");
        let test = self.test.score(stages, &Stage::ScoreTest(name), &file, model)?;
        stages.observers.note(&format!("{name}: test accuracy {:.1} %", 100.0 * test.accuracy().unwrap_or_default()));
        Ok(Comparison { kind, test, trained_on, human_labels, steps })
    }
}

/// The name of a baseline's model in stages, and its folder under `baselines`.
fn named(kind: BaselineKind) -> (StageModel, &'static str) {
    match kind {
        BaselineKind::Full => (StageModel::Full, "full"),
        BaselineKind::Random => (StageModel::Random(None), "random"),
        BaselineKind::Oracle => (StageModel::Oracle, "oracle"),
        // These are models of iterations, and no stage trains or scores them as baselines.
        BaselineKind::Loop0 | BaselineKind::Ser => (StageModel::Iteration(0), "loop0"),
    }
}
