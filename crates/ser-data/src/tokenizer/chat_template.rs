//! Hugging Face chat templates over conversations.

use std::collections::BTreeMap;
use std::rc::Rc;

use ser_core::Message;

use crate::TemplateDate;
use crate::jinja::{Dict, Template, TemplateError, Value};

/// Names of a message's reasoning in data; most templates read the first.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// A compiled chat template with its further variables.
#[derive(Debug)]
pub(crate) struct ChatTemplate {
    template: Template,
    /// Whether the source mentions `strftime_now`.
    reads_date: bool,
    /// The tokenizer's special tokens: `{{ bos_token }}` and the like.
    special_tokens: BTreeMap<String, String>,
    /// The day that `strftime_now` writes, at midnight.
    date: jiff::Zoned,
}

impl ChatTemplate {
    /// Compiles a template.
    pub(crate) fn new(
        source: &str,
        special_tokens: BTreeMap<String, String>,
        date: TemplateDate,
    ) -> Result<Self, String> {
        let template = Template::new(source).map_err(|error| error.to_string())?;
        let (year, month, day) = date.year_month_day();
        let date = jiff::civil::Date::new(year, month, day)
            .and_then(|day| day.to_zoned(jiff::tz::TimeZone::UTC))
            .map_err(|error| error.to_string())?;
        Ok(ChatTemplate { template, reads_date: source.contains("strftime_now"), special_tokens, date })
    }

    /// Whether the text may contain the date.
    pub(crate) fn reads_date(&self) -> bool {
        self.reads_date
    }

    /// The text of a conversation; `add_generation_prompt` appends the start of an answer.
    pub(crate) fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, String> {
        self.try_render(messages, add_generation_prompt).map_err(|error| error.to_string())
    }

    fn try_render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, TemplateError> {
        let messages = messages.iter().map(message).collect::<Result<_, _>>()?;
        let given = [
            ("messages", Value::list(messages)?),
            ("add_generation_prompt", Value::Bool(add_generation_prompt)),
            ("tools", Value::None),
            ("documents", Value::None),
        ];
        let special = self.special_tokens.iter().map(|(name, token)| (name.as_str(), Value::str(token)));
        self.template.render(special.chain(given).map(|(name, value)| (name.to_string(), value)), &self.date)
    }
}

/// A message as transformers passes it to templates: null fields are left out, and reasoning is available as
/// `reasoning_content` and `thinking`, whichever of them the file uses.
fn message(message: &Message) -> Result<Value, TemplateError> {
    let mut fields = Dict::default();
    let reasoning = REASONING.iter().find_map(|name| message.extra.get(*name).filter(|value| !value.is_null()));
    if let Some(reasoning) = reasoning {
        fields.insert(Value::str("thinking"), Value::try_from(reasoning)?)?;
    }
    fields.insert(Value::str("role"), Value::str(message.role.as_str()))?;
    fields.insert(Value::str("content"), Value::str(&message.content))?;
    for (name, value) in message.extra.iter().filter(|(_, value)| !value.is_null()) {
        fields.insert(Value::str(name), Value::try_from(value)?)?;
    }
    if let Some(reasoning) = reasoning {
        fields.insert(Value::str("reasoning_content"), Value::try_from(reasoning)?)?;
    }
    Ok(Value::Dict(Rc::new(fields)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str, messages: &[Message], prompt: bool) -> Result<String, String> {
        let tokens = BTreeMap::from([("bos_token".to_string(), "<s>".to_string())]);
        ChatTemplate::new(source, tokens, TemplateDate::default())?.render(messages, prompt)
    }

    #[test]
    fn extras_of_transformers_are_available() {
        let turns = [Message::user(" hi <b> "), Message::assistant("yes</think>no")];
        let source = "{{ bos_token }}{% for m in messages %}\n  {% if loop.first %}\n[{{ m.content.strip() | tojson }}]\n\
                      {% elif m['content'].startswith('yes') %}({{ m.content.split('</think>')[-1] }}){% endif %}\n\
                      {% endfor %}{% if add_generation_prompt %}>{% endif %}{{ missing }}{{ tools is none }}\n";
        assert_eq!(render(source, &turns, true).unwrap(), "<s>[\"hi <b>\"]\n(no)>True");
        let messages = "{{ messages | tojson }}";
        assert_eq!(
            render(messages, &turns[1..], false).unwrap(),
            r#"[{"role": "assistant", "content": "yes</think>no"}]"#
        );
        // The date is a setting, not today.
        assert_eq!(render("{{ strftime_now('%d %b %Y') }}", &turns, false).unwrap(), "26 Jul 2024");
    }

    #[test]
    fn reasoning_has_both_names() {
        for name in REASONING {
            let mut turn = Message::assistant("4");
            turn.extra.insert(name.to_string(), "Add.".into());
            let source =
                "{{ messages[0].reasoning_content }}|{{ messages[0].thinking }}|{{ messages[0].nope is defined }}";
            assert_eq!(render(source, &[turn], false).unwrap(), "Add.|Add.|False", "{name}");
        }
    }

    #[test]
    fn errors_of_the_template_are_reported() {
        let error = render("\n{{ raise_exception('roles must alternate') }}", &[], false).unwrap_err();
        assert_eq!(error, "roles must alternate (line 2 of the template)");
        assert!(render("{% if %}", &[], false).unwrap_err().contains("line 1"));
    }
}
