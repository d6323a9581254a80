//! Converts rows to pairs; one module per kind of layout.

mod arena;
mod columns;
mod detect;
mod dialogue;
mod fields;
mod html;
mod last_round;
mod messages;
mod prompt_columns;
mod scored;
mod summaries;
mod toolkits;
mod unpaired;
mod unread;
mod verdicts;

use ser_core::{Message, Pair, PairId, RawText, Side};

pub(crate) use detect::ID_COLUMNS;
pub(crate) use detect::{detect_layout, known_column, row_id, with_known_names};
pub(crate) use fields::{Row, column_names, values_to_text};
pub use html::html_to_text;
use messages::unread_fields;
#[cfg(feature = "parquet")]
pub(crate) use prompt_columns::PROMPT_COLUMNS;
pub(crate) use prompt_columns::{Prompt, take_prompt};
pub(crate) use unpaired::unpaired;

use std::mem::take;

use super::layout::Layout;
use super::settings::ReadSettings;
use crate::RowProblem;

/// A pair with its label, before it has an id.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LabelledPair {
    /// The pair; its id is set later.
    pub(crate) pair: Pair,
    pub(crate) preferred: Side,
    pub(crate) margin: Option<f64>,
    /// Whether the two conversations had different prompts.
    pub(crate) prompts_differ: bool,
    /// Whether consecutive turns of one speaker were joined.
    pub(crate) turns_joined: bool,
    /// Whether the label contradicts the answers' scores.
    pub(crate) contradicted: bool,
}

impl LabelledPair {
    /// Answer A is the chosen one.
    pub(crate) fn new(prompt: Vec<Message>, responses: [String; 2], raw: RawText) -> Self {
        let pair = Pair { id: PairId(0), prompt, responses, response_turns: None, raw };
        LabelledPair {
            pair,
            preferred: Side::A,
            margin: None,
            prompts_differ: false,
            turns_joined: false,
            contradicted: false,
        }
    }

    /// A prompt and two answers of plain text.
    pub(crate) fn text(prompt: String, chosen: String, rejected: String) -> Self {
        LabelledPair::new(vec![Message::user(prompt)], [chosen, rejected], RawText::Joined)
    }

    /// Applies the difference between the chosen answer's score and the rejected one's: it gives the margin, if scores
    /// give margins and the data has none, and below 0 it contradicts the label.
    fn with_gap(self, gap: Option<f64>, settings: &ReadSettings) -> Self {
        let contradicted = gap.is_some_and(|gap| gap < 0.0);
        let of_scores = || Some(settings.score_margin? * gap.filter(|gap| *gap > 0.0)?);
        LabelledPair { margin: self.margin.or_else(of_scores), contradicted, ..self }
    }
}

/// The contents of a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RowPairs {
    pub(crate) pairs: Vec<LabelledPair>,
    /// Comparisons without a winner.
    pub(crate) ties: u64,
    /// Pairs over the limit per prompt.
    pub(crate) over_limit: u64,
    /// Answers without a score or a text.
    pub(crate) unscored: u64,
    /// Whether a column of text had a number or a truth value.
    pub(crate) values_as_text: bool,
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

/// Reads one row and names the columns that no pair uses.
pub(crate) fn read_row(
    layout: Layout,
    mut row: Row,
    settings: &ReadSettings,
) -> Result<(RowPairs, Vec<String>), RowProblem> {
    let by_columns = matches!(
        layout,
        Layout::HhRlhf | Layout::Columns | Layout::LlamaFactory | Layout::RewardBench | Layout::MedicalGpt
    );
    let values_as_text = values_to_text(&mut row);
    if let (Some(column), false) = (&settings.prompt_column, by_columns) {
        let problem = format!("the layout {layout} has separate columns for its prompt");
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
    let mut pairs = match layout {
        Layout::HhRlhf => columns::read_dialogues(&mut row, settings),
        Layout::LlamaFactory if row.contains_key("output") && !row.contains_key("chosen") => {
            toolkits::read_ranked_outputs(&mut row, settings)
        }
        Layout::Columns | Layout::LlamaFactory => columns::read_columns(&mut row, settings),
        Layout::MedicalGpt => toolkits::read_medical_gpt(&mut row, settings),
        Layout::RewardBench => columns::read_reward_bench(&mut row, settings),
        Layout::UltraFeedback => scored::read_ultra_feedback(take(&mut row), settings),
        Layout::Tldr => summaries::read_tldr(take(&mut row)),
        Layout::StackExchange => scored::read_stack_exchange(take(&mut row), settings),
        Layout::StackExchangePaired => scored::read_stack_exchange_paired(take(&mut row)),
        Layout::Nectar => scored::read_nectar(take(&mut row), settings),
        Layout::LmsysArena => arena::read_lmsys_arena(take(&mut row)),
        Layout::OpenAiPreference => toolkits::read_openai(take(&mut row)),
        Layout::MsSwift => toolkits::read_ms_swift(take(&mut row)),
        Layout::PandaLm => verdicts::PANDALM.read(take(&mut row), settings),
        Layout::AutoJ => verdicts::AUTOJ.read(take(&mut row), settings),
        Layout::Shp => verdicts::SHP.read(take(&mut row), settings),
        Layout::HelpSteer if row.contains_key("context") => verdicts::HELP_STEER_3.read(take(&mut row), settings),
        Layout::HelpSteer => verdicts::HELP_STEER_2.read(take(&mut row), settings),
        Layout::PkuSafeRlhf => verdicts::PKU_HELPFUL.read(take(&mut row), settings),
        Layout::PkuSafeRlhfSafer => verdicts::PKU_SAFE.read(take(&mut row), settings),
        Layout::WebGpt => verdicts::WEBGPT.read(take(&mut row), settings),
    }?;
    if settings.last_round_only {
        pairs.pairs.iter_mut().for_each(|pair| last_round::keep(&mut pair.pair));
    }
    if by_columns {
        others.extend(unread(&row, |name| ID_COLUMNS.contains(&name)));
    }
    Ok((RowPairs { values_as_text, ..pairs }, others))
}
