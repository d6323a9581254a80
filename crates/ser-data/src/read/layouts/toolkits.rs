//! Training formats of other programs: OpenAI's fine-tuning, ms-swift, MedicalGPT, old LLaMA-Factory.

use ser_core::{Message, RawText, Role};
use serde_json::Value;

use super::RowPairs;
use super::columns::{read_columns, shared};
use super::fields::{Row, list, object, require, take, take_answer, take_list, text, wrong};
use super::messages::conversation;
use crate::RowProblem;
use crate::read::settings::ReadSettings;

/// OpenAI: `input.messages`, then `preferred_output` or `non_preferred_output`.
pub(crate) fn read_openai(mut row: Row) -> Result<RowPairs, RowProblem> {
    require(&row, &["input", "preferred_output", "non_preferred_output"])?;
    let mut input = object("input", take(&mut row, "input")?)?;
    if let Some(tools) = input.get("tools")
        && tools.as_array().is_none_or(|tools| !tools.is_empty())
        && !tools.is_null()
    {
        return Err(wrong("input.tools", "no tools, which are not read,", tools));
    }
    let prompt = messages("input.messages", take(&mut input, "messages")?)?;
    let mut answer = |column| {
        let turns = messages(column, take(&mut row, column)?)?;
        match turns.first() {
            Some(first) if first.role == Role::Assistant => Ok([prompt.clone(), turns].concat()),
            _ => Err(RowProblem::NoAnswer { column }),
        }
    };
    let (chosen, rejected) = (answer("preferred_output")?, answer("non_preferred_output")?);
    Ok(shared(chosen, rejected, RawText::None)?.into())
}

/// ms-swift: `messages` end with the better answer; `rejected_response` replaces it, or `rejected_messages` replaces
/// all.
pub(crate) fn read_ms_swift(mut row: Row) -> Result<RowPairs, RowProblem> {
    require(&row, &["messages"])?;
    let chosen = messages("messages", take(&mut row, "messages")?)?;
    let rejected = match (row.remove("rejected_response"), row.remove("rejected_messages")) {
        (None | Some(Value::Null), None | Some(Value::Null)) => {
            return Err(wrong(
                "rejected_response",
                "text, or a list of messages in `rejected_messages`,",
                &Value::Null,
            ));
        }
        (None | Some(Value::Null), Some(turns)) => messages("rejected_messages", turns)?,
        (Some(response), _) => {
            let before = match chosen.split_last() {
                Some((last, before)) if last.role == Role::Assistant => before,
                _ => return Err(RowProblem::NoAnswer { column: "messages" }),
            };
            let said = match response {
                Value::String(text) if text.is_empty() => {
                    return Err(RowProblem::EmptyAnswer { column: "rejected_response" });
                }
                Value::String(text) => vec![Message::assistant(text)],
                turns => messages("rejected_response", turns)?,
            };
            [before, said.as_slice()].concat()
        }
    };
    Ok(shared(chosen, rejected, RawText::None)?.into())
}

/// MedicalGPT: `question`, `response_chosen`, `response_rejected`, and `system` and `history`.
pub(crate) fn read_medical_gpt(row: &mut Row, settings: &ReadSettings) -> Result<RowPairs, RowProblem> {
    require(row, &["question", "response_chosen", "response_rejected"])?;
    let answers = [take_answer(row, "response_chosen")?, take_answer(row, "response_rejected")?];
    as_columns(row, answers, settings)
}

/// LLaMA-Factory before `chosen` and `rejected`: `output` is a list of the better and the worse answer.
pub(crate) fn read_ranked_outputs(row: &mut Row, settings: &ReadSettings) -> Result<RowPairs, RowProblem> {
    require(row, &["instruction", "output"])?;
    let outputs = take_list(row, "output")?;
    let count = outputs.len();
    let mut texts = outputs.into_iter().map(|output| match text("output", output)? {
        empty if empty.is_empty() => Err(RowProblem::EmptyAnswer { column: "output" }),
        text => Ok(text),
    });
    let (Some(better), Some(worse), None) = (texts.next(), texts.next(), texts.next()) else {
        let expected = "a list of two, the better answer first,";
        return Err(RowProblem::WrongType { column: "output", expected, found: format!("a list of {count}") });
    };
    as_columns(row, [better?, worse?], settings)
}

fn as_columns(row: &mut Row, [chosen, rejected]: [String; 2], settings: &ReadSettings) -> Result<RowPairs, RowProblem> {
    row.insert("chosen".to_string(), Value::String(chosen));
    row.insert("rejected".to_string(), Value::String(rejected));
    read_columns(row, settings)
}

fn messages(column: &'static str, value: Value) -> Result<Vec<Message>, RowProblem> {
    conversation(column, list(column, value)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn user(text: &str) -> Value {
        json!({"role": "user", "content": text})
    }

    fn assistant(text: &str) -> Value {
        json!({"role": "assistant", "content": text})
    }

    #[test]
    fn openai_outputs_follow_the_input() {
        let read = |input: Value, better: Value| {
            let row = json!({"input": input, "preferred_output": better, "non_preferred_output": [assistant("b")]});
            read_openai(row.as_object().unwrap().clone())
        };
        let input = json!({"messages": [{"role": "system", "content": "s"}, user("q")], "tools": [], "parallel_tool_calls": true});
        let found = read(input.clone(), json!([assistant("a")])).unwrap();
        assert_eq!((found.pairs[0].pair.prompt.len(), &found.pairs[0].pair.responses), (2, &["a".into(), "b".into()]));
        for (input, better, said) in [
            (
                json!({"messages": [user("q")], "tools": [{"type": "function"}]}),
                json!([assistant("a")]),
                "`input.tools` is a list of 1",
            ),
            (json!({}), json!([assistant("a")]), "no `messages`"),
            (input, json!([]), "`preferred_output` has no assistant turn"),
        ] {
            let error = read(input, better).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn ms_swift_rejects_the_last_turn_or_all() {
        let read = |row: Value| read_ms_swift(row.as_object().unwrap().clone());
        let chosen = json!([user("q1"), assistant("a1"), user("q2"), assistant("a2")]);
        let found = read(json!({"messages": chosen, "rejected_response": "b2"})).unwrap();
        assert_eq!(
            (found.pairs[0].pair.prompt.len(), &found.pairs[0].pair.responses),
            (3, &["a2".into(), "b2".into()])
        );
        let other = json!([user("q1"), assistant("a1"), user("q2"), assistant("b2")]);
        assert_eq!(
            read(json!({"messages": chosen, "rejected_messages": other, "rejected_response": null})).unwrap(),
            found
        );
        for (row, said) in [
            (json!({"messages": [user("q")], "rejected_response": "b"}), "`messages` has no assistant turn"),
            (json!({"messages": chosen, "rejected_response": ""}), "the answer in `rejected_response` is empty"),
            (json!({"messages": chosen}), "`rejected_response` is null"),
        ] {
            let error = read(row).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn questions_and_ranked_outputs_have_the_usual_columns_beside() {
        let row = |json: Value| json.as_object().unwrap().clone();
        let found = read_medical_gpt(
            &mut row(json!({"system": "s", "history": [["h", "i"]], "question": "q",
            "response_chosen": "good", "response_rejected": "bad"})),
            &ReadSettings::default(),
        );
        let pair = &found.unwrap().pairs[0].pair;
        let said: Vec<_> = pair.prompt.iter().map(|turn| turn.content.as_str()).collect();
        assert_eq!((said, &pair.responses), (vec!["s", "h", "i", "q"], &["good".to_string(), "bad".to_string()]));
        let error = read_medical_gpt(
            &mut row(json!({"question": "q", "response_chosen": "", "response_rejected": "b"})),
            &ReadSettings::default(),
        );
        assert_eq!(error.unwrap_err().to_string(), "the answer in `response_chosen` is empty");

        let ranked = |output: Value| {
            read_ranked_outputs(
                &mut row(json!({"instruction": "i", "input": "it", "output": output})),
                &ReadSettings::default(),
            )
        };
        let found = ranked(json!(["Pear.", "Rock."])).unwrap();
        assert_eq!(found.pairs[0].pair.prompt[0].content, "i\n\nit");
        assert_eq!(found.pairs[0].pair.responses, ["Pear.", "Rock."]);
        for (output, said) in [
            (json!(["a"]), "`output` is a list of 1, but a list of two"),
            (json!(["a", "b", "c"]), "`output` is a list of 3"),
            (json!(["a", ""]), "the answer in `output` is empty"),
            (json!(["a", 5]), "`output` is the number 5, but text"),
            (json!("a"), "`output` is the text \"a\", but a list"),
        ] {
            let error = ranked(output).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
