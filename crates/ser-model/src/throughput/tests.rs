use ser_core::ndarray::{Array2, ArrayView2};
use ser_core::{LossOutput, PairTarget, Side, loss_fn};
use ser_data::{TemplateKind, TextSettings};

use super::*;
use crate::language_model::golden::golden;
use crate::{LoraSettings, RewardModelSettings, TrainingSettings};

fn settings() -> RewardModelSettings {
    let text =
        TextSettings { template: TemplateKind::Raw, append_eos: false, max_length: None, ..TextSettings::default() };
    let training = TrainingSettings { epochs: 1000, batch_size: 2, ..TrainingSettings::default() };
    RewardModelSettings { text, training, ..RewardModelSettings::default() }
}

fn sums(counts: &[Counts]) -> (u64, u64) {
    counts.iter().fold((0, 0), |(tokens, flops), count| (tokens + count.tokens, flops + count.flops))
}

#[test]
fn scoring_counts_whole_passes() {
    let (folder, _, pairs) = golden("llama");
    let mut model = RewardModel::from_folder(&folder, &settings(), Device::cpu()).unwrap();
    let (tokens, flops) = sums(&model.counts(&pairs, false).unwrap());
    let found = scoring_throughput(&mut model, Device::cpu(), &pairs, 0.05).unwrap();
    let passes = found.pairs / pairs.len() as u64;
    assert!(passes >= 1 && found.seconds >= 0.05, "{found:?}");
    assert_eq!(
        (found.pairs, found.tokens, found.flops),
        (passes * pairs.len() as u64, passes * tokens, passes * flops)
    );
    assert_eq!(found.pairs_per_s(), found.pairs as f64 / found.seconds);
    assert!(scoring_throughput(&mut model, Device::cpu(), &[], 0.0).is_err());
}

fn hinge(scores: ArrayView2<'_, f64>, _: &[PairTarget]) -> Result<LossOutput, BoxError> {
    Ok(LossOutput { value: 0.0, gradient: Array2::zeros(scores.dim()) })
}

/// One measured step takes a batch, whose counts include the backward pass through the layers from the adapter's on.
#[test]
fn a_training_step_counts_its_batch() {
    let (folder, _, pairs) = golden("llama");
    let layers = RewardModel::from_folder(&folder, &settings(), Device::cpu()).unwrap().config().layers;
    for top in [None, Some(1)] {
        let lora = LoraSettings { layers: top, ..LoraSettings::default() };
        let mut model =
            RewardModel::from_folder(&folder, &RewardModelSettings { lora, ..settings() }, Device::cpu()).unwrap();
        let data: Vec<Preference> = pairs[..2].iter().map(|p| Preference::human(p.clone(), Side::A)).collect();
        let (tokens, flops) = sums(&model.counts(&pairs[..2], true).unwrap());
        let config = model.config();
        let lowest = top.map_or(0, |top| (layers - top) as usize);
        let by_hand: u64 = model
            .tokenizer()
            .tokenize(&pairs[..2])
            .unwrap()
            .iter()
            .map(|pair| config.forward_flops(pair) + config.backward_flops(lowest, pair))
            .sum();
        assert_eq!(flops, by_hand);
        let found = reward_training_throughput(&mut model, Device::cpu(), &data, &loss_fn(hinge), 0, 0.0).unwrap();
        assert_eq!((found.pairs, found.tokens, found.flops), (2, tokens, flops));
    }
}
