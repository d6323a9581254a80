//! Converts HTML, the form of StackExchange's posts, to plain text.

use html_escape::decode_html_entities;

/// The text of a piece of HTML: paragraphs are separated by an empty line, list items begin with `- `, code is
/// unchanged, entities are decoded. Scripts, styles and comments are left out; the text of links is kept. Text that is
/// not HTML is unchanged.
///
/// ```
/// let html = "<p>Use <code>a &lt; b</code>:</p>\n\n<pre><code>if a\n  b\n</code></pre>";
/// assert_eq!(ser_data::html_to_text(html), "Use a < b:\n\nif a\n  b");
/// ```
pub fn html_to_text(html: &str) -> String {
    let mut text = Text { out: String::with_capacity(html.len()), gap: Gap::None, preformatted: 0 };
    let mut rest = html;
    while !rest.is_empty() {
        let Some(start) = next_tag(rest) else {
            text.push(rest);
            break;
        };
        let (before, tag) = rest.split_at(start);
        text.push(before);
        rest = match tag.strip_prefix("<!--") {
            Some(comment) => comment.split_once("-->").map_or("", |(_, after)| after),
            None => text.tag(tag),
        };
    }
    text.out.truncate(text.out.trim_end().len());
    text.out
}

/// The start of the next tag or comment: `<` followed by a letter, `/` or `!`.
fn next_tag(text: &str) -> Option<usize> {
    let mut after = text.bytes().skip(1).chain([b' ']);
    text.bytes().position(|byte| {
        let next = after.next().unwrap_or(b' ');
        byte == b'<' && (next.is_ascii_alphabetic() || next == b'/' || next == b'!')
    })
}

/// The separator before the next character.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Gap {
    None,
    Space,
    Line,
    Paragraph,
}

struct Text {
    out: String,
    gap: Gap,
    /// Number of open `pre` elements.
    preformatted: usize,
}

impl Text {
    fn push(&mut self, html: &str) {
        let decoded = decode_html_entities(html);
        if self.preformatted > 0 {
            if !decoded.is_empty() {
                self.close_gap();
                self.out.push_str(&decoded);
            }
            return;
        }
        // A no-break space is kept.
        let space = |c: char| c.is_ascii_whitespace();
        for (i, word) in decoded.split(space).enumerate() {
            if i > 0 {
                self.widen(Gap::Space);
            }
            if !word.is_empty() {
                self.close_gap();
                self.out.push_str(word);
            }
        }
    }

    fn widen(&mut self, gap: Gap) {
        self.gap = self.gap.max(gap);
    }

    fn close_gap(&mut self) {
        if !self.out.is_empty() {
            let (newlines, spaces): (usize, usize) = match self.gap {
                Gap::None => (0, 0),
                Gap::Space => (0, usize::from(!self.out.ends_with('\n'))),
                Gap::Line => (1, 0),
                Gap::Paragraph => (2, 0),
            };
            let there = self.out.bytes().rev().take_while(|byte| *byte == b'\n').count();
            self.out.extend(std::iter::repeat_n('\n', newlines.saturating_sub(there)));
            self.out.extend(std::iter::repeat_n(' ', spaces));
        }
        self.gap = Gap::None;
    }

    /// Processes the tag at the start of `html`; returns the rest. An unclosed tag is text.
    fn tag<'a>(&mut self, html: &'a str) -> &'a str {
        let Some((inside, after)) = html.split_once('>') else {
            self.push(html);
            return "";
        };
        let inside = inside.trim_start_matches('<');
        let (closing, name) = match inside.strip_prefix('/') {
            Some(name) => (true, name),
            None => (false, inside),
        };
        let end = name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len());
        let name = name.split_at(end).0.to_ascii_lowercase();
        match name.as_str() {
            "script" | "style" if !closing => return skip_element(after, &name),
            "br" if self.preformatted > 0 => self.out.push('\n'),
            "br" | "tr" | "dt" | "dd" => self.widen(Gap::Line),
            "td" | "th" => self.widen(Gap::Space),
            "li" => {
                self.widen(Gap::Line);
                if !closing {
                    self.close_gap();
                    self.out.push_str("- ");
                }
            }
            "pre" => {
                self.widen(Gap::Paragraph);
                let open = self.preformatted;
                self.preformatted = if closing { open.saturating_sub(1) } else { open + 1 };
            }
            "p" if self.out.ends_with("- ") => {}
            "p" | "div" | "blockquote" | "ul" | "ol" | "dl" | "table" | "hr" | "h1" | "h2" | "h3" | "h4" | "h5"
            | "h6" => {
                self.widen(Gap::Paragraph);
            }
            _ => {}
        }
        after
    }
}

/// The rest after the closing tag of a script or style; its content is dropped.
fn skip_element<'a>(html: &'a str, name: &str) -> &'a str {
    let end = format!("</{name}");
    let at = html.as_bytes().windows(end.len()).position(|bytes| bytes.eq_ignore_ascii_case(end.as_bytes()));
    let Some((_, closing)) = at.and_then(|at| html.split_at_checked(at)) else { return "" };
    closing.split_once('>').map_or("", |(_, after)| after)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn posts_become_text() {
        for (html, text) in [
            ("", ""),
            ("plain\n text", "plain text"),
            (
                "<p>One\ntwo <em>three</em>.</p>\n\n<p>Four&nbsp;five &amp; &#39;six&#x27;</p>\n",
                "One two three.\n\nFour\u{a0}five & 'six'",
            ),
            ("a<br>b<br/>c", "a\nb\nc"),
            ("<ul>\n<li>x</li>\n<li><p>y</p></li>\n</ul>\n<p>z</p>", "- x\n- y\n\nz"),
            (
                "<p>do:</p>\n<pre><code>for x in y:\n    z &lt; 1\n</code></pre>\n<p>done</p>",
                "do:\n\nfor x in y:\n    z < 1\n\ndone",
            ),
            ("<p>1 < 2 and a<b</p>", "1 < 2 and a"),
            ("x <!-- no > --> y<script>if (a < b) {}</SCRIPT>z", "x yz"),
            ("<a href=\"u\" rel='n'>link</a><img src=x>", "link"),
            ("a <b", "a <b"),
            ("<h2>Head</h2>text<blockquote><p>said</p></blockquote>", "Head\n\ntext\n\nsaid"),
            ("<script>never closed", ""),
            ("<!-- open", ""),
        ] {
            assert_eq!(html_to_text(html), text, "{html}");
        }
    }

    proptest! {
        #[test]
        fn any_input_gives_text(html in "[<>/!a-d \\n&;#-é]{0,60}", other: String) {
            html_to_text(&html);
            html_to_text(&other);
        }

        #[test]
        fn words_stay_words(words in prop::collection::vec("[a-zé]{1,6}", 1..8)) {
            let html: String = words.iter().map(|word| format!("<p>{word}</p>\n")).collect();
            prop_assert_eq!(html_to_text(&html), words.join("\n\n"));
        }
    }
}
