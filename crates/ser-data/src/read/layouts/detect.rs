//! Detects the layout from the first row.

use serde_json::Value;

use super::dialogue::is_dialogue;
use super::fields::Row;
use super::prompt_columns::{HISTORY, PROMPT_COLUMNS, SYSTEM_COLUMNS};
use crate::read::layout::Layout;

/// Columns of some layout, besides those of prompts and ids.
const KNOWN_COLUMNS: [&str; 52] = [
    "annotator1",
    "annotator2",
    "annotator3",
    "answer_0",
    "answer_1",
    "answers",
    "better_response_id",
    "choice",
    "chosen",
    "completions",
    "conversation_a",
    "conversation_b",
    "human_ref_A",
    "human_ref_B",
    "info",
    "label",
    "labels",
    "margin",
    "non_preferred_output",
    "output",
    "overall_preference",
    "preference_strength",
    "preferred_output",
    "rejected",
    "rejected_messages",
    "rejected_response",
    "response 1",
    "response 2",
    "response1",
    "response2",
    "response_0",
    "response_1",
    "response_2",
    "response_a",
    "response_b",
    "response_chosen",
    "response_j",
    "response_k",
    "response_rejected",
    "safer_response_id",
    "score_0",
    "score_1",
    "score_A",
    "score_B",
    "score_chosen",
    "score_rejected",
    "subset",
    "summaries",
    "winner",
    "winner_model_a",
    "winner_model_b",
    "winner_tie",
];

/// Columns with the row's identifier; the first one present is used.
pub(crate) const ID_COLUMNS: [&str; 3] = ["id", "pair_id", "uuid"];

/// The name of a column of some layout, which a file may write in another case. Most other columns of column-oriented
/// files are not read.
pub(crate) fn known_column(name: &str) -> Option<&'static str> {
    let known = [&KNOWN_COLUMNS[..], &PROMPT_COLUMNS, &SYSTEM_COLUMNS, &[HISTORY], &ID_COLUMNS];
    known.into_iter().flatten().find(|known| known.eq_ignore_ascii_case(name)).copied()
}

/// A row with its known columns in lower case: `Prompt` becomes `prompt`, unless the row has both.
pub(crate) fn with_known_names(mut row: Row) -> Row {
    let capital = |name: &&String| name.chars().any(|c| c.is_ascii_uppercase());
    let renamed: Vec<(String, &str)> =
        row.keys().filter(capital).filter_map(|name| known_column(name).map(|known| (name.clone(), known))).collect();
    for (name, known) in renamed {
        if !row.contains_key(known)
            && let Some(value) = row.remove(&name)
        {
            row.insert(known.to_string(), value);
        }
    }
    row
}

/// The row's identifier: text or a number.
pub(crate) fn row_id(row: &Row) -> Option<Value> {
    let ids = ID_COLUMNS.iter().filter_map(|name| row.get(*name));
    ids.into_iter().find(|value| value.is_string() || value.is_number()).cloned()
}

/// Columns that identify a layout; all of them must be present.
const MARKS: [(Layout, &[&str]); 20] = [
    (Layout::Tldr, &["info", "summaries", "choice"]),
    (Layout::UltraFeedback, &["instruction", "completions"]),
    (Layout::StackExchange, &["question", "answers"]),
    (Layout::StackExchangePaired, &["question", "response_j", "response_k"]),
    (Layout::LlamaFactory, &["conversations", "chosen", "rejected"]),
    (Layout::LlamaFactory, &["instruction", "chosen", "rejected"]),
    (Layout::PandaLm, &["response1", "response2", "annotator1"]),
    (Layout::AutoJ, &["response 1", "response 2", "label"]),
    (Layout::Shp, &["history", "human_ref_A", "human_ref_B", "labels"]),
    (Layout::HelpSteer, &["prompt", "response_1", "response_2", "preference_strength"]),
    (Layout::HelpSteer, &["context", "response1", "response2", "overall_preference"]),
    (Layout::Nectar, &["prompt", "answers"]),
    (Layout::PkuSafeRlhf, &["prompt", "response_0", "response_1", "better_response_id"]),
    (Layout::WebGpt, &["question", "answer_0", "answer_1", "score_0", "score_1"]),
    (Layout::LmsysArena, &["prompt", "response_a", "response_b", "winner_model_a"]),
    (Layout::LmsysArena, &["conversation_a", "conversation_b", "winner"]),
    (Layout::OpenAiPreference, &["input", "preferred_output", "non_preferred_output"]),
    (Layout::MsSwift, &["messages", "rejected_response"]),
    (Layout::MsSwift, &["messages", "rejected_messages"]),
    (Layout::MedicalGpt, &["question", "response_chosen", "response_rejected"]),
];

/// The layout of a row; `Columns` if nothing indicates another, so that errors name the missing columns.
pub(crate) fn detect_layout(row: &Row) -> Layout {
    if let Some((layout, _)) = MARKS.iter().find(|(_, columns)| columns.iter().all(|name| row.contains_key(*name))) {
        return *layout;
    }
    // `output` is text in instruction data; a list ranks answers.
    if row.contains_key("instruction") && row.get("output").is_some_and(holds_list) {
        return Layout::LlamaFactory;
    }
    let dialogue = |name| row.get(name).and_then(Value::as_str).is_some_and(is_dialogue);
    let texts = |value: &Value| match value {
        Value::String(_) => true,
        Value::Array(items) => items.iter().all(Value::is_string),
        _ => false,
    };
    let no_prompt = row.get("prompt").is_none_or(Value::is_null);
    if no_prompt && dialogue("chosen") && dialogue("rejected") {
        Layout::HhRlhf
    } else if !no_prompt && row.contains_key("subset") && row.get("chosen").is_some_and(texts) {
        Layout::RewardBench
    } else {
        Layout::Columns
    }
}

/// Whether a value is a list, or the text of one, as in a table.
fn holds_list(value: &Value) -> bool {
    value.is_array() || value.as_str().is_some_and(|text| text.starts_with('[') && text.ends_with(']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_determine_the_layout() {
        for (json, layout) in [
            (
                r#"{"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}"#,
                Layout::HhRlhf,
            ),
            (r#"{"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "x", "prompt": null}"#, Layout::Columns),
            (r#"{"prompt": "q", "chosen": [], "rejected": [], "score_chosen": 1, "messages": []}"#, Layout::Columns),
            (r#"{"instruction": "q", "completions": [], "models": []}"#, Layout::UltraFeedback),
            (r#"{"info": {}, "summaries": [], "choice": 0, "worker": "w"}"#, Layout::Tldr),
            (r#"{"qid": 1, "question": "q", "answers": []}"#, Layout::StackExchange),
            (r#"{"qid": 1, "question": "q", "response_j": "a", "response_k": "b"}"#, Layout::StackExchangePaired),
            (r#"{"conversations": [], "chosen": {}, "rejected": {}}"#, Layout::LlamaFactory),
            (r#"{"instruction": "i", "input": "", "chosen": "a", "rejected": "b"}"#, Layout::LlamaFactory),
            (r#"{"instruction": "i", "response1": "a", "response2": "b", "annotator1": 1}"#, Layout::PandaLm),
            (r#"{"prompt": "i", "response 1": "a", "response 2": "b", "label": 1}"#, Layout::AutoJ),
            (r#"{"prompt": "i", "chosen": "a", "rejected": "b", "subset": "s", "id": 1}"#, Layout::RewardBench),
            (r#"{"prompt": "i", "chosen": ["a"], "rejected": ["b"], "subset": "s"}"#, Layout::RewardBench),
            (r#"{"chosen": [{"role": "user"}], "rejected": [], "subset": "s", "prompt": "q"}"#, Layout::Columns),
            (r#"{"post_id": "p", "history": "q", "human_ref_A": "a", "human_ref_B": "b", "labels": 1}"#, Layout::Shp),
            (r#"{"prompt": "q", "response_1": "", "response_2": "", "preference_strength": 1}"#, Layout::HelpSteer),
            (r#"{"context": [], "response1": "", "response2": "", "overall_preference": 1}"#, Layout::HelpSteer),
            (r#"{"prompt": "q", "answers": [{"answer": "a", "rank": 1}]}"#, Layout::Nectar),
            (r#"{"prompt": "q", "response_0": "", "response_1": "", "better_response_id": 1}"#, Layout::PkuSafeRlhf),
            (r#"{"question": {}, "answer_0": "", "answer_1": "", "score_0": 0, "score_1": 0}"#, Layout::WebGpt),
            (r#"{"prompt": "[]", "response_a": "", "response_b": "", "winner_model_a": 1}"#, Layout::LmsysArena),
            (r#"{"conversation_a": [], "conversation_b": [], "winner": "tie"}"#, Layout::LmsysArena),
            (r#"{"input": {}, "preferred_output": [], "non_preferred_output": []}"#, Layout::OpenAiPreference),
            (r#"{"messages": [], "rejected_response": "b"}"#, Layout::MsSwift),
            (r#"{"question": "q", "response_chosen": "a", "response_rejected": "b"}"#, Layout::MedicalGpt),
            (r#"{"instruction": "i", "input": "", "output": ["a", "b"]}"#, Layout::LlamaFactory),
            (r#"{"instruction": "i", "input": "", "output": "a"}"#, Layout::Columns),
            (r#"{}"#, Layout::Columns),
        ] {
            let Ok(Value::Object(row)) = serde_json::from_str(json) else { panic!("{json}") };
            assert_eq!(detect_layout(&row), layout, "{json}");
        }
    }
}
