//! Candidates for the verdict in a reply: marked lines, JSON, boxes; without quotations of the judged answers.

use serde_json::Value;

use super::thoughts::{FinalPart, final_part};

/// A judge's reply, prepared for reading.
pub(super) struct Reading<'r> {
    /// The text without thoughts.
    pub(super) text: &'r str,
    /// Whether the token limit cut it before any text outside its thoughts, as far as can be known.
    pub(super) draft: bool,
    /// The judged answers: text that a reply repeats from them is not its verdict.
    answers: &'r [&'r str],
}

/// A line that begins with a name: `Score: 4`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark<'r> {
    /// The text after the name.
    pub(super) rest: &'r str,
    /// The next line that is not empty.
    pub(super) next: &'r str,
    /// Whether it is called final, total or overall.
    pub(super) last_word: bool,
    /// Whether it is the first line of the reply.
    pub(super) first: bool,
    line: &'r str,
    /// Whether it is inside a fence of backticks.
    fenced: bool,
}

/// Marks that open a quotation.
const QUOTES: [char; 10] = ['>', '"', '\'', '`', '\u{201c}', '\u{2018}', '\u{ab}', '\u{201e}', '\u{300c}', '\u{2039}'];
/// Characters that Markdown and lists put before a name.
const DECORATION: [char; 11] = ['*', '_', '#', '-', '+', '\u{2022}', '(', '[', '=', ' ', '\t'];

impl<'r> Reading<'r> {
    /// Lines that begin with one of `names`, optionally after one of `words`. Lines that begin with a quotation mark
    /// are left out; lines in a fence or of a judged answer are left out if there are others.
    pub(super) fn marks(&self, names: &[&str], before: &[&str]) -> Vec<Mark<'r>> {
        let mut marks: Vec<Mark<'r>> = Vec::new();
        let (mut fenced, mut first) = (false, true);
        let lines: Vec<&'r str> = self.text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        for (index, line) in lines.iter().enumerate() {
            if line.starts_with("```") {
                fenced = !fenced;
                continue;
            }
            if let Some((last_word, rest)) = mark(line, names, before) {
                let next = lines.get(index + 1).copied().unwrap_or_default();
                marks.push(Mark { rest, next, last_word, first, line, fenced });
            }
            first = false;
        }
        if marks.iter().any(|mark| !mark.fenced) {
            marks.retain(|mark| !mark.fenced);
        }
        self.unquoted(marks.into_iter().map(|mark| (mark.line, mark)).collect())
            .into_iter()
            .map(|(_, mark)| mark)
            .collect()
    }

    /// Removes the texts that judged answers contain, unless all are theirs.
    pub(super) fn unquoted<'t, T>(&self, found: Vec<(&'t str, T)>) -> Vec<(&'t str, T)> {
        if found.iter().any(|(text, _)| !self.says(text)) {
            return found.into_iter().filter(|(text, _)| !self.says(text)).collect();
        }
        found
    }

    /// Whether a judged answer contains this text.
    pub(super) fn says(&self, text: &str) -> bool {
        self.answers.iter().any(|answer| answer.contains(text))
    }

    /// Whether a position of the text is within quotation marks of its line.
    pub(super) fn in_quotes(&self, at: usize) -> bool {
        let before = self.text.get(..at).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        let odd = |mark: char| line.matches(mark).count() % 2 == 1;
        let open = |from: char, to: char| line.matches(from).count() > line.matches(to).count();
        line.trim_start().starts_with('>')
            || odd('"')
            || odd('`')
            || open('\u{201c}', '\u{201d}')
            || open('\u{ab}', '\u{bb}')
    }

    /// The result of `read` on the whole text, or on its first or last line, if those do not contradict each other.
    pub(super) fn alone<T: PartialEq>(&self, read: &dyn Fn(&str) -> Option<T>) -> Option<T> {
        let mut lines = self.text.lines().map(str::trim).filter(|line| !line.is_empty());
        let first = read(lines.next()?);
        let last = lines.next_back().and_then(read);
        match (first, last) {
            (Some(first), Some(last)) => (first == last).then_some(first),
            (first, last) => first.or(last),
        }
    }
}

impl Reading<'_> {
    /// Prepares a reply and lets `read` read it. `cut`: the token limit ended it. `answers`: the judged answers. None
    /// if the reply ends within its thoughts.
    pub(super) fn read<T>(
        reply: &str,
        cut: bool,
        answers: &[&str],
        read: impl FnOnce(&Reading<'_>) -> Option<T>,
    ) -> Option<T> {
        let FinalPart { text, thought } = final_part(reply)?;
        read(&Reading { text: &text, draft: cut && !thought, answers })
    }
}

/// The text after a name at the start of a line, and whether the name says that it is final.
fn mark<'l>(line: &'l str, names: &[&str], before: &[&str]) -> Option<(bool, &'l str)> {
    if line.starts_with(QUOTES) {
        return None;
    }
    let mut rest = line.trim_start_matches(DECORATION);
    let mut last_word = false;
    for _ in 0..4 {
        let end = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let word = word.to_lowercase();
        let after = after.trim_start_matches(['*', '_', ' ', '\t']);
        let is = after.strip_prefix("is").filter(|rest| rest.starts_with([' ', ':']));
        let value = after.strip_prefix([':', '=']).or(is);
        if let Some(value) = value.filter(|_| names.contains(&word.as_str())) {
            return Some((last_word, value.trim_start_matches([':', ' ']).trim_end()));
        }
        if !before.contains(&word.as_str()) {
            return None;
        }
        last_word |= matches!(word.as_str(), "final" | "total" | "overall");
        rest = after;
    }
    None
}

/// The objects of a text that contain one of `keys`, in the text's order, with its value. Names are compared without
/// case and punctuation; a key of the object itself comes before one of a nested object.
pub(super) fn json_objects<'t>(text: &'t str, keys: &[&str]) -> Vec<(&'t str, Value)> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(start) = text.get(at..).and_then(|rest| rest.find('{')).map(|index| at + index) {
        let rest = text.get(start..).unwrap_or_default();
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        match values.next() {
            Some(Ok(object)) => {
                let end = start + values.byte_offset();
                if let Some(value) = keyed(&object, keys) {
                    found.push((text.get(start..end).unwrap_or_default(), value.clone()));
                }
                at = end;
            }
            _ => at = start + 1,
        }
    }
    found
}

fn keyed<'v>(value: &'v Value, keys: &[&str]) -> Option<&'v Value> {
    let Value::Object(fields) = value else { return None };
    let plain = |name: &str| name.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
    let own = keys.iter().find_map(|key| fields.iter().find(|(name, _)| plain(name) == *key).map(|(_, value)| value));
    own.or_else(|| fields.values().find_map(|inner| keyed(inner, keys)))
}

/// The contents of the last `\boxed{}`.
pub(super) fn boxed(text: &str) -> Option<&str> {
    text.rsplit_once("\\boxed{").map(|(_, inside)| inside)
}

/// Removes brackets, quotation marks and signs of Markdown and LaTeX from the start.
pub(super) fn unwrapped(text: &str) -> &str {
    let mut text = text;
    loop {
        let inside = text.trim_start_matches(['*', '_', ' ', '\t', '"', '\'', '`', '(', '[', '{', '$', ':', '=', '#']);
        let inside =
            ["\\boxed", "\\text", "\\textbf", "\\mathrm"].iter().find_map(|c| inside.strip_prefix(c)).unwrap_or(inside);
        if inside == text {
            return text;
        }
        text = inside;
    }
}

/// The number at the start of a text, and the rest. A point that ends a sentence is not part of it.
pub(super) fn number_prefix(text: &str) -> Option<(f64, &str)> {
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let whole = digits(text);
    let rest = text.get(whole..)?;
    let end = match rest.strip_prefix('.').map(digits) {
        Some(fraction) if fraction > 0 => whole + 1 + fraction,
        _ => whole,
    };
    let (number, rest) = text.split_at(end);
    Some((number.parse().ok()?, rest))
}
