//! The layout that a first row shows.

use serde_json::Value;

use super::dialogue::is_dialogue;
use super::fields::Row;
use super::prompt_columns::{HISTORY, PROMPT_COLUMNS, SYSTEM_COLUMNS};
use crate::read::settings::Layout;

/// Columns that some layout reads, beside those of prompts and ids.
const KNOWN_COLUMNS: [&str; 21] = [
    "annotator1",
    "annotator2",
    "annotator3",
    "answers",
    "choice",
    "chosen",
    "completions",
    "info",
    "label",
    "margin",
    "rejected",
    "response 1",
    "response 2",
    "response1",
    "response2",
    "response_j",
    "response_k",
    "score_chosen",
    "score_rejected",
    "subset",
    "summaries",
];

/// Columns with the row's own identifier; the first that is there counts.
pub(crate) const ID_COLUMNS: [&str; 3] = ["id", "pair_id", "uuid"];

/// The name of a column that some layout reads, which a file may write in another case. Of files that are stored by
/// column, others are mostly not read.
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

/// The row's own identifier: text or a number.
pub(crate) fn row_id(row: &Row) -> Option<Value> {
    let ids = ID_COLUMNS.iter().filter_map(|name| row.get(*name));
    ids.into_iter().find(|value| value.is_string() || value.is_number()).cloned()
}

/// Columns that no other layout has, all of which must be there.
const MARKS: [(Layout, &[&str]); 8] = [
    (Layout::Tldr, &["info", "summaries", "choice"]),
    (Layout::UltraFeedback, &["instruction", "completions"]),
    (Layout::StackExchange, &["question", "answers"]),
    (Layout::StackExchangePaired, &["question", "response_j", "response_k"]),
    (Layout::LlamaFactory, &["conversations", "chosen", "rejected"]),
    (Layout::LlamaFactory, &["instruction", "chosen", "rejected"]),
    (Layout::PandaLm, &["response1", "response2", "annotator1"]),
    (Layout::AutoJ, &["response 1", "response 2", "label"]),
];

/// The layout of a row; `Columns` where nothing tells another, so that what is missing is named.
pub(crate) fn detect_layout(row: &Row) -> Layout {
    if let Some((layout, _)) = MARKS.iter().find(|(_, columns)| columns.iter().all(|name| row.contains_key(*name))) {
        return *layout;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_show_the_layout() {
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
            (r#"{}"#, Layout::Columns),
        ] {
            let Ok(Value::Object(row)) = serde_json::from_str(json) else { panic!("{json}") };
            assert_eq!(detect_layout(&row), layout, "{json}");
        }
    }
}
