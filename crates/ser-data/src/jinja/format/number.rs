//! Numbers in the notations of format specifications.

use crate::jinja::error::{Result, unsupported};

/// `f`, `e`, `g` and their upper-case forms, without a sign for positive numbers.
pub(super) fn float(value: f64, kind: char, precision: Option<usize>, alternate: bool) -> Result<String> {
    let precision = precision.unwrap_or(6);
    if precision > 1000 || alternate {
        return unsupported("this format of a float");
    }
    let text = if !value.is_finite() {
        crate::jinja::text::float_repr(value)
    } else {
        match kind.to_ascii_lowercase() {
            'f' => format!("{value:.precision$}"),
            'e' => exponent(&format!("{value:.precision$e}")),
            _ => general(value, precision.max(1)),
        }
    };
    Ok(if kind.is_ascii_uppercase() { text.to_uppercase() } else { text })
}

/// Rust's `1e5` as C's `1e+05`.
fn exponent(text: &str) -> String {
    let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}

fn general(value: f64, precision: usize) -> String {
    let scientific = format!("{value:.*e}", precision - 1);
    let power: i64 = scientific.split_once('e').and_then(|(_, power)| power.parse().ok()).unwrap_or(0);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text.to_string(),
    };
    if power < -4 || power >= precision as i64 {
        let text = exponent(&scientific);
        let (digits, power) = text.split_once('e').unwrap_or((&text, "+00"));
        return format!("{}e{power}", trim(digits));
    }
    let decimals = usize::try_from(precision as i64 - 1 - power).unwrap_or(0);
    trim(&format!("{value:.decimals$}"))
}

/// An integer in base 2, 8, 10 or 16.
pub(super) fn integer(value: i128, kind: char, alternate: bool) -> String {
    let magnitude = value.unsigned_abs();
    let (prefix, digits) = match kind {
        'x' => ("0x", format!("{magnitude:x}")),
        'X' => ("0X", format!("{magnitude:X}")),
        'o' => ("0o", format!("{magnitude:o}")),
        'b' => ("0b", format!("{magnitude:b}")),
        _ => ("", magnitude.to_string()),
    };
    let sign = if value < 0 { "-" } else { "" };
    let prefix = if alternate { prefix } else { "" };
    format!("{sign}{prefix}{digits}")
}

/// Puts separators between groups of three digits before the point.
pub(super) fn grouped(text: &str, separator: char) -> String {
    let start = text.find(|c: char| c.is_ascii_digit()).unwrap_or(text.len());
    let (sign, rest) = text.split_at(start);
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, fraction) = rest.split_at(end);
    let mut out = sign.to_string();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(separator);
        }
        out.push(digit);
    }
    out + fraction
}
