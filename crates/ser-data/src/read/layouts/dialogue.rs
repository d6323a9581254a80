//! Conversations: HH-RLHF's written-out dialogues, and the common prompt of two conversations.

use ser_core::{Message, Role};

use crate::RowProblem;
use crate::read::describe::beginning;
use crate::text::{readable_turns, spoken};

pub(super) const HUMAN: &str = "\n\nHuman:";
pub(super) const ASSISTANT: &str = "\n\nAssistant:";

/// Whether a text begins as HH-RLHF's dialogues do.
pub(crate) fn is_dialogue(text: &str) -> bool {
    text.starts_with(HUMAN)
}

/// The turns of a written-out dialogue, without surrounding whitespace.
pub(crate) fn parse_dialogue(column: &'static str, text: &str) -> Result<Vec<Message>, RowProblem> {
    if !is_dialogue(text) {
        return Err(RowProblem::NotADialogue { column, start: beginning(text) });
    }
    if text.ends_with(ASSISTANT) {
        return Err(RowProblem::EmptyAnswer { column });
    }
    let mut turns = Vec::new();
    let mut rest = text;
    while let Some((role, after)) = strip_speaker(rest) {
        let end =
            after.match_indices("\n\n").map(|(at, _)| at).find(|&at| strip_speaker(after.split_at(at).1).is_some());
        let (content, next) = after.split_at(end.unwrap_or(after.len()));
        turns.push(Message::new(role, content.trim()));
        rest = next;
    }
    Ok(turns)
}

/// The turns of a dialogue that ends where the model's answer begins. Other text is one turn of the user.
pub(crate) fn open_dialogue(column: &'static str, text: &str) -> Result<Vec<Message>, RowProblem> {
    let whole = text.trim();
    let before = whole.strip_suffix("Assistant:").unwrap_or(whole).trim_end();
    match before.strip_prefix("Human:") {
        Some(_) => parse_dialogue(column, &format!("\n\n{before}")),
        None => Ok(vec![Message::user(text)]),
    }
}

fn strip_speaker(text: &str) -> Option<(Role, &str)> {
    let human = text.strip_prefix(HUMAN).map(|rest| (Role::User, rest));
    human.or_else(|| text.strip_prefix(ASSISTANT).map(|rest| (Role::Assistant, rest)))
}

/// Two conversations, split into prompt and answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SharedPrompt {
    pub(crate) prompt: Vec<Message>,
    /// The rest as text.
    pub(crate) responses: [String; 2],
    /// The rest as turns, if text is not sufficient.
    pub(crate) turns: Option<Box<[Vec<Message>; 2]>>,
    /// Whether the turns before the last assistant turns differ.
    pub(crate) differ: bool,
}

/// The prompt is everything before the last assistant turn. If the two prompts differ, or turns follow the answer, it
/// is the longest common beginning before an assistant turn, and the answers are written out in turns.
pub(crate) fn share_prompt(chosen: Vec<Message>, rejected: Vec<Message>) -> Result<SharedPrompt, RowProblem> {
    let (before_a, answer_a) = before_answer("chosen", &chosen)?;
    let (before_b, answer_b) = before_answer("rejected", &rejected)?;
    let differ = before_a != before_b;
    let shared = if !differ && answer_a.len() == 1 && answer_b.len() == 1 {
        before_a.len()
    } else {
        let limit = chosen.len().min(rejected.len()).saturating_sub(1);
        let common = chosen.iter().zip(&rejected).take(limit).take_while(|(a, b)| a == b).count();
        let (common, _) = chosen.split_at(common);
        common.iter().rposition(|turn| turn.role != Role::Assistant).map_or(0, |last| last + 1)
    };
    if shared == 0 {
        return Err(RowProblem::NoSharedPrompt);
    }
    let (mut prompt, mut rejected) = (chosen, rejected);
    let (rest_a, rest_b) = (prompt.split_off(shared), rejected.split_off(shared));
    let responses = [answer_text(&rest_a), answer_text(&rest_b)];
    Ok(SharedPrompt { prompt, responses, turns: turns_of(rest_a, rest_b), differ })
}

/// The turns of two answers, unless both are a single assistant turn of text.
pub(crate) fn turns_of(chosen: Vec<Message>, rejected: Vec<Message>) -> Option<Box<[Vec<Message>; 2]>> {
    let plain = |turns: &[Message]| matches!(turns, [turn] if turn.role == Role::Assistant && turn.extra.is_empty());
    (!plain(&chosen) || !plain(&rejected)).then(|| Box::new([chosen, rejected]))
}

/// Splits the turns before the last assistant turn.
fn before_answer<'a>(column: &'static str, turns: &'a [Message]) -> Result<(&'a [Message], &'a [Message]), RowProblem> {
    let last = turns.iter().rposition(|turn| turn.role == Role::Assistant).ok_or(RowProblem::NoAnswer { column })?;
    Ok(turns.split_at(last))
}

/// Several turns as one answer: the model's first text without a speaker, further turns with their speaker.
pub(crate) fn answer_text(turns: &[Message]) -> String {
    match turns.split_first() {
        Some((first, [])) => spoken(first).into_owned(),
        Some((first, rest)) if first.role == Role::Assistant => {
            format!("{}\n\n{}", spoken(first), readable_turns(rest))
        }
        _ => readable_turns(turns),
    }
}

/// Joins consecutive turns of one speaker (13 of the 4,624 dialogues in HH's harmless test have such), since chat
/// templates refuse them. Lists of messages are unchanged: their template decides.
pub(crate) fn merge_turns(turns: &[Message]) -> Vec<Message> {
    let mut merged: Vec<Message> = Vec::with_capacity(turns.len());
    for turn in turns {
        match merged.last_mut() {
            Some(last) if last.role == turn.role => {
                last.content.push_str("\n\n");
                last.content.push_str(&turn.content);
            }
            _ => merged.push(turn.clone()),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialogue(text: &str) -> Vec<Message> {
        parse_dialogue("chosen", text).unwrap()
    }

    #[test]
    fn dialogues_are_split() {
        let turns =
            dialogue("\n\nHuman: Hi\n\nthere\nHuman: no turn\n\nAssistant:  Hello. \n\nHuman:Why?\n\nAssistant: ");
        let expected = [
            Message::user("Hi\n\nthere\nHuman: no turn"),
            Message::assistant("Hello."),
            Message::user("Why?"),
            Message::assistant(""),
        ];
        assert_eq!(turns, expected);
        let error = parse_dialogue("rejected", "Human: Hi").unwrap_err().to_string();
        assert!(error.contains("`rejected` begins with \"Human: Hi\""), "{error}");
        assert_eq!(
            parse_dialogue("chosen", "\n\nHuman: Hi\n\nAssistant:").unwrap_err(),
            RowProblem::EmptyAnswer { column: "chosen" }
        );
    }

    #[test]
    fn equal_prompts_are_all_but_the_answer() {
        let start = "\n\nHuman: a\n\nHuman: b\n\nAssistant: c\n\nHuman: d\n\nAssistant:";
        let split = share_prompt(dialogue(&format!("{start} x")), dialogue(&format!("{start} y"))).unwrap();
        assert_eq!((split.prompt.len(), &split.turns), (4, &None));
        assert_eq!(merge_turns(&split.prompt), [Message::user("a\n\nb"), Message::assistant("c"), Message::user("d")]);
        assert_eq!((split.responses, split.differ), (["x".to_string(), "y".to_string()], false));
    }

    #[test]
    fn differing_prompts_keep_the_common_beginning() {
        let chosen = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d";
        let rejected = "\n\nHuman: a\n\nAssistant: b\n\nHuman: other\n\nAssistant: e";
        let split = share_prompt(dialogue(chosen), dialogue(rejected)).unwrap();
        assert_eq!(split.prompt, [Message::user("a")]);
        assert_eq!(split.responses, ["b\n\nHuman: c\n\nAssistant: d", "b\n\nHuman: other\n\nAssistant: e"]);
        assert!(split.differ);
        let turns = [Message::assistant("b"), Message::user("other"), Message::assistant("e")];
        assert_eq!(split.turns.unwrap()[1], turns);
        let shorter = share_prompt(dialogue(chosen), dialogue("\n\nHuman: a\n\nAssistant: b")).unwrap();
        assert_eq!(shorter.responses[1], "b");
        let stranger = share_prompt(dialogue(chosen), dialogue("\n\nHuman: x\n\nAssistant: b"));
        assert_eq!(stranger.unwrap_err(), RowProblem::NoSharedPrompt);
    }

    #[test]
    fn turns_after_the_answer_belong_to_it() {
        let chosen = "\n\nHuman: a\n\nAssistant: b\n\nHuman: thanks";
        let split = share_prompt(dialogue(chosen), dialogue("\n\nHuman: a\n\nAssistant: e")).unwrap();
        assert_eq!((split.responses, split.differ), (["b\n\nHuman: thanks".to_string(), "e".to_string()], false));
        let none = share_prompt(dialogue("\n\nHuman: a"), dialogue(chosen));
        assert_eq!(none.unwrap_err(), RowProblem::NoAnswer { column: "chosen" });
    }
}
