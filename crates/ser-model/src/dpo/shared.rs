//! The passes of DPO by several processes.

use ser_data::balance;
use ser_libtorch::ProcessGroup;
use tch::{Kind, Tensor};

use crate::ModelError;
use crate::language_model::{CausalLm, ForwardOptions};
use crate::parallel::{SharedModel, TextRequest, Work};
use crate::seeds::Seeds;
use crate::sft::{CausalExample, examples_of, options_of, places_of, request_of, share};
use crate::train::backward_scores;

impl CausalLm {
    /// Forward passes of all processes over pairs, chosen and rejected, and their backward passes. `loss` is the gradient of the
    /// loss by the log-probabilities of all answers, and what else is made of these.
    pub(super) fn shared_pair_passes<T>(
        &self,
        shared: &SharedModel,
        pairs: &[&[CausalExample; 2]],
        average: bool,
        options: ForwardOptions<'_>,
        loss: impl FnOnce(&[f32]) -> Result<(T, Vec<f32>), ModelError>,
    ) -> Result<T, ModelError> {
        let (request, mut tokens) = request_of(&texts_of(pairs), ranks_of(pairs, shared.size()), options);
        let (places, mine) = (places_of(&request, 0), own_pairs(pairs, &request, 0));
        let ranks = request.ranks.clone();
        shared.exchange(&Work::Dpo { request, average, backward: true }, |group| {
            group.broadcast(&mut tokens, 0)?;
            let rows = self.pair_rows(&mine, ForwardOptions { places: Some(&places), ..options })?;
            let sums = self.answer_log_probs(&rows, average)?;
            let all = sum_log_probs(group, Some(&sums), &ranks)?;
            let (result, gradient) = match loss(&all) {
                Ok((result, gradient)) => (Ok(result), gradient),
                // The others wait for a gradient.
                Err(error) => (Err(error), vec![0.0; all.len()]),
            };
            group.broadcast(&mut Tensor::from_slice(&gradient), 0)?;
            backward_scores(&sums, &of_rank(&gradient, &ranks, 0))?;
            rows.finish()?;
            Ok(result)
        })
    }

    /// Log-probabilities of the answers of pairs, each pair in a forward pass of its own, by all processes.
    pub(super) fn shared_log_probs(
        &self,
        shared: &SharedModel,
        pairs: &[&[CausalExample; 2]],
        average: bool,
    ) -> Result<Vec<f32>, ModelError> {
        let ranks = ranks_of(pairs, shared.size());
        let (request, mut tokens) = request_of(&texts_of(pairs), ranks, ForwardOptions::default());
        let mine = own_pairs(pairs, &request, 0);
        let ranks = request.ranks.clone();
        shared.exchange(&Work::Dpo { request, average, backward: false }, |group| {
            group.broadcast(&mut tokens, 0)?;
            sum_log_probs(group, self.log_probs_of_each(&mine, average)?.as_ref(), &ranks).map(Ok)
        })
    }

    /// The part of another rank than 0 in these two.
    pub(crate) fn dpo_part(
        &self,
        request: &TextRequest,
        average: bool,
        backward: bool,
        group: &ProcessGroup,
    ) -> Result<(), ModelError> {
        let (rank, ranks) = (group.rank(), &request.ranks);
        let texts = examples_of(group, request)?;
        let pairs: Vec<&[CausalExample; 2]> = texts.chunks_exact(2).filter_map(|pair| pair.try_into().ok()).collect();
        let mine = own_pairs(&pairs, request, rank);
        if !backward {
            let sums = self.log_probs_of_each(&mine, average)?;
            return sum_log_probs(group, sums.as_ref(), ranks).map(|_| ());
        }
        let (places, seeds) = (places_of(request, rank), request.seeds.as_ref().map(Seeds::from_state));
        let rows = match mine.is_empty() {
            true => None,
            false => Some(self.pair_rows(&mine, options_of(request, seeds.as_ref(), &places))?),
        };
        let sums = rows.as_ref().map(|rows| self.answer_log_probs(rows, average)).transpose()?;
        sum_log_probs(group, sums.as_ref(), ranks)?;
        let mut gradient = Tensor::f_zeros([ranks.len() as i64], (Kind::Float, tch::Device::Cpu))?;
        group.broadcast(&mut gradient, 0)?;
        if let (Some(sums), Some(rows)) = (sums, rows) {
            backward_scores(&sums, &of_rank(&Vec::<f32>::try_from(&gradient)?, ranks, rank))?;
            rows.finish()?;
        }
        Ok(())
    }

    /// [2 * pairs], each pair in a forward pass of its own; `None` without pairs.
    pub(super) fn log_probs_of_each(
        &self,
        pairs: &[&[CausalExample; 2]],
        average: bool,
    ) -> Result<Option<Tensor>, ModelError> {
        let options = ForwardOptions { repeated: true, ..ForwardOptions::default() };
        let of_pair = |pair: &&[CausalExample; 2]| {
            tch::no_grad(|| self.answer_log_probs(&self.pair_rows(&[*pair], options)?, average))
        };
        let sums = pairs.iter().map(of_pair).collect::<Result<Vec<_>, _>>()?;
        if sums.is_empty() { Ok(None) } else { Ok(Some(Tensor::f_cat(&sums, 0)?)) }
    }
}

/// Chosen and rejected in turn.
fn texts_of<'a>(pairs: &[&'a [CausalExample; 2]]) -> Vec<&'a CausalExample> {
    pairs.iter().flat_map(|pair| pair.iter()).collect()
}

/// The rank of each text: one for both of a pair.
fn ranks_of(pairs: &[&[CausalExample; 2]], size: usize) -> Vec<usize> {
    let tokens = |pair: &&[CausalExample; 2]| pair.iter().map(|text| text.tokens.len()).sum();
    let ranks = balance(&pairs.iter().map(tokens).collect::<Vec<usize>>(), size);
    ranks.into_iter().flat_map(|rank| [rank; 2]).collect()
}

/// The pairs of a rank.
fn own_pairs<'a>(pairs: &[&'a [CausalExample; 2]], request: &TextRequest, rank: usize) -> Vec<&'a [CausalExample; 2]> {
    let of_texts: Vec<&[CausalExample; 2]> = pairs.iter().flat_map(|pair| [*pair; 2]).collect();
    share(&of_texts, request, rank).into_iter().step_by(2).collect()
}

/// The numbers of a rank's texts.
fn of_rank(numbers: &[f32], ranks: &[usize], rank: usize) -> Vec<f32> {
    numbers.iter().zip(ranks).filter(|(_, of)| **of == rank).map(|(number, _)| *number).collect()
}

/// The log-probabilities of all texts, of which this process has computed those of its share.
fn sum_log_probs(group: &ProcessGroup, own: Option<&Tensor>, ranks: &[usize]) -> Result<Vec<f32>, ModelError> {
    let own = own.map(|own| Ok::<_, ModelError>(Vec::<f32>::try_from(&own.f_detach()?)?)).transpose()?;
    let mut own = own.unwrap_or_default().into_iter();
    let place = |rank: &usize| if *rank == group.rank() { own.next().unwrap_or(f32::NAN) } else { 0.0 };
    // The sum of a number and zeros is exact.
    let mut all = Tensor::from_slice(&ranks.iter().map(place).collect::<Vec<f32>>());
    group.all_reduce_sum(&mut all)?;
    Ok(Vec::<f32>::try_from(&all)?)
}
