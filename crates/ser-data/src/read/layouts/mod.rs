//! Rows to pairs, a module per kind of layout.

mod arena;
mod columns;
mod conversations;
mod detect;
mod dialogue;
mod fields;
mod html;
mod scored;
mod summaries;
mod toolkits;
mod unpaired;
mod verdicts;

use ser_core::{Message, Pair, PairId, RawText, Side};

pub(crate) use detect::{KNOWN_COLUMNS, detect_layout};
pub(crate) use fields::{Row, column_names, turn};
pub use html::html_to_text;
pub(crate) use unpaired::unpaired;

use super::layout::Layout;
use super::row_problem::RowProblem;
use super::settings::ReadSettings;

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
    /// Whether the label contradicts the answers' scores.
    pub(crate) contradicted: bool,
}

impl LabelledPair {
    /// Answer A is the chosen one.
    pub(crate) fn new(prompt: Vec<Message>, responses: [String; 2], raw: RawText) -> Self {
        let pair = Pair { id: PairId(0), prompt, responses, raw };
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

    /// Takes by how much the chosen answer's score is over the rejected one's: it makes the margin, where scores do and the
    /// data has none, and under 0 it contradicts the label.
    fn with_gap(self, gap: Option<f64>, settings: &ReadSettings) -> Self {
        let contradicted = gap.is_some_and(|gap| gap < 0.0);
        let of_scores = || Some(settings.score_margin? * gap.filter(|gap| *gap > 0.0)?);
        LabelledPair { margin: self.margin.or_else(of_scores), contradicted, ..self }
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
    /// Answers without a score or a text.
    pub(crate) unscored: u64,
    /// Whether a column of text held a number or a truth value.
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

/// Reads one row.
pub(crate) fn read_row(layout: Layout, mut row: Row, settings: &ReadSettings) -> Result<RowPairs, RowProblem> {
    let values_as_text = fields::values_to_text(&mut row);
    let found = match layout {
        Layout::HhRlhf => columns::read_dialogues(row),
        Layout::Columns => columns::read_columns(row, settings),
        Layout::UltraFeedback => scored::read_ultra_feedback(row, settings),
        Layout::Tldr => summaries::read_tldr(row),
        Layout::StackExchange => scored::read_stack_exchange(row, settings),
        Layout::StackExchangePaired => scored::read_stack_exchange_paired(row),
        Layout::LlamaFactory if row.contains_key("output") && !row.contains_key("chosen") => {
            toolkits::read_ranked_outputs(row)
        }
        Layout::LlamaFactory => conversations::read_llama_factory(row),
        Layout::RewardBench => columns::read_reward_bench(row, settings),
        Layout::Nectar => scored::read_nectar(row, settings),
        Layout::LmsysArena => arena::read_lmsys_arena(row),
        Layout::OpenAiPreference => toolkits::read_openai(row),
        Layout::MsSwift => toolkits::read_ms_swift(row),
        Layout::MedicalGpt => toolkits::read_medical_gpt(row),
        Layout::PandaLm => verdicts::PANDALM.read(row, settings),
        Layout::AutoJ => verdicts::AUTOJ.read(row, settings),
        Layout::Shp => verdicts::SHP.read(row, settings),
        Layout::HelpSteer if row.contains_key("context") => verdicts::HELP_STEER_3.read(row, settings),
        Layout::HelpSteer => verdicts::HELP_STEER_2.read(row, settings),
        Layout::PkuSafeRlhf => verdicts::PKU_HELPFUL.read(row, settings),
        Layout::PkuSafeRlhfSafer => verdicts::PKU_SAFE.read(row, settings),
        Layout::WebGpt => verdicts::WEBGPT.read(row, settings),
    }?;
    Ok(RowPairs { values_as_text, ..found })
}
