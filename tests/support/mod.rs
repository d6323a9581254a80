//! A small synthetic task with known truth, and a linear reward model for it.
#![allow(dead_code, unreachable_pub)]

use std::path::Path;
use std::sync::Arc;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use ser::data::blind;
use ser::ndarray::aview2;
use ser::status::{Anchor, Thresholds};
use ser::{
    BoxError, BoxedTraining, Context, FitSummary, Learner, Pair, PairId, PairLoss, PairScores, PairTarget, Preference,
    PreferenceStore, PreferenceTraining, Saving, Scorer, Screening, Side, StepOutcome, Training,
};
use ser::{LoopSettings, SerData};

/// Length of a step of gradient descent.
const STEP: f64 = 0.008;

/// Checkpoints of the linear model's trainings.
pub const SAVING: Saving = Saving { save_steps: 4, save_total_limit: 1 };

/// Cues per answer.
pub const CUES: usize = 200;

/// An answer is its cues, written out: good answers have each cue a little more often than bad ones, so that no cue
/// decides alone and all of them occur together.
fn answer(good: bool, rng: &mut ChaCha8Rng) -> String {
    let cue = |rng: &mut ChaCha8Rng| if rng.random_bool(if good { 0.55 } else { 0.45 }) { '1' } else { '0' };
    (0..CUES).map(|_| cue(rng)).collect()
}

/// `n` pairs with their better side, ids from `first`.
pub fn pairs(n: usize, first: u64, seed: u64) -> Vec<(Arc<Pair>, Side)> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ first);
    (0..n as u64)
        .map(|i| {
            let side = if rng.random_bool(0.5) { Side::A } else { Side::B };
            let a = answer(side == Side::A, &mut rng);
            let b = answer(side == Side::B, &mut rng);
            (Arc::new(Pair::from_text(PairId(first + i), format!("question {i}"), a, b)), side)
        })
        .collect()
}

/// Few labels, a pool, and enough test pairs to measure by.
pub fn data(seed: u64) -> SerData {
    data_with_pool(seed, 1000)
}

/// The same with a pool of `n` pairs.
pub fn data_with_pool(seed: u64, n: usize) -> SerData {
    let human = |pairs: Vec<(Arc<Pair>, Side)>| -> Vec<Preference> {
        pairs.into_iter().map(|(p, s)| Preference::human(p, s)).collect()
    };
    let labelled = human(pairs(n, 1_000_000, seed));
    let (pool, gold) = blind(&labelled, seed).unwrap();
    SerData {
        seed: human(pairs(8, 0, seed)).into(),
        validation: human(pairs(200, 5_000, seed)).into(),
        pool: pool.into(),
        gold: Some(gold),
        test: human(pairs(600, 100_000, seed)).into(),
        ..SerData::default()
    }
}

/// Settings by which the linear model learns from itself.
pub fn settings() -> LoopSettings {
    LoopSettings {
        thresholds: Thresholds { tau_high: 0.6, tau_low: 0.4, tau_delta: 0.3, ..Thresholds::default() },
        anchor: Anchor::Fitted,
        ..LoopSettings::default()
    }
}

/// r(answer) = w · cues, fitted by gradient descent on whatever loss it is given.
pub struct Linear {
    pub weights: Vec<f64>,
    pub epochs: usize,
    /// Gives these pairs scores that are not finite.
    pub broken: fn(&Pair) -> bool,
    /// After this many trainings the labels are reversed.
    pub broken_after: Option<usize>,
    pub fits: usize,
    /// Checkpoints within a training; without, trainings are run in one piece.
    pub saving: Option<Saving>,
}

impl Default for Linear {
    fn default() -> Self {
        Linear {
            weights: vec![0.0; CUES],
            epochs: 20,
            broken: |_| false,
            broken_after: None,
            fits: 0,
            saving: Some(SAVING),
        }
    }
}

impl Linear {
    fn begin<'a>(
        &'a mut self,
        data: &dyn PreferenceStore,
        loss: &'a dyn PairLoss,
    ) -> std::io::Result<LinearTraining<'a>> {
        let preferences = data.read_range(0..data.len()).map_err(std::io::Error::other)?;
        self.fits += 1;
        let step = if self.broken_after.is_some_and(|fits| self.fits > fits) { -STEP } else { STEP };
        Ok(LinearTraining { learner: self, preferences, loss, step, done: 0, value: 0.0 })
    }

    fn reward(&self, answer: &str) -> f64 {
        answer.bytes().zip(&self.weights).map(|(cue, w)| if cue == b'1' { *w } else { -*w }).sum()
    }
}

impl Scorer for Linear {
    type Error = std::io::Error;

    fn score(&mut self, pairs: &[Arc<Pair>], _cx: &mut Context<'_>) -> Result<Vec<PairScores>, Self::Error> {
        Ok(pairs
            .iter()
            .map(|pair| match (self.broken)(pair) {
                true => PairScores::new(f64::INFINITY, f64::NAN),
                false => PairScores::new(self.reward(pair.response(Side::A)), self.reward(pair.response(Side::B))),
            })
            .collect())
    }

    fn screen(&mut self, pairs: &[Arc<Pair>], _cx: &mut Context<'_>) -> Result<Vec<Screening>, Self::Error> {
        let one = |pair: &Arc<Pair>| match pair.response(Side::A) == pair.response(Side::B) {
            true => Screening::Identical,
            false => Screening::Usable,
        };
        Ok(pairs.iter().map(one).collect())
    }
}

/// Gradient descent on all pairs at once, one step per epoch.
struct LinearTraining<'a> {
    learner: &'a mut Linear,
    preferences: Vec<Preference>,
    loss: &'a dyn PairLoss,
    step: f64,
    done: u64,
    value: f64,
}

impl Training for LinearTraining<'_> {
    type Error = std::io::Error;

    fn done(&self) -> u64 {
        self.done
    }

    fn total(&self) -> u64 {
        self.learner.epochs as u64
    }

    fn step(&mut self) -> Result<StepOutcome, Self::Error> {
        let LinearTraining { learner, preferences, loss, step, .. } = self;
        let targets: Vec<_> = preferences.iter().map(PairTarget::from).collect();
        let scores: Vec<_> =
            preferences.iter().map(|p| [learner.reward(p.chosen()), learner.reward(p.rejected())]).collect();
        let out = loss.evaluate(aview2(&scores), &targets).map_err(|e: BoxError| std::io::Error::other(e))?;
        for (preference, gradient) in preferences.iter().zip(out.gradient.rows()) {
            for (answer, g) in [(preference.chosen(), gradient[0]), (preference.rejected(), gradient[1])] {
                for (cue, w) in answer.bytes().zip(&mut learner.weights) {
                    *w -= *step * if cue == b'1' { g } else { -g };
                }
            }
        }
        self.done += 1;
        self.value = out.value;
        Ok(StepOutcome { values: vec![("loss", out.value)], notes: Vec::new() })
    }

    fn saving(&self) -> Saving {
        self.learner.saving.unwrap_or_default()
    }

    fn snapshot(&mut self, folder: &Path) -> Result<(), Self::Error> {
        self.learner.snapshot(folder)?;
        std::fs::write(folder.join("state.json"), serde_json::to_string(&(self.done, self.value))?)
    }

    fn restore(&mut self, folder: &Path) -> Result<(), Self::Error> {
        self.learner.restore(folder)?;
        (self.done, self.value) = serde_json::from_str(&std::fs::read_to_string(folder.join("state.json"))?)?;
        Ok(())
    }
}

impl PreferenceTraining for LinearTraining<'_> {
    fn summary(&self) -> FitSummary {
        let right = |p: &&Preference| self.learner.reward(p.chosen()) > self.learner.reward(p.rejected());
        let accuracy = self.preferences.iter().filter(right).count() as f64 / self.preferences.len().max(1) as f64;
        FitSummary { steps: self.done, loss: self.value, accuracy }
    }
}

impl Learner for Linear {
    fn fit(
        &mut self,
        data: &dyn PreferenceStore,
        loss: &dyn PairLoss,
        cx: &mut Context<'_>,
    ) -> Result<FitSummary, Self::Error> {
        let mut training = self.begin(data, loss)?;
        training.run(cx)?;
        Ok(training.summary())
    }

    fn training<'a>(
        &'a mut self,
        data: &'a dyn PreferenceStore,
        loss: &'a dyn PairLoss,
        _seed: u64,
    ) -> Result<Option<BoxedTraining<'a, Self::Error>>, Self::Error> {
        if self.saving.is_none() {
            return Ok(None);
        }
        Ok(Some(Box::new(self.begin(data, loss)?)))
    }

    fn snapshot(&mut self, folder: &Path) -> Result<(), Self::Error> {
        std::fs::write(folder.join("weights.json"), serde_json::to_string(&self.weights)?)
    }

    fn restore(&mut self, folder: &Path) -> Result<(), Self::Error> {
        self.weights = serde_json::from_str(&std::fs::read_to_string(folder.join("weights.json"))?)?;
        Ok(())
    }
}

/// An error with its causes, as programs print it.
pub fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

/// A run's `report.json` without what depends on the clock.
pub fn report_without_timing(run: &Path) -> String {
    let text = std::fs::read_to_string(run.join("report.json")).unwrap();
    let mut report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(report.as_object_mut().unwrap().remove("timing").is_some());
    serde_json::to_string_pretty(&report).unwrap()
}
