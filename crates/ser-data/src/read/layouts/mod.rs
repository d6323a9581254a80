//! Rows to pairs, a module per kind of layout.

mod columns;
mod conversations;
mod detect;
mod dialogue;
mod fields;
mod html;
mod scored;
mod summaries;
mod verdicts;

use ser_core::{Message, Pair, PairId, RawText, Side};

#[cfg(feature = "parquet")]
pub(crate) use detect::KNOWN_COLUMNS;
pub(crate) use detect::detect_layout;
pub(crate) use fields::{Row, column_names, turn};
pub use html::html_to_text;

use super::row_problem::RowProblem;
use super::settings::{Layout, ReadSettings};

/// A pair with its label, before it has a number.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LabelledPair {
    /// Its id is to be set.
    pub(crate) pair: Pair,
    pub(crate) preferred: Side,
    pub(crate) margin: Option<f64>,
    /// Whether the two conversations had different prompts.
    pub(crate) prompts_differ: bool,
    /// Whether turns of one speaker in a row were joined.
    pub(crate) turns_joined: bool,
}

impl LabelledPair {
    /// Answer A is the chosen one.
    pub(crate) fn new(prompt: Vec<Message>, responses: [String; 2], raw: RawText) -> Self {
        let pair = Pair { id: PairId(0), prompt, responses, response_turns: None, raw };
        LabelledPair { pair, preferred: Side::A, margin: None, prompts_differ: false, turns_joined: false }
    }

    /// A prompt and two answers of plain text.
    pub(crate) fn text(prompt: String, chosen: String, rejected: String) -> Self {
        LabelledPair::new(vec![Message::user(prompt)], [chosen, rejected], RawText::Joined)
    }
}

/// What a row holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RowPairs {
    pub(crate) pairs: Vec<LabelledPair>,
    /// Comparisons without a winner.
    pub(crate) ties: u64,
    /// Pairs over the limit of one prompt.
    pub(crate) over_limit: u64,
}

impl From<LabelledPair> for RowPairs {
    fn from(pair: LabelledPair) -> Self {
        RowPairs { pairs: vec![pair], ..RowPairs::default() }
    }
}

impl RowPairs {
    /// A comparison without a winner.
    pub(crate) fn tie() -> Self {
        RowPairs { ties: 1, ..RowPairs::default() }
    }
}

/// Reads one row.
pub(crate) fn read_row(layout: Layout, row: Row, settings: &ReadSettings) -> Result<RowPairs, RowProblem> {
    match layout {
        Layout::HhRlhf => columns::read_dialogues(row),
        Layout::Columns => columns::read_columns(row, settings),
        Layout::UltraFeedback => scored::read_ultra_feedback(row, settings),
        Layout::Tldr => summaries::read_tldr(row),
        Layout::StackExchange => scored::read_stack_exchange(row, settings),
        Layout::StackExchangePaired => scored::read_stack_exchange_paired(row),
        Layout::LlamaFactory => conversations::read_llama_factory(row),
        Layout::PandaLm => verdicts::read_pandalm(row),
        Layout::AutoJ => verdicts::read_autoj(row),
        Layout::RewardBench => columns::read_reward_bench(row, settings),
    }
}
