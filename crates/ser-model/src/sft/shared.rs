//! The passes of SFT by several processes, and texts among processes.

use ser_data::balance;
use ser_libtorch::ProcessGroup;
use tch::{Kind, Tensor};

use super::example::CausalExample;
use super::metrics::TokenMetrics;
use crate::ModelError;
use crate::language_model::{CausalLm, ForwardOptions};
use crate::network::BatchRows;
use crate::parallel::{TextRequest, Work};
use crate::seeds::Seeds;
use crate::train::Metrics;

impl CausalLm {
    /// [`token_metrics`](Self::token_metrics) of texts that all processes share, if there are several.
    pub(super) fn token_metrics_of_all(
        &self,
        texts: &[&CausalExample],
        weight: Option<f64>,
        options: ForwardOptions<'_>,
    ) -> Result<TokenMetrics, ModelError> {
        let Some(shared) = &self.shared else { return self.token_metrics(texts, weight, options) };
        let weights: Vec<usize> = texts.iter().map(|text| text.tokens.len()).collect();
        let (request, mut tokens) = request_of(texts, balance(&weights, shared.size()), options);
        let places = places_of(&request, 0);
        let mine = share(texts, &request, 0);
        shared.exchange(&Work::Sft { request, weight }, |group| {
            group.broadcast(&mut tokens, 0)?;
            let options = ForwardOptions { places: Some(&places), ..options };
            sum_metrics(group, self.token_metrics(&mine, weight, options)?).map(Ok)
        })
    }

    /// The part of another rank than 0 in [`token_metrics_of_all`](Self::token_metrics_of_all).
    pub(crate) fn sft_part(
        &self,
        request: &TextRequest,
        weight: Option<f64>,
        group: &ProcessGroup,
    ) -> Result<(), ModelError> {
        let texts = examples_of(group, request)?;
        let mine = share(&texts.iter().collect::<Vec<_>>(), request, group.rank());
        let (places, seeds) = (places_of(request, group.rank()), request.seeds.as_ref().map(Seeds::from_state));
        let options = options_of(request, seeds.as_ref(), &places);
        let metrics = match (mine.is_empty(), weight) {
            (true, _) => TokenMetrics::default(),
            (false, Some(_)) => self.token_metrics(&mine, weight, options)?,
            (false, None) => tch::no_grad(|| self.token_metrics(&mine, None, options))?,
        };
        sum_metrics(group, metrics).map(|_| ())
    }
}

/// The sums of all processes, added up in the order of their ranks.
fn sum_metrics(group: &ProcessGroup, own: TokenMetrics) -> Result<TokenMetrics, ModelError> {
    let mut all = TokenMetrics::default();
    for metrics in group.all_gather(&Tensor::from_slice(&<[f64; 4]>::from(own)))? {
        let numbers = Vec::<f64>::try_from(&metrics)?;
        all.add(&<[f64; 4]>::try_from(numbers).unwrap_or([f64::NAN; 4]).into());
    }
    Ok(all)
}

/// A request to compute texts, of which each has a rank, and the texts' tokens.
pub(crate) fn request_of(
    texts: &[&CausalExample],
    ranks: Vec<usize>,
    options: ForwardOptions<'_>,
) -> (TextRequest, Tensor) {
    let tokens: Vec<i64> = texts.iter().flat_map(|text| &text.tokens).map(|&token| i64::from(token)).collect();
    let request = TextRequest {
        texts: texts.iter().map(|text| (text.tokens.len(), text.loss_ranges.clone())).collect(),
        ranks,
        seeds: options.dropout.map(Seeds::state),
        checkpointing: options.checkpointing,
    };
    (request, Tensor::from_slice(&tokens))
}

/// Receives the texts of a request.
pub(crate) fn examples_of(group: &ProcessGroup, request: &TextRequest) -> Result<Vec<CausalExample>, ModelError> {
    let total: usize = request.texts.iter().map(|(tokens, _)| tokens).sum();
    let mut tokens = Tensor::f_zeros([total as i64], (Kind::Int64, tch::Device::Cpu))?;
    group.broadcast(&mut tokens, 0)?;
    let tokens = Vec::<i64>::try_from(&tokens)?;
    let mut rest = tokens.iter().map(|&token| u32::try_from(token).unwrap_or(u32::MAX));
    let example = |(count, loss_ranges): &(usize, Vec<_>)| CausalExample {
        tokens: rest.by_ref().take(*count).collect(),
        loss_ranges: loss_ranges.clone(),
    };
    Ok(request.texts.iter().map(example).collect())
}

/// The options of a pass that rank 0 asks for.
pub(crate) fn options_of<'a>(
    request: &TextRequest,
    dropout: Option<&'a Seeds>,
    places: &'a BatchRows,
) -> ForwardOptions<'a> {
    ForwardOptions { dropout, checkpointing: request.checkpointing, repeated: true, places: Some(places) }
}

/// Of things that a request has ranks for, those of one rank.
pub(crate) fn share<T: Copy>(all: &[T], request: &TextRequest, rank: usize) -> Vec<T> {
    all.iter().zip(&request.ranks).filter(|(_, of)| **of == rank).map(|(one, _)| *one).collect()
}

/// The places of a rank's rows in the batch of all texts.
pub(crate) fn places_of(request: &TextRequest, rank: usize) -> BatchRows {
    let rows: Vec<(i64, i64)> = request
        .texts
        .iter()
        .map(|(tokens, loss_ranges)| {
            // As in `answer_rows`: rows before the first token that carries loss leave the last layer no more.
            let mut positions = loss_ranges.iter().flat_map(|range| range.start.max(1)..range.end.min(*tokens));
            let first = positions.next().unwrap_or(1);
            let last = positions.last().unwrap_or(first);
            (last as i64, (last + 1 - first) as i64)
        })
        .collect();
    BatchRows::of_share(&rows, |i| request.ranks.get(i) == Some(&rank))
}
