//! Which prompts a step answers.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use ser_core::Message;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::durable::hex;
use crate::seeds::seed_for;

/// Prompts in one random order after the other, each a function of the seed and its number.
pub(crate) struct PromptOrder {
    prompts: Vec<Vec<Message>>,
    seed: u64,
    /// The order drawn last, and its number.
    drawn: Option<(u64, Vec<usize>)>,
}

/// The prompts as the manifest knows them.
#[derive(Serialize)]
pub(crate) struct Fingerprint {
    prompts: usize,
    sha256: String,
}

impl PromptOrder {
    pub(crate) fn new(prompts: Vec<Vec<Message>>, seed: u64) -> Self {
        PromptOrder { prompts, seed, drawn: None }
    }

    /// The prompts of a step, `batch` of them. A prompt comes again once all have come.
    pub(crate) fn of_step(&mut self, step: u64, batch: usize) -> Vec<Vec<Message>> {
        let first = step * batch as u64;
        let mut chosen = Vec::with_capacity(batch);
        for place in first..first + batch as u64 {
            let n = self.prompts.len() as u64;
            let (order, within) = (place / n, (place % n) as usize);
            if self.drawn.as_ref().is_none_or(|(drawn, _)| *drawn != order) {
                self.drawn = Some((order, self.draw(order)));
            }
            let index = self.drawn.as_ref().and_then(|(_, places)| places.get(within));
            chosen.extend(index.and_then(|i| self.prompts.get(*i)).cloned());
        }
        chosen
    }

    fn draw(&self, order: u64) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.prompts.len()).collect();
        places.shuffle(&mut ChaCha8Rng::seed_from_u64(seed_for(self.seed, &format!("order {order} of the prompts"))));
        places
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let mut hasher = Sha256::new();
        for prompt in &self.prompts {
            hasher.update((prompt.len() as u64).to_le_bytes());
            for message in prompt {
                let extra = message.extra_json();
                for text in [message.role.as_str(), &message.content].into_iter().chain(extra.as_deref()) {
                    hasher.update((text.len() as u64).to_le_bytes());
                    hasher.update(text);
                }
            }
        }
        Fingerprint { prompts: self.prompts.len(), sha256: hex(&hasher.finalize()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prompt_comes_before_any_comes_again_whatever_was_asked_before() {
        let prompts: Vec<_> = (0..10).map(|i| vec![Message::user(i.to_string())]).collect();
        let mut order = PromptOrder::new(prompts.clone(), 3);
        let steps: Vec<_> = (0..5).map(|step| order.of_step(step, 4)).collect();
        let all = steps.concat();
        for epoch in all.chunks(10) {
            let mut names: Vec<_> = epoch.iter().map(|p| p[0].content.clone()).collect();
            names.sort();
            assert_eq!(names, (0..10).map(|i| i.to_string()).collect::<Vec<_>>());
        }
        assert_ne!(all[..10], all[10..]);
        let mut resumed = PromptOrder::new(prompts, 3);
        assert_eq!(resumed.of_step(3, 4), steps[3]);
        assert_eq!(resumed.of_step(1, 4), steps[1]);
    }
}
