//! How a conversation becomes text: settings, and the scripts' template.

use std::borrow::Cow;
use std::fmt::Write as _;

use ser_core::{Message, Role};
use serde::{Deserialize, Serialize};

use crate::DataError;

/// Which text the model reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TemplateKind {
    /// The file's texts as they stand, with no more than the tokenizer's own special tokens.
    Raw,
    /// The authors' scripts: `Question: {question}\n\nAnswer: {answer}`.
    #[default]
    Script,
    /// The tokenizer's own chat template.
    Chat,
}

impl TemplateKind {
    /// The name that settings and flags know.
    pub fn as_str(self) -> &'static str {
        match self {
            TemplateKind::Raw => "raw",
            TemplateKind::Script => "script",
            TemplateKind::Chat => "chat",
        }
    }
}

impl std::fmt::Display for TemplateKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for TemplateKind {
    type Err = DataError;

    fn from_str(name: &str) -> Result<Self, DataError> {
        match name {
            "raw" => Ok(TemplateKind::Raw),
            "script" => Ok(TemplateKind::Script),
            "chat" => Ok(TemplateKind::Chat),
            _ => Err(DataError::UnknownTemplate { name: name.to_string() }),
        }
    }
}

/// How pairs become tokens. The defaults are the paper's length limit and its scripts' template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextSettings {
    /// Which text the model reads.
    pub template: TemplateKind,
    /// Whether a text of the script template ends with the end token; the other templates say so themselves.
    pub append_eos: bool,
    /// Pairs with a text of more tokens are left out; nothing is ever cut. `None` means no limit.
    pub max_length: Option<usize>,
}

impl Default for TextSettings {
    fn default() -> Self {
        TextSettings { template: TemplateKind::Script, append_eos: true, max_length: Some(512) }
    }
}

impl TextSettings {
    /// Refuses settings under which no pair could be used.
    ///
    /// # Errors
    /// [`DataError::Setting`] for a `max_length` of 0.
    pub fn check(&self) -> Result<(), DataError> {
        if self.max_length == Some(0) {
            return Err(DataError::Setting {
                name: "max_length",
                value: "0".to_string(),
                problem: "leaves out every pair; give at least 1, or no limit",
            });
        }
        Ok(())
    }
}

/// What the scripts' template asks, up to and including `Answer:`.
///
/// A response follows after one space, which belongs to the response: most tokenizers join it to the first word.
pub fn script_prompt(prompt: &[Message]) -> String {
    format!("Question: {}\n\nAnswer:", question(prompt))
}

/// The scripts' template: `Question: {question}\n\nAnswer: {answer}`.
///
/// A single user turn is the question as it stands; a longer conversation is written out in turns
/// (`Human: …\n\nAssistant: …`), a system turn as bare text.
///
/// ```
/// use ser_core::Message;
///
/// assert_eq!(ser_data::script_text(&[Message::user("Why?")], "So."), "Question: Why?\n\nAnswer: So.");
/// ```
pub fn script_text(prompt: &[Message], response: &str) -> String {
    format!("{} {response}", script_prompt(prompt))
}

fn question(prompt: &[Message]) -> Cow<'_, str> {
    match prompt {
        [Message { role: Role::User, content, .. }] => Cow::Borrowed(content),
        turns => Cow::Owned(readable_turns(turns)),
    }
}

/// Turns as people read them, with an empty line between.
pub(crate) fn readable_turns(turns: &[Message]) -> String {
    let mut text = String::new();
    for (i, turn) in turns.iter().enumerate() {
        let gap = if i == 0 { "" } else { "\n\n" };
        let speaker = match turn.role {
            Role::System => "",
            Role::User => "Human: ",
            Role::Assistant => "Assistant: ",
            Role::Tool => "Tool: ",
        };
        // Writing to a String cannot fail.
        let _ = write!(text, "{gap}{speaker}{}", turn.content);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversations_are_written_out() {
        let turns = [Message::user("Hi"), Message::assistant("Hello."), Message::user("Why?")];
        assert_eq!(
            script_text(&turns, "So."),
            "Question: Human: Hi\n\nAssistant: Hello.\n\nHuman: Why?\n\nAnswer: So."
        );
        let system = [Message::new(Role::System, "Be kind."), Message::user("Why?")];
        assert_eq!(script_prompt(&system), "Question: Be kind.\n\nHuman: Why?\n\nAnswer:");
    }

    #[test]
    fn defaults_are_the_papers_and_bad_settings_are_refused() {
        let settings: TextSettings = serde_json::from_str("{}").unwrap();
        assert_eq!(settings, TextSettings { template: TemplateKind::Script, append_eos: true, max_length: Some(512) });
        settings.check().unwrap();
        let none = TextSettings { max_length: Some(0), ..settings };
        assert!(none.check().unwrap_err().to_string().contains("max_length = 0"));
        assert!(serde_json::from_str::<TextSettings>(r#"{"max_len": 3}"#).is_err());
        assert!("jinja".parse::<TemplateKind>().unwrap_err().to_string().contains("raw, script or chat"));
    }
}
