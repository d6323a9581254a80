//! LLaMA-Factory's preference layouts.

use ser_core::{Message, RawText, Role};
use serde_json::Value;

use super::fields::{Row, require, take, take_answer, take_list, take_optional_text, take_text, turn, wrong};
use super::verdicts::with_input;
use super::{LabelledPair, RowPairs};
use crate::read::row_problem::RowProblem;

/// ShareGPT's turns (`from`, `value`) or Alpaca's columns; a `system` column goes before the conversation in both.
pub(crate) fn read_llama_factory(mut row: Row) -> Result<RowPairs, RowProblem> {
    require(&row, &["chosen", "rejected"])?;
    let mut prompt = Vec::new();
    if let Some(content) = take_optional_text(&mut row, "system")?
        && !content.is_empty()
    {
        prompt.push(Message::new(Role::System, content));
    }
    if !row.contains_key("conversations") {
        return alpaca(row, prompt);
    }
    for value in take_list(&mut row, "conversations")? {
        prompt.push(turn("conversations", value, "from", "value")?);
    }
    let mut answer = |column| -> Result<String, RowProblem> {
        let value = take(&mut row, column)?;
        if !value.is_object() {
            return Err(wrong(column, "an object with `from` and `value`", &value));
        }
        let said = turn(column, value, "from", "value")?;
        if said.content.is_empty() { Err(RowProblem::EmptyAnswer { column }) } else { Ok(said.content) }
    };
    let responses = [answer("chosen")?, answer("rejected")?];
    Ok(LabelledPair::new(prompt, responses, RawText::None).into())
}

/// `instruction`, `input`, `chosen`, `rejected`, and `history`, a list of earlier questions with their answers.
fn alpaca(mut row: Row, mut prompt: Vec<Message>) -> Result<RowPairs, RowProblem> {
    let instruction = take_text(&mut row, "instruction")?;
    let question = with_input(instruction, take_optional_text(&mut row, "input")?);
    let turns = match row.remove("history") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(turns)) => turns,
        Some(other) => return Err(wrong("history", "a list", &other)),
    };
    for turn in turns {
        match turn.as_array().map(Vec::as_slice) {
            Some([Value::String(question), Value::String(answer)]) => {
                prompt.extend([Message::user(question), Message::assistant(answer)]);
            }
            _ => return Err(wrong("history[]", "a list of question and answer", &turn)),
        }
    }
    let (chosen, rejected) = (take_answer(&mut row, "chosen")?, take_answer(&mut row, "rejected")?);
    Ok(if prompt.is_empty() {
        LabelledPair::text(question, chosen, rejected)
    } else {
        prompt.push(Message::user(question));
        LabelledPair::new(prompt, [chosen, rejected], RawText::None)
    }
    .into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(json: serde_json::Value) -> Result<RowPairs, RowProblem> {
        read_llama_factory(json.as_object().unwrap().clone())
    }

    #[test]
    fn turns_and_columns_are_read() {
        let found = read(json!({
            "conversations": [{"from": "system", "value": "Be kind."}, {"from": "human", "value": "Why?"}],
            "chosen": {"from": "gpt", "value": "So."}, "rejected": {"from": "gpt", "value": "No."}}))
        .unwrap();
        let system = Message::new(Role::System, "Be kind.");
        assert_eq!(found.pairs[0].pair.prompt, [system.clone(), Message::user("Why?")]);
        assert_eq!(found.pairs[0].pair.responses, ["So.", "No."]);
        let found = read(json!({"instruction": "Add.", "input": "1 1", "chosen": "2", "rejected": "3", "system": "",
            "history": [["a", "b"]]}))
        .unwrap();
        assert_eq!(
            found.pairs[0].pair.prompt,
            [Message::user("a"), Message::assistant("b"), Message::user("Add.\n\n1 1")]
        );
        let plain = read(json!({"instruction": "Add.", "input": "", "chosen": "2", "rejected": "3"})).unwrap();
        assert_eq!(plain.pairs[0].pair.raw, RawText::Joined);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let gpt = |text: &str| json!({"from": "gpt", "value": text});
        for (json, words) in [
            (
                json!({"conversations": [], "chosen": "a", "rejected": gpt("b")}),
                "`chosen` is the text \"a\", but an object",
            ),
            (json!({"conversations": [], "chosen": gpt(""), "rejected": gpt("b")}), "the answer in `chosen` is empty"),
            (
                json!({"conversations": [{"from": "observation", "value": ""}], "chosen": gpt("a"), "rejected": gpt("b")}),
                "a turn of role \"observation\"",
            ),
            (json!({"instruction": "i", "chosen": "a", "rejected": "b", "history": ["x"]}), "`history[]` is the text"),
        ] {
            let error = read(json).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
