//! Conversations: HH-RLHF's written-out dialogues, and the prompt that two of them share.

use ser_core::{Message, Role};

use crate::read::row_problem::{RowProblem, beginning};
use crate::text::readable_turns;

const HUMAN: &str = "\n\nHuman:";
const ASSISTANT: &str = "\n\nAssistant:";

/// Whether a text begins as HH-RLHF's dialogues do.
pub(crate) fn is_dialogue(text: &str) -> bool {
    text.starts_with(HUMAN)
}

/// The turns of a written-out dialogue, the whitespace around them left out.
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

fn strip_speaker(text: &str) -> Option<(Role, &str)> {
    let human = text.strip_prefix(HUMAN).map(|rest| (Role::User, rest));
    human.or_else(|| text.strip_prefix(ASSISTANT).map(|rest| (Role::Assistant, rest)))
}

/// Two conversations taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SharedPrompt {
    pub(crate) prompt: Vec<Message>,
    pub(crate) responses: [String; 2],
    /// Whether what stands before the last assistant turns is not the same.
    pub(crate) differ: bool,
}

/// The prompt is all but the last assistant turn. Where the two prompts differ, or turns follow the answer, it is the
/// longest common beginning before an assistant turn, and the answers are written out in turns.
pub(crate) fn share_prompt(chosen: Vec<Message>, rejected: Vec<Message>) -> Result<SharedPrompt, RowProblem> {
    let (before_a, answer_a) = before_answer("chosen", &chosen)?;
    let (before_b, answer_b) = before_answer("rejected", &rejected)?;
    let differ = before_a != before_b;
    if !differ && let ([a], [b]) = (answer_a, answer_b) {
        if before_a.is_empty() {
            return Err(RowProblem::NoSharedPrompt);
        }
        let responses = [a.content.clone(), b.content.clone()];
        return Ok(SharedPrompt { prompt: merge_turns(before_a), responses, differ });
    }
    let limit = chosen.len().min(rejected.len()).saturating_sub(1);
    let common = chosen.iter().zip(&rejected).take(limit).take_while(|(a, b)| a == b).count();
    let (common, _) = chosen.split_at(common);
    let shared = common.iter().rposition(|turn| turn.role != Role::Assistant).map_or(0, |last| last + 1);
    if shared == 0 {
        return Err(RowProblem::NoSharedPrompt);
    }
    let (prompt, rest_a) = chosen.split_at(shared);
    let (_, rest_b) = rejected.split_at(shared);
    let responses = [answer_text(rest_a), answer_text(rest_b)];
    Ok(SharedPrompt { prompt: merge_turns(prompt), responses, differ })
}

/// The turns before the last assistant turn, and those from it on.
fn before_answer<'a>(column: &'static str, turns: &'a [Message]) -> Result<(&'a [Message], &'a [Message]), RowProblem> {
    let last = turns.iter().rposition(|turn| turn.role == Role::Assistant).ok_or(RowProblem::NoAnswer { column })?;
    Ok(turns.split_at(last))
}

/// Several turns as one answer: the model's first words bare, further turns with their speaker.
pub(crate) fn answer_text(turns: &[Message]) -> String {
    match turns.split_first() {
        Some((first, [])) => first.content.clone(),
        Some((Message { role: Role::Assistant, content, .. }, rest)) => {
            format!("{content}\n\n{}", readable_turns(rest))
        }
        _ => readable_turns(turns),
    }
}

/// Joins turns of one speaker that follow each other (13 of the 4,624 dialogues in HH's harmless test have such):
/// chat templates refuse them.
fn merge_turns(turns: &[Message]) -> Vec<Message> {
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
    fn dialogues_come_apart() {
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
        assert_eq!(split.prompt, [Message::user("a\n\nb"), Message::assistant("c"), Message::user("d")]);
        assert_eq!((split.responses, split.differ), (["x".to_string(), "y".to_string()], false));
    }

    #[test]
    fn differing_prompts_keep_what_they_share() {
        let chosen = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d";
        let rejected = "\n\nHuman: a\n\nAssistant: b\n\nHuman: other\n\nAssistant: e";
        let split = share_prompt(dialogue(chosen), dialogue(rejected)).unwrap();
        assert_eq!(split.prompt, [Message::user("a")]);
        assert_eq!(split.responses, ["b\n\nHuman: c\n\nAssistant: d", "b\n\nHuman: other\n\nAssistant: e"]);
        assert!(split.differ);
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
