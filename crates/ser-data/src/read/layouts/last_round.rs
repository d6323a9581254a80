//! Conversations of several rounds taken as their last one.

use ser_core::{Pair, RawText, Role};

use super::dialogue::{ASSISTANT, HUMAN};

/// Keeps of a prompt its last user turn and what follows it. A prompt without a user turn stays as it is.
pub(super) fn keep(pair: &mut Pair) {
    let Some(last) = pair.prompt.iter().rposition(|turn| turn.role == Role::User).filter(|last| *last > 0) else {
        return;
    };
    pair.prompt.drain(..last);
    if let (RawText::Whole(_), [question]) = (&pair.raw, pair.prompt.as_slice()) {
        // The file's own text has all rounds; this is the same form with one.
        let whole = |answer: &String| format!("{HUMAN} {}{ASSISTANT} {answer}", question.content);
        pair.raw = RawText::Whole(pair.responses.each_ref().map(whole));
    }
}
