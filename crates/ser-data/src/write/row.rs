//! The row of a preference.

use ser_core::{LearningStatus, Message, Origin, PairId, Preference, RawText, Role, Side};
use serde::ser::{Serialize, Serializer};

/// A row, with columns in the form in which the pair was read.
#[derive(serde::Serialize)]
pub(crate) struct Row<'a> {
    pub(crate) id: PairId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prompt: Option<Column<'a>>,
    pub(crate) chosen: Column<'a>,
    pub(crate) rejected: Column<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) margin: Option<f64>,
    pub(crate) weight: f64,
    pub(crate) probability: f64,
    pub(crate) origin: &'static str,
    #[serde(flatten)]
    pub(crate) lineage: Option<Lineage>,
}

/// The origin of a pseudo-label.
#[derive(serde::Serialize)]
pub(crate) struct Lineage {
    pub(crate) round: u32,
    pub(crate) status: LearningStatus,
    pub(crate) flipped: bool,
    pub(crate) score_chosen: f64,
    pub(crate) score_rejected: f64,
}

/// Text or messages.
#[derive(Clone, Copy)]
pub(crate) enum Column<'a> {
    Text(&'a str),
    Turns(&'a [Message]),
    /// One turn of the model.
    Answer(&'a str),
}

#[derive(serde::Serialize)]
struct Turn<'a> {
    role: Role,
    content: &'a str,
}

impl Serialize for Column<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Column::Text(text) => serializer.serialize_str(text),
            Column::Turns(turns) => turns.serialize(serializer),
            Column::Answer(content) => [Turn { role: Role::Assistant, content }].serialize(serializer),
        }
    }
}

impl Column<'_> {
    /// Whether a message has fields besides role and content.
    #[cfg(feature = "parquet")]
    pub(crate) fn has_extra_fields(&self) -> bool {
        matches!(self, Column::Turns(turns) if turns.iter().any(|turn| !turn.extra.is_empty()))
    }
}

impl<'a> Row<'a> {
    pub(crate) fn of(preference: &'a Preference) -> Self {
        let pair = &preference.pair;
        let [a, b] = &pair.responses;
        let (prompt, [a, b]) = match &pair.raw {
            RawText::Whole([a, b]) => (None, [Column::Text(a), Column::Text(b)]),
            RawText::Joined if pair.prompt.len() == 1 => {
                (pair.prompt.first().map(|turn| Column::Text(&turn.content)), [Column::Text(a), Column::Text(b)])
            }
            _ => {
                let answers = match pair.response_turns.as_deref() {
                    Some([a, b]) => [Column::Turns(a), Column::Turns(b)],
                    None => [Column::Answer(a), Column::Answer(b)],
                };
                (Some(Column::Turns(&pair.prompt)), answers)
            }
        };
        let (chosen, rejected) = if preference.preferred == Side::A { (a, b) } else { (b, a) };
        let (origin, lineage) = match &preference.origin {
            Origin::Human => ("human", None),
            Origin::Pseudo(label) => {
                let (a, b) = (label.scores.a.0, label.scores.b.0);
                let (score_chosen, score_rejected) = if preference.preferred == Side::A { (a, b) } else { (b, a) };
                let (round, status, flipped) = (label.iteration, label.status, label.flipped);
                ("pseudo", Some(Lineage { round, status, flipped, score_chosen, score_rejected }))
            }
        };
        let Preference { margin, weight, probability, .. } = *preference;
        Row { id: pair.id, prompt, chosen, rejected, margin, weight, probability, origin, lineage }
    }
}
