//! The turns of a pair, and the text of a raw prompt.

use std::borrow::Cow;

use ser_core::{Message, Pair, Side};

use crate::DataError;

/// Prompt and turns of one side.
pub(super) fn whole(pair: &Pair, side: Side) -> Vec<Message> {
    pair.prompt.iter().chain(pair.turns(side).iter()).cloned().collect()
}

/// The text of a prompt of one turn, which the raw template continues.
pub(super) fn raw_prompt(prompt: &[Message]) -> Result<Cow<'_, str>, DataError> {
    match prompt {
        [Message { role: ser_core::Role::User, content, .. }] => Ok(Cow::Borrowed(content)),
        _ => Err(DataError::NoRawText { what: format!("a prompt of {} turns", prompt.len()) }),
    }
}
