//! Formatting of values into text: `%` and `str.format`.

pub(crate) mod braces;
mod number;
pub(crate) mod percent;

use super::error::{Result, fail};
use super::text::length;

/// Pads `text` to `width` characters.
fn pad(text: &str, width: usize, fill: char, align: char) -> Result<String> {
    super::display::check_text(width.saturating_mul(fill.len_utf8()))?;
    let missing = width.saturating_sub(length(text));
    let fills = |count: usize| fill.to_string().repeat(count);
    Ok(match align {
        '<' => [text, &fills(missing)].concat(),
        '^' => [&fills(missing / 2), text, &fills(missing - missing / 2)].concat(),
        '>' => [&fills(missing), text].concat(),
        // Between sign and digits.
        _ => {
            let sign = usize::from(text.starts_with(['+', '-', ' ']));
            let (sign, digits) = text.split_at(sign);
            let (prefix, digits) = match digits.get(..2) {
                Some("0x" | "0X" | "0o" | "0b" | "0B") => digits.split_at(2),
                _ => ("", digits),
            };
            [sign, prefix, &fills(missing), digits].concat()
        }
    })
}

/// A width or precision of a specification.
fn digits(rest: &mut &str) -> Result<Option<usize>> {
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (number, after) = rest.split_at(end);
    *rest = after;
    if number.is_empty() {
        return Ok(None);
    }
    match number.parse() {
        Ok(number) if number <= 1 << 20 => Ok(Some(number)),
        _ => fail(format!("the width or precision {number} is too large")),
    }
}
