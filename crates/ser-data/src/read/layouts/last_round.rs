//! Reduces conversations of several turns to their last question.

use ser_core::{Pair, RawText, Role};

use super::dialogue::{ASSISTANT, HUMAN};

/// Keeps the prompt's last user turn and everything after it. A prompt without a user turn is unchanged.
pub(super) fn keep(pair: &mut Pair) {
    let Some(last) = pair.prompt.iter().rposition(|turn| turn.role == Role::User).filter(|last| *last > 0) else {
        return;
    };
    pair.prompt.drain(..last);
    if let (RawText::Whole(_), [question]) = (&pair.raw, pair.prompt.as_slice()) {
        // The file's text contains all turns; this is the same form with one.
        let whole = |answer: &String| format!("{HUMAN} {}{ASSISTANT} {answer}", question.content);
        pair.raw = RawText::Whole(pair.responses.each_ref().map(whole));
    }
}
