//! Means over the last rows of packed texts, as a matrix product.

use ser_libtorch::Segment;
use tch::Tensor;

use crate::ModelError;

/// The matrix `[texts, rows]` that multiplies the rows of a packed batch, `[rows, hidden]`, to the mean over each text's last `tokens` rows.
///
/// A text of a pair is its prompt's rows and its answer's. Where the answer is shorter than `tokens`, rows of the prompt count too, so
/// that a text's mean does not depend on how much of it the other text shares.
pub(super) fn matrix(segments: &[Segment], tokens: usize) -> Result<Tensor, ModelError> {
    let tokens = i64::try_from(tokens).unwrap_or(i64::MAX);
    let rows: i64 = segments.iter().map(Segment::rows).sum();
    let mut values = Vec::new();
    let mut texts = 0;
    for segment in segments {
        let answers =
            [(segment.start + segment.prompt, segment.a), (segment.start + segment.prompt + segment.a, segment.b)];
        for (start, length) in answers.into_iter().filter(|(_, length)| *length > 0) {
            let own = length.min(tokens);
            let of_prompt = segment.prompt.min(tokens - own);
            let mut row = vec![0.0_f32; usize::try_from(rows).unwrap_or(0)];
            let end_of_prompt = segment.start + segment.prompt;
            let chosen = (start + length - own..start + length).chain(end_of_prompt - of_prompt..end_of_prompt);
            for index in chosen {
                if let Some(value) = usize::try_from(index).ok().and_then(|index| row.get_mut(index)) {
                    *value = 1.0 / (own + of_prompt) as f32;
                }
            }
            values.extend(row);
            texts += 1;
        }
    }
    Ok(Tensor::f_from_slice(&values)?.f_view([texts, rows])?)
}
