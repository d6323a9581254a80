//! A labelled pair, and the origin of its label.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{LearningStatus, Pair, PairScores, Side};

/// The lineage of a pseudo-label: why a pair was trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PseudoLabel {
    /// The iteration that made it, from 1.
    #[serde(alias = "round")]
    pub iteration: u32,
    /// The raw scores it was made from.
    pub scores: PairScores,
    /// The status by which it was selected.
    pub status: LearningStatus,
    /// Whether it contradicts the label of this pair in the iteration before; false for a first label.
    pub flipped: bool,
}

/// The origin of a label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A person.
    Human,
    /// The reward model itself.
    Pseudo(PseudoLabel),
}

/// A pair with its label: the side that is better.
#[derive(Clone, Debug, PartialEq)]
pub struct Preference {
    /// The pair.
    pub pair: Arc<Pair>,
    /// The better answer.
    pub preferred: Side,
    /// The origin of the label.
    pub origin: Origin,
    /// Weight in the loss, 1 by default; at least 0. A pair of weight 0.5 counts half in the gradient of its optimizer
    /// step, whatever the batch size (see [`PairLoss`](crate::PairLoss)).
    pub weight: f64,
    /// By how much the preferred answer should score higher, in units of raw scores (Llama 2's margin). It comes from the
    /// data; a pseudo-label has the mean margin of the labelled pairs. `None`: the margin of the loss.
    pub margin: Option<f64>,
    /// Soft label: the probability that `preferred` is the better answer; 1 for a hard label.
    pub probability: f64,
}

impl Preference {
    /// A hard label with weight 1 from a person.
    pub fn human(pair: Arc<Pair>, preferred: Side) -> Self {
        Preference { pair, preferred, origin: Origin::Human, weight: 1.0, margin: None, probability: 1.0 }
    }

    /// A hard label with weight 1 from the reward model itself.
    pub fn pseudo(pair: Arc<Pair>, preferred: Side, label: PseudoLabel) -> Self {
        Preference { origin: Origin::Pseudo(label), ..Preference::human(pair, preferred) }
    }

    /// The better answer's text.
    pub fn chosen(&self) -> &str {
        self.pair.response(self.preferred)
    }

    /// The worse answer's text.
    pub fn rejected(&self) -> &str {
        self.pair.response(self.preferred.other())
    }
}
