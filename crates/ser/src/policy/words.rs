//! The share of words of a list as a reward.

use std::collections::HashSet;
use std::convert::Infallible;

use ser_core::{Context, Message, Reward};

use crate::Error;

/// The share of an answer's words that are in a list; 0 for an answer without words.
///
/// Case and punctuation around a word do not count.
///
/// ```
/// use ser::{Context, Message, Reward, WordReward};
///
/// let mut reward = WordReward::new(["happy"])?;
/// let prompt = [Message::user("How are you?")];
/// let answers = [(&prompt[..], "Happy, very happy!"), (&prompt[..], "...")];
/// let rewards = reward.reward(&answers, &mut Context::silent())?;
/// assert_eq!(rewards, [2.0 / 3.0, 0.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct WordReward {
    words: HashSet<String>,
}

impl WordReward {
    /// Rewards these words.
    ///
    /// # Errors
    /// [`Error::Unusable`] without a word.
    pub fn new<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> Result<Self, Error> {
        let words = words.into_iter().map(|word| word.as_ref().trim().to_lowercase());
        let words: HashSet<String> = words.filter(|word| !word.is_empty()).collect();
        if words.is_empty() {
            return Err(Error::Unusable("reward.words is empty: name words to reward, or a reward model".to_owned()));
        }
        Ok(WordReward { words })
    }

    fn share(&self, answer: &str) -> f64 {
        let words = || {
            let bare =
                answer.split_whitespace().map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase());
            bare.filter(|word| !word.is_empty())
        };
        words().filter(|word| self.words.contains(word)).count() as f64 / words().count().max(1) as f64
    }
}

impl Reward for WordReward {
    type Error = Infallible;

    fn reward(&mut self, answers: &[(&[Message], &str)], _cx: &mut Context<'_>) -> Result<Vec<f64>, Infallible> {
        Ok(answers.iter().map(|(_, answer)| self.share(answer)).collect())
    }
}
