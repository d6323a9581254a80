//! Two answers and what people said of them: PandaLM and Auto-J.
//!
//! An empty answer is no error here: people judged it. It is counted, and screening leaves it out.

use serde_json::Value;

use super::fields::{Row, require, take, take_optional_text, take_text, text, whole_number};
use super::{LabelledPair, RowPairs};
use crate::read::row_problem::RowProblem;

/// PandaLM: the verdict of at least two of three annotators; 1 the first, 2 the second, 0 a tie. Without such a majority
/// the row is a tie.
pub(crate) fn read_pandalm(mut row: Row) -> Result<RowPairs, RowProblem> {
    require(&row, &["instruction", "response1", "response2", "annotator1", "annotator2", "annotator3"])?;
    let mut votes = [0u32; 3];
    for column in ["annotator1", "annotator2", "annotator3"] {
        let vote = whole_number(&row, column)?;
        match usize::try_from(vote).ok().and_then(|vote| votes.get_mut(vote)) {
            Some(count) => *count += 1,
            None => return Err(RowProblem::UnknownLabel { column, expected: "0, 1 or 2", found: vote }),
        }
    }
    let instruction = take_text(&mut row, "instruction")?;
    let prompt = with_input(instruction, take_optional_text(&mut row, "input")?);
    let (first, second) = (response(&mut row, "response1")?, response(&mut row, "response2")?);
    let [_, for_first, for_second] = votes;
    Ok(if for_first >= 2 {
        LabelledPair::text(prompt, first, second).into()
    } else if for_second >= 2 {
        LabelledPair::text(prompt, second, first).into()
    } else {
        RowPairs::tie()
    })
}

/// An answer. The published file has some that a table program took for truth values: `True` became `true`.
fn response(row: &mut Row, column: &'static str) -> Result<String, RowProblem> {
    match take(row, column)? {
        Value::Bool(true) => Ok("True".to_string()),
        Value::Bool(false) => Ok("False".to_string()),
        other => text(column, other),
    }
}

/// Auto-J: 0 the first answer, 1 the second, 2 a tie.
pub(crate) fn read_autoj(mut row: Row) -> Result<RowPairs, RowProblem> {
    require(&row, &["prompt", "response 1", "response 2", "label"])?;
    let label = whole_number(&row, "label")?;
    let prompt = take_text(&mut row, "prompt")?;
    let (first, second) = (take_text(&mut row, "response 1")?, take_text(&mut row, "response 2")?);
    match label {
        0 => Ok(LabelledPair::text(prompt, first, second).into()),
        1 => Ok(LabelledPair::text(prompt, second, first).into()),
        2 => Ok(RowPairs::tie()),
        found => Err(RowProblem::UnknownLabel { column: "label", expected: "0, 1 or 2", found }),
    }
}

/// An instruction with what it is about.
pub(crate) fn with_input(instruction: String, input: Option<String>) -> String {
    match input {
        Some(input) if !input.is_empty() => format!("{instruction}\n\n{input}"),
        _ => instruction,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(json: serde_json::Value) -> Row {
        json.as_object().unwrap().clone()
    }

    #[test]
    fn the_majority_decides() {
        let read = |votes: [i64; 3]| {
            let [a, b, c] = votes;
            read_pandalm(row(json!({"instruction": "Do.", "input": "it", "response1": "one", "response2": "two",
                "annotator1": a, "annotator2": b, "annotator3": c})))
        };
        let chosen = |votes| read(votes).unwrap().pairs.pop().map(|found| found.pair.responses[0].clone());
        assert_eq!(chosen([1, 1, 2]).as_deref(), Some("one"));
        assert_eq!(chosen([2, 0, 2]).as_deref(), Some("two"));
        assert_eq!(read([1, 2, 1]).unwrap().pairs[0].pair.prompt[0].content, "Do.\n\nit");
        for votes in [[0, 0, 1], [0, 1, 2], [0, 0, 0]] {
            assert_eq!(read(votes).unwrap(), RowPairs::tie());
        }
        assert_eq!(read([1, 1, 3]).unwrap_err().to_string(), "`annotator3` is 3, but 0, 1 or 2 is expected");
        assert!(read([1, 1, -1]).is_err());
        let truth =
            read_pandalm(row(json!({"instruction": "Is it?", "input": "", "response1": true, "response2": "No",
            "annotator1": 1, "annotator2": 1, "annotator3": 1})));
        assert_eq!(truth.unwrap().pairs[0].pair.responses, ["True", "No"]);
    }

    #[test]
    fn autoj_labels_are_places() {
        let read = |label: serde_json::Value| {
            read_autoj(row(json!({"prompt": "q", "response 1": "one", "response 2": "", "label": label})))
        };
        assert_eq!(read(json!(0)).unwrap().pairs[0].pair.responses, ["one", ""]);
        assert_eq!(read(json!(1.0)).unwrap().pairs[0].pair.responses, ["", "one"]);
        assert_eq!(read(json!(2)).unwrap(), RowPairs::tie());
        assert_eq!(read(json!(3)).unwrap_err().to_string(), "`label` is 3, but 0, 1 or 2 is expected");
        assert!(read(json!(0.5)).unwrap_err().to_string().contains("a whole number is expected"));
    }
}
