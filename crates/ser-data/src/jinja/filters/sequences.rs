//! Filters over the items of a value.

use std::rc::Rc;

use crate::jinja::arithmetic::binary;
use crate::jinja::ast::Operator;
use crate::jinja::calls::Args;
use crate::jinja::compare::sort_by_keys;
use crate::jinja::display::check_text;
use crate::jinja::error::{Result, fail, unsupported};
use crate::jinja::value::{Value, View};

pub(super) fn apply(name: &str, value: Value, args: Args) -> Result<Value> {
    match name {
        "first" => {
            args.bind::<0>(name, [], 0)?;
            if let Value::Iterator(values) = &value {
                return Ok(values.borrow_mut().pop_front().unwrap_or_else(|| empty("first")));
            }
            Ok(value.iterate()?.into_iter().next().unwrap_or_else(|| empty("first")))
        }
        "last" => {
            args.bind::<0>(name, [], 0)?;
            if matches!(value, Value::Iterator(_)) {
                return fail(format!("'{}' object is not reversible", value.type_name()));
            }
            Ok(value.iterate()?.pop().unwrap_or_else(|| empty("last")))
        }
        "list" => {
            args.bind::<0>(name, [], 0)?;
            Value::list(value.iterate()?)
        }
        "items" => {
            args.bind::<0>(name, [], 0)?;
            match &value {
                Value::Undefined(_) => Ok(Value::iterator(Vec::new())),
                Value::Dict(dict) => Ok(Value::iterator(dict.view(View::Items)?)),
                _ => fail("can only get item pairs from a mapping"),
            }
        }
        "reverse" => {
            args.bind::<0>(name, [], 0)?;
            if let Value::Str(text) = &value {
                return Ok(Value::str(text.chars().rev().collect::<String>()));
            }
            let reversible = !matches!(value, Value::Iterator(_));
            let mut values = value.iterate()?;
            values.reverse();
            // Python reverses reversible values lazily, and copies the rest to a list.
            if reversible { Ok(Value::iterator(values)) } else { Value::list(values) }
        }
        "join" => join(&value, args),
        "sort" => {
            let [reverse, case_sensitive, attribute] =
                args.bind(name, ["reverse", "case_sensitive", "attribute"], 0)?;
            let fold = !case_sensitive.is_some_and(|sensitive| sensitive.truth());
            let getters = Getter::several(attribute.as_ref())?;
            let keyed: Result<Vec<(Value, Value)>> = value
                .iterate()?
                .into_iter()
                .map(|item| {
                    let keys: Result<Vec<Value>> = getters.iter().map(|g| fold_case(g.get(&item)?, fold)).collect();
                    Ok((Value::list(keys?)?, item))
                })
                .collect();
            Value::list(sort_by_keys(keyed?, reverse.is_some_and(|reverse| reverse.truth()))?)
        }
        "dictsort" => dict_sort(&value, args),
        "min" | "max" => min_or_max(name, &value, args),
        "unique" => {
            let [case_sensitive, attribute] = args.bind(name, ["case_sensitive", "attribute"], 0)?;
            let fold = !case_sensitive.is_some_and(|sensitive| sensitive.truth());
            let getter = Getter::new(attribute.as_ref(), None)?;
            let (mut seen, mut kept): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
            for item in value.iterate()? {
                let key = fold_case(getter.get(&item)?, fold)?;
                if !key.is_hashable() {
                    return fail(format!("unhashable type: '{}'", key.type_name()));
                }
                if !seen.iter().any(|other| other.equals(&key)) {
                    seen.push(key);
                    kept.push(item);
                    if seen.len() > 1 << 13 {
                        return unsupported("the filter 'unique' over more than 8192 different values");
                    }
                }
            }
            Ok(Value::iterator(kept))
        }
        "sum" => {
            let [attribute, start] = args.bind(name, ["attribute", "start"], 0)?;
            let getter = Getter::new(attribute.as_ref(), None)?;
            let mut total = start.unwrap_or(Value::Int(0));
            if matches!(total, Value::Str(_)) {
                return fail("sum() can't sum strings");
            }
            for item in value.iterate()? {
                let item = getter.get(&item)?;
                if matches!(item, Value::Float(_)) {
                    // Python 3.12 and later compensate rounding errors; earlier versions do not.
                    return unsupported("the filter 'sum' over floats");
                }
                total = binary(Operator::Add, &total, &item)?;
            }
            Ok(total)
        }
        _ => chunks(name, &value, args),
    }
}

fn empty(which: &str) -> Value {
    Value::undefined(format!("No {which} item, sequence was empty."))
}

fn join(value: &Value, args: Args) -> Result<Value> {
    let [separator, attribute] = args.bind("join", ["d", "attribute"], 0)?;
    let separator = separator.map_or(Ok("".into()), |separator| separator.to_text())?;
    let getter = Getter::new(attribute.as_ref(), None)?;
    let mut out = String::new();
    for (i, item) in value.iterate()?.iter().enumerate() {
        if i > 0 {
            out.push_str(&separator);
        }
        out.push_str(&getter.get(item)?.to_text()?);
        check_text(out.len())?;
    }
    Ok(Value::str(out))
}

fn dict_sort(value: &Value, args: Args) -> Result<Value> {
    let [case_sensitive, by, reverse] = args.bind("dictsort", ["case_sensitive", "by", "reverse"], 0)?;
    let fold = !case_sensitive.is_some_and(|sensitive| sensitive.truth());
    let by = by.unwrap_or_else(|| Value::str("key"));
    let by_value = match &**by.require_str("the order of dictsort")? {
        "key" => false,
        "value" => true,
        _ => return fail("dictsort sorts by 'key' or 'value'"),
    };
    let Value::Dict(dict) = value else {
        return fail(format!("'{}' object has no attribute 'items'", value.type_name()));
    };
    let mut keyed = Vec::with_capacity(dict.entries.len());
    for (key, value) in &dict.entries {
        let order = fold_case(if by_value { value.clone() } else { key.clone() }, fold)?;
        keyed.push((order, Value::tuple(vec![key.clone(), value.clone()])?));
    }
    Value::list(sort_by_keys(keyed, reverse.is_some_and(|reverse| reverse.truth()))?)
}

fn min_or_max(name: &str, value: &Value, args: Args) -> Result<Value> {
    let [case_sensitive, attribute] = args.bind(name, ["case_sensitive", "attribute"], 0)?;
    let fold = !case_sensitive.is_some_and(|sensitive| sensitive.truth());
    let getter = Getter::new(attribute.as_ref(), None)?;
    let wanted = if name == "min" { std::cmp::Ordering::Less } else { std::cmp::Ordering::Greater };
    let mut best: Option<(Value, Value)> = None;
    for item in value.iterate()? {
        let key = fold_case(getter.get(&item)?, fold)?;
        let better = match &best {
            None => true,
            Some((found, _)) => key.order(found, if name == "min" { "<" } else { ">" })? == Some(wanted),
        };
        if better {
            best = Some((key, item));
        }
    }
    Ok(best.map_or_else(|| Value::undefined("No aggregated item, sequence was empty."), |(_, item)| item))
}

/// `batch` and `slice`.
fn chunks(name: &str, value: &Value, args: Args) -> Result<Value> {
    let params = if name == "batch" { ["linecount", "fill_with"] } else { ["slices", "fill_with"] };
    let [count, fill] = args.bind(name, params, 1)?;
    let count = count.unwrap_or(Value::None).require_int("the count of a filter")?;
    let Some(count) = usize::try_from(count).ok().filter(|count| (1..=1 << 16).contains(count)) else {
        return unsupported(format!("the filter '{name}' with the count {count}"));
    };
    let fill = fill.filter(|fill| !matches!(fill, Value::None));
    let values = value.iterate()?;
    let mut chunks = Vec::new();
    if name == "batch" {
        for part in values.chunks(count) {
            let mut part = part.to_vec();
            if let Some(fill) = &fill {
                part.resize(count, fill.clone());
            }
            chunks.push(Value::list(part)?);
        }
        return Ok(Value::iterator(chunks));
    }
    let (each, extra) = (values.len() / count, values.len() % count);
    let mut rest = values.as_slice();
    for index in 0..count {
        let (part, after) = rest.split_at(each + usize::from(index < extra));
        rest = after;
        let mut part = part.to_vec();
        if index >= extra {
            part.extend(fill.clone());
        }
        chunks.push(Value::list(part)?);
    }
    Ok(Value::iterator(chunks))
}

fn fold_case(value: Value, fold: bool) -> Result<Value> {
    Ok(match &value {
        Value::Str(text) if fold => Value::str(text.to_lowercase()),
        _ => value,
    })
}

/// Jinja2's `make_attrgetter`: `a.b.0` looks up items and falls back to attributes.
pub(crate) struct Getter {
    path: Vec<Value>,
    default: Option<Value>,
}

impl Getter {
    pub(crate) fn new(attribute: Option<&Value>, default: Option<Value>) -> Result<Self> {
        let path = match attribute {
            None | Some(Value::None) => Vec::new(),
            Some(Value::Str(path)) => parts(path),
            Some(attribute) => vec![Value::Int(attribute.require_int("an attribute")?)],
        };
        Ok(Getter { path, default })
    }

    /// Comma-separated attributes; without any, the item itself.
    fn several(attribute: Option<&Value>) -> Result<Vec<Self>> {
        match attribute {
            Some(Value::Str(paths)) => {
                Ok(paths.split(',').map(|path| Getter { path: parts(path), default: None }).collect())
            }
            _ => Ok(vec![Getter::new(attribute, None)?]),
        }
    }

    pub(crate) fn get(&self, item: &Value) -> Result<Value> {
        let mut value = item.clone();
        for part in &self.path {
            value = value.item(part)?;
            if let (Value::Undefined(_), Some(default)) = (&value, &self.default) {
                value = default.clone();
            }
        }
        Ok(value)
    }
}

fn parts(path: &str) -> Vec<Value> {
    let part = |part: &str| match part.parse() {
        Ok(index) if part.bytes().all(|b| b.is_ascii_digit()) => Value::Int(index),
        _ => Value::Str(Rc::from(part)),
    };
    path.split('.').map(part).collect()
}
