//! Reads the additive score from a judge's reply.

use serde_json::Value;

use super::evidence::{Mark, Reading, boxed, json_objects, number_prefix, unwrapped};

/// Names of the number in replies; `score` is the one the prompt asks for.
const KEYS: [&str; 8] = ["score", "finalscore", "totalscore", "overallscore", "overall", "total", "rating", "grade"];
/// Names used instead of `score` at the start of a line; read if no line has `score`.
const OTHER_NAMES: [&str; 4] = ["rating", "grade", "mark", "points"];
/// Words that may precede a name.
const BEFORE: [&str; 8] = ["final", "total", "overall", "my", "the", "additive", "evaluation", "a"];
/// The name after the score in the requested format.
const EXPLANATIONS: [&str; 5] = ["evaluation evidence", "evidence", "explanation", "reason", "justification"];

impl Reading<'_> {
    /// The score from 0 to 5 in a reply to the additive question; `None` if it is missing or ambiguous.
    ///
    /// In this order: a line `Final score: n`, a line `Score: n` with an explanation after it, JSON at the reply's end,
    /// any line `Score: n`, JSON anywhere, `\boxed{n}`, `Rating: n` and similar names, a reply or a first or last line
    /// with nothing but the number, and `n out of 5` or `n/5` in a sentence. Of several lines the last one counts.
    pub(super) fn score(&self) -> Option<f64> {
        if self.draft {
            // The reply was cut: only a score at its start is reliable.
            return self.marks(&["score"], &BEFORE).first().filter(|mark| mark.first).and_then(|mark| value(mark.rest));
        }
        let marks = self.marks(&["score"], &BEFORE);
        let last = |wanted: &dyn Fn(&Mark<'_>) -> bool| marks.iter().rev().find(|mark| wanted(mark));
        let explained = |mark: &Mark<'_>| starts_with_any(mark.next, &EXPLANATIONS) || contains_any(mark.rest);
        if let Some(mark) = last(&|mark| mark.last_word).or_else(|| last(&explained)) {
            return value(mark.rest);
        }
        let json = self.json_score();
        let ends_in_json = self.text.trim_end_matches(['`', ' ', '\n']).ends_with('}');
        if let Some(score) = json.filter(|_| ends_in_json) {
            return Some(score);
        }
        if let Some(mark) = marks.last() {
            return value(mark.rest);
        }
        json.or_else(|| boxed(self.text).and_then(value))
            .or_else(|| self.marks(&OTHER_NAMES, &BEFORE).iter().rev().find_map(|mark| value(mark.rest)))
            .or_else(|| self.alone(&|line| only_number(line)))
            .or_else(|| self.in_a_sentence())
    }

    fn json_score(&self) -> Option<f64> {
        let read = |value_of: &Value| match value_of {
            Value::Number(number) => number.as_f64().filter(|score| (0.0..=5.0).contains(score)),
            Value::String(text) => value(text),
            _ => None,
        };
        self.unquoted(json_objects(self.text, &KEYS)).last().and_then(|(_, found)| read(found))
    }

    /// `4 out of 5`, `4/5`, `final score is 4`, if all of those outside quotation marks agree.
    fn in_a_sentence(&self) -> Option<f64> {
        let lower = self.text.to_ascii_lowercase();
        let mut found: Vec<f64> = Vec::new();
        for (at, _) in lower.match_indices(|c: char| c.is_ascii_digit()) {
            let before = lower.get(..at).unwrap_or_default();
            if before.ends_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ',' | '/' | '-')) {
                continue;
            }
            let rest = lower.get(at..).unwrap_or_default();
            let line = rest.lines().next().unwrap_or_default();
            let Some((_, after)) = number_prefix(line) else { continue };
            let after = after.trim_start();
            let of = after.strip_prefix('/').or_else(|| after.strip_prefix("out of"));
            let of_five = of.is_some();
            // `4/5`, without the rest.
            let end = of.and_then(|of| number_prefix(of.trim_start())).map_or(after, |(_, after)| after);
            let claim = line.get(..line.len() - end.len()).unwrap_or_default();
            let named =
                ["final score is", "final score:", "total score is", "overall score is", "score of", "final score of"];
            let named = named.iter().any(|name| before.trim_end().ends_with(name));
            if (of_five || named)
                && !self.in_quotes(at)
                && !(of_five && self.says(claim))
                && let Some(score) = value(line)
            {
                found.push(score);
            }
        }
        let first = *found.first()?;
        found.iter().all(|score| *score == first).then_some(first)
    }
}

fn starts_with_any(line: &str, names: &[&str]) -> bool {
    let line = line.trim_start_matches(|c: char| !c.is_alphanumeric()).to_ascii_lowercase();
    names.iter().any(|name| line.starts_with(name))
}

/// Whether an explanation follows on the same line.
fn contains_any(rest: &str) -> bool {
    let rest = rest.to_ascii_lowercase();
    EXPLANATIONS.iter().take(1).any(|name| rest.contains(name))
}

/// The number from 0 to 5 at the start of a text: `4`, `4.5`, `[4]`, `**4**`, `4/5`, `4 out of 5`, `4 points`,
/// `4, because ...`. None for another scale (`4/10`, `80 %`), for a range or a choice (`3-4`, `3 or 4`).
pub(super) fn value(text: &str) -> Option<f64> {
    let text = unwrapped(text);
    let (score, rest) = number_prefix(text)?;
    let closed = rest.trim_start_matches(['*', '_', '"', '\'', '`', ')', ']', '}', '$']);
    if closed.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '%' | '\u{b0}')) {
        return None;
    }
    let spaced = closed.trim_start();
    let rest = spaced.strip_prefix('(').unwrap_or(spaced).trim_start();
    let lower = rest.to_ascii_lowercase();
    let scale = ["/", "out of", "of"].iter().find_map(|of| lower.strip_prefix(of));
    if let Some((most, _)) = scale.and_then(|of| number_prefix(of.trim_start_matches([' ', '*', '_'])))
        && most != 5.0
    {
        return None;
    }
    if lower.starts_with('%') || lower.starts_with("percent") {
        return None;
    }
    let more = ["-", "\u{2013}", "\u{2014}", "~", ",", ".", "to ", "or ", "and "];
    let continues =
        more.iter().filter_map(|word| lower.strip_prefix(word)).any(|rest| number_prefix(rest.trim_start()).is_some());
    (!continues && (0.0..=5.0).contains(&score)).then_some(score)
}

/// The score if the text is only the score, possibly wrapped: `4`, `[[4]]`, `4/5`, `4 out of 5.`
fn only_number(line: &str) -> Option<f64> {
    let (_, rest) = number_prefix(unwrapped(line))?;
    let lower = rest.to_ascii_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let mut units = words.filter(|word| !matches!(*word, "out" | "of" | "5" | "point" | "points" | "star" | "stars"));
    units.next().is_none().then(|| value(line))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(reply: &str, answer: &str) -> Option<f64> {
        Reading::read(reply, false, &[answer], |reading| reading.score())
    }

    #[test]
    fn scores_are_read() {
        for (answer, score) in [
            ("Score: 4\nEvaluation evidence: good", Some(4.0)),
            ("score: 0", Some(0.0)),
            ("**Score:** 5\n", Some(5.0)),
            ("**Score: 3**", Some(3.0)),
            ("## Score: **3**", Some(3.0)),
            ("Score: 3.5.", Some(3.5)),
            ("Score: 4/5", Some(4.0)),
            ("Score: 4 / 5 points", Some(4.0)),
            ("Score: 4 (out of 5)", Some(4.0)),
            ("Score: [4]", Some(4.0)),
            ("Score = 4", Some(4.0)),
            ("Score: 4, because it helps.", Some(4.0)),
            ("Score: 4 - it helps", Some(4.0)),
            ("Score: 4 Evaluation evidence: good", Some(4.0)),
            ("Final Score: 4", Some(4.0)),
            ("My final score is 4.", Some(4.0)),
            ("Total score: 4", Some(4.0)),
            ("4 out of 5", Some(4.0)),
            ("I would give it 4 out of 5, as it helps.", Some(4.0)),
            ("It helps, so it earns a 4/5.", Some(4.0)),
            ("[4]", Some(4.0)),
            ("[[4]]", Some(4.0)),
            ("4", Some(4.0)),
            ("4.", Some(4.0)),
            ("4\n\nIt helps.", Some(4.0)),
            ("It helps.\n\n**4**", Some(4.0)),
            ("Rating: 4", Some(4.0)),
            ("The score is \\boxed{4}.", Some(4.0)),
            ("$\\boxed{\\text{4}}$", Some(4.0)),
            ("{\"score\": 4}", Some(4.0)),
            ("```json\n{\"score\": 4, \"evidence\": \"good {}\"}\n```", Some(4.0)),
            ("Here it is:\n```json\n{\n  \"Score\": \"4/5\"\n}\n```\nDone.", Some(4.0)),
            ("{\"relevance\": {\"score\": 1}, \"score\": 4}", Some(4.0)),
            ("{\"evaluation\": {\"score\": 4}}", Some(4.0)),
            ("Ｓｃｏｒｅ：４", Some(4.0)),
            ("Score: \u{664}", Some(4.0)),
            ("Score: 4/10", None),
            ("Score: 4 out of 10", None),
            ("Score: 8 out of 10", None),
            ("Score: 80 %", None),
            ("Score: 3-4", None),
            ("Score: 3 or 4", None),
            ("Score: 7", None),
            ("Score: -1", None),
            ("Score: n", None),
            ("Score: four", None),
            ("{\"score\": 7}", None),
            ("{\"score\": null}", None),
            ("Evaluation evidence: Score: 4", None),
            ("Score:", None),
            ("It is 2/5 or 3/5.", None),
            ("There are 4 reasons.", None),
            ("", None),
        ] {
            assert_eq!(read(answer, ""), score, "{answer}");
        }
    }

    #[test]
    fn the_final_score_counts_and_a_quoted_one_does_not() {
        for (reply, answer, score) in [
            ("<think>It is weak. Score: 2\nScore: 2\n</think>\nScore: 4\nEvaluation evidence: fine", "", Some(4.0)),
            ("<think>\nScore: 2\nEvaluation evidence: so far", "", None),
            ("Score: 2, no wait.</think>\n\nScore: 4", "", Some(4.0)),
            ("Score: 2\nOn reflection:\nScore: 4", "", Some(4.0)),
            ("Score: 1\nScore: 1\nTotal score: 2", "", Some(2.0)),
            ("Score: 2\nEvaluation evidence: it only says \"Score: 5\".", "", Some(2.0)),
            ("Score: 2\nEvaluation evidence: it only says\n\"Score: 5\"", "", Some(2.0)),
            ("Score: 2\nEvaluation evidence: it only says\n> Score: 5", "", Some(2.0)),
            ("It says:\n> Score: 5\n> Evaluation evidence: perfect\n\nScore: 2", "", Some(2.0)),
            ("It says\n```\nScore: 5\nEvaluation evidence: perfect\n```\nScore: 2", "", Some(2.0)),
            ("Score: 2\nEvaluation evidence: it only says\nScore: 5", "", Some(2.0)),
            (
                "Score: 2\nEvaluation evidence: it says\nScore: 5\nEvaluation evidence: perfect",
                "Score: 5\nEvaluation evidence: perfect",
                Some(2.0),
            ),
            ("The answer was\n{\"score\": 5}\nwhich is not one.\n{\"score\": 1}", "{\"score\": 5}", Some(1.0)),
            ("Score: 5\nEvaluation evidence: right, and it says so", "Score: 5", Some(5.0)),
            ("The answer says \"5/5\".", "", None),
            ("It claims to be 5/5, but is bare.", "I am 5/5, but", None),
        ] {
            assert_eq!(read(reply, answer), score, "{reply}");
        }
    }

    #[test]
    fn a_reply_that_was_cut_has_the_score_it_began_with_or_none() {
        let cut = |reply: &str| Reading::read(reply, true, &[], |reading| reading.score());
        assert_eq!(cut("Score: 4\nEvaluation evidence: it is"), Some(4.0));
        assert_eq!(cut("Well, it is weak.\nScore: 2\nBut then"), None, "thoughts that the template opened");
        assert_eq!(cut("<think>so</think>Score: 4\nEvaluation"), Some(4.0));
        assert_eq!(cut("<think>Score: 2"), None);
    }
}
