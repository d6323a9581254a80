//! The whole loop on a real language model: kept activations against none, and against TRL and transformers.
//!
//! Each kind of pass is measured on the same slice of pairs. The passes of a loop are then added up, since TRL would need a day
//! for one.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::environment::Environment;
use super::output::output;
use super::table::{Comparison, Round};
use super::{LONGEST, Options, Unit};
use crate::libtorch::Origin;
use crate::model::{Model, fetch};
use crate::workspace::Workspace;

/// The job's name.
pub(super) const NAME: &str = "loop-smollm2";
/// Pairs of the slice.
const PAIRS: u32 = 96;
/// The layers with adapters, from the top, of the model's 30.
const LAYERS: &str = "8";

/// Pairs with a label for training, of which 15 % are the seed.
const TRAINING: f64 = 1500.0;
const SEED: f64 = 225.0;
const POOL: f64 = TRAINING - SEED;
const TEST: f64 = 500.0;
const LOOPS: f64 = 3.0;
const EPOCHS: f64 = 2.0;
/// Pairs that a loop selects from the pool, and that the random baseline takes.
const SELECTED: f64 = POOL / 2.0;
/// Models that score the test set: Loop 0, those of the loops, Full, random.
const MODELS: f64 = 1.0 + LOOPS + 2.0;

/// Pairs that are trained on, counted once per epoch.
const TRAINED: f64 = EPOCHS * (SEED + LOOPS * SELECTED + TRAINING + SELECTED);
/// Pairs that are scored: the pool before each loop, the test set with each model.
const SCORED: f64 = LOOPS * POOL + MODELS * TEST;
/// Different pairs.
const DIFFERENT: f64 = TRAINING + TEST;

/// Pairs per second of one way to do the passes.
#[derive(Clone, Copy, Debug)]
struct Rates {
    training: f64,
    scoring: f64,
    /// Scoring pairs for the first time; as `scoring` if nothing is kept.
    first: f64,
}

impl Rates {
    /// Loops per day. A pair's first pass takes more time than later ones by the difference of the two scorings.
    fn loops_per_day(self) -> f64 {
        let first = DIFFERENT * (1.0 / self.first - 1.0 / self.scoring).max(0.0);
        86_400.0 / (TRAINED / self.training + SCORED / self.scoring + first)
    }
}

/// Measures every kind of pass, each way in turn.
pub(super) fn measure(
    workspace: &Workspace,
    environment: &Environment,
    data: &Path,
    options: &Options,
) -> Result<Vec<Comparison>> {
    let model = environment.hugging_face_model(&fetch(workspace, Model::Smollm2)?)?;
    let pairs = environment.pairs(data, options.pairs.unwrap_or(PAIRS), &model, false, LONGEST)?;
    let measurement = Measurement { workspace, environment, model, pairs, options };
    let (mut without, mut again, mut peers) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        let peer = measurement.peer()?.loops_per_day();
        let (plain, kept) = measurement.ours()?;
        // A second run on the same pairs, such as another seed of a study, finds all activations.
        let second = Rates { first: kept.scoring, ..kept }.loops_per_day();
        let (plain, kept) = (plain.loops_per_day(), kept.loops_per_day());
        eprintln!(
            "{NAME} round {round}: loops per day: TRL {peer:.1}, nothing kept {plain:.1}, kept {kept:.1}, kept before {second:.1}"
        );
        let round = |peer, ours| Round { peer, ours, memory: None };
        peers.push(round(peer, kept));
        without.push(round(plain, kept));
        again.push(round(plain, second));
    }
    let comparison = |peer: &str, rounds| Comparison { job: NAME, peer: peer.to_owned(), unit: "loops/day", rounds };
    let precision = &options.precision;
    Ok(vec![
        comparison(&format!("TRL and transformers, {precision}"), peers),
        comparison(&format!("ours with nothing kept, {precision}"), without),
        comparison(&format!("the same, after a run on these pairs, {precision}"), again),
    ])
}

struct Measurement<'a> {
    workspace: &'a Workspace,
    environment: &'a Environment,
    model: PathBuf,
    pairs: PathBuf,
    options: &'a Options,
}

impl Measurement<'_> {
    fn peer(&self) -> Result<Rates> {
        let training = self.python("trl_reward.py", &["--layers", LAYERS])?;
        // Sorted by length, the stronger of its two ways.
        let scoring = self.python("hf_score.py", &["--way", "sorted"])?;
        Ok(Rates { training, scoring, first: scoring })
    }

    /// The best result of a script.
    fn python(&self, script: &str, more: &[&str]) -> Result<f64> {
        let threads = self.options.threads.to_string();
        let mut command = self.environment.python(script);
        command.arg("--model").arg(&self.model).arg("--data").arg(&self.pairs).args(["--threads", &threads]);
        command.args(["--dtype", &self.options.precision]).args(more).env("OMP_NUM_THREADS", &threads);
        let said = output(command)?;
        let best = said.results(&said.stdout, Unit::PairsPerSecond).into_iter().map(|(_, rate)| rate).reduce(f64::max);
        let Some(best) = best else { bail!("{script} printed no result; it said:\n{}", said.stderr) };
        Ok(best)
    }

    /// With nothing kept, and with activations in a fresh folder, which later passes read.
    fn ours(&self) -> Result<(Rates, Rates)> {
        let folder = self.environment.fresh_folder("activations")?;
        let (off, on) =
            (["--set", "model.activations.memory=0"], format!("model.activations.folder={}", folder.display()));
        let on = [off.as_slice(), &["--set", &on]].concat();
        let training = self.train(&off)?;
        let scoring = self.score(&off)?;
        let plain = Rates { training, scoring, first: scoring };
        let (first, scoring) = (self.score(&on)?, self.score(&on)?);
        let kept = Rates { training: self.train(&on)?, scoring, first };
        eprintln!("{NAME}: pairs per second: {plain:?} with nothing kept, {kept:?} with kept activations");
        Ok((plain, kept))
    }

    fn train(&self, more: &[&str]) -> Result<f64> {
        let adapter = self.environment.fresh_folder("adapter")?;
        let layers = format!("lora.layers={LAYERS}");
        let arguments = [&["--set", &layers, "--set", "split.test=0", "--template", "raw"], more].concat();
        self.ser("train reward", &["--out".as_ref(), adapter.as_ref()], &arguments)
    }

    fn score(&self, more: &[&str]) -> Result<f64> {
        let adapter = self.environment.path("adapter");
        self.ser("score", &["--adapter".as_ref(), adapter.as_ref()], more)
    }

    fn ser(&self, name: &str, paths: &[&Path], more: &[&str]) -> Result<f64> {
        let threads = self.options.threads.to_string();
        let mut command = self.environment.ser(name);
        command.args(["--timing", "--threads", &threads]).args(paths);
        command.args(["--set", &format!("model.precision={}", self.options.precision)]).args(more);
        command.arg("--model").arg(&self.model).arg("--data").arg(&self.pairs);
        command.env("OMP_NUM_THREADS", &threads).env("RAYON_NUM_THREADS", &threads);
        Origin::find(self.workspace).apply(&mut command)?;
        let said = output(command)?;
        let Some((_, rate)) = said.results(&said.stderr, Unit::PairsPerSecond).pop() else {
            bail!("ser {name} --timing printed no result; it said:\n{}", said.stderr);
        };
        Ok(rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_add_up() {
        assert_eq!((TRAINED, SCORED, DIFFERENT), (8550.0, 6825.0, 2000.0));
        let plain = Rates { training: 2.0, scoring: 5.0, first: 5.0 };
        assert!((plain.loops_per_day() - 86_400.0 / (4275.0 + 1365.0)).abs() < 1e-9);
        let kept = Rates { training: 5.0, scoring: 20.0, first: 4.0 };
        assert!((kept.loops_per_day() - 86_400.0 / (1710.0 + 341.25 + 2000.0 * 0.2)).abs() < 1e-9);
    }
}
