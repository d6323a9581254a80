//! Runs the iterations: Loop 0 on the labelled seed, then selection steps, each with its training.

use std::ops::ControlFlow;

use ndarray::aview2;
use ser_core::{Event, FitSummary, Learner, Observer, Preference, Stage, StageModel};
use ser_eval::Evaluation;
use serde::Serialize;

use super::drift::DriftMonitor;
use super::learner_stages::{BASE, LearnerStages};
use super::types::{Iteration, Iterations, LoopInputs, SelectionStep, SelectionSummary, stage_of};
use crate::Error;
use crate::pool::PoolState;

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
        let mut pool = PoolState::new(&self.data.pool, &self.data.seed, self.settings);
        let mut history = Vec::new();
        let mut monitor = DriftMonitor::new(self.settings.drift_limits, &self.data.seed);
        let stopped = loop {
            let _span = tracing::info_span!("iteration", number = iterations.len()).entered();
            let step = match self.selection_step(stages, &iterations, &pool, &mut history, &mut monitor)? {
                ControlFlow::Continue(step) => step,
                ControlFlow::Break(stop) => break stop,
            };
            pool.record(&step.candidates, &step.selected, &step.labels);
            let start = step.start.clone();
            let preferences = self.training_set(&step.labels, &step.kept);
            let iteration = self.train(stages, iterations.len(), &start, &preferences, Some(step))?;
            let best = iterations.iter().filter_map(|i| i.validation.accuracy()).reduce(f64::max);
            monitor.check_validation(iteration.number, iteration.validation.accuracy(), best);
            iterations.push(iteration);
        };
        tracing::info!(iterations = iterations.len() - 1, %stopped, "the loop has ended");
        stages.observers.note(&format!("no more loops: {stopped}"));
        Ok(Iterations { iterations, stopped, warnings: monitor.into_warnings() })
    }

    /// The preferences that an iteration trains on.
    pub(crate) fn training_set(&self, labels: &[Preference], kept: &[Preference]) -> Vec<Preference> {
        let seed: &[Preference] = if self.settings.replay_seed { &self.data.seed } else { &[] };
        [seed, kept, labels].concat()
    }

    /// Trains an iteration's model and measures it.
    fn train<L: Learner + ?Sized>(
        &self,
        stages: &mut LearnerStages<'_, '_, L>,
        number: usize,
        start: &str,
        preferences: &[Preference],
        step: Option<SelectionStep>,
    ) -> Result<Iteration, Error> {
        let model = stage_of(number, "model");
        let name = StageModel::Iteration(number as u32);
        let fit = stages.train(&Stage::Train(name), &model, start, &preferences)?;
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
            selection: step.as_ref().map(|step| &step.summary),
        };
        stages.run.write_json(&stage_of(number, "metrics.json"), &metrics)?;
        report_metrics(stages, number, &metrics);
        Ok(Iteration { number: number as u32, model, fit, validation, test, step })
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
