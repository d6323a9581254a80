//! Published layouts without pairs, refused by name.

use super::fields::Row;

/// Columns that identify such a layout, columns that it lacks, and the message.
const UNPAIRED: [(&[&str], &[&str], &str); 5] = [
    (
        &["prompt", "completion", "label"],
        &["chosen", "rejected"],
        "its rows are KTO's (`prompt`, `completion`, `label`), one answer each with its own verdict, so no two answers are \
         compared; write a good and a bad answer to one prompt as `chosen` and `rejected`",
    ),
    (
        &["messages", "label"],
        &["chosen", "rejected_response", "rejected_messages"],
        "its rows are ms-swift's for KTO (`messages`, `label`), one answer each with its own verdict, so no two answers are \
         compared; give the better conversation as `messages` and the worse answer as `rejected_response`",
    ),
    (
        &["message_id", "parent_id", "text", "role"],
        &[],
        "its rows are the messages of OpenAssistant (`message_id`, `parent_id`, `rank`), and what `rank` compares are several \
         rows; write the answers to one parent, ordered by rank, as `prompt`, `chosen` and `rejected`",
    ),
    (
        &["message_tree_id", "tree_state"],
        &[],
        "its rows are the message trees of OpenAssistant (`message_tree_id`), whose answers are `replies` at any depth; write \
         the answers to one message, ordered by rank, as `prompt`, `chosen` and `rejected`",
    ),
    (
        &["prompt", "response", "helpfulness"],
        &["chosen", "rejected"],
        "its rows are HelpSteer's (`prompt`, `response`, `helpfulness`), one rated answer each; give the preference file of \
         HelpSteer2 or HelpSteer3, or write two answers to one prompt as `chosen` and `rejected`",
    ),
];

/// The message for a row of a published layout without pairs.
pub(crate) fn unpaired(row: &Row) -> Option<&'static str> {
    let has = |columns: &[&str]| columns.iter().all(|name| row.contains_key(*name));
    let lacks = |columns: &[&str]| !columns.iter().any(|name| row.contains_key(*name));
    UNPAIRED.iter().find(|(marks, absent, _)| has(marks) && lacks(absent)).map(|(.., problem)| *problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_without_pairs_are_known_by_their_columns() {
        for (columns, name) in [
            ("prompt completion label", Some("KTO")),
            ("messages label", Some("ms-swift")),
            ("message_id parent_id text role lang rank", Some("OpenAssistant")),
            ("message_tree_id tree_state prompt", Some("trees")),
            ("prompt response helpfulness correctness", Some("HelpSteer's")),
            ("prompt chosen rejected completion label", None),
            ("messages rejected_response label", None),
            ("prompt response_1 response_2", None),
        ] {
            let row: Row = columns.split(' ').map(|name| (name.to_string(), serde_json::Value::Null)).collect();
            let said = unpaired(&row);
            assert_eq!(said.is_some(), name.is_some(), "{columns}");
            assert!(said.is_none_or(|said| said.contains(name.unwrap_or_default())), "{said:?}");
        }
    }
}
