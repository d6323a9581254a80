//! Filters with text results.

use crate::jinja::calls::Args;
use crate::jinja::display::check_text;
use crate::jinja::error::{Result, fail, unsupported};
use crate::jinja::format::percent;
use crate::jinja::methods;
use crate::jinja::text::{escape_html, is_space, length, lines, split_chars};
use crate::jinja::value::{Dict, Value};

pub(super) fn apply(name: &str, value: Value, args: Args) -> Result<Value> {
    match name {
        "string" => {
            args.bind::<0>(name, [], 0)?;
            return if matches!(value, Value::Markup(_)) { Ok(value) } else { Ok(Value::Str(value.to_text()?)) };
        }
        "e" | "escape" if matches!(value, Value::Markup(_)) => return Ok(value),
        "e" | "escape" | "forceescape" => {
            args.bind::<0>(name, [], 0)?;
            return Ok(Value::Markup(escape_html(&value.to_text()?).into()));
        }
        "safe" => {
            args.bind::<0>(name, [], 0)?;
            return Ok(Value::Markup(value.to_text()?));
        }
        _ => {}
    }
    // `soft_str` keeps markup, whose methods escape their arguments.
    if matches!(value, Value::Markup(_)) && name != "replace" {
        return unsupported(format!("the filter '{name}' on escaped text"));
    }
    let text = value.to_text()?;
    match name {
        "format" => format(&text, args),
        "indent" => indent(&value, args),
        "truncate" => truncate(&value, args),
        "replace" => {
            let [old, new, count] = args.bind(name, ["old", "new", "count"], 2)?;
            let (old, new) = (old.unwrap_or(Value::None).to_text()?, new.unwrap_or(Value::None).to_text()?);
            let count = match count {
                None | Some(Value::None) => -1,
                Some(count) => count.require_int("the count of replace")?,
            };
            methods::replace(&text, &old, &new, count)
        }
        "trim" => {
            let [chars] = args.bind(name, ["chars"], 0)?;
            methods::call(
                &Value::Str(text),
                "strip",
                Args { positional: chars.into_iter().collect(), named: Vec::new() },
            )
        }
        "center" => {
            let [width] = args.bind(name, ["width"], 0)?;
            let width = width.unwrap_or(Value::Int(80));
            methods::call(&Value::Str(text), "center", Args { positional: vec![width], named: Vec::new() })
        }
        "lower" | "upper" | "capitalize" => methods::call(&Value::Str(text), name, args),
        "title" => {
            args.bind::<0>(name, [], 0)?;
            Ok(Value::str(title(&text)))
        }
        _ => {
            args.bind::<0>(name, [], 0)?;
            if !text.is_ascii() {
                return unsupported("the filter 'wordcount' on text that is not ASCII");
            }
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty());
            Ok(Value::Int(words.count() as i128))
        }
    }
}

fn format(text: &str, args: Args) -> Result<Value> {
    let values = match (args.positional.is_empty(), args.named.is_empty()) {
        (false, false) => return fail("can't handle positional and keyword arguments at the same time"),
        (_, true) => Value::tuple(args.positional)?,
        (true, false) => {
            let mut dict = Dict::default();
            for (name, value) in args.named {
                dict.insert(Value::str(name), value)?;
            }
            Value::Dict(std::rc::Rc::new(dict))
        }
    };
    Ok(Value::str(percent::format(text, &values)?))
}

fn indent(value: &Value, args: Args) -> Result<Value> {
    let text = value.require_str("the text to indent")?;
    let [width, first, blank] = args.bind("indent", ["width", "first", "blank"], 0)?;
    let width = width.unwrap_or(Value::Int(4));
    let indention = match &width {
        Value::Str(text) => text.to_string(),
        _ => {
            let count = usize::try_from(width.require_int("the width of indent")?.max(0)).unwrap_or(usize::MAX);
            check_text(count)?;
            " ".repeat(count)
        }
    };
    let (first, blank) = (first.is_some_and(|first| first.truth()), blank.is_some_and(|blank| blank.truth()));
    let text = format!("{text}\n");
    let mut out = String::new();
    for (i, line) in lines(&text, false).into_iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        if if i == 0 { first } else { blank || !line.is_empty() } {
            out.push_str(&indention);
        }
        out.push_str(line);
        check_text(out.len())?;
    }
    Ok(Value::str(out))
}

fn truncate(value: &Value, args: Args) -> Result<Value> {
    let text = value.require_str("the text to truncate")?;
    let [limit, kill_words, end, leeway] = args.bind("truncate", ["length", "killwords", "end", "leeway"], 0)?;
    let limit = limit.unwrap_or(Value::Int(255)).require_int("the length of truncate")?;
    let end = end.unwrap_or_else(|| Value::str("..."));
    let end = end.require_str("the end of truncate")?;
    let leeway = match leeway {
        None | Some(Value::None) => 5,
        Some(leeway) => leeway.require_int("the leeway of truncate")?,
    };
    let end_length = length(end) as i128;
    if limit < end_length || leeway < 0 {
        return fail(format!("truncate needs a length of at least {end_length} and no negative leeway"));
    }
    if length(text) as i128 <= limit.saturating_add(leeway) {
        return Ok(Value::Str(text.clone()));
    }
    let (kept, _) = split_chars(text, usize::try_from(limit - end_length).unwrap_or(usize::MAX));
    let kept = if kill_words.is_some_and(|kill| kill.truth()) {
        kept
    } else {
        kept.rsplit_once(' ').map_or(kept, |(before, _)| before)
    };
    Ok(Value::str([kept, end].concat()))
}

/// Words begin after `[-\s({\[<]+`.
fn title(text: &str) -> String {
    let separator = |c: char| matches!(c, '-' | '(' | '{' | '[' | '<') || is_space(c);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let word = rest.find(separator).unwrap_or(rest.len());
        let (word, after) = rest.split_at(word);
        let (first, others) = split_chars(word, 1);
        out.push_str(&first.to_uppercase());
        out.push_str(&others.to_lowercase());
        let gap = after.find(|c| !separator(c)).unwrap_or(after.len());
        let (gap, after) = after.split_at(gap);
        out.push_str(gap);
        rest = after;
    }
    out
}
