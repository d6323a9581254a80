//! Rows to pairs, a module per kind of layout.

mod columns;
mod detect;
mod dialogue;
mod fields;
mod html;
mod messages;
mod prompt_columns;
mod scored;
mod summaries;
mod unread;
mod verdicts;

use ser_core::{Message, Pair, PairId, RawText, Side};

use detect::ID_COLUMNS;
pub(crate) use detect::{detect_layout, known_column, row_id, with_known_names};
pub(crate) use fields::{Row, column_names};
pub use html::html_to_text;
use messages::unread_fields;
#[cfg(feature = "parquet")]
pub(crate) use prompt_columns::PROMPT_COLUMNS;
pub(crate) use prompt_columns::{Prompt, take_prompt};

use std::mem::take;

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

/// Reads one row, and names the columns that no pair comes from.
pub(crate) fn read_row(
    layout: Layout,
    mut row: Row,
    settings: &ReadSettings,
) -> Result<(RowPairs, Vec<String>), RowProblem> {
    let by_columns = matches!(layout, Layout::HhRlhf | Layout::Columns | Layout::LlamaFactory | Layout::RewardBench);
    if let (Some(column), false) = (&settings.prompt_column, by_columns) {
        let problem = format!("the layout {layout} has its prompt in columns of its own");
        return Err(RowProblem::PromptColumn { column: column.clone(), problem });
    }
    let unread = |row: &Row, is_read: fn(&str) -> bool| -> Vec<String> {
        let columns = row.iter().filter(|(name, value)| !value.is_null() && !is_read(name));
        columns.map(|(name, _)| name.clone()).collect()
    };
    let mut others: Vec<String> = if by_columns {
        let fields = |(name, value)| unread_fields(value).into_iter().map(move |field| format!("{name}[].{field}"));
        row.iter().filter(|(name, _)| known_column(name).is_some()).flat_map(fields).collect()
    } else {
        unread(&row, |name| known_column(name).is_some())
    };
    let pairs = match layout {
        Layout::HhRlhf => columns::read_dialogues(&mut row, settings),
        Layout::Columns | Layout::LlamaFactory => columns::read_columns(&mut row, settings),
        Layout::RewardBench => columns::read_reward_bench(&mut row, settings),
        Layout::UltraFeedback => scored::read_ultra_feedback(take(&mut row), settings),
        Layout::Tldr => summaries::read_tldr(take(&mut row)),
        Layout::StackExchange => scored::read_stack_exchange(take(&mut row), settings),
        Layout::StackExchangePaired => scored::read_stack_exchange_paired(take(&mut row)),
        Layout::PandaLm => verdicts::read_pandalm(take(&mut row)),
        Layout::AutoJ => verdicts::read_autoj(take(&mut row)),
    }?;
    if by_columns {
        others.extend(unread(&row, |name| ID_COLUMNS.contains(&name)));
    }
    Ok((pairs, others))
}
