//! Runs the iterations: Loop 0 on the labelled seed, then selection steps, each with its training.

use std::ops::ControlFlow;
use std::sync::Arc;

use ndarray::aview2;
use ser_core::{Event, FitSummary, Learner, Observer, PreferenceSet, PreferenceStore, Stage, StageModel};
use ser_eval::Evaluation;
use serde::Serialize;

use super::drift::DriftMonitor;
use super::learner_stages::{BASE, LearnerStages};
use super::types::{Iteration, Iterations, LoopInputs, Selection, SelectionSummary, stage_of};
use crate::Error;
use crate::pool::{PoolLabels, PoolState, TrainingSet};

/// `metrics.json` of an iteration.
#[derive(Serialize)]
struct Metrics<'a> {
    #[serde(rename = "round")]
    iteration: u32,
    /// Pairs of this training.
    fitted_on: usize,
    fit: FitSummary,
    validation_accuracy: Option<f64>,
    test: Evaluation,
    #[serde(skip_serializing_if = "Option::is_none")]
    selection: Option<&'a SelectionSummary>,
}

impl LoopInputs<'_> {
    /// Runs iterations until the schedule says stop or nothing is selected.
    pub(crate) fn run<L: Learner + ?Sized>(&self, stages: &mut LearnerStages<'_, '_, L>) -> Result<Iterations, Error> {
        let seed_model = tracing::info_span!("iteration", number = 0)
            .in_scope(|| self.train(stages, 0, BASE, &self.data.seed, None))?;
        let mut iterations = vec![seed_model];
        let mut pool = self.pool_state();
        let mut history = Vec::new();
        let mut monitor = DriftMonitor::new(self.settings.drift_limits, &self.data.seed)?;
        let stopped = loop {
            let _span = tracing::info_span!("iteration", number = iterations.len()).entered();
            let step = match self.selection_step(stages, &iterations, &pool, &mut history, &mut monitor)? {
                ControlFlow::Continue(step) => step,
                ControlFlow::Break(stop) => break stop,
            };
            pool.record(&step.labels);
            let preferences = self.training_set(&step.labels, &step.kept);
            let labelled = step.labels.positions().iter().copied().collect();
            let selection = Selection { start: step.start, labelled, summary: step.summary };
            let start = selection.start.clone();
            let iteration = self.train(stages, iterations.len(), &start, &preferences, Some(selection))?;
            let best = iterations.iter().filter_map(|i| i.validation.accuracy()).reduce(f64::max);
            monitor.check_validation(iteration.number, iteration.validation.accuracy(), best);
            iterations.push(iteration);
        };
        tracing::info!(iterations = iterations.len() - 1, %stopped, "the loop has ended");
        stages.observers.note(&format!("no more loops: {stopped}"));
        Ok(Iterations { iterations, stopped, warnings: monitor.into_warnings() })
    }

    /// The pool without labels.
    pub(super) fn pool_state(&self) -> PoolState<'_> {
        PoolState::new(&self.data.pool, self.columns, self.settings.pool_reuse, self.targets)
    }

    /// The preferences that an iteration trains on.
    pub(super) fn training_set(&self, labels: &Arc<PoolLabels>, kept: &[Arc<PoolLabels>]) -> TrainingSet<'_> {
        let all = kept.iter().chain([labels]);
        all.fold(TrainingSet::new(self.replayed_seed(), &self.data.pool), TrainingSet::with_labels)
    }

    /// The labelled seed, if iterations train on it again.
    pub(super) fn replayed_seed(&self) -> PreferenceSet {
        if self.settings.replay_seed { self.data.seed.clone() } else { PreferenceSet::default() }
    }

    /// Trains an iteration's model and measures it.
    fn train<L: Learner + ?Sized>(
        &self,
        stages: &mut LearnerStages<'_, '_, L>,
        number: usize,
        start: &str,
        preferences: &dyn PreferenceStore,
        selection: Option<Selection>,
    ) -> Result<Iteration, Error> {
        let model = stage_of(number, "model");
        let name = StageModel::Iteration(number as u32);
        let fit = stages.train(&Stage::Train(name), &model, start, preferences)?;
        let validation = self.validation.score(
            stages,
            &Stage::ScoreValidation(name),
            &stage_of(number, "validation.jsonl"),
            &model,
        )?;
        let test = self.test.score(stages, &Stage::ScoreTest(name), &stage_of(number, "test.jsonl"), &model)?;
        let evaluation = Evaluation::measure(aview2(&test.chosen_first), test.clusters(), &self.settings.bootstrap)
            .map_err(Error::stage("measuring the test pairs"))?;
        let metrics = Metrics {
            iteration: number as u32,
            fitted_on: preferences.len(),
            fit,
            validation_accuracy: validation.accuracy(),
            test: evaluation,
            selection: selection.as_ref().map(|selection| &selection.summary),
        };
        stages.run.write_json(&stage_of(number, "metrics.json"), &metrics)?;
        report_metrics(stages, number, &metrics);
        Ok(Iteration { number: number as u32, model, fit, validation, test, selection })
    }
}

/// Sends an iteration's metrics to the observers.
fn report_metrics<L: Learner + ?Sized>(stages: &mut LearnerStages<'_, '_, L>, number: usize, metrics: &Metrics<'_>) {
    let accuracy = metrics.test.accuracy.value;
    let mut values = vec![("eval_accuracy", accuracy), ("fitted_on", metrics.fitted_on as f64)];
    values.extend(metrics.validation_accuracy.map(|a| ("eval_validation_accuracy", a)));
    if let Some(selection) = metrics.selection {
        values.push(("kept", selection.audit.coverage.count as f64));
        values.extend(selection.audit.precision.share().map(|p| ("pseudo_label_precision", p)));
    }
    let stage = Stage::Iteration(number as u32);
    // A stop takes effect at the next stage.
    let _ = stages.observers.observe(&Event::Metrics { stage: &stage, step: number as u64, values: &values });
    let validation = metrics.validation_accuracy.map_or(String::new(), |a| format!(", validation {:.1} %", 100.0 * a));
    stages.observers.note(&format!("{stage}: test accuracy {:.1} %{validation}", 100.0 * accuracy));
}
