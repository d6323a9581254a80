//! The filters of Jinja2, and `tojson` as defined by transformers.

mod numbers;
mod sequences;
mod strings;

use super::calls::Args;
use super::error::{Result, fail, unsupported};
use super::json;
use super::value::Value;

pub(crate) use sequences::Getter;

/// All filters of Jinja2; used by `is filter`.
pub(crate) const NAMES: [&str; 54] = [
    "abs",
    "attr",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "filesizeformat",
    "first",
    "float",
    "forceescape",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "random",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "urlize",
    "wordcount",
    "wordwrap",
    "xmlattr",
];

/// Applies a filter that does not call another one.
pub(crate) fn apply(name: &str, value: Value, args: Args) -> Result<Value> {
    match name {
        "default" | "d" => {
            let [default, boolean] = args.bind(name, ["default_value", "boolean"], 0)?;
            let falsy = boolean.is_some_and(|boolean| boolean.truth()) && !value.truth();
            let missing = matches!(value, Value::Undefined(_)) || falsy;
            Ok(if missing { default.unwrap_or_else(|| Value::str("")) } else { value })
        }
        "tojson" => json::to_json(&value, args).map(Value::str),
        "length" | "count" => {
            args.bind::<0>(name, [], 0)?;
            Ok(Value::Int(value.len()? as i128))
        }
        "attr" => {
            let [attribute] = args.bind(name, ["name"], 1)?;
            let attribute = attribute.unwrap_or(Value::None);
            attribute_only(&value, attribute.require_str("the name of an attribute")?)
        }
        "abs" | "float" | "int" | "round" => numbers::apply(name, &value, args),
        "batch" | "dictsort" | "first" | "items" | "join" | "last" | "list" | "max" | "min" | "reverse" | "slice"
        | "sort" | "sum" | "unique" => sequences::apply(name, value, args),
        "capitalize" | "center" | "e" | "escape" | "forceescape" | "format" | "indent" | "lower" | "replace"
        | "safe" | "string" | "title" | "trim" | "truncate" | "upper" | "wordcount" => {
            strings::apply(name, value, args)
        }
        _ if NAMES.contains(&name) => unsupported(format!("the filter '{name}'")),
        _ => fail(format!("no filter named '{name}'")),
    }
}

/// The `attr` filter: attributes, never items.
fn attribute_only(value: &Value, name: &str) -> Result<Value> {
    match value {
        Value::Dict(dict) if dict.get_str(name).is_some() => {
            // A key is not an attribute; a method of this name is one.
            let found = value.attribute(name)?;
            let key = dict.get_str(name).is_some_and(|item| item.equals(&found));
            Ok(if key { Value::undefined(format!("'dict object' has no attribute '{name}'")) } else { found })
        }
        _ => value.attribute(name),
    }
}
