//! Markup with all external text escaped.

use std::fmt::{Display, Write};

/// HTML or SVG under construction. Names of tags and attributes are fixed (`&'static str`); values and text are always
/// escaped.
#[derive(Default)]
pub(crate) struct Markup(String);

/// An attribute.
pub(crate) type Attribute<'a> = (&'static str, &'a dyn Display);

impl Markup {
    pub(crate) fn new() -> Self {
        Markup::default()
    }

    /// An opening tag.
    pub(crate) fn open(&mut self, tag: &'static str, attributes: &[Attribute<'_>]) -> &mut Self {
        self.0.push('<');
        self.0.push_str(tag);
        for (name, value) in attributes {
            self.0.push(' ');
            self.0.push_str(name);
            self.0.push_str("=\"");
            self.text(value);
            self.0.push('"');
        }
        self.0.push('>');
        self
    }

    /// A closing tag.
    pub(crate) fn close(&mut self, tag: &'static str) -> &mut Self {
        self.0.push_str("</");
        self.0.push_str(tag);
        self.0.push_str(">\n");
        self
    }

    /// Text, escaped.
    pub(crate) fn text(&mut self, text: impl Display) -> &mut Self {
        // Writing to a string cannot fail.
        let _ = write!(Escaped(&mut self.0), "{text}");
        self
    }

    /// An element that contains only text.
    pub(crate) fn element(&mut self, tag: &'static str, attributes: &[Attribute<'_>], text: impl Display) -> &mut Self {
        self.open(tag, attributes).text(text).close(tag)
    }

    /// An element that contains other markup.
    pub(crate) fn wrap(&mut self, tag: &'static str, attributes: &[Attribute<'_>], inside: &Markup) -> &mut Self {
        self.open(tag, attributes).append(inside).close(tag)
    }

    /// Appends markup.
    pub(crate) fn append(&mut self, other: &Markup) -> &mut Self {
        self.0.push_str(&other.0);
        self
    }

    /// Appends fixed text (a style sheet) unescaped.
    pub(crate) fn verbatim(&mut self, text: &'static str) -> &mut Self {
        self.0.push_str(text);
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn into_string(self) -> String {
        self.0
    }
}

struct Escaped<'s>(&'s mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_attributes_are_escaped() {
        let mut markup = Markup::new();
        markup.element("p", &[("title", &"\"><script>")], "<b>&'");
        assert_eq!(markup.into_string(), "<p title=\"&quot;&gt;&lt;script&gt;\">&lt;b&gt;&amp;&#39;</p>\n");
    }
}
