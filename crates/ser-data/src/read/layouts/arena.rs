//! LMSYS Chatbot Arena: two models in the same conversation, and the user's preference.

use ser_core::{Message, RawText, Side};
use serde_json::Value;

use super::columns::shared;
use super::fields::{Row, list, require, take, take_text, text, wrong};
use super::messages::conversation;
use super::verdicts::chosen_first;
use super::{LabelledPair, RowPairs};
use crate::RowProblem;
use crate::read::describe::describe;

/// `prompt`, `response_a` and `response_b` with three flags, or `conversation_a` and `conversation_b` with `winner`.
pub(crate) fn read_lmsys_arena(mut row: Row) -> Result<RowPairs, RowProblem> {
    if row.contains_key("conversation_a") {
        return whole_conversations(row);
    }
    require(&row, &["prompt", "response_a", "response_b", "winner_model_a", "winner_model_b"])?;
    let Some(preferred) = flags(&row)? else { return Ok(RowPairs::tie()) };
    let prompts = turns("prompt", take(&mut row, "prompt")?)?;
    let answers = |row: &mut Row, column| {
        let answers = turns(column, take(row, column)?)?;
        if answers.len() == prompts.len() {
            return Ok(answers);
        }
        let expected = "an answer to each turn of `prompt`";
        Err(RowProblem::WrongType { column, expected, found: format!("a list of {}", answers.len()) })
    };
    let both = [answers(&mut row, "response_a")?, answers(&mut row, "response_b")?];
    if let ([prompt], [[a], [b]]) = (prompts.as_slice(), both.each_ref().map(Vec::as_slice)) {
        let [chosen, rejected] = chosen_first([a.clone(), b.clone()], preferred);
        return Ok(LabelledPair::text(prompt.clone(), chosen, rejected).into());
    }
    let [a, b] = both.map(|answers| {
        let turns = prompts.iter().zip(answers);
        turns.flat_map(|(prompt, answer)| [Message::user(prompt), Message::assistant(answer)]).collect::<Vec<_>>()
    });
    pair(a, b, preferred)
}

fn whole_conversations(mut row: Row) -> Result<RowPairs, RowProblem> {
    require(&row, &["conversation_a", "conversation_b", "winner"])?;
    let winner = take_text(&mut row, "winner")?;
    let preferred = match winner.as_str() {
        "model_a" => Side::A,
        "model_b" => Side::B,
        "tie" | "tie (bothbad)" | "both_bad" => return Ok(RowPairs::tie()),
        _ => {
            let expected = "`model_a`, `model_b`, `tie`, `tie (bothbad)` or `both_bad`";
            return Err(wrong("winner", expected, &Value::String(winner)));
        }
    };
    let mut turns = |column| conversation(column, list(column, take(&mut row, column)?)?);
    pair(turns("conversation_a")?, turns("conversation_b")?, preferred)
}

fn pair(a: Vec<Message>, b: Vec<Message>, preferred: Side) -> Result<RowPairs, RowProblem> {
    let (chosen, rejected) = if preferred == Side::A { (a, b) } else { (b, a) };
    Ok(shared(chosen, rejected, RawText::None)?.into())
}

/// The winner by the flags; none for a tie.
fn flags(row: &Row) -> Result<Option<Side>, RowProblem> {
    let set = |column: &'static str| match row.get(column) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(value) => match (value.as_f64(), value.as_str()) {
            (Some(1.0), _) | (_, Some("1" | "1.0" | "true" | "True")) => Ok(true),
            (Some(0.0), _) | (_, Some("0" | "0.0" | "false" | "False")) => Ok(false),
            _ => Err(wrong(column, "0 or 1", value)),
        },
    };
    match (set("winner_model_a")?, set("winner_model_b")?, set("winner_tie")?) {
        (true, false, false) => Ok(Some(Side::A)),
        (false, true, false) => Ok(Some(Side::B)),
        (false, false, true) => Ok(None),
        (a, b, tie) => {
            let flags = [a, b, tie].into_iter().filter(|flag| *flag).count();
            let found = format!("one of {flags} that are set");
            let expected = "exactly one of `winner_model_a`, `winner_model_b` and `winner_tie`";
            Err(RowProblem::WrongType { column: "winner_model_a", expected, found })
        }
    }
}

/// The turns of one speaker: a list of texts, usually written as JSON; null is an empty answer.
fn turns(column: &'static str, value: Value) -> Result<Vec<String>, RowProblem> {
    let value = match value {
        Value::String(text) if !text.trim_start().starts_with('[') => Value::Array(vec![Value::String(text)]),
        other => other,
    };
    let turns = list(column, value)?;
    if turns.is_empty() {
        return Err(RowProblem::WrongType {
            column,
            expected: "at least one turn",
            found: describe(&Value::Array(turns)),
        });
    }
    let said = |turn| if matches!(turn, Value::Null) { Ok(String::new()) } else { text(column, turn) };
    turns.into_iter().map(said).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(json: Value) -> Result<RowPairs, RowProblem> {
        read_lmsys_arena(json.as_object().unwrap().clone())
    }

    #[test]
    fn flags_say_who_won() {
        let row = |flags: [Value; 3]| {
            let [a, b, tie] = flags;
            json!({"prompt": "[\"q\"]", "response_a": "[\"one\"]", "response_b": "[null]", "winner_model_a": a,
                "winner_model_b": b, "winner_tie": tie})
        };
        let found = read(row([json!(1), json!(0), json!(0)])).unwrap();
        assert_eq!(found.pairs[0].pair.responses, ["one", ""]);
        assert_eq!(
            (&found.pairs[0].pair.prompt[..], &found.pairs[0].pair.raw),
            (&[Message::user("q")][..], &RawText::Joined)
        );
        assert_eq!(read(row([json!("0"), json!("1"), json!("0")])).unwrap().pairs[0].pair.responses, ["", "one"]);
        assert_eq!(read(row([json!(false), json!(false), json!(true)])).unwrap(), RowPairs::tie());
        let error = read(row([json!(1), json!(1), json!(0)])).unwrap_err().to_string();
        assert!(error.contains("exactly one of"), "{error}");
        assert!(
            read(row([json!("x"), json!(1), json!(0)]))
                .unwrap_err()
                .to_string()
                .contains("`winner_model_a` is the text")
        );
    }

    #[test]
    fn conversations_of_several_turns_are_read() {
        let row = json!({"prompt": ["q1", "q2"], "response_a": ["a1", "a2"], "response_b": "[\"a1\", \"b2\"]",
            "winner_model_a": 0, "winner_model_b": 1, "winner_tie": 0});
        let found = read(row).unwrap();
        assert_eq!(found.pairs[0].pair.prompt, [Message::user("q1"), Message::assistant("a1"), Message::user("q2")]);
        assert_eq!(found.pairs[0].pair.responses, ["b2", "a2"]);
        let row = json!({"prompt": ["q1", "q2"], "response_a": ["a1"], "response_b": ["b1", "b2"], "winner_model_a": 1,
            "winner_model_b": 0});
        assert!(read(row).unwrap_err().to_string().contains("`response_a` is a list of 1, but an answer to each turn"));

        let say = |text: &str| json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": text}]);
        let row = |winner: &str| json!({"conversation_a": say("a"), "conversation_b": say("b"), "winner": winner});
        assert_eq!(read(row("model_b")).unwrap().pairs[0].pair.responses, ["b", "a"]);
        assert_eq!(read(row("tie (bothbad)")).unwrap(), RowPairs::tie());
        assert!(read(row("c")).unwrap_err().to_string().contains("`winner` is the text \"c\""));
    }

    #[test]
    fn half_characters_are_named() {
        let row = json!({"prompt": "[\"q\"]", "response_a": "[\"\\ud83d cut\"]", "response_b": "[\"b\"]", "winner_model_a": 1,
            "winner_model_b": 0, "winner_tie": 0});
        assert!(matches!(read(row), Err(RowProblem::LoneSurrogate { .. })));
    }
}
