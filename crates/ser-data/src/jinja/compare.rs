//! Equality, order and membership as in Python.

use std::cmp::Ordering;

use super::error::{Result, fail, unsupported};
use super::value::{Range, Value, View};

impl Value {
    pub(crate) fn is_hashable(&self) -> bool {
        match self {
            Value::List(_) | Value::Dict(_) | Value::View(..) => false,
            Value::Tuple(items) => items.values.iter().all(Value::is_hashable),
            _ => true,
        }
    }

    /// `a == b`.
    pub(crate) fn equals(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Undefined(_), Value::Undefined(_)) | (Value::None, Value::None) => true,
            (Value::Str(a) | Value::Markup(a), Value::Str(b) | Value::Markup(b)) => a == b,
            (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
                a.values.len() == b.values.len() && a.values.iter().zip(&b.values).all(|(a, b)| a.equals(b))
            }
            (Value::Dict(a), Value::Dict(b)) => {
                a.entries.len() == b.entries.len()
                    && a.entries.iter().all(|(key, value)| matches!(b.get(key), Ok(Some(found)) if found.equals(value)))
            }
            (Value::Range(a), Value::Range(b)) => equal_ranges(*a, *b),
            (Value::Namespace(a), Value::Namespace(b)) => std::rc::Rc::ptr_eq(a, b),
            (Value::Iterator(a), Value::Iterator(b)) => std::rc::Rc::ptr_eq(a, b),
            (Value::Loop(a), Value::Loop(b)) => std::rc::Rc::ptr_eq(a, b),
            _ => compare_numbers(self, other) == Some(Some(Ordering::Equal)),
        }
    }

    /// `a == b`, refused if the result depends on state that this engine does not keep.
    pub(crate) fn checked_equals(&self, other: &Value) -> Result<bool> {
        match (self, other) {
            (Value::Function(_), Value::Function(_)) => unsupported("comparing functions"),
            (Value::View(..), Value::View(..)) => unsupported("comparing views of dicts"),
            _ => Ok(self.equals(other)),
        }
    }

    /// Python's order; `None` if a NaN makes every comparison false.
    pub(crate) fn order(&self, other: &Value, operator: &str) -> Result<Option<Ordering>> {
        if let Some(order) = compare_numbers(self, other) {
            return Ok(order);
        }
        match (self, other) {
            (Value::Str(a) | Value::Markup(a), Value::Str(b) | Value::Markup(b)) => Ok(Some(a.chars().cmp(b.chars()))),
            (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
                for (a, b) in a.values.iter().zip(&b.values) {
                    if !a.equals(b) {
                        return a.order(b, operator);
                    }
                }
                Ok(Some(a.values.len().cmp(&b.values.len())))
            }
            (Value::Undefined(problem), _) | (_, Value::Undefined(problem)) => fail(problem.to_string()),
            _ => fail(format!(
                "'{operator}' not supported between instances of '{}' and '{}'",
                self.type_name(),
                other.type_name()
            )),
        }
    }

    /// `item in self`.
    pub(crate) fn contains(&self, item: &Value) -> Result<bool> {
        match self {
            Value::Str(text) => match item {
                Value::Str(part) | Value::Markup(part) => Ok(text.contains(&**part)),
                Value::Undefined(problem) => fail(problem.to_string()),
                _ => fail(format!("'in <string>' requires string as left operand, not {}", item.type_name())),
            },
            Value::Dict(dict) | Value::View(View::Keys, dict) => Ok(dict.get(item)?.is_some()),
            Value::Iterator(values) => {
                // Membership consumes the items.
                while let Some(value) = values.borrow_mut().pop_front() {
                    if value.checked_equals(item)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Value::List(items) | Value::Tuple(items) => {
                for value in &items.values {
                    if value.checked_equals(item)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Value::Undefined(_) | Value::View(..) | Value::Range(_) => {
                Ok(self.iterate()?.iter().any(|value| value.equals(item)))
            }
            Value::Markup(_) | Value::Loop(_) => unsupported(format!("'in' on a {}", self.type_name())),
            _ => fail(format!("argument of type '{}' is not iterable", self.type_name())),
        }
    }
}

fn equal_ranges(a: Range, b: Range) -> bool {
    a.len() == b.len()
        && (0..a.len().min(2)).all(|i| matches!((a.get(i), b.get(i)), (Some(a), Some(b)) if a.equals(&b)))
}

/// The exact order of two numbers; `None` if one of them is not a number.
fn compare_numbers(a: &Value, b: &Value) -> Option<Option<Ordering>> {
    Some(match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Float(a), _) => compare_int(b.as_int()?, *a).map(Ordering::reverse),
        (_, Value::Float(b)) => compare_int(a.as_int()?, *b),
        _ => Some(a.as_int()?.cmp(&b.as_int()?)),
    })
}

fn compare_int(a: i128, b: f64) -> Option<Ordering> {
    if b.is_nan() {
        return None;
    }
    // A float beyond the range saturates, which keeps the order; within the range the cast is exact except for the
    // fraction.
    let whole = b.trunc() as i128;
    Some(a.cmp(&whole).then(0.0_f64.partial_cmp(&b.fract())?))
}

/// Sorts by keys, stable, as `sorted(values, key=…, reverse=…)`.
pub(crate) fn sort_by_keys(mut values: Vec<(Value, Value)>, reverse: bool) -> Result<Vec<Value>> {
    let mut problem = None;
    values.sort_by(|(a, _), (b, _)| {
        let order = a.order(b, "<").unwrap_or_else(|error| {
            problem.get_or_insert(error);
            Some(Ordering::Equal)
        });
        let order = order.unwrap_or(Ordering::Equal);
        if reverse { order.reverse() } else { order }
    });
    match problem {
        Some(error) => Err(error),
        None => Ok(values.into_iter().map(|(_, value)| value).collect()),
    }
}
