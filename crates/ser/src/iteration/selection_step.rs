//! A selection step: the model scores the pool, and the pairs that the filter keeps are labelled (steps 3 to 5 of the
//! method).

use std::ops::ControlFlow;
use std::sync::Arc;

use ser_core::{Clusters, Event, Learner, Observer, PairProbabilities, PoolView, Stage, StageModel};
use ser_status::{
    Certification, Composition, Decision, FittedAnchor, IterationStats, LoopState, PoolCounts, PoolQuantiles, Reason,
    StatusError, Validation,
};

use super::drift::{DriftMonitor, longer_share};
use super::filter::Filter;
use super::held_out::Scored;
use super::learner_stages::{BASE, LearnerStages};
use super::loop_end::{LoopEnd, Unselected};
use super::types::{Iteration, LoopInputs, SelectionStep, SelectionSummary, stage_of};
use crate::Error;
use crate::pool::{Candidates, PoolState};
use crate::run_folder::write_lines;
use crate::settings::WarmStart;

impl LoopInputs<'_> {
    /// The last iteration's model labels the pool; or the reason why the loop ends.
    pub(super) fn selection_step<L: Learner + ?Sized>(
        &self,
        stages: &mut LearnerStages<'_, '_, L>,
        iterations: &[Iteration],
        pool: &PoolState<'_>,
        history: &mut Vec<IterationStats>,
        monitor: &mut DriftMonitor,
    ) -> Result<ControlFlow<LoopEnd, SelectionStep>, Error> {
        let Some(teacher) = iterations.last() else {
            return Ok(ControlFlow::Break(Reason::NothingToSelect.into()));
        };
        let number = iterations.len();
        let _span = tracing::debug_span!("selection_step").entered();
        let failed = |e| Error::stage(&format!("selecting for loop {number}"))(e);
        let stats = stats_before_scoring(iterations).map_err(failed)?;
        // A schedule that stops even if every pair is available needs no scores.
        history.push(stats);
        if let Decision { state: LoopState::Stop, reason } = self.checked.schedule.decide(history) {
            return Ok(ControlFlow::Break(reason.into()));
        }
        history.pop();

        let candidates = pool.candidates();
        let file = stage_of(number, "scores.jsonl");
        let stage = Stage::ScorePool(StageModel::Iteration(number as u32));
        let scores = stages.score(&stage, &file, &teacher.model, &candidates.pairs, &candidates.ids())?;
        let anchor = self.settings.anchor.fit(&scores, &teacher.validation.scores).map_err(failed)?;
        let probabilities = anchor.apply(&scores);
        let (filter, certification) = self.filter(&anchor, &probabilities, &teacher.validation).map_err(failed)?;
        let view = PoolView::new(&probabilities).with_scores(&scores).with_pairs(&candidates.pairs);
        let counts = filter.counts(&view).map_err(failed)?;
        let fresh_status1 = fresh_status1(&filter, &view, &candidates, &counts).map_err(failed)?;
        history.push(IterationStats { available: counts, fresh_status1, ..stats });
        let decision = self.checked.schedule.decide(history);
        monitor.check_scores(number as u32, &scores);
        let quantiles = PoolQuantiles::new(&probabilities);
        if let Some(quantiles) = &quantiles {
            report_quantiles(stages, number, quantiles);
        }
        let unselected = Unselected {
            settings: self.settings,
            whole_pool: self.data.pool.len(),
            filter: &filter,
            certification: certification.as_ref(),
            scores: &scores,
            probabilities: &probabilities,
            validation: &teacher.validation.scores,
            counts,
        };
        if decision.state == LoopState::Stop {
            let details = match decision.reason {
                Reason::NothingToSelect => unselected.explain().map_err(failed)?,
                _ => String::new(),
            };
            return Ok(ControlFlow::Break(LoopEnd { reason: decision.reason, details }));
        }
        if let Filter::ByState(thresholds) = &filter
            && decision.state == LoopState::Status2
            && !self.settings.anchor.status2_within_status1(*thresholds)
        {
            monitor.check_status2(number as u32, &counts);
        }
        let lengths = candidates.lengths();
        let selected = filter.select(&view, decision.state).map_err(failed)?;
        let passed = selected.len();
        let selected = self.checked.balance.apply(selected, Some(&lengths)).map_err(failed)?;
        let rule = filter.describe(decision.state);
        if selected.is_empty() {
            let details = match passed {
                0 => unselected.explain().map_err(failed)?,
                n => format!("{n} pairs pass {rule}, but loop.balance leaves none of them"),
            };
            return Ok(ControlFlow::Break(LoopEnd { reason: Reason::NothingToSelect, details }));
        }

        let labels = Arc::new(candidates.label(number as u32, &scores, &selected));
        let file = stage_of(number, "selection.jsonl");
        let path = stages.path(&file);
        let lines = candidates.lines(number as u32, &scores, &probabilities, &selected);
        stages.run.file_stage(&file, |out| write_lines(out, &path, lines))?;
        let (gold, prompts) = (candidates.column(self.gold), candidates.prompts());
        let audit = self
            .checked
            .audit
            .audit(&probabilities, &selected, &gold, &candidates.labels, Clusters::Ids(&prompts))
            .map_err(failed)?;
        let composition = Composition::new(&selected, &lengths).map_err(failed)?;
        monitor.check_labels(number as u32, &composition);
        stages.observers.note(&format!(
            "loop {number}: {rule} ({}) keeps {} of {} pairs{}",
            decision.reason,
            selected.len(),
            candidates.len(),
            longer_share(&composition).map_or(String::new(), |s| format!(", {:.0} % prefer the longer", 100.0 * s)),
        ));
        tracing::info!(%rule, passed, selected = selected.len(), candidates = candidates.len(), "pairs selected");
        let start = match self.settings.warm_start {
            WarmStart::Base => BASE.to_owned(),
            WarmStart::Seed => stage_of(0, "model"),
            WarmStart::Previous => teacher.model.clone(),
        };
        let summary =
            SelectionSummary { decision, rule, anchor, counts, pool: quantiles, certification, composition, audit };
        Ok(ControlFlow::Continue(SelectionStep { start, labels, kept: pool.kept().to_vec(), summary }))
    }

    fn filter(
        &self,
        anchor: &FittedAnchor,
        pool: &[PairProbabilities],
        validation: &Scored,
    ) -> Result<(Filter<'_>, Option<Certification>), StatusError> {
        if let Some(rule) = self.rule {
            return Ok((Filter::Custom(rule), None));
        }
        if let Some(rule) = self.checked.top_share {
            return Ok((Filter::Top(rule), None));
        }
        let Some(target) = &self.checked.precision_target else {
            return Ok((Filter::ByState(self.checked.thresholds), None));
        };
        let held_out: Vec<_> = validation.scores.iter().map(|&(s, gold)| (anchor.probabilities(s), gold)).collect();
        let (filter, certification) = Filter::certify(target, pool, &held_out, validation.clusters())?;
        Ok((filter, Some(certification)))
    }
}

/// The number of pairs of Status 1 among those that no earlier iteration has selected; `counts` are those of all candidates.
fn fresh_status1(
    filter: &Filter<'_>,
    pool: &PoolView<'_>,
    candidates: &Candidates<'_>,
    counts: &PoolCounts,
) -> Result<usize, StatusError> {
    let before = &candidates.selected_before;
    if !before.contains(&true) {
        return Ok(counts.status1);
    }
    fn fresh<T: Copy>(items: impl IntoIterator<Item = T>, before: &[bool]) -> Vec<T> {
        items.into_iter().zip(before).filter(|(_, before)| !**before).map(|(item, _)| item).collect()
    }
    let probabilities = fresh(pool.probabilities().iter().copied(), before);
    let scores = fresh(pool.scores().unwrap_or_default().iter().copied(), before);
    let pairs = candidates.pairs.subset(&fresh(0u32.., before));
    let view = PoolView::new(&probabilities).with_scores(&scores).with_pairs(&pairs);
    Ok(filter.counts(&view)?.status1)
}

/// The last iteration's statistics before its model scores the pool, as if every pair were available.
fn stats_before_scoring(iterations: &[Iteration]) -> Result<IterationStats, StatusError> {
    let last = iterations.last();
    let before = iterations.iter().nth_back(1).map(|iteration| iteration.validation.correct.as_slice());
    let validation = last.map(|iteration| &iteration.validation).filter(|validation| !validation.correct.is_empty());
    Ok(IterationStats {
        state: last.and_then(|iteration| iteration.selection.as_ref()).map(|step| step.summary.decision.state),
        available: PoolCounts { pairs: 1, status1: 1, status2: 1, either: 1 },
        fresh_status1: 1,
        validation: validation.map(|v| Validation::new(&v.correct, before, v.clusters())).transpose()?,
    })
}

/// Sends the quantiles of the pool's probabilities to the observers, under the thresholds' names.
fn report_quantiles<L: Learner + ?Sized>(
    stages: &mut LearnerStages<'_, '_, L>,
    number: usize,
    quantiles: &PoolQuantiles,
) {
    let PoolQuantiles { pairs, delta, p_high, p_low, .. } = quantiles;
    let mut named = vec![("pairs".to_owned(), *pairs as f64)];
    for (what, quantiles) in [("delta", delta), ("p_high", p_high), ("p_low", p_low)] {
        named.extend(quantiles.named().map(|(quantile, value)| (format!("{what}_{quantile}"), value)));
    }
    let values: Vec<(&str, f64)> = named.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let stage = Stage::Pool(number as u32);
    // A stop takes effect at the next stage.
    let _ = stages.observers.observe(&Event::Metrics { stage: &stage, step: number as u64, values: &values });
}
