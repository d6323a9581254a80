//! The prompts of each step.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use ser_core::Message;

use crate::run_folder::Fingerprint;
use crate::seeds::seed_for;

/// Draws prompts in random orders, one after the other. Each order depends on the seed and its number only.
pub(crate) struct PromptOrder {
    prompts: Vec<Vec<Message>>,
    seed: u64,
    /// The number of the last drawn order, and the order.
    drawn: Option<(u64, Vec<usize>)>,
}

impl PromptOrder {
    pub(crate) fn new(prompts: Vec<Vec<Message>>, seed: u64) -> Self {
        PromptOrder { prompts, seed, drawn: None }
    }

    /// The `batch` prompts of a step. A prompt is repeated only after all others were used.
    pub(crate) fn of_step(&mut self, step: u64, batch: usize) -> Vec<Vec<Message>> {
        let first = step * batch as u64;
        let mut chosen = Vec::with_capacity(batch);
        for index in first..first + batch as u64 {
            let n = self.prompts.len() as u64;
            let (order, within) = (index / n, (index % n) as usize);
            if self.drawn.as_ref().is_none_or(|(drawn, _)| *drawn != order) {
                self.drawn = Some((order, self.draw(order)));
            }
            let index = self.drawn.as_ref().and_then(|(_, indices)| indices.get(within));
            chosen.extend(index.and_then(|i| self.prompts.get(*i)).cloned());
        }
        chosen
    }

    fn draw(&self, order: u64) -> Vec<usize> {
        let mut indices: Vec<usize> = (0..self.prompts.len()).collect();
        indices.shuffle(&mut ChaCha8Rng::seed_from_u64(seed_for(self.seed, &format!("order {order} of the prompts"))));
        indices
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_prompts(&self.prompts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prompt_is_used_before_any_is_repeated() {
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
