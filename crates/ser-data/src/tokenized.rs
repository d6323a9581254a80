//! A pair as tokens: the shared prompt once, then the two answers.

use ser_core::Side;

/// A pair's tokens, packed as `[prompt | A | B]`.
///
/// The prompt is the longest common *token* prefix of the two whole texts, so it may extend into the answers or end
/// before the prompt's text does; prompt and answer together are always exactly the tokens of the text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenizedPair {
    /// The common prefix, P tokens.
    pub prompt: Vec<u32>,
    /// The rest of text A and of text B: A and B tokens, at least one each unless the text has no tokens.
    pub answers: [Vec<u32>; 2],
}

impl TokenizedPair {
    /// Splits two texts' tokens at the end of their longest common prefix, leaving at least one token for each answer.
    pub fn from_tokens(a: &[u32], b: &[u32]) -> Self {
        let limit = a.len().min(b.len()).saturating_sub(1);
        let shared = a.iter().zip(b).take(limit).take_while(|(x, y)| x == y).count();
        let (prompt, answer_a) = a.split_at(shared);
        let (_, answer_b) = b.split_at(shared);
        TokenizedPair { prompt: prompt.to_vec(), answers: [answer_a.to_vec(), answer_b.to_vec()] }
    }

    /// Cuts texts that are longer than `limit` tokens at their end. Whether there was one.
    pub fn truncate(&mut self, limit: usize) -> bool {
        let over = [Side::A, Side::B].into_iter().any(|side| self.text_len(side) > limit);
        if over {
            let [a, b] = [Side::A, Side::B].map(|side| {
                let mut text = self.text(side);
                text.truncate(limit);
                text
            });
            *self = TokenizedPair::from_tokens(&a, &b);
        }
        over
    }

    /// (P, A, B): tokens of the prompt and of each answer.
    pub fn lengths(&self) -> (usize, usize, usize) {
        let [a, b] = &self.answers;
        (self.prompt.len(), a.len(), b.len())
    }

    /// P + A + B: the pair's length in a packed batch.
    pub fn packed_len(&self) -> usize {
        let (p, a, b) = self.lengths();
        p + a + b
    }

    /// Tokens of one answer.
    pub fn answer(&self, side: Side) -> &[u32] {
        let [a, b] = &self.answers;
        match side {
            Side::A => a,
            Side::B => b,
        }
    }

    /// P + A or P + B: the length of one side's whole text.
    pub fn text_len(&self, side: Side) -> usize {
        self.prompt.len() + self.answer(side).len()
    }

    /// Tokens of one side's whole text.
    pub fn text(&self, side: Side) -> Vec<u32> {
        [self.prompt.as_slice(), self.answer(side)].concat()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_shared_prefix_leaves_a_token_to_each_answer() {
        let pair = TokenizedPair::from_tokens(&[1, 2, 3], &[1, 2, 3, 4]);
        assert_eq!(pair.prompt, [1, 2]);
        assert_eq!(pair.answers, [vec![3], vec![3, 4]]);
        assert_eq!((pair.lengths(), pair.packed_len()), ((2, 1, 2), 5));
        assert_eq!((pair.text_len(Side::A), pair.text_len(Side::B)), (3, 4));
    }

    #[test]
    fn a_text_without_tokens_has_an_empty_answer() {
        let pair = TokenizedPair::from_tokens(&[], &[1]);
        assert_eq!((pair.lengths(), pair.answers), ((0, 0, 1), [vec![], vec![1]]));
    }

    proptest! {
        #[test]
        fn texts_come_back_and_the_prefix_is_longest(
            a in prop::collection::vec(0u32..3, 1..12), b in prop::collection::vec(0u32..3, 1..12),
        ) {
            let pair = TokenizedPair::from_tokens(&a, &b);
            prop_assert_eq!(pair.text(Side::A), a.clone());
            prop_assert_eq!(pair.text(Side::B), b.clone());
            let [x, y] = &pair.answers;
            prop_assert!(!x.is_empty() && !y.is_empty());
            prop_assert!(x[0] != y[0] || x.len() == 1 || y.len() == 1);
            let mirrored = TokenizedPair::from_tokens(&b, &a);
            prop_assert_eq!(mirrored.prompt, pair.prompt.clone());
            prop_assert_eq!(&mirrored.answers[0], y);
        }
    }
}
