//! Hugging Face chat templates: Jinja as transformers sets it up.

use std::collections::BTreeMap;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, context};
use ser_core::Message;

use super::python_json::to_python_json;

const NAME: &str = "chat_template";

/// A compiled chat template with the tokenizer's special tokens.
pub(crate) struct ChatTemplate {
    environment: Environment<'static>,
    special_tokens: BTreeMap<String, String>,
}

impl ChatTemplate {
    /// Compiles a template. Its special tokens are what `{{ bos_token }}` and the like stand for.
    pub(crate) fn new(source: &str, special_tokens: BTreeMap<String, String>) -> Result<Self, String> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| one_line(&error))?);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", tojson);
        environment.add_template_owned(NAME, without_generation_tags(source)).map_err(|error| one_line(&error))?;
        Ok(ChatTemplate { environment, special_tokens })
    }

    /// The text of a conversation; `add_generation_prompt` adds what begins an answer.
    pub(crate) fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, String> {
        let special_tokens =
            Value::from_pairs(self.special_tokens.iter().map(|(name, token)| (name.as_str(), token.as_str())));
        self.environment
            .get_template(NAME)
            .and_then(|template| {
                template.render(context! {
                    messages => Value::from(Serde(messages)),
                    add_generation_prompt,
                    tools => (),
                    documents => (),
                    ..special_tokens
                })
            })
            .map_err(|error| one_line(&error))
    }
}

/// What went wrong, without the engine's listing of the source.
fn one_line(error: &Error) -> String {
    match (error.detail(), error.line()) {
        (Some(detail), Some(line)) => format!("{detail} (line {line} of the template)"),
        (Some(detail), None) => detail.to_string(),
        (None, Some(line)) => format!("{} (line {line} of the template)", error.kind()),
        (None, None) => error.kind().to_string(),
    }
}

/// `{% generation %}` marks the assistant's part for masks, which nobody asks for here: it becomes `{% if true %}`,
/// whitespace control kept.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        let Some((inside, after)) = tag.split_at(2).1.split_once("%}") else {
            rest = tag;
            break;
        };
        let (open, inner) = split_control(inside, str::strip_prefix);
        let (close, inner) = split_control(inner, str::strip_suffix);
        let inner = match inner.trim() {
            "generation" => " if true ",
            "endgeneration" => " endif ",
            _ => inner,
        };
        for part in ["{%", open, inner, close, "%}"] {
            out.push_str(part);
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

fn split_control<'a>(text: &'a str, strip: impl Fn(&'a str, char) -> Option<&'a str>) -> (&'static str, &'a str) {
    if let Some(rest) = strip(text, '-') {
        ("-", rest)
    } else if let Some(rest) = strip(text, '+') {
        ("+", rest)
    } else {
        ("", text)
    }
}

fn strftime_now(format: &str) -> Result<String, Error> {
    jiff::fmt::strtime::format(format, &jiff::Zoned::now())
        .map_err(|error| Error::new(ErrorKind::InvalidOperation, format!("strftime_now({format:?}): {error}")))
}

/// `json.dumps`, not Jinja's own filter, which escapes HTML.
fn tojson(value: Value, kwargs: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = kwargs.get("indent")?;
    // Text is never escaped to ASCII and keys keep their order, as transformers does by default.
    let _: Option<bool> = kwargs.get("ensure_ascii")?;
    kwargs.assert_all_used()?;
    to_python_json(&value, indent).map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str, messages: &[Message], prompt: bool) -> Result<String, String> {
        let tokens = BTreeMap::from([("bos_token".to_string(), "<s>".to_string())]);
        ChatTemplate::new(source, tokens)?.render(messages, prompt)
    }

    #[test]
    fn extras_of_transformers_are_there() {
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
        let year = render("{{ strftime_now('%Y') }}", &turns, false).unwrap();
        assert!(year.parse::<u32>().is_ok_and(|year| year > 2020), "{year}");
    }

    #[test]
    fn generation_marks_leave_no_trace() {
        let source = "a {%- generation -%} b {% endgeneration %}{% if messages %}c{% endif %}{% open";
        assert_eq!(
            without_generation_tags(source),
            "a {%- if true -%} b {% endif %}{% if messages %}c{% endif %}{% open"
        );
    }

    #[test]
    fn what_the_template_raises_is_told() {
        let error = render("\n{{ raise_exception('roles must alternate') }}", &[], false).unwrap_err();
        assert_eq!(error, "roles must alternate (line 2 of the template)");
        assert!(render("{% if %}", &[], false).unwrap_err().contains("line 1"));
    }
}
