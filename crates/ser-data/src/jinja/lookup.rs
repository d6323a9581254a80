//! `a.b`, `a[b]` and slices, with the lookup rules of Jinja2's sandbox.

use std::rc::Rc;

use super::error::{Result, fail, unsupported};
use super::value::{Function, Value, View};

/// Methods of Python's types, supported here or not: a name among them is never a missing attribute.
const STR: [&str; 47] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "encode",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "maketrans",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "translate",
    "upper",
    "zfill",
];
const LIST: [&str; 11] =
    ["append", "clear", "copy", "count", "extend", "index", "insert", "pop", "remove", "reverse", "sort"];
const DICT: [&str; 11] =
    ["clear", "copy", "fromkeys", "get", "items", "keys", "pop", "popitem", "setdefault", "update", "values"];
const MUTATING: [&str; 13] = [
    "append",
    "clear",
    "extend",
    "insert",
    "pop",
    "remove",
    "reverse",
    "sort",
    "popitem",
    "setdefault",
    "update",
    "fromkeys",
    "add",
];
const NUMBERS: [&str; 14] = [
    "as_integer_ratio",
    "bit_count",
    "bit_length",
    "conjugate",
    "denominator",
    "from_bytes",
    "fromhex",
    "hex",
    "imag",
    "is_integer",
    "numerator",
    "real",
    "to_bytes",
    "from_number",
];

impl Value {
    /// `value.name`: an attribute first, then an item.
    pub(crate) fn attribute(&self, name: &str) -> Result<Value> {
        if let Some(found) = self.own_attribute(name)? {
            return Ok(found);
        }
        if let Value::Dict(dict) = self
            && let Some(found) = dict.get_str(name)
        {
            return Ok(found.clone());
        }
        self.missing(name)
    }

    /// `value[index]`: an item first, then an attribute.
    pub(crate) fn item(&self, index: &Value) -> Result<Value> {
        if let Some(found) = self.own_item(index)? {
            return Ok(found);
        }
        if let Value::Str(name) = index {
            if let Some(found) = self.own_attribute(name)? {
                return Ok(found);
            }
            return self.missing(name);
        }
        if let Value::Undefined(problem) = self {
            return fail(problem.to_string());
        }
        let mut key = String::new();
        index.write_repr(&mut key)?;
        Ok(Value::undefined(format!("{} has no element {key}", self.described())))
    }

    fn own_item(&self, index: &Value) -> Result<Option<Value>> {
        Ok(match self {
            Value::Undefined(problem) => return fail(problem.to_string()),
            Value::Dict(dict) if index.is_hashable() => dict.get(index)?.cloned(),
            Value::Str(text) => match index.as_int() {
                Some(index) => {
                    let position = wrap(index, super::text::length(text));
                    position.and_then(|at| text.chars().nth(at)).map(|c| Value::str(c.encode_utf8(&mut [0; 4])))
                }
                None => None,
            },
            Value::List(items) | Value::Tuple(items) => match index.as_int() {
                Some(index) => wrap(index, items.values.len()).and_then(|at| items.values.get(at).cloned()),
                None => None,
            },
            Value::Range(range) => match index.as_int() {
                Some(index) => wrap(index, range.len()).and_then(|at| range.get(at)),
                None => None,
            },
            Value::Markup(_) => return unsupported("a character of escaped text"),
            _ => None,
        })
    }

    fn own_attribute(&self, name: &str) -> Result<Option<Value>> {
        if let Value::Undefined(problem) = self {
            return fail(problem.to_string());
        }
        if name.starts_with("__") {
            return fail(format!("access to attribute '{name}' of '{}' object is unsafe", self.type_name()));
        }
        let methods: &[&str] = match self {
            Value::Str(_) => &STR,
            Value::List(_) => &LIST,
            Value::Dict(_) => &DICT,
            Value::Tuple(_) => &["count", "index"],
            Value::Int(_) | Value::Bool(_) | Value::Float(_) if NUMBERS.contains(&name) => {
                return unsupported(format!("the attribute '{name}' of a number"));
            }
            Value::Namespace(values) => {
                return Ok(values.borrow().iter().find(|(found, _)| found == name).map(|(_, value)| value.clone()));
            }
            Value::Loop(state) => return state.attribute(name),
            Value::Function(Function::Cycler(cycler)) => {
                return Ok(match name {
                    "next" => Some(Value::Function(Function::CyclerMethod(Rc::clone(cycler), "next"))),
                    "reset" => Some(Value::Function(Function::CyclerMethod(Rc::clone(cycler), "reset"))),
                    "current" => cycler.items.get(cycler.position.get()).cloned(),
                    _ => return unsupported(format!("the attribute '{name}' of a cycler")),
                });
            }
            Value::Function(Function::Macro(found)) if name == "name" => return Ok(Some(Value::str(&found.def.name))),
            Value::None | Value::Int(_) | Value::Bool(_) | Value::Float(_) => &[],
            _ => return unsupported(format!("the attribute '{name}' of a {}", self.type_name())),
        };
        if !methods.contains(&name) {
            return Ok(None);
        }
        if matches!(self, Value::List(_) | Value::Dict(_)) && MUTATING.contains(&name) {
            return fail(format!("access to attribute '{name}' of '{}' object is unsafe", self.type_name()));
        }
        Ok(Some(Value::Function(Function::Method(Rc::new(self.clone()), name.to_string()))))
    }

    fn missing(&self, name: &str) -> Result<Value> {
        Ok(Value::undefined(format!("{} has no attribute '{name}'", self.described())))
    }

    fn described(&self) -> String {
        match self {
            Value::None => "None".to_string(),
            _ => format!("'{} object'", self.type_name()),
        }
    }

    /// `value[start:stop:step]`.
    pub(crate) fn slice(&self, bounds: [Option<Value>; 3]) -> Result<Value> {
        let mut numbers = [None; 3];
        for (number, bound) in numbers.iter_mut().zip(&bounds) {
            *number = match bound {
                None | Some(Value::None) => None,
                Some(Value::Undefined(problem)) => return fail(problem.to_string()),
                Some(bound) => Some(bound.require_int("a slice index")?),
            };
        }
        match self {
            Value::Str(text) => {
                let chars: Vec<char> = text.chars().collect();
                let picked: String = picks(numbers, chars.len())?.filter_map(|at| chars.get(at)).collect();
                Ok(Value::str(picked))
            }
            Value::List(items) | Value::Tuple(items) => {
                let values = &items.values;
                let picked = picks(numbers, values.len())?.filter_map(|at| values.get(at).cloned()).collect();
                if matches!(self, Value::List(_)) { Value::list(picked) } else { Value::tuple(picked) }
            }
            Value::Range(_) | Value::Markup(_) => unsupported(format!("a slice of a {}", self.type_name())),
            Value::Undefined(problem) => fail(problem.to_string()),
            _ => fail(format!("'{}' object is not subscriptable", self.type_name())),
        }
    }
}

/// An index from either end.
fn wrap(index: i128, len: usize) -> Option<usize> {
    usize::try_from(if index < 0 { index + len as i128 } else { index }).ok()
}

/// The indices of a slice, as `range(*slice.indices(len))`.
fn picks([start, stop, step]: [Option<i128>; 3], len: usize) -> Result<impl Iterator<Item = usize>> {
    let step = step.unwrap_or(1);
    if step == 0 {
        return fail("slice step cannot be zero");
    }
    let len = len as i128;
    let (low, high) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let bound = |index: i128| if index < 0 { (index.saturating_add(len)).max(low) } else { index.min(high) };
    let (from, to) = if step > 0 { (low, high) } else { (high, low) };
    let (from, to) = (start.map_or(from, bound), stop.map_or(to, bound));
    let mut at = from;
    Ok(std::iter::from_fn(move || {
        if (step > 0 && at >= to) || (step < 0 && at <= to) {
            return None;
        }
        let index = usize::try_from(at).ok();
        at = at.saturating_add(step);
        index
    }))
}

/// A view's name for printing and messages.
impl View {
    pub(crate) fn of_method(name: &str) -> Option<View> {
        match name {
            "keys" => Some(View::Keys),
            "values" => Some(View::Values),
            "items" => Some(View::Items),
            _ => None,
        }
    }
}
