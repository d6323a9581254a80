//! What SER is held against: Full, random and oracle.

use rand::SeedableRng;
use rand::seq::IteratorRandom;
use rand_chacha::ChaCha8Rng;
use ser_core::{Learner, LearningStatus, Preference};
use ser_eval::BaselineKind;
use ser_status::{Anchor, ScheduleSettings, Selected};

use crate::Error;
use crate::evaluation::Scored;
use crate::pool::PoolState;
use crate::rounds::{Loop, Round, stage_of};
use crate::seeds::seed_for;
use crate::settings::{LoopSettings, ModelSelection, WarmStart};
use crate::stages::{BASE, Stages};

/// A baseline's model on the test pairs.
pub(crate) struct Comparison {
    pub(crate) kind: BaselineKind,
    pub(crate) test: Scored,
    /// Pairs its training saw.
    pub(crate) trained_on: usize,
    /// Human labels that were read to make it.
    pub(crate) human_labels: usize,
    /// Optimizer steps of all its trainings, where they are its own alone.
    pub(crate) steps: Option<u64>,
}

impl Loop<'_> {
    /// Trains and measures the baselines that are asked for. The last of `rounds` is the one they are held against.
    pub(crate) fn baselines<L: Learner>(
        &self,
        stages: &mut Stages<'_, '_, L>,
        rounds: &[&Round],
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Comparison>, Error> {
        let asked = self.settings.baselines;
        let gold = self.data.gold.as_ref().filter(|gold| !gold.is_empty());
        if gold.is_none() && (asked.full || asked.oracle) {
            warnings.push("The pool has no gold labels, so Full and oracle are left out.".to_owned());
        }
        let lesson = rounds.last().and_then(|round| round.lesson.as_ref());
        if lesson.is_none() && (asked.random || asked.oracle) {
            warnings.push("No loop selected any pair, so random and oracle are left out.".to_owned());
        }
        let mut done = Vec::new();
        if let Some(gold) = gold.filter(|_| asked.full) {
            let pool = self.data.pool.iter().filter_map(|pair| gold.preference_for_audit(pair));
            let preferences: Vec<_> = self.data.seed.iter().cloned().chain(pool).collect();
            let n = preferences.len();
            // Validation labels play no part in it.
            done.push(self.compare(stages, BaselineKind::Full, "full", BASE, &preferences, [n, n])?);
        }
        let Some(lesson) = lesson else {
            return Ok(done);
        };
        if asked.random {
            done.push(self.at_random(stages, rounds)?);
        }
        if let Some(gold) = gold.filter(|_| asked.oracle) {
            let with_gold = |labels: &[Preference]| -> Vec<Preference> {
                labels.iter().filter_map(|label| gold.preference_for_audit(&label.pair)).collect()
            };
            let (labels, kept) = (with_gold(&lesson.labels), with_gold(&lesson.kept));
            let preferences = self.training_set(&labels, &kept);
            let seen = self.seed_seen() + labels.len() + kept.len();
            let human = seen + self.validation_read();
            done.push(self.compare(
                stages,
                BaselineKind::Oracle,
                "oracle",
                &lesson.start,
                &preferences,
                [seen, human],
            )?);
        }
        Ok(done)
    }

    /// Labelled seed pairs that a round's weights come from, by way of Loop 0 or of its own training.
    pub(crate) fn seed_seen(&self) -> usize {
        let seen = self.settings.replay_seed || self.settings.warm_start != WarmStart::Base;
        if seen { self.data.seed.len() } else { 0 }
    }

    /// Validation labels that had a part in the loops or in the choice of the result. They are human labels too, though no
    /// model is trained on them. A guard that only warns is no part.
    pub(crate) fn validation_read(&self) -> usize {
        let LoopSettings { choice, anchor, precision_target, schedule, .. } = self.settings;
        let read = *choice != ModelSelection::Last
            || *anchor == Anchor::Fitted
            || precision_target.is_some()
            || matches!(schedule, ScheduleSettings::Automatic(_));
        if read { self.data.validation.len() } else { 0 }
    }

    /// The loops over again without the filter: each model labels as many pairs for the next as it did in SER, drawn
    /// blindly from what it may label.
    fn at_random<L: Learner>(&self, stages: &mut Stages<'_, '_, L>, rounds: &[&Round]) -> Result<Comparison, Error> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed_for(self.settings.seed, "random baseline"));
        let mut pool = PoolState::new(&self.data.pool, self.settings.carry, &self.data.seed);
        let mut teacher = stage_of(0, "model");
        let mut seen = 0;
        let mut steps = rounds.first().map_or(0, |loop_0| loop_0.fit.steps);
        let lessons = rounds.iter().filter_map(|round| Some((round.number, round.lesson.as_ref()?)));
        for (number, lesson) in lessons {
            let name = format!("baseline random, loop {number}");
            let stage = |what| format!("baselines/random/{number:02}/{what}");
            let candidates = pool.candidates();
            let scores = match number {
                // Loop 0 is the first teacher of both.
                1 => lesson.scores.clone(),
                _ => stages.score(&format!("the pool, {name}"), &stage("scores.jsonl"), &teacher, &candidates.pairs)?,
            };
            // SER's anchor will do: none changes which answer is the higher one. A tie or a NaN has no label.
            let probabilities = lesson.facts.anchor.apply(&scores);
            let labelled = probabilities.iter().enumerate().filter_map(|(index, probability)| {
                let delta = probability.delta();
                Some(Selected { index, preferred: probability.higher()?, status: LearningStatus::Stop, delta })
            });
            let mut selected = labelled.choose_multiple(&mut rng, lesson.labels.len());
            selected.sort_unstable_by_key(|chosen| chosen.index);
            let (labels, _) = candidates.label(number, &scores, &probabilities, &selected);
            let preferences = self.training_set(&labels, pool.kept());
            seen = self.seed_seen() + labels.len() + pool.kept().len();
            pool.note(&candidates, &selected, &labels);
            let start = if self.settings.warm_start == WarmStart::Previous { &teacher } else { &lesson.start };
            let model = stage("model");
            steps += stages.train(&name, &model, start, &preferences)?.steps;
            teacher = model;
        }
        let human = self.seed_seen() + self.validation_read();
        self.measure(stages, BaselineKind::Random, "random", &teacher, [seen, human], Some(steps))
    }

    fn compare<L: Learner>(
        &self,
        stages: &mut Stages<'_, '_, L>,
        kind: BaselineKind,
        name: &str,
        start: &str,
        preferences: &[Preference],
        seen: [usize; 2],
    ) -> Result<Comparison, Error> {
        let model = format!("baselines/{name}/model");
        let fit = stages.train(&format!("baseline {name}"), &model, start, preferences)?;
        // From other weights than the base's, the steps that led to those would have to be added.
        let steps = (start == BASE).then_some(fit.steps);
        self.measure(stages, kind, name, &model, seen, steps)
    }

    fn measure<L: Learner>(
        &self,
        stages: &mut Stages<'_, '_, L>,
        kind: BaselineKind,
        name: &str,
        model: &str,
        [trained_on, human_labels]: [usize; 2],
        steps: Option<u64>,
    ) -> Result<Comparison, Error> {
        let test = self.test.score(
            stages,
            &format!("test, baseline {name}"),
            &format!("baselines/{name}/test.jsonl"),
            model,
        )?;
        stages
            .observers
            .note(&format!("baseline {name}: test accuracy {:.1} %", 100.0 * test.accuracy().unwrap_or_default()));
        Ok(Comparison { kind, test, trained_on, human_labels, steps })
    }
}
