//! The loop itself: Loop 0, then score, decide, filter, retrain (method steps 2 to 7).

use ser_core::{Event, FitSummary, Learner, Observer, PairProbabilities, PairScores, Preference, Side};
use ser_eval::Evaluation;
use ser_status::{
    Audit, Certification, Composition, Decision, FittedAnchor, LoopState, PoolCounts, Reason, RoundFacts, Selected,
    Validation,
};
use serde::Serialize;

use crate::Error;
use crate::evaluation::{HeldOut, Scored};
use crate::filter::{AnyRule, Filter};
use crate::guards::{self, composition, longer_share};
use crate::pool::{Candidates, PoolState};
use crate::run_data::SerData;
use crate::scores_file::write_lines;
use crate::settings::{Checked, LoopSettings, WarmStart};
use crate::stages::{BASE, Stages};

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

/// What a round learnt from: the pairs that the round before labelled.
pub(crate) struct Lesson {
    /// The stage of the weights that training began from.
    pub(crate) start: String,
    /// What the labelling model could choose from, and its scores of that.
    pub(crate) candidates: Candidates,
    pub(crate) scores: Vec<PairScores>,
    /// What it chose.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certification: Option<Certification>,
    pub(crate) composition: Composition,
    pub(crate) audit: Audit,
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
    pub(crate) stopped: Reason,
    pub(crate) warnings: Vec<String>,
}

/// What the loop works with and does not change.
pub(crate) struct Loop<'a> {
    pub(crate) data: &'a SerData,
    /// The pool's gold labels, for the audit alone.
    pub(crate) gold: &'a [Option<Side>],
    pub(crate) settings: &'a LoopSettings,
    pub(crate) checked: &'a Checked,
    pub(crate) rule: Option<&'a AnyRule<'a>>,
    pub(crate) validation: &'a HeldOut,
    pub(crate) test: &'a HeldOut,
}

/// A round's folder in the run.
fn stage_of(round: usize, what: &str) -> String {
    format!("rounds/{round:02}/{what}")
}

impl Loop<'_> {
    /// Goes through the rounds until the schedule says stop or nothing is selected.
    pub(crate) fn run<L: Learner>(&self, stages: &mut Stages<'_, '_, L>) -> Result<Rounds, Error> {
        let mut rounds = vec![self.train(stages, 0, BASE, &self.data.seed, None)?];
        let mut pool = PoolState::new(&self.data.pool, self.settings.carry);
        let mut history = Vec::new();
        let mut guard = Watch { seed: composition(&self.data.seed), seed_spread: None, warnings: Vec::new() };
        let stopped = loop {
            let lesson = match self.lesson(stages, &rounds, &pool, &mut history, &mut guard)? {
                Ok(lesson) => lesson,
                Err(reason) => break reason,
            };
            let (lesson, selected) = lesson;
            pool.note(&lesson.candidates, &selected, &lesson.labels);
            let start = lesson.start.clone();
            let preferences = self.training_set(&lesson.labels, &lesson.kept);
            let round = self.train(stages, rounds.len(), &start, &preferences, Some(lesson))?;
            let best = rounds.iter().filter_map(|r| r.validation.accuracy()).reduce(f64::max);
            let guards = &self.settings.guards;
            guard.warnings.extend(guards.validation(round.number, round.validation.accuracy(), best));
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

    /// Lets the last round's model label the pool. The inner error is why it does not.
    #[allow(clippy::type_complexity)]
    fn lesson<L: Learner>(
        &self,
        stages: &mut Stages<'_, '_, L>,
        rounds: &[Round],
        pool: &PoolState<'_>,
        history: &mut Vec<RoundFacts>,
        guard: &mut Watch,
    ) -> Result<Result<(Lesson, Vec<Selected>), Reason>, Error> {
        let Some(teacher) = rounds.last() else {
            return Ok(Err(Reason::NothingToSelect));
        };
        let number = rounds.len();
        let name = format!("the pool for loop {number}");
        let failed = |e| Error::stage(&format!("selecting for loop {number}"))(e);
        let before = rounds.iter().nth_back(1).map(|round| round.validation.correct.as_slice());
        let validation = match self.data.validation.is_empty() {
            true => None,
            false => Some(Validation::new(&teacher.validation.correct, before).map_err(failed)?),
        };
        let state = teacher.lesson.as_ref().map(|lesson| lesson.facts.decision.state);
        // If it would stop even with everything on offer, scoring the pool is work for nothing.
        let everything = PoolCounts { pairs: 1, status1: 1, status2: 1, either: 1 };
        history.push(RoundFacts { state, available: everything, fresh_status1: 1, validation });
        if let Decision { state: LoopState::Stop, reason } = self.checked.schedule.decide(history) {
            return Ok(Err(reason));
        }
        history.pop();

        let candidates = pool.candidates();
        let file = stage_of(number, "scores.jsonl");
        let scores = stages.score(&name, &file, &teacher.model, &candidates.pairs)?;
        let anchor = self.settings.anchor.fit(&scores, &teacher.validation.scores).map_err(failed)?;
        let probabilities = anchor.apply(&scores);
        let (filter, certification) = self.filter(&anchor, &probabilities, &teacher.validation).map_err(failed)?;
        let counts = filter.counts(&probabilities).map_err(failed)?;
        let fresh: Vec<_> =
            probabilities.iter().zip(&candidates.fresh).filter(|(_, fresh)| **fresh).map(|(p, _)| *p).collect();
        let fresh_status1 = filter.counts(&fresh).map_err(failed)?.status1;
        history.push(RoundFacts { state, available: counts, fresh_status1, validation });
        let decision = self.checked.schedule.decide(history);
        guard.see_scores(&self.settings.guards, number as u32, &scores);
        if decision.state == LoopState::Stop {
            return Ok(Err(decision.reason));
        }
        let lengths = candidates.lengths();
        let selected = filter.select(&probabilities, decision.state).map_err(failed)?;
        let selected = self.settings.balance.apply(selected, Some(&lengths)).map_err(failed)?;
        if selected.is_empty() {
            return Ok(Err(Reason::NothingToSelect));
        }

        let (labels, lines) = candidates.label(number as u32, &scores, &probabilities, &selected);
        let file = stage_of(number, "selection.jsonl");
        let path = stages.path(&file);
        stages.run.file_stage(&file, |out| write_lines(out, &path, lines))?;
        let gold = candidates.gold(self.gold);
        let audit = self.settings.audit.audit(&probabilities, &selected, &gold, &candidates.labels).map_err(failed)?;
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
        let facts = LessonFacts { decision, rule, anchor, counts, certification, composition, audit };
        let kept = pool.kept().to_vec();
        Ok(Ok((Lesson { start, candidates, scores, labels, kept, facts }, selected)))
    }

    fn filter(
        &self,
        anchor: &FittedAnchor,
        pool: &[PairProbabilities],
        validation: &Scored,
    ) -> Result<(Filter<'_>, Option<Certification>), ser_status::StatusError> {
        if let Some(rule) = self.rule {
            return Ok((Filter::Custom(rule), None));
        }
        let Some(target) = &self.settings.precision_target else {
            return Ok((Filter::ByState(self.checked.thresholds), None));
        };
        let held_out: Vec<_> = validation.scores.iter().map(|&(s, gold)| (anchor.probabilities(s), gold)).collect();
        let (filter, certification) = Filter::certify(target, pool, &held_out)?;
        Ok((filter, Some(certification)))
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
        let evaluation = Evaluation::measure(&test.chosen_first, &self.settings.bootstrap)
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

/// The guards' memory.
struct Watch {
    seed: Composition,
    seed_spread: Option<f64>,
    warnings: Vec<String>,
}

impl Watch {
    fn see_scores(&mut self, settings: &crate::settings::Guards, round: u32, scores: &[PairScores]) {
        self.warnings.extend(crate::settings::Guards::not_finite(round, guards::not_finite(scores), scores.len()));
        let spread = guards::spread(scores);
        let seed = *self.seed_spread.get_or_insert(spread);
        self.warnings.extend(settings.spread(round, spread, seed));
    }

    fn see_labels(&mut self, settings: &crate::settings::Guards, round: u32, labels: &Composition) {
        self.warnings.extend(settings.length(round, labels, &self.seed));
    }
}
