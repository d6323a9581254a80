//! Hidden states of a frozen language model as features of pairs, for `ser_linear::LinearReward`.

mod averages;
mod settings;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use ndarray::Array3;
use ser_core::{Context, Pair, Screening};
use ser_data::{PairTokenizer, TokenizedPair, plan_batches_by_length};
use ser_linear::Features;
use sha2::{Digest, Sha256};
use tch::{Kind, Tensor};

pub use settings::HiddenStatesSettings;

use crate::checkpoint::{TextRecord, Weights};
use crate::network::{self, ForwardMode, Loaded, Network, PackedBatch, Rows};
use crate::{Device, ModelError, NetworkConfig};

/// Bytes at the start of each tensor that identify it.
const SAMPLE: usize = 4096;

/// A frozen language model that gives the hidden states of both texts of pairs: of the last token, and means over the last tokens, after
/// several layers. One forward pass per pair gives all of them, and layers above the highest depth are not computed.
pub struct HiddenStates {
    network: Network,
    tokenizer: PairTokenizer,
    /// With the depths spelled out.
    settings: HiddenStatesSettings,
    identity: String,
}

impl HiddenStates {
    /// Loads a base model.
    ///
    /// # Errors
    /// Settings that cannot be used, depths that the network does not have, a folder without a model.
    pub fn from_folder(folder: &Path, settings: &HiddenStatesSettings, device: Device) -> Result<Self, ModelError> {
        settings.check()?;
        let config = NetworkConfig::from_folder(folder)?;
        let (last, mean) = settings.depths(usize::try_from(config.layers).unwrap_or(0))?;
        let loaded = network::load(folder, &settings.text, false, settings.precision.kind(), device)?;
        let Loaded { network, tokenizer, weights } = loaded;
        let identity = identity(&weights, &network.config, &tokenizer, settings, &last, &mean)?;
        let settings = HiddenStatesSettings { last, mean, ..settings.clone() };
        Ok(HiddenStates { network, tokenizer, settings, identity })
    }

    /// The settings, with the depths spelled out.
    pub fn settings(&self) -> &HiddenStatesSettings {
        &self.settings
    }

    /// The tokenizer, with the settings that make texts of pairs.
    pub fn tokenizer(&self) -> &PairTokenizer {
        &self.tokenizer
    }

    /// States of pairs whose texts may be too long, `[pairs, 2, features]`, and the number of pairs with a text that was cut at its
    /// end, to the network's positions.
    ///
    /// # Errors
    /// Texts that cannot be tokenized; [`ModelError::Stopped`].
    pub fn features_truncated(
        &self,
        pairs: &[Arc<Pair>],
        cx: &mut Context<'_>,
    ) -> Result<(Array3<f32>, usize), ModelError> {
        self.truncated(self.tokenizer.tokenize(pairs)?, cx)
    }

    /// States of whole texts that a template has already written, `[texts, 2, features]`, each text as a pair with itself; with
    /// the number of texts that were cut, as in [`features_truncated`](Self::features_truncated).
    ///
    /// # Errors
    /// As of [`features_truncated`](Self::features_truncated).
    pub fn features_of_texts(&self, texts: &[&str], cx: &mut Context<'_>) -> Result<(Array3<f32>, usize), ModelError> {
        let pair = |text: &&str| {
            let tokens = self.tokenizer.encode_written(text)?;
            Ok::<_, ModelError>(TokenizedPair::from_tokens(&tokens, &tokens))
        };
        self.truncated(texts.iter().map(pair).collect::<Result<_, _>>()?, cx)
    }

    fn truncated(
        &self,
        mut tokens: Vec<TokenizedPair>,
        cx: &mut Context<'_>,
    ) -> Result<(Array3<f32>, usize), ModelError> {
        let limit = usize::try_from(self.network.config.longest_text()).unwrap_or(usize::MAX);
        let truncated = tokens.iter_mut().filter_map(|pair| pair.truncate(limit).then_some(())).count();
        Ok((self.of_tokens(&tokens, cx)?, truncated))
    }

    /// States of tokens, `[pairs, 2, features]`.
    fn of_tokens(&self, tokens: &[TokenizedPair], cx: &mut Context<'_>) -> Result<Array3<f32>, ModelError> {
        let lengths: Vec<usize> = tokens.iter().map(TokenizedPair::packed_len).collect();
        let size: usize = self.view_sizes().iter().sum();
        let mut all = Array3::zeros((tokens.len(), 2, size));
        for batch in plan_batches_by_length(&lengths, self.settings.token_budget) {
            let packed: Vec<&TokenizedPair> = batch.iter().filter_map(|&index| tokens.get(index)).collect();
            let states =
                tch::no_grad(|| Ok::<_, ModelError>(Vec::<f32>::try_from(&self.states(&packed)?.f_view([-1])?)?))?;
            for (&index, values) in batch.iter().zip(states.chunks_exact(2 * size)) {
                for (to, from) in all.index_axis_mut(ndarray::Axis(0), index).iter_mut().zip(values) {
                    *to = *from;
                }
            }
            cx.advance(batch.len() as u64)?;
        }
        Ok(all)
    }

    /// The states of a batch, `[2 * pairs, features]` in f32 on the CPU: A and B of each pair in turn.
    fn states(&self, pairs: &[&TokenizedPair]) -> Result<Tensor, ModelError> {
        let batch = PackedBatch::of_pairs(pairs, &self.network.config, self.network.device)?;
        let tables = self.network.tables(&batch, Rows::All)?;
        let last_rows = Tensor::f_from_slice(&batch.last_rows)?;
        let averages = averages::matrix(&batch.segments, self.settings.mean_tokens)?;
        let HiddenStatesSettings { last, mean, .. } = &self.settings;
        let (mut of_last, mut of_mean) = (Vec::new(), Vec::new());
        let layers = self.network.layers.len();
        let deepest = last.iter().chain(mean).copied().max().unwrap_or(0);
        let mut x = self.network.embed(&batch.tokens)?;
        let mode = ForwardMode::without_dropout(None);
        for layer in 0..deepest {
            x = self.network.layer(layer, &x, &mut &batch, &tables, mode)?;
            let depth = layer + 1;
            let wanted = [last, mean].map(|depths| depths.contains(&depth));
            if wanted == [false; 2] {
                continue;
            }
            // As transformers' hidden_states: the last layer's are those after the final norm.
            let state = if depth == layers { self.network.last_norm(&x)? } else { x.shallow_clone() };
            if wanted[0] {
                let rows = state.f_index_select(0, &last_rows.f_to_device(state.device())?)?;
                of_last.push(rows.f_to_kind(Kind::Float)?.f_to_device(tch::Device::Cpu)?);
            }
            if wanted[1] {
                let averages = averages.f_to_device(state.device())?;
                let means = averages.f_matmul(&state.f_to_kind(Kind::Float)?)?;
                of_mean.push(means.f_to_device(tch::Device::Cpu)?);
            }
        }
        of_last.extend(of_mean);
        Ok(Tensor::f_cat(&of_last, 1)?)
    }
}

impl Features for HiddenStates {
    type Error = ModelError;

    fn view_sizes(&self) -> Vec<usize> {
        let hidden = usize::try_from(self.network.config.hidden_size).unwrap_or(0);
        vec![hidden; self.settings.last.len() + self.settings.mean.len()]
    }

    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn screen(&mut self, pairs: &[Arc<Pair>]) -> Result<Vec<Screening>, ModelError> {
        Ok(self.tokenizer.screen_pairs(pairs)?)
    }

    fn features(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<Array3<f32>, ModelError> {
        let tokens = self.tokenizer.tokenize(pairs)?;
        self.of_tokens(&tokens, cx)
    }
}

/// A digest of everything that states depend on. It covers the first bytes of each tensor, in which trained models differ.
fn identity(
    weights: &Weights,
    config: &NetworkConfig,
    tokenizer: &PairTokenizer,
    settings: &HiddenStatesSettings,
    last: &[usize],
    mean: &[usize],
) -> Result<String, ModelError> {
    let mut hash = Sha256::new();
    let mut names: Vec<&str> = weights.names().collect();
    names.sort_unstable();
    for name in names {
        let tensor = weights.stored(name)?;
        hash.update(format!("{name} {:?} {:?}\n", tensor.dtype, tensor.shape));
        hash.update(tensor.bytes.get(..SAMPLE).unwrap_or(&tensor.bytes));
    }
    hash.update(format!("{config:?}\n"));
    let record = TextRecord::new(tokenizer)?;
    hash.update(format!("{:?} {}\n", record.text, record.tokenizer_sha256));
    let digest: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let HiddenStatesSettings { mean_tokens, precision, .. } = settings;
    Ok(format!(
        "hidden states of {digest} in {precision:?}: last token after layers {last:?}, means of {mean_tokens} tokens after layers {mean:?}"
    ))
}
