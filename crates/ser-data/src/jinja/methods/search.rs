//! Methods of `str` that search.

use std::rc::Rc;

use crate::jinja::calls::Args;
use crate::jinja::error::{Result, fail, unsupported};
use crate::jinja::text::{is_space, length};
use crate::jinja::value::Value;

pub(super) fn call(text: &Rc<str>, name: &str, args: Args) -> Result<Value> {
    match name {
        "split" | "rsplit" => split(text, name, args),
        "partition" | "rpartition" => {
            let [separator] = args.bind(name, [""], 1)?;
            let separator = separator.unwrap_or(Value::None);
            let separator = separator.require_str("a separator")?;
            if separator.is_empty() {
                return fail("empty separator");
            }
            let first = name == "partition";
            let found = if first { text.split_once(&**separator) } else { text.rsplit_once(&**separator) };
            let parts = match found {
                Some((before, after)) => [before, separator, after],
                None if first => [text, "", ""],
                None => ["", "", text],
            };
            Value::tuple(parts.into_iter().map(Value::str).collect())
        }
        "startswith" | "endswith" => {
            let [affix, start, end] = args.bind(name, ["", "", ""], 1)?;
            let affix = affix.unwrap_or(Value::None);
            let Some(part) = window(text, start, end)?.map(|(_, part)| part) else { return Ok(Value::Bool(false)) };
            let fits = |affix: &Value| -> Result<bool> {
                let affix = affix.require_str("an affix")?;
                Ok(if name == "startswith" { part.starts_with(&**affix) } else { part.ends_with(&**affix) })
            };
            if let Value::Tuple(affixes) = &affix {
                for affix in &affixes.values {
                    if fits(affix)? {
                        return Ok(Value::Bool(true));
                    }
                }
                return Ok(Value::Bool(false));
            }
            fits(&affix).map(Value::Bool)
        }
        _ => {
            let [needle, start, end] = args.bind(name, ["", "", ""], 1)?;
            let needle = needle.unwrap_or(Value::None);
            let needle = needle.require_str("the text to look for")?;
            let Some((offset, part)) = window(text, start, end)? else {
                return if name.ends_with("index") {
                    fail("substring not found")
                } else {
                    Ok(Value::Int(if name == "count" { 0 } else { -1 }))
                };
            };
            if name == "count" {
                let count = if needle.is_empty() { length(part) + 1 } else { part.matches(&**needle).count() };
                return Ok(Value::Int(count as i128));
            }
            let at = if name.starts_with('r') { part.rfind(&**needle) } else { part.find(&**needle) };
            match at.and_then(|at| part.get(..at)) {
                Some(before) => Ok(Value::Int((offset + length(before)) as i128)),
                None if name.ends_with("index") => fail("substring not found"),
                None => Ok(Value::Int(-1)),
            }
        }
    }
}

/// `text[start:end]` with its offset in characters; `None` if the start lies beyond the text.
fn window(text: &str, start: Option<Value>, end: Option<Value>) -> Result<Option<(usize, &str)>> {
    let len = length(text);
    let bound = |value: Option<Value>, default: usize| -> Result<usize> {
        match value {
            None | Some(Value::None) => Ok(default),
            Some(value) => {
                let index = value.require_int("a bound")?;
                let index = if index < 0 { index.saturating_add(len as i128).max(0) } else { index };
                Ok(usize::try_from(index).unwrap_or(usize::MAX))
            }
        }
    };
    let (start, end) = (bound(start, 0)?, bound(end, len)?.min(len));
    if start > end {
        return Ok(None);
    }
    let byte = |count: usize| text.char_indices().nth(count).map_or(text.len(), |(at, _)| at);
    Ok(text.get(byte(start)..byte(end)).map(|part| (start, part)))
}

fn split(text: &str, name: &str, args: Args) -> Result<Value> {
    let [separator, limit] = args.bind(name, ["sep", "maxsplit"], 0)?;
    let limit = limit.map_or(Ok(-1), |limit| limit.require_int("maxsplit"))?;
    let pieces = usize::try_from(limit).map_or(usize::MAX, |limit| limit.saturating_add(1));
    let backwards = name == "rsplit";
    let mut parts: Vec<&str> = match &separator {
        None | Some(Value::None) if backwards => words_backwards(text, pieces),
        None | Some(Value::None) => words(text, pieces),
        Some(separator) => {
            let separator = separator.require_str("a separator")?;
            if separator.is_empty() {
                return fail("empty separator");
            }
            if backwards {
                text.rsplitn(pieces, &**separator).collect()
            } else {
                text.splitn(pieces, &**separator).collect()
            }
        }
    };
    if parts.len() > crate::jinja::value::MAX_ITEMS {
        return unsupported("splitting text into so many parts");
    }
    if backwards {
        parts.reverse();
    }
    Value::list(parts.into_iter().map(Value::str).collect())
}

fn words(text: &str, pieces: usize) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        if words.len() + 1 >= pieces {
            // The last piece keeps its trailing whitespace.
            words.push(rest);
            break;
        }
        let (word, after) = rest.split_at(rest.find(is_space).unwrap_or(rest.len()));
        words.push(word);
        rest = after.trim_start_matches(is_space);
    }
    words
}

fn words_backwards(text: &str, pieces: usize) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text.trim_end_matches(is_space);
    while !rest.is_empty() {
        if words.len() + 1 >= pieces {
            words.push(rest);
            break;
        }
        let at = rest.char_indices().rev().find(|&(_, c)| is_space(c)).map_or(0, |(at, c)| at + c.len_utf8());
        let (before, word) = rest.split_at(at);
        words.push(word);
        rest = before.trim_end_matches(is_space);
    }
    words
}
