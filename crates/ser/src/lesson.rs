//! A lesson: the model scores what it may label, and what it is sure of is labelled (steps 3 to 5 of the method).

use std::ops::ControlFlow;

use ser_core::{Clusters, Event, Learner, Observer, PairProbabilities, PairScores, Preference};
use ser_status::{
    Audit, Certification, Composition, Decision, FittedAnchor, LoopState, PoolCounts, PoolQuantiles, Reason,
    RoundFacts, Selected, StatusError, Validation,
};
use serde::Serialize;

use crate::Error;
use crate::evaluation::Scored;
use crate::filter::Filter;
use crate::guards::{self, composition, longer_share};
use crate::pool::{Candidates, PoolState};
use crate::rounds::{Loop, Round, stage_of};
use crate::scores_file::write_lines;
use crate::settings::{Guards, WarmStart};
use crate::stages::{BASE, Stages};
use crate::stop::{Stop, Unselected};

/// What a round learnt from: the pairs that the round before labelled.
pub(crate) struct Lesson {
    /// The stage of the weights that training began from.
    pub(crate) start: String,
    /// What the labelling model could choose from, and its scores of that.
    pub(crate) candidates: Candidates,
    pub(crate) scores: Vec<PairScores>,
    /// What it chose, as places among the candidates, and the same as labels.
    pub(crate) selected: Vec<Selected>,
    pub(crate) labels: Vec<Preference>,
    /// Labels of earlier rounds that were trained on again.
    pub(crate) kept: Vec<Preference>,
    pub(crate) facts: LessonFacts,
}

/// The same in figures.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LessonFacts {
    pub(crate) decision: Decision,
    /// The rule as people read it.
    pub(crate) rule: String,
    pub(crate) anchor: FittedAnchor,
    pub(crate) counts: PoolCounts,
    /// How the pool's probabilities are spread; none if none is finite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pool: Option<PoolQuantiles>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certification: Option<Certification>,
    pub(crate) composition: Composition,
    pub(crate) audit: Audit,
}

impl Loop<'_> {
    /// Lets the last round's model label the pool, or says why it does not.
    pub(crate) fn lesson<L: Learner>(
        &self,
        stages: &mut Stages<'_, '_, L>,
        rounds: &[Round],
        pool: &PoolState<'_>,
        history: &mut Vec<RoundFacts>,
        guard: &mut Watch,
    ) -> Result<ControlFlow<Stop, Lesson>, Error> {
        let Some(teacher) = rounds.last() else {
            return Ok(ControlFlow::Break(Reason::NothingToSelect.into()));
        };
        let number = rounds.len();
        let failed = |e| Error::stage(&format!("selecting for loop {number}"))(e);
        let facts = known_before_scoring(rounds).map_err(failed)?;
        // If it would stop even with everything on offer, scoring the pool is work for nothing.
        history.push(facts);
        if let Decision { state: LoopState::Stop, reason } = self.checked.schedule.decide(history) {
            return Ok(ControlFlow::Break(reason.into()));
        }
        history.pop();

        let candidates = pool.candidates();
        let file = stage_of(number, "scores.jsonl");
        let scores = stages.score(&format!("the pool for loop {number}"), &file, &teacher.model, &candidates.pairs)?;
        let anchor = self.settings.anchor.fit(&scores, &teacher.validation.scores).map_err(failed)?;
        let probabilities = anchor.apply(&scores);
        let (filter, certification) = self.filter(&anchor, &probabilities, &teacher.validation).map_err(failed)?;
        let counts = filter.counts(&probabilities).map_err(failed)?;
        let fresh: Vec<_> =
            probabilities.iter().zip(&candidates.fresh).filter(|(_, fresh)| **fresh).map(|(p, _)| *p).collect();
        let fresh_status1 = filter.counts(&fresh).map_err(failed)?.status1;
        history.push(RoundFacts { available: counts, fresh_status1, ..facts });
        let decision = self.checked.schedule.decide(history);
        guard.see_scores(&self.settings.guards, number as u32, &scores);
        let quantiles = PoolQuantiles::new(&probabilities);
        if let Some(quantiles) = &quantiles {
            tell_quantiles(stages, number, quantiles);
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
            return Ok(ControlFlow::Break(Stop { reason: decision.reason, details }));
        }
        if let Filter::ByState(thresholds) = &filter
            && decision.state == LoopState::Status2
            && !self.settings.anchor.status2_within_status1(*thresholds)
        {
            guard.warnings.extend(Guards::no_ambiguous_pairs(number as u32, &counts));
        }
        let lengths = candidates.lengths();
        let selected = filter.select(&probabilities, decision.state).map_err(failed)?;
        let passed = selected.len();
        let selected = self.settings.balance.apply(selected, Some(&lengths)).map_err(failed)?;
        if selected.is_empty() {
            let details = match passed {
                0 => unselected.explain().map_err(failed)?,
                n => {
                    format!("{n} pairs pass {}, but loop.balance leaves none of them", filter.describe(decision.state))
                }
            };
            return Ok(ControlFlow::Break(Stop { reason: Reason::NothingToSelect, details }));
        }

        let (labels, lines) = candidates.label(number as u32, &scores, &probabilities, &selected);
        let file = stage_of(number, "selection.jsonl");
        let path = stages.path(&file);
        stages.run.file_stage(&file, |out| write_lines(out, &path, lines))?;
        let gold = candidates.gold(self.gold);
        let prompts = candidates.prompts(self.pool_prompts);
        let audit = self
            .settings
            .audit
            .audit(&probabilities, &selected, &gold, &candidates.labels, Clusters::Ids(&prompts))
            .map_err(failed)?;
        let composition = Composition::new(&selected, &lengths).map_err(failed)?;
        guard.see_labels(&self.settings.guards, number as u32, &composition);
        stages.observers.note(&format!(
            "loop {number}: {} ({}) keeps {} of {} pairs{}",
            filter.describe(decision.state),
            decision.reason,
            selected.len(),
            candidates.pairs.len(),
            longer_share(&composition).map_or(String::new(), |s| format!(", {:.0} % prefer the longer", 100.0 * s)),
        ));
        let start = match self.settings.warm_start {
            WarmStart::Base => BASE.to_owned(),
            WarmStart::Seed => stage_of(0, "model"),
            WarmStart::Previous => teacher.model.clone(),
        };
        let rule = filter.describe(decision.state);
        let facts = LessonFacts { decision, rule, anchor, counts, pool: quantiles, certification, composition, audit };
        let kept = pool.kept().to_vec();
        Ok(ControlFlow::Continue(Lesson { start, candidates, scores, selected, labels, kept, facts }))
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
        let Some(target) = &self.settings.precision_target else {
            return Ok((Filter::ByState(self.checked.thresholds), None));
        };
        let held_out: Vec<_> = validation.scores.iter().map(|&(s, gold)| (anchor.probabilities(s), gold)).collect();
        let (filter, certification) = Filter::certify(target, pool, &held_out, validation.clusters())?;
        Ok((filter, Some(certification)))
    }
}

/// What the schedule can know of the last round's model before it scores the pool, with everything on offer.
fn known_before_scoring(rounds: &[Round]) -> Result<RoundFacts, StatusError> {
    let last = rounds.last();
    let before = rounds.iter().nth_back(1).map(|round| round.validation.correct.as_slice());
    let validation = last.map(|round| &round.validation).filter(|validation| !validation.correct.is_empty());
    Ok(RoundFacts {
        state: last.and_then(|round| round.lesson.as_ref()).map(|lesson| lesson.facts.decision.state),
        available: PoolCounts { pairs: 1, status1: 1, status2: 1, either: 1 },
        fresh_status1: 1,
        validation: validation.map(|v| Validation::new(&v.correct, before, v.clusters())).transpose()?,
    })
}

/// Tells the observers how the pool's probabilities are spread, under the thresholds' names.
fn tell_quantiles<L: Learner>(stages: &mut Stages<'_, '_, L>, number: usize, quantiles: &PoolQuantiles) {
    let PoolQuantiles { pairs, delta, p_high, p_low, .. } = quantiles;
    let mut named = vec![("pairs".to_owned(), *pairs as f64)];
    for (what, quantiles) in [("delta", delta), ("p_high", p_high), ("p_low", p_low)] {
        named.extend(quantiles.named().map(|(quantile, value)| (format!("{what}_{quantile}"), value)));
    }
    let values: Vec<(&str, f64)> = named.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let stage = format!("the pool for loop {number}");
    // A stop takes effect at the next stage.
    let _ = stages.observers.observe(&Event::Metrics { stage: &stage, step: number as u64, values: &values });
}

/// The guards' memory.
pub(crate) struct Watch {
    seed: Composition,
    seed_spread: Option<f64>,
    pub(crate) warnings: Vec<String>,
}

impl Watch {
    pub(crate) fn new(seed: &[Preference]) -> Self {
        Watch { seed: composition(seed), seed_spread: None, warnings: Vec::new() }
    }

    fn see_scores(&mut self, settings: &Guards, round: u32, scores: &[PairScores]) {
        self.warnings.extend(Guards::not_finite(round, guards::not_finite(scores), scores.len()));
        let spread = guards::spread(scores);
        let seed = *self.seed_spread.get_or_insert(spread);
        self.warnings.extend(settings.spread(round, spread, seed));
    }

    fn see_labels(&mut self, settings: &Guards, round: u32, labels: &Composition) {
        self.warnings.extend(settings.length(round, labels, &self.seed));
    }
}
