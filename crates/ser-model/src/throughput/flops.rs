//! The floating-point operations of passes over packed pairs: a multiplication and an addition are two.

use ser_data::TokenizedPair;

use crate::NetworkConfig;
use crate::config::projections;

impl NetworkConfig {
    /// The operations of the forward pass over a pair in a packed batch whose last rows alone leave the network, which is the
    /// pass of scoring and of reward training.
    ///
    /// A linear map counts 2 * rows * in * out, attention 2 * 2 * heads * head_dim for each visible key of each query. In the
    /// last layer all rows have keys and values, and the last row of each text everything else. Embedding, norms, activation
    /// functions, rotation, softmax, adapters and the head do not count.
    pub(crate) fn forward_flops(&self, pair: &TokenizedPair) -> u64 {
        (0..self.layer_count()).map(|layer| self.layer_flops(layer, pair)).sum()
    }

    /// The operations of the backward pass through the frozen layers from `lowest` on: as many as of their forward pass, since
    /// the gradient of a linear map's input takes one product, and its weight has none. Attention's backward pass has four
    /// products for the two of the forward pass, and counts as two all the same. What gradient checkpointing computes again does
    /// not count.
    pub(crate) fn backward_flops(&self, lowest: usize, pair: &TokenizedPair) -> u64 {
        (lowest..self.layer_count()).map(|layer| self.layer_flops(layer, pair)).sum()
    }

    fn layer_count(&self) -> usize {
        usize::try_from(self.layers).unwrap_or(0)
    }

    fn layer_flops(&self, layer: usize, pair: &TokenizedPair) -> u64 {
        let texts = self.packed_texts(pair);
        let rows: u64 = texts.iter().map(|text| text.end - text.start).sum();
        let last = layer + 1 == self.layer_count();
        let queries = if last { texts.len() as u64 } else { rows };
        let [q, k, v, o, gate, up, down] = projections(self).map(|map| (map.input * map.out).unsigned_abs());
        let linear = 2 * (rows * (k + v) + queries * (q + o + gate + up + down));
        let window = self.window(layer).map_or(u64::MAX, i64::unsigned_abs);
        let visible: u64 = texts
            .iter()
            .map(|text| {
                let first = if last { text.end.saturating_sub(1) } else { text.start };
                visible_keys(first, text.end, window)
            })
            .sum();
        linear + 2 * 2 * (self.heads * self.head_dim).unsigned_abs() * visible
    }

    /// The rows of a pair in a packed batch, by the positions of each text that it computes.
    fn packed_texts(&self, pair: &TokenizedPair) -> [std::ops::Range<u64>; 2] {
        let (prompt, a, b) = pair.lengths();
        let (prompt, a, b) = (prompt as u64, a as u64, b as u64);
        let longest = prompt + a.max(b);
        // As in a packed batch: the two texts of a pair cannot share a prompt whose rotation depends on the text's length.
        let shared = self.rope_scaling.grows_beyond().is_none_or(|original| longest <= original.unsigned_abs());
        [0..prompt + a, if shared { prompt } else { 0 }..prompt + b]
    }
}

/// The keys that queries at the positions `first..end` see, themselves included, with a window of so many tokens.
fn visible_keys(first: u64, end: u64, window: u64) -> u64 {
    // Positions below `window` see position + 1 keys, the others `window`.
    let growing_end = end.min(window.max(first));
    let growing = (first + 1 + growing_end) * (growing_end - first) / 2;
    growing + (end - growing_end).saturating_mul(window)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RopeScaling;
    use crate::network::PackedBatch;

    /// Width 8, 2 heads and 1 key/value head of width 4, 16 inside: q and o have 64 weights, k and v 32, the MLP's three 128.
    fn config(layers: i64) -> NetworkConfig {
        NetworkConfig {
            model_type: "llama",
            vocab_size: 10,
            hidden_size: 8,
            intermediate_size: 16,
            layers,
            heads: 2,
            kv_heads: 1,
            head_dim: 4,
            max_positions: 64,
            rms_norm_eps: 1e-5,
            rope_theta: 1e4,
            rope_scaling: RopeScaling::None,
            tied: true,
            qkv_bias: false,
            o_bias: false,
            mlp_bias: false,
            qk_norm: false,
            sliding_window: None,
            windowed_layers: vec![false; layers as usize],
            initializer_range: 0.02,
            bos_token_id: None,
            eos_token_ids: Vec::new(),
            pad_token_id: None,
        }
    }

    fn pair(prompt: usize, a: usize, b: usize) -> TokenizedPair {
        TokenizedPair { prompt: vec![1; prompt], answers: [vec![2; a], vec![3; b]] }
    }

    #[test]
    fn visible_keys_by_hand() {
        assert_eq!(visible_keys(0, 4, u64::MAX), 1 + 2 + 3 + 4);
        assert_eq!(visible_keys(2, 4, u64::MAX), 3 + 4);
        assert_eq!(visible_keys(3, 4, u64::MAX), 4);
        assert_eq!(visible_keys(0, 5, 3), 1 + 2 + 3 + 3 + 3);
        assert_eq!(visible_keys(4, 6, 3), 3 + 3);
        assert_eq!(visible_keys(1, 3, 3), 2 + 3);
        assert_eq!(visible_keys(0, 0, 3), 0);
    }

    /// Prompt 3, A 2, B 1: six rows. In a full layer the linear maps have 64 + 32 + 32 + 64 + 3 * 128 = 576 weights, so
    /// 2 * 6 * 576 = 6912 operations; the visible keys are 1 + 2 + 3 + 4 + 5 of prompt and A and 4 of B, 19, so attention has
    /// 4 * 8 * 19 = 608. In the last layer the six rows have 64 weights of k and v, 768 operations, and the two last rows 512
    /// others, 2048; their visible keys are 5 and 4, 288 operations.
    #[test]
    fn a_pair_by_hand() {
        let pair = pair(3, 2, 1);
        assert_eq!(config(1).forward_flops(&pair), 768 + 2048 + 288);
        assert_eq!(config(3).forward_flops(&pair), 2 * (6912 + 608) + 768 + 2048 + 288);
        assert_eq!(config(3).backward_flops(0, &pair), config(3).forward_flops(&pair));
        assert_eq!(config(3).backward_flops(1, &pair), 6912 + 608 + 768 + 2048 + 288);
        assert_eq!(config(3).backward_flops(3, &pair), 0);
    }

    /// With a window of 2 tokens each query but the first of prompt and A sees 2 keys: 1 + 2 * 4 and 2 of B.
    #[test]
    fn a_window_limits_the_keys() {
        let windowed = NetworkConfig { sliding_window: Some(2), windowed_layers: vec![true; 2], ..config(2) };
        assert_eq!(windowed.forward_flops(&pair(3, 2, 1)), 6912 + 32 * 11 + 768 + 2048 + 32 * 4);
    }

    /// Beyond 4 tokens the texts, of 5 and 4 tokens, share nothing: nine rows.
    #[test]
    fn texts_that_share_no_prompt_are_computed_whole() {
        let scaling = RopeScaling::Dynamic { factor: 2.0, original: 4 };
        let alone = NetworkConfig { rope_scaling: scaling, ..config(2) };
        let full = 2 * 9 * 576 + 32 * (15 + 10);
        assert_eq!(alone.forward_flops(&pair(3, 2, 1)), full + 2 * 9 * 64 + 2048 + 32 * (5 + 4));
        assert_eq!(alone.forward_flops(&pair(2, 2, 1)), config(2).forward_flops(&pair(2, 2, 1)));
    }

    /// The rows that are counted are those of a packed batch.
    #[test]
    fn rows_are_those_of_a_batch() {
        let scaling = RopeScaling::Dynamic { factor: 2.0, original: 4 };
        for config in [config(2), NetworkConfig { rope_scaling: scaling, ..config(2) }] {
            let pair = pair(3, 2, 1);
            let batch = PackedBatch::of_pairs(&[&pair], &config, tch::Device::Cpu).unwrap();
            let rows: u64 = config.packed_texts(&pair).iter().map(|text| text.end - text.start).sum();
            assert_eq!(batch.positions.len() as u64, rows);
        }
    }
}
