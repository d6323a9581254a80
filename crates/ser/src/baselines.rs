//! What SER is held against: Full, random and oracle.

use std::sync::Arc;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use ser_core::{Learner, LearningStatus, Origin, Preference, PseudoLabel};
use ser_eval::BaselineKind;

use crate::Error;
use crate::evaluation::Scored;
use crate::lesson::Lesson;
use crate::rounds::{Loop, Round};
use crate::seeds::seed_for;
use crate::stages::{BASE, Stages};

/// A baseline's model on the test pairs.
pub(crate) struct Comparison {
    pub(crate) kind: BaselineKind,
    pub(crate) test: Scored,
    /// Pairs its training saw, and those of them with a human label.
    pub(crate) trained_on: usize,
    pub(crate) human_labels: usize,
}

impl Loop<'_> {
    /// Trains and measures the baselines that are asked for. `result` is the round they are held against.
    pub(crate) fn baselines<L: Learner>(
        &self,
        stages: &mut Stages<'_, '_, L>,
        result: Option<&Round>,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Comparison>, Error> {
        let asked = self.settings.baselines;
        let gold = self.data.gold.as_ref().filter(|gold| !gold.is_empty());
        if gold.is_none() && (asked.full || asked.oracle) {
            warnings.push("The pool has no gold labels, so Full and oracle are left out.".to_owned());
        }
        let lesson = result.and_then(|round| round.lesson.as_ref());
        if lesson.is_none() && (asked.random || asked.oracle) {
            warnings.push("No loop selected any pair, so random and oracle are left out.".to_owned());
        }
        let mut done = Vec::new();
        if let Some(gold) = gold.filter(|_| asked.full) {
            let pool = self.data.pool.iter().filter_map(|pair| gold.preference_for_audit(pair));
            let preferences: Vec<_> = self.data.seed.iter().cloned().chain(pool).collect();
            let n = preferences.len();
            done.push(self.compare(stages, BaselineKind::Full, "full", BASE, &preferences, [n, n])?);
        }
        let Some(lesson) = lesson else {
            return Ok(done);
        };
        let seed = if self.saw_seed() { self.data.seed.len() } else { 0 };
        if asked.random {
            let labels = self.at_random(lesson);
            let preferences = self.training_set(&labels, &lesson.kept);
            let seen = seed + labels.len() + lesson.kept.len();
            done.push(self.compare(
                stages,
                BaselineKind::Random,
                "random",
                &lesson.start,
                &preferences,
                [seen, seed],
            )?);
        }
        if let Some(gold) = gold.filter(|_| asked.oracle) {
            let with_gold = |labels: &[Preference]| -> Vec<Preference> {
                labels.iter().filter_map(|label| gold.preference_for_audit(&label.pair)).collect()
            };
            let (labels, kept) = (with_gold(&lesson.labels), with_gold(&lesson.kept));
            let preferences = self.training_set(&labels, &kept);
            let seen = seed + labels.len() + kept.len();
            done.push(self.compare(
                stages,
                BaselineKind::Oracle,
                "oracle",
                &lesson.start,
                &preferences,
                [seen, seen],
            )?);
        }
        Ok(done)
    }

    /// Whether a round's weights come from the labelled seed, by way of Loop 0 or of its own training.
    pub(crate) fn saw_seed(&self) -> bool {
        self.settings.replay_seed || self.settings.warm_start != crate::settings::WarmStart::Base
    }

    /// As many pairs as the lesson has, drawn from what it could choose from, labelled by the same model.
    fn at_random(&self, lesson: &Lesson) -> Vec<Preference> {
        let Lesson { candidates, scores, labels, facts, .. } = lesson;
        let round = labels.first().map_or(0, |p| match &p.origin {
            Origin::Pseudo(label) => label.round,
            Origin::Human => 0,
        });
        // A tie or a NaN has no label.
        let labelled: Vec<_> = candidates
            .pairs
            .iter()
            .zip(scores)
            .filter_map(|(pair, scores)| {
                let preferred = facts.anchor.probabilities(*scores).higher()?;
                let label = PseudoLabel { round, scores: *scores, status: LearningStatus::Stop, flipped: false };
                Some(Preference::pseudo(Arc::clone(pair), preferred, label))
            })
            .collect();
        let mut rng = ChaCha8Rng::seed_from_u64(seed_for(self.settings.seed, "random baseline"));
        let wanted = labels.len().min(labelled.len());
        let mut places = rand::seq::index::sample(&mut rng, labelled.len(), wanted).into_vec();
        places.sort_unstable();
        places.into_iter().filter_map(|place| labelled.get(place).cloned()).collect()
    }

    fn compare<L: Learner>(
        &self,
        stages: &mut Stages<'_, '_, L>,
        kind: BaselineKind,
        name: &str,
        start: &str,
        preferences: &[Preference],
        [trained_on, human_labels]: [usize; 2],
    ) -> Result<Comparison, Error> {
        let model = format!("baselines/{name}/model");
        stages.train(&format!("baseline {name}"), &model, start, preferences)?;
        let test = self.test.score(
            stages,
            &format!("test, baseline {name}"),
            &format!("baselines/{name}/test.jsonl"),
            &model,
        )?;
        stages
            .observers
            .note(&format!("baseline {name}: test accuracy {:.1} %", 100.0 * test.accuracy().unwrap_or_default()));
        Ok(Comparison { kind, test, trained_on, human_labels })
    }
}
