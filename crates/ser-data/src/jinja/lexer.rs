//! Converts template source to tokens, with the whitespace rules of `trim_blocks` and `lstrip_blocks`.
//!
//! Follows the lexer of Jinja2 3.1 as configured by transformers; its regular expressions are quoted where they matter.

use super::error::{Result, TemplateError};
use super::text::is_space;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    Data(String),
    BlockBegin,
    BlockEnd,
    VariableBegin,
    VariableEnd,
    Name(String),
    Str(String),
    Int(i128),
    Float(f64),
    /// An operator or delimiter.
    Op(&'static str),
    End,
}

/// Longest first, so that a prefix does not win.
const OPERATORS: [&str; 26] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".",
    ":", "|", ",", ";",
];

/// Tokens with the line each begins on.
pub(crate) fn tokenize(source: &str) -> Result<Vec<(Token, usize)>> {
    let mut text = source.replace("\r\n", "\n").replace('\r', "\n");
    // `keep_trailing_newline` is off.
    if text.ends_with('\n') {
        text.pop();
    }
    let mut lexer = Lexer { rest: &text, line: 1, line_starting: true, tokens: Vec::new() };
    lexer.root()?;
    lexer.push(Token::End);
    Ok(lexer.tokens)
}

struct Lexer<'s> {
    rest: &'s str,
    line: usize,
    /// Whether the previous token ended with a newline.
    line_starting: bool,
    tokens: Vec<(Token, usize)>,
}

impl<'s> Lexer<'s> {
    fn push(&mut self, token: Token) {
        self.tokens.push((token, self.line));
    }

    /// Consumes `len` bytes.
    fn advance(&mut self, len: usize) -> &'s str {
        let (read, rest) = self.rest.split_at(len);
        self.line += read.matches('\n').count();
        self.line_starting = read.ends_with('\n');
        self.rest = rest;
        read
    }

    fn skip_space(&mut self) {
        let space = self.rest.len() - self.rest.trim_start_matches(is_space).len();
        if space > 0 {
            self.advance(space);
        }
    }

    fn data(&mut self, text: &str, read: usize) {
        if !text.is_empty() {
            self.push(Token::Data(text.to_string()));
        }
        self.advance(read);
    }

    fn root(&mut self) -> Result<()> {
        loop {
            let next = self
                .rest
                .match_indices('{')
                .find(|(at, _)| matches!(self.rest.as_bytes().get(at + 1), Some(b'%' | b'{' | b'#')));
            let Some((at, _)) = next else {
                let rest = self.rest;
                self.data(rest, rest.len());
                return Ok(());
            };
            let kind = self.rest.as_bytes().get(at + 1).copied();
            let sign = Sign::of(self.rest, at + 2);
            let text = self.before_tag(&self.rest[..at], sign, kind == Some(b'{'));
            self.data(text, at);
            if kind == Some(b'%')
                && let Some(len) = raw_begin(self.rest)
            {
                self.advance(len);
                self.raw()?;
                continue;
            }
            self.advance(2 + sign.len());
            match kind {
                Some(b'#') => self.comment()?,
                Some(b'%') => self.tag(Token::BlockBegin, Token::BlockEnd, "%}")?,
                _ => self.tag(Token::VariableBegin, Token::VariableEnd, "}}")?,
            }
        }
    }

    /// The text before a tag, without the whitespace that the tag removes.
    fn before_tag(&self, text: &'s str, sign: Sign, variable: bool) -> &'s str {
        match sign {
            Sign::Strip => text.trim_end_matches(is_space),
            Sign::None if !variable => {
                let line = text.rfind('\n').map_or(0, |at| at + 1);
                let (kept, indent) = text.split_at(line);
                let at_line_start = line > 0 || self.line_starting;
                if at_line_start && indent.chars().all(is_space) { kept } else { text }
            }
            _ => text,
        }
    }

    /// `(.*?)((?:\+#}|\-#}\s*|#}\n?))`
    fn comment(&mut self) -> Result<()> {
        let Some(end) = self.rest.find("#}") else {
            return Err(TemplateError::at(self.line, "missing end of comment tag"));
        };
        let sign = if end > 0 { self.rest.as_bytes().get(end - 1).copied() } else { None };
        self.advance(end);
        self.close("#}", sign == Some(b'-'), sign == Some(b'+'));
        Ok(())
    }

    /// Reads an end tag with the whitespace that it removes.
    fn close(&mut self, end: &str, strip: bool, keep: bool) {
        self.advance(end.len());
        if strip {
            self.skip_space();
        } else if !keep && self.rest.starts_with('\n') {
            self.advance(1);
        }
    }

    fn raw(&mut self) -> Result<()> {
        for (at, _) in self.rest.match_indices("{%") {
            let sign = Sign::of(self.rest, at + 2);
            let after = self.rest[at + 2 + sign.len()..].trim_start_matches(is_space);
            let Some(after) = after.strip_prefix("endraw").map(|text| text.trim_start_matches(is_space)) else {
                continue;
            };
            let (end, strip, keep) = match after {
                text if text.starts_with("+%}") => ("+%}", false, true),
                text if text.starts_with("-%}") => ("-%}", true, false),
                text if text.starts_with("%}") => ("%}", false, false),
                _ => continue,
            };
            let text = self.before_tag(&self.rest[..at], sign, false);
            let tag = self.rest.len() - after.len();
            self.data(text, tag);
            self.close(end, strip, keep);
            return Ok(());
        }
        Err(TemplateError::at(self.line, "missing end of raw directive"))
    }

    /// A block or a variable, up to its end tag.
    fn tag(&mut self, begin: Token, end: Token, end_text: &str) -> Result<()> {
        self.push(begin);
        let block = end == Token::BlockEnd;
        let mut open: Vec<&'static str> = Vec::new();
        loop {
            if open.is_empty() {
                let (sign, rest) = match self.rest.as_bytes().first() {
                    Some(b'-') => (b'-', &self.rest[1..]),
                    Some(b'+') if block => (b'+', &self.rest[1..]),
                    _ => (0, self.rest),
                };
                if rest.starts_with(end_text) {
                    self.push(end);
                    self.advance(usize::from(sign != 0));
                    self.close(end_text, sign == b'-', sign == b'+' || !block);
                    return Ok(());
                }
            }
            let Some(first) = self.rest.chars().next() else {
                return Err(TemplateError::at(self.line, format!("a tag is not closed by {end_text}")));
            };
            if is_space(first) {
                self.skip_space();
            } else if first.is_ascii_digit() {
                self.number()?;
            } else if first.is_alphabetic() || first == '_' {
                let len = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
                let name = self.rest[..len].to_string();
                self.push(Token::Name(name));
                self.advance(len);
            } else if first == '\'' || first == '"' {
                self.string(first)?;
            } else {
                self.operator(first, &mut open)?;
            }
        }
    }

    fn operator(&mut self, first: char, open: &mut Vec<&'static str>) -> Result<()> {
        let Some(op) = OPERATORS.into_iter().find(|op| self.rest.starts_with(op)) else {
            return Err(TemplateError::at(self.line, format!("unexpected character {first:?}")));
        };
        match op {
            "(" => open.push(")"),
            "[" => open.push("]"),
            "{" => open.push("}"),
            ")" | "]" | "}" if open.pop() != Some(op) => {
                return Err(TemplateError::at(self.line, format!("unexpected '{op}'")));
            }
            _ => {}
        }
        self.push(Token::Op(op));
        self.advance(op.len());
        Ok(())
    }

    fn string(&mut self, quote: char) -> Result<()> {
        let mut escaped = false;
        let close = self.rest.char_indices().skip(1).find(|&(_, c)| {
            let found = c == quote && !escaped;
            escaped = c == '\\' && !escaped;
            found
        });
        let Some((close, _)) = close else {
            return Err(TemplateError::at(self.line, "a string is not closed"));
        };
        let value = unescape(&self.rest[1..close]).map_err(|problem| TemplateError::at(self.line, problem))?;
        self.push(Token::Str(value));
        self.advance(close + 1);
        Ok(())
    }

    fn number(&mut self) -> Result<()> {
        let bytes = self.rest.as_bytes();
        let bad = |line, text: &str| TemplateError::at(line, format!("{text} is not a number that can be used"));
        let radix = match bytes.get(..2) {
            Some(b"0x" | b"0X") => 16,
            Some(b"0o" | b"0O") => 8,
            Some(b"0b" | b"0B") => 2,
            _ => 10,
        };
        let digits = |from: usize, radix: u32| {
            let mut end = from;
            while let Some(byte) = bytes.get(end) {
                let underscore = *byte == b'_' && bytes.get(end + 1).is_some_and(|b| (*b as char).is_digit(radix));
                if !(*byte as char).is_digit(radix) && !underscore {
                    break;
                }
                end += 1;
            }
            end
        };
        if radix != 10 {
            let end = digits(2, radix);
            let text = self.advance(end);
            let value = i128::from_str_radix(&text[2..].replace('_', ""), radix).map_err(|_| bad(self.line, text))?;
            self.push(Token::Int(value));
            return Ok(());
        }
        let mut end = digits(0, 10);
        let mut float = false;
        // After a dot (`items.0.1`) only an integer is allowed.
        if !matches!(self.tokens.last(), Some((Token::Op("."), _))) {
            let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
            if bytes.get(end) == Some(&b'.') && digit(end + 1) {
                end = digits(end + 1, 10);
                float = true;
            }
            if matches!(bytes.get(end), Some(b'e' | b'E')) {
                let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
                if digit(end + 1 + sign) {
                    end = digits(end + 1 + sign, 10);
                    float = true;
                }
            }
        }
        let text = self.advance(end);
        let plain = text.replace('_', "");
        let zeros = !float && plain.len() > 1 && plain.starts_with('0') && plain.bytes().any(|b| b != b'0');
        let token = if float {
            plain.parse().ok().map(Token::Float)
        } else {
            plain.parse().ok().filter(|_| !zeros).map(Token::Int)
        };
        self.push(token.ok_or_else(|| bad(self.line, text))?);
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Sign {
    None,
    Strip,
    Keep,
}

impl Sign {
    fn of(text: &str, at: usize) -> Self {
        match text.as_bytes().get(at) {
            Some(b'-') => Sign::Strip,
            Some(b'+') => Sign::Keep,
            _ => Sign::None,
        }
    }

    fn len(self) -> usize {
        usize::from(self != Sign::None)
    }
}

/// `{%(\-|\+|)\s*raw\s*(?:\-%}\s*|%})`: its length, if `text` begins with it.
fn raw_begin(text: &str) -> Option<usize> {
    let inner = text.get(2 + Sign::of(text, 2).len()..)?.trim_start_matches(is_space);
    let after = inner.strip_prefix("raw")?.trim_start_matches(is_space);
    let rest = match after.strip_prefix("-%}") {
        Some(rest) => rest.trim_start_matches(is_space),
        None => after.strip_prefix("%}")?,
    };
    Some(text.len() - rest.len())
}

/// Escapes as Python's `unicode-escape` reads them; unknown ones stay as they are.
fn unescape(text: &str) -> std::result::Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let mut chars = rest[at + 1..].chars();
        let Some(kind) = chars.next() else { break };
        rest = chars.as_str();
        let hex = match kind {
            '\n' => continue,
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'v' => '\x0b',
            '\\' | '\'' | '"' => kind,
            'x' => code(&mut rest, 2, 16)?,
            'u' => code(&mut rest, 4, 16)?,
            'U' => code(&mut rest, 8, 16)?,
            '0'..='7' => {
                let len = 1 + rest.bytes().take(2).take_while(|b| (b'0'..=b'7').contains(b)).count();
                let mut digits = &text[text.len() - rest.len() - 1..];
                let value = code(&mut digits, len, 8)?;
                rest = digits;
                value
            }
            'N' => return Err("escapes of the form \\N{...} are not supported".to_string()),
            other if other.is_ascii() => {
                out.push('\\');
                other
            }
            other => return Err(format!("a backslash before {other:?} is not supported")),
        };
        out.push(hex);
    }
    out.push_str(rest);
    Ok(out)
}

fn code(rest: &mut &str, len: usize, radix: u32) -> std::result::Result<char, String> {
    let digits = rest.get(..len).filter(|digits| digits.chars().all(|c| c.is_digit(radix)));
    let value = digits.and_then(|digits| u32::from_str_radix(digits, radix).ok()).and_then(char::from_u32);
    let value = value.ok_or_else(|| "a string has an escape that is not a character".to_string())?;
    *rest = &rest[len..];
    Ok(value)
}
