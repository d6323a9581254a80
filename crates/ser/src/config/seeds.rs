//! The seeds of the parts: a part without one of its own takes the run's.

use super::Config;

/// The keys of the parts' seeds.
pub(super) const KEYS: &[&str] = &[
    "split.seed",
    "loop.seed",
    "corpus.seed",
    "prompts.answers.sampling.seed",
    "policies.sampling.seed",
    "ppo.seed",
    #[cfg(feature = "libtorch")]
    "policy.seed",
];

impl Config {
    /// Gives the run's seed to every part whose seed was not given. A given 0 is a seed.
    pub(super) fn fill_seeds(&mut self) {
        for key in KEYS {
            if !self.is_given(key) {
                let seed = self.run.seed;
                if let Some(of_part) = self.seed_mut(key) {
                    *of_part = seed;
                }
            }
        }
    }

    fn seed_mut(&mut self, key: &str) -> Option<&mut u64> {
        match key {
            "split.seed" => Some(&mut self.split.seed),
            "loop.seed" => Some(&mut self.evolution.seed),
            "corpus.seed" => Some(&mut self.corpus.seed),
            "prompts.answers.sampling.seed" => Some(&mut self.prompts.answers.sampling.seed),
            "policies.sampling.seed" => Some(&mut self.policies.sampling.seed),
            "ppo.seed" => Some(&mut self.ppo.seed),
            #[cfg(feature = "libtorch")]
            "policy.seed" => Some(&mut self.policy.seed),
            _ => None,
        }
    }
}
