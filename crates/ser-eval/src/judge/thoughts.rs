//! Removes a judge's thoughts from its reply, so that a draft's verdict is not taken for the final one.

/// Tags around thoughts, as models and chat templates write them; case is ignored.
const TAGS: [(&str, &str); 12] = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<thoughts>", "</thoughts>"),
    ("<reasoning>", "</reasoning>"),
    ("<reflection>", "</reflection>"),
    ("<scratchpad>", "</scratchpad>"),
    ("<seed:think>", "</seed:think>"),
    ("[think]", "[/think]"),
    ("\u{25c1}think\u{25b7}", "\u{25c1}/think\u{25b7}"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    // The raw text of gpt-oss: everything before the final channel is thought.
    ("<|channel|>analysis", "<|channel|>final<|message|>"),
];

/// A reply without its thoughts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FinalPart {
    /// The text after and between the thoughts, with digits of other scripts and fullwidth forms as ASCII.
    pub(super) text: String,
    /// Whether the reply had complete thoughts.
    pub(super) thought: bool,
}

/// The reply without its thoughts; none if it ends within them.
///
/// Thoughts are between tags. A closing tag without an opening one ends thoughts that the chat template opened. An
/// opening tag in the middle of a line without a closing one after it is ordinary text.
pub(super) fn final_part(reply: &str) -> Option<FinalPart> {
    let plain = ascii_forms(reply);
    // Lower case keeps the length: only ASCII letters change.
    let lower = plain.to_ascii_lowercase();
    let (mut text, mut at, mut thought) = (String::new(), 0, false);
    let opened_by_template = TAGS
        .iter()
        .filter_map(|(open, close)| {
            let end = lower.find(close)?;
            lower.get(..end)?.find(open).is_none().then_some(end + close.len())
        })
        .min();
    if let Some(end) = opened_by_template {
        (at, thought) = (end, true);
    }
    while let Some((start, open, close)) = next_opening(&lower, at) {
        text.push_str(plain.get(at..start)?);
        let inside = start + open.len();
        at = inside + lower.get(inside..)?.find(close)? + close.len();
        thought = true;
    }
    text.push_str(plain.get(at..)?);
    Some(FinalPart { text: without_end_token(&text).to_owned(), thought })
}

/// The first opening tag at or after `at` that has a closing one or starts a line; with its closing tag.
fn next_opening(lower: &str, at: usize) -> Option<(usize, &'static str, &'static str)> {
    let starts_line = |start: usize| {
        let before = lower.get(at..start).unwrap_or_default();
        before.rsplit('\n').next().is_some_and(|line| line.trim().is_empty())
    };
    let first = |(open, close): &(&'static str, &'static str)| {
        let rest = lower.get(at..)?;
        let closed = |start: usize| lower.get(start..).is_some_and(|rest| rest.contains(close));
        let mut starts = rest.match_indices(open).map(|(index, _)| at + index);
        let start = starts.find(|start| closed(*start) || starts_line(*start))?;
        Some((start, *open, *close))
    };
    TAGS.iter().filter_map(first).min_by_key(|(start, ..)| *start)
}

/// Removes the end token that some servers leave in the text.
fn without_end_token(text: &str) -> &str {
    let mut text = text.trim();
    while let Some(shorter) = text
        .strip_suffix("</s>")
        .or_else(|| text.strip_suffix("|>").and_then(|rest| rest.rfind("<|").and_then(|start| rest.get(..start))))
    {
        text = shorter.trim_end();
    }
    text
}

/// Converts fullwidth forms, digits of other scripts, and wide spaces and brackets to ASCII.
fn ascii_forms(text: &str) -> String {
    /// The zeros of runs of ten digits: Arabic-Indic, extended Arabic-Indic, Devanagari, Bengali, Thai.
    const ZEROS: [u32; 5] = [0x660, 0x6f0, 0x966, 0x9e6, 0xe50];
    let ascii = |c: char| -> char {
        let code = u32::from(c);
        let digit = |from: u32| char::from_u32(u32::from('0') + code - from).unwrap_or(c);
        match code {
            0xff01..=0xff5e => char::from_u32(code - 0xfee0).unwrap_or(c),
            0xa0 | 0x3000 => ' ',
            0x3010 => '[',
            0x3011 => ']',
            // Mathematical digits: bold, double-struck, sans-serif, ...
            0x1d7ce..=0x1d7ff => digit(code - (code - 0x1d7ce) % 10),
            _ => ZEROS.into_iter().find(|zero| (*zero..zero + 10).contains(&code)).map_or(c, digit),
        }
    };
    text.chars().map(ascii).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(reply: &str) -> Option<String> {
        final_part(reply).map(|part| part.text)
    }

    #[test]
    fn thoughts_are_removed() {
        for (reply, left) in [
            ("<think>\nScore: 2\n</think>\nScore: 4", "Score: 4"),
            ("<THINK>a</Think> b", "b"),
            ("  <thinking>x</thinking><think>y</think>z", "z"),
            ("a\n<think>draft</think>\nb", "a\n\nb"),
            ("Sure. <think>Score: 2\n</think>Score: 4", "Sure. Score: 4"),
            // The chat template opened the thoughts.
            ("Score: 2, no.\n</think>\n\nScore: 4", "Score: 4"),
            ("[THINK]Score: 2[/THINK]Score: 4", "Score: 4"),
            ("\u{25c1}think\u{25b7}Score: 2\u{25c1}/think\u{25b7}Score: 4", "Score: 4"),
            (
                "<|channel|>analysis<|message|>Score: 2<|end|><|start|>assistant<|channel|>final<|message|>Score: 4<|return|>",
                "Score: 4",
            ),
            // A tag within a sentence does not open thoughts.
            (
                "Score: 4\nEvaluation evidence: it leaks a <think> tag.",
                "Score: 4\nEvaluation evidence: it leaks a <think> tag.",
            ),
            ("<think>a</think>Score: 1\nA stray </think> in it.", "Score: 1\nA stray </think> in it."),
            ("Score: 4<|im_end|>", "Score: 4"),
            ("Ｓｃｏｒｅ：\u{3000}４", "Score: 4"),
            ("\u{664} \u{6f4} \u{96a} \u{1d7d2} \u{1d7dc}", "4 4 4 4 4"),
        ] {
            assert_eq!(text(reply).as_deref(), Some(left), "{reply}");
        }
    }

    #[test]
    fn a_reply_that_ends_within_its_thoughts_has_no_final_part() {
        for reply in ["<think>\nScore: 2, or", "Hm.\n<think>Score: 2", "<think>a</think>\n<think>Score: 2", "[THINK] 4"]
        {
            assert_eq!(text(reply), None, "{reply}");
        }
    }
}
