//! Methods of `str`.

use std::rc::Rc;

use super::search;
use crate::jinja::calls::Args;
use crate::jinja::display::check_text;
use crate::jinja::error::{Result, fail, unsupported};
use crate::jinja::format::braces;
use crate::jinja::text::{capitalize, is_space, length, lines};
use crate::jinja::value::Value;

pub(super) fn call(text: &Rc<str>, name: &str, args: Args) -> Result<Value> {
    match name {
        "split" | "rsplit" | "partition" | "rpartition" | "find" | "rfind" | "index" | "rindex" | "count"
        | "startswith" | "endswith" => search::call(text, name, args),
        "strip" | "lstrip" | "rstrip" => strip(text, name, args),
        "format" => Ok(Value::str(braces::format(text, &args)?)),
        "join" => {
            let [items] = args.bind(name, [""], 1)?;
            let mut out = String::new();
            for (i, item) in items.unwrap_or(Value::None).iterate()?.iter().enumerate() {
                if i > 0 {
                    out.push_str(text);
                }
                out.push_str(item.require_str("an item of join")?);
                check_text(out.len())?;
            }
            Ok(Value::str(out))
        }
        "replace" => {
            let [old, new, count] = args.bind(name, ["", "", ""], 2)?;
            let (old, new) = (old.unwrap_or(Value::None), new.unwrap_or(Value::None));
            let count = count.map_or(Ok(-1), |count| count.require_int("the count of replace"))?;
            replace(text, old.require_str("the text to replace")?, new.require_str("the replacement")?, count)
        }
        "removeprefix" | "removesuffix" => {
            let [affix] = args.bind(name, [""], 1)?;
            let affix = affix.unwrap_or(Value::None);
            let affix = affix.require_str("an affix")?;
            let rest = if name == "removeprefix" { text.strip_prefix(&**affix) } else { text.strip_suffix(&**affix) };
            Ok(rest.map_or_else(|| Value::Str(Rc::clone(text)), Value::str))
        }
        "center" | "ljust" | "rjust" => justify(text, name, args),
        "zfill" => {
            let [width] = args.bind(name, [""], 1)?;
            let width = width.unwrap_or(Value::None).require_int("the width of zfill")?;
            let zeros = "0".repeat(padding(text, width)?);
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
            Ok(Value::str([sign, &zeros, digits].concat()))
        }
        "splitlines" => {
            let [keep_ends] = args.bind(name, ["keepends"], 0)?;
            let keep_ends = keep_ends.is_some_and(|keep| keep.truth());
            Value::list(lines(text, keep_ends).into_iter().map(Value::str).collect())
        }
        _ => {
            args.bind::<0>(name, [], 0)?;
            plain(text, name)
        }
    }
}

/// Methods without arguments.
fn plain(text: &str, name: &str) -> Result<Value> {
    let every = |holds: fn(&char) -> bool| !text.is_empty() && text.chars().all(|c| holds(&c));
    Ok(match name {
        "upper" => Value::str(text.to_uppercase()),
        "lower" => Value::str(text.to_lowercase()),
        "capitalize" => match capitalize(text) {
            Some(text) => Value::str(text),
            None => return unsupported("capitalizing this first letter"),
        },
        "isspace" => Value::Bool(!text.is_empty() && text.chars().all(is_space)),
        "isascii" => Value::Bool(text.is_ascii()),
        "islower" => Value::Bool(is_lower(text)?),
        "isupper" => Value::Bool(is_upper(text)?),
        // Rust's classes of characters beyond ASCII are not Python's.
        _ if !text.is_ascii() => return unsupported(format!("'{name}' of text that is not ASCII")),
        "isdigit" | "isdecimal" | "isnumeric" => Value::Bool(every(char::is_ascii_digit)),
        "isalpha" => Value::Bool(every(char::is_ascii_alphabetic)),
        "isalnum" => Value::Bool(every(char::is_ascii_alphanumeric)),
        "isprintable" => Value::Bool(text.chars().all(|c| (' '..='~').contains(&c))),
        "isidentifier" => {
            let word = every(|c| c.is_ascii_alphanumeric() || *c == '_');
            Value::Bool(word && !text.starts_with(|c: char| c.is_ascii_digit()))
        }
        "casefold" => Value::str(text.to_lowercase()),
        "swapcase" => Value::str(
            text.chars()
                .map(|c| if c.is_ascii_uppercase() { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() })
                .collect::<String>(),
        ),
        "title" => {
            let mut within = false;
            let title = |c: char| {
                let title = if within { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() };
                within = c.is_ascii_alphabetic();
                title
            };
            Value::str(text.chars().map(title).collect::<String>())
        }
        _ => return unsupported(format!("the method '{name}' of a string")),
    })
}

/// `str.islower()`.
pub(crate) fn is_lower(text: &str) -> Result<bool> {
    cased(text, char::is_lowercase, char::is_uppercase)
}

/// `str.isupper()`.
pub(crate) fn is_upper(text: &str) -> Result<bool> {
    cased(text, char::is_uppercase, char::is_lowercase)
}

fn cased(text: &str, wanted: fn(char) -> bool, other: fn(char) -> bool) -> Result<bool> {
    // Title-case digraphs are in neither of Rust's cases, and make Python return false.
    if text.chars().any(|c| matches!(c, '\u{1c5}' | '\u{1c8}' | '\u{1cb}' | '\u{1f2}' | '\u{1f88}'..='\u{1ffc}')) {
        return unsupported("the case of a title-case letter");
    }
    Ok(text.chars().any(wanted) && !text.chars().any(other))
}

fn strip(text: &Rc<str>, name: &str, args: Args) -> Result<Value> {
    let [chars] = args.bind(name, [""], 0)?;
    let chars = match &chars {
        None | Some(Value::None) => None,
        Some(chars) => Some(chars.require_str("the characters to strip")?),
    };
    let drop = |c: char| chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
    let mut kept: &str = text;
    if name != "rstrip" {
        kept = kept.trim_start_matches(drop);
    }
    if name != "lstrip" {
        kept = kept.trim_end_matches(drop);
    }
    Ok(Value::str(kept))
}

/// `text.replace(old, new, count)`; a negative count replaces all.
pub(crate) fn replace(text: &str, old: &str, new: &str, count: i128) -> Result<Value> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let found = if old.is_empty() { length(text) + 1 } else { text.matches(old).take(count).count() };
    check_text(text.len().saturating_add(found.min(count).saturating_mul(new.len())))?;
    Ok(Value::str(text.replacen(old, new, count)))
}

fn padding(text: &str, width: i128) -> Result<usize> {
    let padding = usize::try_from(width.saturating_sub(length(text) as i128)).unwrap_or(0);
    check_text(if width > 0 { usize::try_from(width).unwrap_or(usize::MAX) } else { 0 })?;
    Ok(padding)
}

fn justify(text: &str, name: &str, args: Args) -> Result<Value> {
    let [width, fill] = args.bind(name, ["", ""], 1)?;
    let width = width.unwrap_or(Value::None).require_int("the width")?;
    let fill = fill.unwrap_or_else(|| Value::str(" "));
    let fill = fill.require_str("the fill character")?;
    if length(fill) != 1 {
        return fail("the fill character must be exactly one character long");
    }
    let padding = padding(text, width)?;
    let left = match name {
        "ljust" => 0,
        "rjust" => padding,
        // CPython pads the odd character on the left if the width is odd.
        _ => padding / 2 + (padding & usize::try_from(width.max(0)).unwrap_or(0) & 1),
    };
    Ok(Value::str([fill.repeat(left).as_str(), text, &fill.repeat(padding - left)].concat()))
}
