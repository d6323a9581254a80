//! The layouts of rows, by name.

use serde::{Deserialize, Serialize};

use crate::DataError;

/// The layout of a file's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Layout {
    /// `chosen` and `rejected` are whole dialogues, written out as `\n\nHuman: …\n\nAssistant: …` (HH-RLHF: base,
    /// online and rejection-sampled).
    HhRlhf,
    /// `chosen`, `rejected` and usually `prompt` are text, a message or a list of messages (`role`, `content`): TRL's
    /// columns, and UltraFeedback binarized. The prompt may also be in `question`, `query`, `input`, `user`, `post`,
    /// `text`, `context`, `messages` and the like, in any case of letters, with earlier turns in `history` and a system
    /// prompt in `system`. `margin` is read; if `score_chosen` and `score_rejected` are equal the row is a tie.
    Columns,
    /// `instruction` and `completions[]` with `response` and `overall_score` (UltraFeedback, original): a pair of every
    /// two completions with unequal scores.
    UltraFeedback,
    /// `info.post`, `info.title`, `info.subreddit`, `summaries[].text` and `choice` (TL;DR, summarize-from-feedback).
    Tldr,
    /// `question` and `answers[]` with `text` and `pm_score` (StackExchange preferences), HTML: a pair of every two
    /// answers with unequal scores.
    StackExchange,
    /// `question`, `response_j` and `response_k`; the first is better (StackExchange paired).
    StackExchangePaired,
    /// `conversations[]`, `chosen` and `rejected` with `from` and `value` or `role` and `content`; or `instruction`,
    /// `input`, `history`, `chosen`, `rejected`, read as [`Layout::Columns`]; or the older form: `instruction`, `input`
    /// and `output`, a list of the better and the worse answer (LLaMA-Factory).
    LlamaFactory,
    /// `instruction`, `input`, `response1`, `response2` and `annotator1` to `annotator3`, decided by majority
    /// (PandaLM).
    #[serde(rename = "pandalm")]
    PandaLm,
    /// `prompt`, `response 1`, `response 2` and `label`: 0 the first, 1 the second, 2 a tie (Auto-J).
    #[serde(rename = "autoj")]
    AutoJ,
    /// `prompt`, `chosen` and `rejected` as text (RewardBench), or as lists of texts (RewardBench 2): a pair of every
    /// chosen and every rejected text.
    RewardBench,
    /// `history` (a Reddit post), `human_ref_A`, `human_ref_B` and `labels`: 1 the first, 0 the second (SHP, SHP-2).
    Shp,
    /// `prompt`, `response_1`, `response_2` and `preference_strength`, from -3 (the first much better) to 3 (the
    /// second), 0 a tie (HelpSteer2-Preference); or `context`, `response1`, `response2` and `overall_preference`
    /// (HelpSteer3).
    #[serde(rename = "help_steer")]
    HelpSteer,
    /// `prompt`, a dialogue, and `answers[]` with `answer` and `rank`, 1 the best: a pair of every two answers of
    /// unequal rank (Nectar).
    Nectar,
    /// `prompt`, `response_0`, `response_1` and `better_response_id`, the more helpful one (PKU-SafeRLHF).
    #[serde(rename = "pku_safe_rlhf")]
    PkuSafeRlhf,
    /// The same rows by `safer_response_id`, the less harmful one. It is never detected, only named.
    #[serde(rename = "pku_safe_rlhf_safer")]
    PkuSafeRlhfSafer,
    /// `question.full_text`, `answer_0`, `answer_1`, `score_0` and `score_1`; equal scores are a tie (WebGPT
    /// comparisons).
    #[serde(rename = "webgpt")]
    WebGpt,
    /// `prompt`, `response_a` and `response_b`, lists of turns written as JSON, with `winner_model_a`, `winner_model_b`
    /// and `winner_tie`; or `conversation_a`, `conversation_b` and `winner` (LMSYS Chatbot Arena).
    LmsysArena,
    /// `input.messages`, `preferred_output` and `non_preferred_output` (OpenAI's preference fine-tuning).
    #[serde(rename = "openai_preference")]
    OpenAiPreference,
    /// `messages`, which ends with the better answer, and `rejected_response` or `rejected_messages` (ms-swift).
    MsSwift,
    /// `question`, `response_chosen`, `response_rejected`, and `system` and `history` (MedicalGPT, DPO-En-Zh).
    #[serde(rename = "medical_gpt")]
    MedicalGpt,
}

impl Layout {
    /// Every layout.
    pub const ALL: [Layout; 20] = [
        Layout::HhRlhf,
        Layout::Columns,
        Layout::UltraFeedback,
        Layout::Tldr,
        Layout::StackExchange,
        Layout::StackExchangePaired,
        Layout::LlamaFactory,
        Layout::PandaLm,
        Layout::AutoJ,
        Layout::RewardBench,
        Layout::Shp,
        Layout::HelpSteer,
        Layout::Nectar,
        Layout::PkuSafeRlhf,
        Layout::PkuSafeRlhfSafer,
        Layout::WebGpt,
        Layout::LmsysArena,
        Layout::OpenAiPreference,
        Layout::MsSwift,
        Layout::MedicalGpt,
    ];

    /// The name in settings and flags.
    pub fn as_str(self) -> &'static str {
        match self {
            Layout::HhRlhf => "hh_rlhf",
            Layout::Columns => "columns",
            Layout::UltraFeedback => "ultra_feedback",
            Layout::Tldr => "tldr",
            Layout::StackExchange => "stack_exchange",
            Layout::StackExchangePaired => "stack_exchange_paired",
            Layout::LlamaFactory => "llama_factory",
            Layout::PandaLm => "pandalm",
            Layout::AutoJ => "autoj",
            Layout::RewardBench => "reward_bench",
            Layout::Shp => "shp",
            Layout::HelpSteer => "help_steer",
            Layout::Nectar => "nectar",
            Layout::PkuSafeRlhf => "pku_safe_rlhf",
            Layout::PkuSafeRlhfSafer => "pku_safe_rlhf_safer",
            Layout::WebGpt => "webgpt",
            Layout::LmsysArena => "lmsys_arena",
            Layout::OpenAiPreference => "openai_preference",
            Layout::MsSwift => "ms_swift",
            Layout::MedicalGpt => "medical_gpt",
        }
    }
}

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Layout {
    type Err = DataError;

    fn from_str(name: &str) -> Result<Self, DataError> {
        let found = Layout::ALL.into_iter().find(|layout| layout.as_str() == name);
        found.ok_or_else(|| DataError::UnknownLayout { name: name.to_string(), known: known() })
    }
}

/// The names of all layouts, for messages.
fn known() -> String {
    let names: Vec<&str> = Layout::ALL.iter().map(|layout| layout.as_str()).collect();
    match names.split_last() {
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_flags_and_errors_have_the_same_names() {
        let error = "none".parse::<Layout>().unwrap_err().to_string();
        for layout in Layout::ALL {
            assert_eq!(serde_json::to_value(layout).unwrap(), layout.as_str());
            assert_eq!(layout.as_str().parse::<Layout>().unwrap(), layout);
            assert!(error.contains(layout.as_str()), "{error}");
        }
    }
}
