//! The loop itself: Loop 0, then a lesson and a training each (steps 2 to 7 of the method).

use std::ops::ControlFlow;

use ndarray::aview2;
use ser_core::{Event, FitSummary, Learner, Observer, Preference, Side};
use ser_eval::Evaluation;
use serde::Serialize;

use crate::Error;
use crate::evaluation::{HeldOut, Scored};
use crate::filter::AnyRule;
use crate::lesson::{Lesson, LessonFacts, Watch};
use crate::pool::PoolState;
use crate::run_data::SerData;
use crate::settings::{Checked, LoopSettings};
use crate::stages::{BASE, Stages};
use crate::stop::Stop;

/// A trained round, Loop 0 or a later one.
pub(crate) struct Round {
    pub(crate) number: u32,
    /// The stage of its weights.
    pub(crate) model: String,
    pub(crate) fit: FitSummary,
    pub(crate) validation: Scored,
    pub(crate) test: Scored,
    /// What it learnt from; none for Loop 0.
    pub(crate) lesson: Option<Lesson>,
}

/// `metrics.json` of a round.
#[derive(Serialize)]
struct Metrics<'a> {
    round: u32,
    /// Pairs of this training.
    fitted_on: usize,
    fit: FitSummary,
    validation_accuracy: Option<f64>,
    test: Evaluation,
    #[serde(skip_serializing_if = "Option::is_none")]
    selection: Option<&'a LessonFacts>,
}

/// All rounds of a run.
pub(crate) struct Rounds {
    pub(crate) rounds: Vec<Round>,
    /// Why there are no more.
    pub(crate) stopped: Stop,
    pub(crate) warnings: Vec<String>,
}

/// What the loop works with and does not change.
pub(crate) struct Loop<'a> {
    pub(crate) data: &'a SerData,
    /// The pool's gold labels, for the audit alone.
    pub(crate) gold: &'a [Option<Side>],
    /// A number per pair of the pool, equal for pairs with the same prompt.
    pub(crate) pool_prompts: &'a [u64],
    pub(crate) settings: &'a LoopSettings,
    pub(crate) checked: &'a Checked,
    pub(crate) rule: Option<&'a AnyRule<'a>>,
    pub(crate) validation: &'a HeldOut,
    pub(crate) test: &'a HeldOut,
}

/// A round's folder in the run.
pub(crate) fn stage_of(round: usize, what: &str) -> String {
    format!("rounds/{round:02}/{what}")
}

impl Loop<'_> {
    /// Goes through the rounds until the schedule says stop or nothing is selected.
    pub(crate) fn run<L: Learner>(&self, stages: &mut Stages<'_, '_, L>) -> Result<Rounds, Error> {
        let mut rounds = vec![self.train(stages, 0, BASE, &self.data.seed, None)?];
        let mut pool = PoolState::new(&self.data.pool, self.settings.carry, &self.data.seed);
        let mut history = Vec::new();
        let mut guard = Watch::new(&self.data.seed);
        let stopped = loop {
            let lesson = match self.lesson(stages, &rounds, &pool, &mut history, &mut guard)? {
                ControlFlow::Continue(lesson) => lesson,
                ControlFlow::Break(stop) => break stop,
            };
            pool.note(&lesson.candidates, &lesson.selected, &lesson.labels);
            let start = lesson.start.clone();
            let preferences = self.training_set(&lesson.labels, &lesson.kept);
            let round = self.train(stages, rounds.len(), &start, &preferences, Some(lesson))?;
            let best = rounds.iter().filter_map(|r| r.validation.accuracy()).reduce(f64::max);
            let now = round.validation.accuracy();
            guard.warnings.extend(self.settings.guards.validation(round.number, now, best));
            rounds.push(round);
        };
        stages.observers.note(&format!("no more loops: {stopped}"));
        Ok(Rounds { rounds, stopped, warnings: guard.warnings })
    }

    /// What a round trains on.
    pub(crate) fn training_set(&self, labels: &[Preference], kept: &[Preference]) -> Vec<Preference> {
        let seed: &[Preference] = if self.settings.replay_seed { &self.data.seed } else { &[] };
        [seed, kept, labels].concat()
    }

    /// Trains a round and measures it.
    fn train<L: Learner>(
        &self,
        stages: &mut Stages<'_, '_, L>,
        number: usize,
        start: &str,
        preferences: &[Preference],
        lesson: Option<Lesson>,
    ) -> Result<Round, Error> {
        let model = stage_of(number, "model");
        let fit = stages.train(&format!("loop {number}"), &model, start, preferences)?;
        let validation = self.validation.score(
            stages,
            &format!("validation, loop {number}"),
            &stage_of(number, "validation.jsonl"),
            &model,
        )?;
        let test = self.test.score(stages, &format!("test, loop {number}"), &stage_of(number, "test.jsonl"), &model)?;
        let evaluation = Evaluation::measure(aview2(&test.chosen_first), test.clusters(), &self.settings.bootstrap)
            .map_err(Error::stage("measuring the test pairs"))?;
        let metrics = Metrics {
            round: number as u32,
            fitted_on: preferences.len(),
            fit,
            validation_accuracy: validation.accuracy(),
            test: evaluation,
            selection: lesson.as_ref().map(|lesson| &lesson.facts),
        };
        stages.run.write_json(&stage_of(number, "metrics.json"), &metrics)?;
        tell(stages, number, &metrics);
        let number = number as u32;
        Ok(Round { number, model, fit, validation, test, lesson })
    }
}

/// Tells the observers what a round came to.
fn tell<L: Learner>(stages: &mut Stages<'_, '_, L>, number: usize, metrics: &Metrics<'_>) {
    let accuracy = metrics.test.accuracy.value;
    let mut values = vec![("eval_accuracy", accuracy), ("fitted_on", metrics.fitted_on as f64)];
    values.extend(metrics.validation_accuracy.map(|a| ("eval_validation_accuracy", a)));
    if let Some(selection) = metrics.selection {
        values.push(("kept", selection.audit.coverage.count as f64));
        values.extend(selection.audit.precision.share().map(|p| ("pseudo_label_precision", p)));
    }
    let stage = format!("loop {number}");
    // Whoever says stop here is heard when the next stage starts.
    let _ = stages.observers.observe(&Event::Metrics { stage: &stage, step: number as u64, values: &values });
    let validation = metrics.validation_accuracy.map_or(String::new(), |a| format!(", validation {:.1} %", 100.0 * a));
    stages.observers.note(&format!("{stage}: test accuracy {:.1} %{validation}", 100.0 * accuracy));
}
