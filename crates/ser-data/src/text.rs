//! Conversion of conversations to text: settings, and the template of the authors' code.

use std::borrow::Cow;
use std::fmt::Write as _;

use ser_core::{Message, Role};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::DataError;

/// The text that the model reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TemplateKind {
    /// The file's texts unchanged, with only the tokenizer's own special tokens.
    Raw,
    /// The template of the authors' code: `Question: {question}\n\nAnswer: {answer}`.
    #[default]
    #[serde(alias = "script")]
    AuthorsCode,
    /// The tokenizer's chat template.
    Chat,
}

impl TemplateKind {
    /// The name in settings and flags.
    pub fn as_str(self) -> &'static str {
        match self {
            TemplateKind::Raw => "raw",
            TemplateKind::AuthorsCode => "authors_code",
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
            "authors_code" | "script" => Ok(TemplateKind::AuthorsCode),
            "chat" => Ok(TemplateKind::Chat),
            _ => Err(DataError::UnknownTemplate { name: name.to_string() }),
        }
    }
}

/// How pairs become tokens. The defaults are the paper's length limit and the template of the authors' code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextSettings {
    /// The text that the model reads.
    pub template: TemplateKind,
    /// Whether a text of the authors' template ends with the end token; the other templates decide themselves.
    pub append_eos: bool,
    /// Pairs with a text of more tokens are left out; texts are never cut. `None` means no limit.
    pub max_length: Option<usize>,
    /// The date that `strftime_now` of a chat template writes. transformers writes today's date, so its tokens depend
    /// on the day of the run; here they never do.
    pub date: TemplateDate,
}

/// A date, written `YYYY-MM-DD`. The default is 2024-07-26, the date that Llama 3.1's chat template writes if
/// `strftime_now` is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(into = "String")]
pub struct TemplateDate {
    year: i16,
    month: i8,
    day: i8,
}

impl TemplateDate {
    /// Year, month (from 1) and day (from 1).
    pub fn year_month_day(self) -> (i16, i8, i8) {
        (self.year, self.month, self.day)
    }
}

impl Default for TemplateDate {
    fn default() -> Self {
        TemplateDate { year: 2024, month: 7, day: 26 }
    }
}

impl std::fmt::Display for TemplateDate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl From<TemplateDate> for String {
    fn from(date: TemplateDate) -> String {
        date.to_string()
    }
}

/// From text, or from a date of TOML, which arrives as a map with the text as its only value.
impl<'de> Deserialize<'de> for TemplateDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DateVisitor;

        impl<'de> Visitor<'de> for DateVisitor {
            type Value = TemplateDate;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a date, written YYYY-MM-DD")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TemplateDate, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TemplateDate, A::Error> {
                match map.next_entry::<String, String>()? {
                    Some((_, text)) => self.visit_str(&text),
                    None => Err(serde::de::Error::custom("a date, written YYYY-MM-DD, is expected")),
                }
            }
        }

        deserializer.deserialize_any(DateVisitor)
    }
}

impl std::str::FromStr for TemplateDate {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        let number = |range: std::ops::Range<usize>| {
            let digits = text.get(range).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
            digits.and_then(|digits| digits.parse::<i16>().ok())
        };
        let separated = text.len() == 10 && text.get(4..5) == Some("-") && text.get(7..8) == Some("-");
        if let (true, Some(year), Some(month), Some(day)) = (separated, number(0..4), number(5..7), number(8..10)) {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let days = match month {
                2 => 28 + i16::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            if year > 0 && (1..=12).contains(&month) && (1..=days).contains(&day) {
                return Ok(TemplateDate { year, month: month as i8, day: day as i8 });
            }
        }
        Err(DataError::Setting {
            name: "text.date",
            value: text.to_string(),
            problem: "is not a date; write YYYY-MM-DD",
        })
    }
}

impl Default for TextSettings {
    fn default() -> Self {
        TextSettings {
            template: TemplateKind::AuthorsCode,
            append_eos: true,
            max_length: Some(512),
            date: TemplateDate::default(),
        }
    }
}

impl TextSettings {
    /// Checks the settings.
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

/// The prompt in the template of the authors' code, up to and including `Answer:`.
///
/// A response follows after one space, which belongs to the response: most tokenizers merge it with the first word.
pub fn authors_code_prompt(prompt: &[Message]) -> String {
    format!("Question: {}\n\nAnswer:", question(prompt))
}

/// The template of the authors' code: `Question: {question}\n\nAnswer: {answer}`.
///
/// A single user turn is the question as it is; a longer conversation is written out in turns
/// (`Human: …\n\nAssistant: …`), a system turn as bare text.
///
/// ```
/// use ser_core::Message;
///
/// assert_eq!(ser_data::authors_code_text(&[Message::user("Why?")], "So."), "Question: Why?\n\nAnswer: So.");
/// ```
pub fn authors_code_text(prompt: &[Message], response: &str) -> String {
    format!("{} {response}", authors_code_prompt(prompt))
}

fn question(prompt: &[Message]) -> Cow<'_, str> {
    match prompt {
        [Message { role: Role::User, content, .. }] => Cow::Borrowed(content),
        turns => Cow::Owned(readable_turns(turns)),
    }
}

/// Turns as readable text, separated by an empty line.
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
        let _ = write!(text, "{gap}{speaker}{}", spoken(turn));
    }
    text
}

/// The text of a turn, with its tool calls as JSON on a line of their own.
pub(crate) fn spoken(turn: &Message) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(turn.content.as_str());
    for calls in ["tool_calls", "function_call"].iter().filter_map(|name| turn.extra.get(*name)) {
        let gap = if text.is_empty() { "" } else { "\n" };
        text = Cow::Owned(format!("{text}{gap}{calls}"));
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
            authors_code_text(&turns, "So."),
            "Question: Human: Hi\n\nAssistant: Hello.\n\nHuman: Why?\n\nAnswer: So."
        );
        let system = [Message::new(Role::System, "Be kind."), Message::user("Why?")];
        assert_eq!(authors_code_prompt(&system), "Question: Be kind.\n\nHuman: Why?\n\nAnswer:");
    }

    #[test]
    fn defaults_are_the_papers_and_bad_settings_are_refused() {
        let settings: TextSettings = serde_json::from_str("{}").unwrap();
        assert_eq!(
            (settings.template, settings.append_eos, settings.max_length),
            (TemplateKind::AuthorsCode, true, Some(512))
        );
        assert_eq!(settings.date.to_string(), "2024-07-26");
        settings.check().unwrap();
        let none = TextSettings { max_length: Some(0), ..settings };
        assert!(none.check().unwrap_err().to_string().contains("max_length = 0"));
        assert!(serde_json::from_str::<TextSettings>(r#"{"max_len": 3}"#).is_err());
        let dated: TextSettings = serde_json::from_str(r#"{"date": "2025-02-28"}"#).unwrap();
        assert_eq!(dated.date.year_month_day(), (2025, 2, 28));
        // The form in which toml passes `date = 2025-02-28`.
        let toml: TextSettings = serde_json::from_str(r#"{"date": {"$date": "2025-02-28"}}"#).unwrap();
        assert_eq!(toml, dated);
        for bad in ["2025-02-29", "2025-13-01", "26 Jul 2024", "2024-7-26", "today", ""] {
            assert!(bad.parse::<TemplateDate>().unwrap_err().to_string().contains("text.date"), "{bad}");
        }
        assert!("jinja".parse::<TemplateKind>().unwrap_err().to_string().contains("raw, authors_code or chat"));
    }
}
