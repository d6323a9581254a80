//! Rows with a prompt, two answers and a verdict: a table of such layouts, and one function that reads them.
//!
//! An empty answer is not an error here, since it was judged. It is counted, and screening leaves it out.

use ser_core::{Message, RawText, Side};
use serde_json::Value;

use super::fields::{
    Row, list, number, object, optional_number, require, take, take_optional_text, take_text, whole_number,
};
use super::messages::conversation;
use super::{LabelledPair, RowPairs};
use crate::RowProblem;
use crate::read::settings::ReadSettings;

/// The columns of two answers and a verdict.
pub(crate) struct Comparison {
    prompt: Prompt,
    answers: [&'static str; 2],
    verdict: Verdict,
    /// Columns with a score for each answer, which give the margin; the label decides.
    scores: Option<[&'static str; 2]>,
}

/// The source of the prompt.
enum Prompt {
    /// A column of text.
    Text(&'static str),
    /// A column of text, and one with its context.
    TextWithInput(&'static str, &'static str),
    /// A member of an object, or text.
    Member(&'static str, &'static str),
    /// A column of text in which later turns begin with lines such as `<extra_id_1>Assistant`.
    ExtraIds(&'static str),
    /// A column of messages.
    Messages(&'static str),
}

/// The source of the verdict.
enum Verdict {
    /// A number for the first answer, one for the second, and optionally one for a tie.
    Label { column: &'static str, first: i64, second: i64, tie: Option<i64>, expected: &'static str },
    /// A number below 0 for the first answer, above 0 for the second, 0 for a tie; its size is the strength.
    Strength(&'static str),
    /// A score for each answer; higher is better.
    Scores([&'static str; 2]),
    /// Three votes: 1 for the first answer, 2 for the second, 0 for a tie. Two votes decide; otherwise the row is a
    /// tie.
    Votes([&'static str; 3]),
}

/// PandaLM.
pub(crate) const PANDALM: Comparison = Comparison {
    prompt: Prompt::TextWithInput("instruction", "input"),
    answers: ["response1", "response2"],
    verdict: Verdict::Votes(["annotator1", "annotator2", "annotator3"]),
    scores: None,
};

/// Auto-J.
pub(crate) const AUTOJ: Comparison = Comparison {
    prompt: Prompt::Text("prompt"),
    answers: ["response 1", "response 2"],
    verdict: Verdict::Label { column: "label", first: 0, second: 1, tie: Some(2), expected: "0, 1 or 2" },
    scores: None,
};

/// SHP and SHP-2: `labels` is 1 if A is preferred and 0 if B is. Scores are up-votes minus down-votes.
pub(crate) const SHP: Comparison = Comparison {
    prompt: Prompt::Text("history"),
    answers: ["human_ref_A", "human_ref_B"],
    verdict: Verdict::Label { column: "labels", first: 1, second: 0, tie: None, expected: "0 or 1" },
    scores: Some(["score_A", "score_B"]),
};

/// HelpSteer2-Preference: from -3, response 1 is much better, to 3, response 2 is.
pub(crate) const HELP_STEER_2: Comparison = Comparison {
    prompt: Prompt::ExtraIds("prompt"),
    answers: ["response_1", "response_2"],
    verdict: Verdict::Strength("preference_strength"),
    scores: None,
};

/// HelpSteer3's preferences: the same scale over a conversation.
pub(crate) const HELP_STEER_3: Comparison = Comparison {
    prompt: Prompt::Messages("context"),
    answers: ["response1", "response2"],
    verdict: Verdict::Strength("overall_preference"),
    scores: None,
};

/// PKU-SafeRLHF by helpfulness.
pub(crate) const PKU_HELPFUL: Comparison = pku("better_response_id");

/// PKU-SafeRLHF by harmlessness.
pub(crate) const PKU_SAFE: Comparison = pku("safer_response_id");

const fn pku(column: &'static str) -> Comparison {
    Comparison {
        prompt: Prompt::Text("prompt"),
        answers: ["response_0", "response_1"],
        verdict: Verdict::Label { column, first: 0, second: 1, tie: None, expected: "0 or 1" },
        scores: None,
    }
}

/// WebGPT comparisons: an answer is preferred if its score, from -1 to 1, is positive; the two sum to 0.
pub(crate) const WEBGPT: Comparison = Comparison {
    prompt: Prompt::Member("question", "full_text"),
    answers: ["answer_0", "answer_1"],
    verdict: Verdict::Scores(["score_0", "score_1"]),
    scores: None,
};

impl Comparison {
    /// Reads a row.
    pub(crate) fn read(&self, mut row: Row, settings: &ReadSettings) -> Result<RowPairs, RowProblem> {
        let [first, second] = self.answers;
        require(&row, &[self.prompt.column(), first, second])?;
        let (preferred, gap) = self.verdict.of(&row)?;
        let gap = match self.scores {
            Some([a, b]) => optional_number(&row, a)?.zip(optional_number(&row, b)?).map(|(a, b)| a - b),
            None => gap,
        };
        let Some(preferred) = preferred.filter(|_| gap.is_none_or(|gap| gap.abs() >= settings.min_score_gap)) else {
            return Ok(RowPairs::tie());
        };
        let (prompt, raw) = self.prompt.take(&mut row)?;
        let answers = [take_text(&mut row, first)?, take_text(&mut row, second)?];
        let pair = LabelledPair::new(prompt, chosen_first(answers, preferred), raw);
        // The difference is first minus second.
        let gap = gap.map(|gap| if preferred == Side::A { gap } else { -gap });
        Ok(pair.with_gap(gap, settings).into())
    }
}

/// Two answers, the preferred one first.
pub(super) fn chosen_first([first, second]: [String; 2], preferred: Side) -> [String; 2] {
    match preferred {
        Side::A => [first, second],
        Side::B => [second, first],
    }
}

impl Prompt {
    fn column(&self) -> &'static str {
        match self {
            Prompt::Text(column)
            | Prompt::TextWithInput(column, _)
            | Prompt::Member(column, _)
            | Prompt::ExtraIds(column)
            | Prompt::Messages(column) => column,
        }
    }

    fn take(&self, row: &mut Row) -> Result<(Vec<Message>, RawText), RowProblem> {
        let text = match *self {
            Prompt::Text(column) => take_text(row, column)?,
            Prompt::TextWithInput(column, input) => {
                let text = take_text(row, column)?;
                with_input(text, take_optional_text(row, input)?)
            }
            Prompt::Member(column, member) => match take(row, column)? {
                Value::String(text) if !text.trim_start().starts_with('{') => text,
                other => take_text(&mut object(column, other)?, member)?,
            },
            Prompt::ExtraIds(column) => {
                let turns = extra_id_turns(&take_text(row, column)?);
                let raw = if turns.len() == 1 { RawText::Joined } else { RawText::None };
                return Ok((turns, raw));
            }
            Prompt::Messages(column) => {
                return Ok((conversation(column, list(column, take(row, column)?)?)?, RawText::None));
            }
        };
        Ok((vec![Message::user(text)], RawText::Joined))
    }
}

/// The turns of a HelpSteer prompt: the user's, then those after lines `<extra_id_1>Assistant` and `<extra_id_1>User`.
fn extra_id_turns(prompt: &str) -> Vec<Message> {
    let mut parts = prompt.split("\n<extra_id_1>");
    let mut turns = vec![Message::user(parts.next().unwrap_or_default())];
    for part in parts {
        match part.split_once('\n') {
            Some(("Assistant", text)) => turns.push(Message::assistant(text)),
            Some(("User", text)) => turns.push(Message::user(text)),
            // Not a turn marker: part of the text before it.
            _ => {
                if let Some(last) = turns.last_mut() {
                    last.content.push_str("\n<extra_id_1>");
                    last.content.push_str(part);
                }
            }
        }
    }
    turns
}

impl Verdict {
    /// The preferred answer, none for a tie, and the first answer's lead, if the verdict gives one.
    fn of(&self, row: &Row) -> Result<(Option<Side>, Option<f64>), RowProblem> {
        match *self {
            Verdict::Label { column, first, second, tie, expected } => match whole_number(row, column)? {
                label if label == first => Ok((Some(Side::A), None)),
                label if label == second => Ok((Some(Side::B), None)),
                label if Some(label) == tie => Ok((None, None)),
                found => Err(RowProblem::UnknownLabel { column, expected, found }),
            },
            Verdict::Strength(column) => {
                require(row, &[column])?;
                let strength = number(column, row.get(column).unwrap_or(&Value::Null))?;
                Ok((higher(-strength), Some(-strength)))
            }
            Verdict::Scores(columns) => {
                require(row, &columns)?;
                let [a, b] = columns.map(|column| number(column, row.get(column).unwrap_or(&Value::Null)));
                let gap = a? - b?;
                Ok((higher(gap), Some(gap)))
            }
            Verdict::Votes(columns) => {
                require(row, &columns)?;
                let mut votes = [0u32; 3];
                for column in columns {
                    let vote = whole_number(row, column)?;
                    match usize::try_from(vote).ok().and_then(|vote| votes.get_mut(vote)) {
                        Some(count) => *count += 1,
                        None => return Err(RowProblem::UnknownLabel { column, expected: "0, 1 or 2", found: vote }),
                    }
                }
                let [_, for_first, for_second] = votes;
                let preferred = match (for_first >= 2, for_second >= 2) {
                    (true, _) => Some(Side::A),
                    (_, true) => Some(Side::B),
                    _ => None,
                };
                Ok((preferred, None))
            }
        }
    }
}

/// The better of two answers, given the first one's lead.
fn higher(gap: f64) -> Option<Side> {
    if gap > 0.0 {
        Some(Side::A)
    } else if gap < 0.0 {
        Some(Side::B)
    } else {
        None
    }
}

/// An instruction with its context.
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

    fn read_with(layout: &Comparison, row: serde_json::Value, settings: &ReadSettings) -> Result<RowPairs, RowProblem> {
        layout.read(row.as_object().unwrap().clone(), settings)
    }

    fn read(layout: &Comparison, row: serde_json::Value) -> Result<RowPairs, RowProblem> {
        read_with(layout, row, &ReadSettings::default())
    }

    fn chosen(found: Result<RowPairs, RowProblem>) -> Option<String> {
        found.unwrap().pairs.pop().map(|found| found.pair.responses[0].clone())
    }

    #[test]
    fn the_majority_decides() {
        let read = |votes: [i64; 3]| {
            let [a, b, c] = votes;
            read(
                &PANDALM,
                json!({"instruction": "Do.", "input": "it", "response1": "one", "response2": "two",
                    "annotator1": a, "annotator2": b, "annotator3": c}),
            )
        };
        assert_eq!(chosen(read([1, 1, 2])).as_deref(), Some("one"));
        assert_eq!(chosen(read([2, 0, 2])).as_deref(), Some("two"));
        assert_eq!(read([1, 2, 1]).unwrap().pairs[0].pair.prompt[0].content, "Do.\n\nit");
        for votes in [[0, 0, 1], [0, 1, 2], [0, 0, 0]] {
            assert_eq!(read(votes).unwrap(), RowPairs::tie());
        }
        assert_eq!(read([1, 1, 3]).unwrap_err().to_string(), "`annotator3` is 3, but 0, 1 or 2 is expected");
        assert!(read([1, 1, -1]).is_err());
    }

    #[test]
    fn labels_name_an_answer() {
        let autoj = |label: serde_json::Value| {
            read(&AUTOJ, json!({"prompt": "q", "response 1": "one", "response 2": "", "label": label}))
        };
        assert_eq!(autoj(json!(0)).unwrap().pairs[0].pair.responses, ["one", ""]);
        assert_eq!(autoj(json!(1.0)).unwrap().pairs[0].pair.responses, ["", "one"]);
        assert_eq!(chosen(autoj(json!("0"))).as_deref(), Some("one"), "as tables have it");
        assert_eq!(autoj(json!(2)).unwrap(), RowPairs::tie());
        assert_eq!(autoj(json!(3)).unwrap_err().to_string(), "`label` is 3, but 0, 1 or 2 is expected");
        assert!(autoj(json!(0.5)).unwrap_err().to_string().contains("a whole number is expected"));

        let pku = json!({"prompt": "q", "response_0": "zero", "response_1": "one", "better_response_id": 1, "safer_response_id": 0});
        assert_eq!(chosen(read(&PKU_HELPFUL, pku.clone())).as_deref(), Some("one"));
        assert_eq!(chosen(read(&PKU_SAFE, pku)).as_deref(), Some("zero"));
    }

    #[test]
    fn shp_labels_count_and_its_scores_make_margins() {
        let row = |label: i64, a: i64, b: i64| json!({"history": "How?", "human_ref_A": "A", "human_ref_B": "B", "labels": label, "score_A": a, "score_B": b});
        let scaled = ReadSettings { score_margin: Some(0.5), ..ReadSettings::default() };
        for (label, a, b, chosen, margin, contradicted) in
            [(1, 20, 3, "A", Some(8.5), false), (0, 3, 20, "B", Some(8.5), false), (0, 20, 3, "B", None, true)]
        {
            let found = read_with(&SHP, row(label, a, b), &scaled).unwrap().pairs.remove(0);
            assert_eq!(
                (found.pair.responses[0].as_str(), found.margin, found.contradicted),
                (chosen, margin, contradicted)
            );
        }
        assert_eq!(read(&SHP, row(1, 20, 3)).unwrap().pairs[0].margin, None, "off unless asked for");
        let wide = ReadSettings { min_score_gap: 18.0, ..ReadSettings::default() };
        assert_eq!(read_with(&SHP, row(1, 20, 3), &wide).unwrap(), RowPairs::tie());
        let without = json!({"history": "How?", "human_ref_A": "A", "human_ref_B": "B", "labels": 1});
        assert_eq!(chosen_of(&without).as_deref(), Some("A"));
        fn chosen_of(row: &serde_json::Value) -> Option<String> {
            chosen(read(&SHP, row.clone()))
        }
    }

    #[test]
    fn strengths_and_scores_have_a_sign() {
        let help_steer = |strength: serde_json::Value| {
            let row = json!({"prompt": "q", "response_1": "one", "response_2": "two", "preference_strength": strength});
            let scaled = ReadSettings { score_margin: Some(1.0), ..ReadSettings::default() };
            read_with(&HELP_STEER_2, row, &scaled).map(|mut found| found.pairs.pop())
        };
        let first = help_steer(json!(-3)).unwrap().unwrap();
        assert_eq!((first.pair.responses[0].as_str(), first.margin), ("one", Some(3.0)));
        let second = help_steer(json!("1")).unwrap().unwrap();
        assert_eq!((second.pair.responses[0].as_str(), second.margin), ("two", Some(1.0)));
        assert_eq!(help_steer(json!(0)).unwrap(), None);
        assert!(
            help_steer(json!(null)).unwrap_err().to_string().contains("`preference_strength` is null, but a number")
        );

        let webgpt = |question: serde_json::Value, a: f64, b: f64| {
            read(
                &WEBGPT,
                json!({"question": question, "answer_0": "zero", "answer_1": "one", "score_0": a, "score_1": b}),
            )
        };
        let found = webgpt(json!({"dataset": "eli5", "full_text": "Why?"}), -0.5, 0.5).unwrap();
        assert_eq!(
            (found.pairs[0].pair.prompt[0].content.as_str(), &found.pairs[0].pair.responses[0][..]),
            ("Why?", "one")
        );
        assert_eq!(webgpt(json!("Why?"), 0.0, 0.0).unwrap(), RowPairs::tie());
        assert_eq!(chosen(webgpt(json!("{\"full_text\": \"Why?\"}"), 1.0, -1.0)).as_deref(), Some("zero"));
        assert!(webgpt(json!({"id": 1}), 1.0, -1.0).unwrap_err().to_string().contains("the row has no `full_text`"));
    }

    #[test]
    fn prompts_of_several_turns_are_taken_apart() {
        let turns = [Message::user("a\nb"), Message::assistant("c"), Message::user("d")];
        assert_eq!(extra_id_turns("a\nb\n<extra_id_1>Assistant\nc\n<extra_id_1>User\nd"), turns);
        assert_eq!(extra_id_turns("x\n<extra_id_1>y"), [Message::user("x\n<extra_id_1>y")]);
        let row = json!({"context": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
            {"role": "user", "content": "c"}], "response1": "one", "response2": "two", "overall_preference": 2});
        let found = read(&HELP_STEER_3, row).unwrap();
        assert_eq!((found.pairs[0].pair.prompt.len(), &found.pairs[0].pair.responses[0][..]), (3, "two"));
    }
}
