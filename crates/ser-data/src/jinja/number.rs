//! Conversions between integers and floats.

use super::error::{Result, unsupported};
use super::value::Value;

/// Integers up to this are exact as floats.
const EXACT: u128 = 1 << 53;

/// A number as a float; `None` for other values.
pub(crate) fn as_float(value: &Value) -> Result<Option<f64>> {
    match (value, value.as_int()) {
        (Value::Float(value), _) => Ok(Some(*value)),
        (_, Some(int)) if int.unsigned_abs() <= EXACT => Ok(Some(int as f64)),
        (_, Some(_)) => unsupported("an integer over 2**53 as a float"),
        _ => Ok(None),
    }
}

/// `int(number)`; `None` for infinities and NaN.
pub(crate) fn truncated(number: f64) -> Result<Option<i128>> {
    if !number.is_finite() {
        return Ok(None);
    }
    if number.abs() >= 1e38 {
        return unsupported("an integer of more than 128 bits");
    }
    Ok(Some(number.trunc() as i128))
}
