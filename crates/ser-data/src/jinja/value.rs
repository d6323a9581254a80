//! Values of templates: the Python types that chat templates use.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use super::ast::{For, MacroDef};
use super::error::{Result, fail, unsupported};

/// Maximum nesting of lists and dicts.
const MAX_DEPTH: usize = 60;
/// Maximum number of values in a list or dict, including nested ones.
pub(crate) const MAX_ITEMS: usize = 1 << 20;
/// Maximum number of keys of a dict; lookup is linear.
const MAX_KEYS: usize = 1 << 13;

#[derive(Clone)]
pub(crate) enum Value {
    /// A missing value, with the error message that most uses of it raise.
    Undefined(Rc<str>),
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Rc<str>),
    /// Text from the `escape` and `safe` filters. It escapes text that is joined to it, which is not supported:
    /// operations on it are refused.
    Markup(Rc<str>),
    List(Rc<Items>),
    Tuple(Rc<Items>),
    Dict(Rc<Dict>),
    /// `dict.keys()`, `dict.values()`, `dict.items()`.
    View(View, Rc<Dict>),
    Range(Range),
    /// A generator, filled in advance; each item is returned once.
    Iterator(Rc<RefCell<VecDeque<Value>>>),
    Namespace(Rc<RefCell<Vec<(String, Value)>>>),
    Loop(Rc<LoopState>),
    Function(Function),
}

#[derive(Clone)]
pub(crate) enum Function {
    /// `range`, `dict`, `raise_exception` and the like.
    Global(&'static str),
    Method(Rc<Value>, String),
    Macro(Rc<Macro>),
    Cycler(Rc<Cycler>),
    CyclerMethod(Rc<Cycler>, &'static str),
    Joiner(Rc<str>, Rc<Cell<bool>>),
    LoopMethod(Rc<LoopState>, &'static str),
}

pub(crate) struct Macro {
    pub(crate) def: Arc<MacroDef>,
    /// The scope of its definition.
    pub(crate) scope: Rc<Scope>,
}

/// Names with their values; a missing name is looked up in the outer scope.
pub(crate) struct Scope {
    pub(crate) values: RefCell<HashMap<String, Value>>,
    outer: Option<Rc<Scope>>,
}

impl Scope {
    pub(crate) fn new(values: HashMap<String, Value>) -> Rc<Self> {
        Rc::new(Scope { values: RefCell::new(values), outer: None })
    }

    pub(crate) fn within(outer: &Rc<Scope>) -> Rc<Self> {
        Rc::new(Scope { values: RefCell::default(), outer: Some(Rc::clone(outer)) })
    }

    pub(crate) fn set(&self, name: &str, value: Value) {
        self.values.borrow_mut().insert(name.to_string(), value);
    }

    pub(crate) fn get(&self, name: &str) -> Option<Value> {
        let mut scope = self;
        loop {
            if let Some(value) = scope.values.borrow().get(name) {
                return Some(value.clone());
            }
            scope = scope.outer.as_deref()?;
        }
    }
}

/// A running loop. The condition of `for … if …` is evaluated when an item is requested, as in Jinja2: it may read
/// values that the body has changed.
pub(crate) struct LoopState {
    pub(crate) node: Arc<For>,
    /// The scope around the loop; the condition and recursive calls run in it.
    pub(crate) scope: Rc<Scope>,
    pub(crate) depth: usize,
    pub(crate) source: RefCell<VecDeque<Value>>,
    /// Items whose condition holds, evaluated in advance.
    pub(crate) ready: RefCell<VecDeque<Value>>,
    /// Number of items returned.
    pub(crate) index: Cell<usize>,
    pub(crate) previous: RefCell<Option<Value>>,
    pub(crate) current: RefCell<Option<Value>>,
    pub(crate) changed: RefCell<Option<Vec<Value>>>,
}

pub(crate) struct Cycler {
    pub(crate) items: Vec<Value>,
    pub(crate) position: Cell<usize>,
}

/// The items of a list or tuple.
pub(crate) struct Items {
    pub(crate) values: Vec<Value>,
    extent: Extent,
}

/// Nesting depth and total number of values. Bounding both bounds the time and stack of every traversal, even if parts
/// are shared.
#[derive(Clone, Copy, Default)]
pub(crate) struct Extent {
    depth: usize,
    values: usize,
}

impl Extent {
    /// The extent of a container with one more item.
    fn with(self, item: Extent) -> Result<Self> {
        let extent = Extent { depth: self.depth.max(item.depth + 1), values: self.values.saturating_add(item.values) };
        if extent.depth > MAX_DEPTH {
            return fail(format!("lists and dicts nest deeper than {MAX_DEPTH} levels"));
        }
        if extent.values > MAX_ITEMS {
            return fail(format!("a list or dict has more than {MAX_ITEMS} values"));
        }
        Ok(extent)
    }
}

/// A mapping in the order of insertion.
#[derive(Default)]
pub(crate) struct Dict {
    pub(crate) entries: Vec<(Value, Value)>,
    extent: Extent,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum View {
    Keys,
    Values,
    Items,
}

#[derive(Clone, Copy)]
pub(crate) struct Range {
    pub(crate) start: i128,
    pub(crate) stop: i128,
    pub(crate) step: i128,
}

impl Range {
    pub(crate) fn len(self) -> usize {
        let span = if self.step > 0 { self.stop - self.start } else { self.start - self.stop };
        let step = self.step.abs();
        usize::try_from(((span + step - 1) / step).max(0)).unwrap_or(0)
    }

    pub(crate) fn get(self, index: usize) -> Option<Value> {
        (index < self.len()).then(|| Value::Int(self.start + self.step * index as i128))
    }
}

impl Value {
    pub(crate) fn str(text: impl AsRef<str>) -> Self {
        Value::Str(Rc::from(text.as_ref()))
    }

    pub(crate) fn list(values: Vec<Value>) -> Result<Self> {
        Ok(Value::List(Rc::new(Items::new(values)?)))
    }

    pub(crate) fn tuple(values: Vec<Value>) -> Result<Self> {
        Ok(Value::Tuple(Rc::new(Items::new(values)?)))
    }

    /// A generator over known values.
    pub(crate) fn iterator(values: Vec<Value>) -> Self {
        Value::Iterator(Rc::new(RefCell::new(values.into())))
    }

    pub(crate) fn undefined(message: impl AsRef<str>) -> Self {
        Value::Undefined(Rc::from(message.as_ref()))
    }

    /// Refuses values with which a container could contain itself or be changed from outside.
    pub(crate) fn extent(&self) -> Result<Extent> {
        match self {
            Value::List(items) | Value::Tuple(items) => Ok(items.extent),
            Value::Dict(dict) | Value::View(_, dict) => Ok(dict.extent),
            Value::Iterator(_) | Value::Namespace(_) | Value::Loop(_) | Value::Function(Function::Cycler(_)) => {
                unsupported(format!("a {} within a list, dict or namespace", self.type_name()))
            }
            _ => Ok(Extent { depth: 0, values: 1 }),
        }
    }

    /// The name of its Python type.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Value::Undefined(_) => "Undefined",
            Value::None => "NoneType",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Str(_) => "str",
            Value::Markup(_) => "Markup",
            Value::List(_) => "list",
            Value::Tuple(_) => "tuple",
            Value::Dict(_) => "dict",
            Value::View(View::Keys, _) => "dict_keys",
            Value::View(View::Values, _) => "dict_values",
            Value::View(View::Items, _) => "dict_items",
            Value::Range(_) => "range",
            Value::Iterator(_) => "generator",
            Value::Namespace(_) => "Namespace",
            Value::Loop(_) => "LoopContext",
            Value::Function(Function::Cycler(_)) => "Cycler",
            Value::Function(_) => "function",
        }
    }

    /// `bool(value)`.
    pub(crate) fn truth(&self) -> bool {
        match self {
            Value::Undefined(_) | Value::None => false,
            Value::Bool(value) => *value,
            Value::Int(value) => *value != 0,
            Value::Float(value) => *value != 0.0,
            Value::Str(text) | Value::Markup(text) => !text.is_empty(),
            Value::List(items) | Value::Tuple(items) => !items.values.is_empty(),
            Value::Dict(dict) | Value::View(_, dict) => !dict.entries.is_empty(),
            Value::Range(range) => range.len() > 0,
            Value::Loop(_) | Value::Iterator(_) | Value::Namespace(_) | Value::Function(_) => true,
        }
    }

    /// The items of a loop over the value. A generator is empty afterwards.
    pub(crate) fn iterate(&self) -> Result<Vec<Value>> {
        Ok(match self {
            Value::Undefined(_) => Vec::new(),
            Value::Str(text) => text.chars().map(|c| Value::str(c.encode_utf8(&mut [0; 4]))).collect(),
            Value::List(items) | Value::Tuple(items) => items.values.clone(),
            Value::Dict(dict) => dict.entries.iter().map(|(key, _)| key.clone()).collect(),
            Value::View(view, dict) => dict.view(*view)?,
            Value::Range(range) => (0..range.len()).filter_map(|index| range.get(index)).collect(),
            Value::Iterator(values) => values.borrow_mut().drain(..).collect(),
            Value::Markup(_) | Value::Loop(_) => return unsupported(format!("iterating over a {}", self.type_name())),
            _ => return fail(format!("'{}' object is not iterable", self.type_name())),
        })
    }

    /// `len(value)`.
    pub(crate) fn len(&self) -> Result<usize> {
        Ok(match self {
            Value::Undefined(_) => 0,
            Value::Str(text) | Value::Markup(text) => super::text::length(text),
            Value::List(items) | Value::Tuple(items) => items.values.len(),
            Value::Dict(dict) | Value::View(_, dict) => dict.entries.len(),
            Value::Range(range) => range.len(),
            Value::Loop(_) => return unsupported("the length of a loop; use loop.length"),
            _ => return fail(format!("object of type '{}' has no len()", self.type_name())),
        })
    }

    /// The number of an `int` or `bool`.
    pub(crate) fn as_int(&self) -> Option<i128> {
        match self {
            Value::Int(value) => Some(*value),
            Value::Bool(value) => Some(i128::from(*value)),
            _ => None,
        }
    }

    /// An argument that Python uses as an index or count.
    pub(crate) fn require_int(&self, what: &str) -> Result<i128> {
        match self.as_int() {
            Some(value) => Ok(value),
            None => fail(format!("{what} must be an integer, found a {}", self.type_name())),
        }
    }

    /// A plain string; other types and escaped text are refused.
    pub(crate) fn require_str(&self, what: &str) -> Result<&Rc<str>> {
        match self {
            Value::Str(text) => Ok(text),
            Value::Undefined(problem) => fail(problem.to_string()),
            _ => fail(format!("{what} must be a string, found a {}", self.type_name())),
        }
    }
}

impl Items {
    fn new(values: Vec<Value>) -> Result<Self> {
        let mut extent = Extent { depth: 1, values: 1 };
        for value in &values {
            extent = extent.with(value.extent()?)?;
        }
        Ok(Items { values, extent })
    }
}

impl Dict {
    pub(crate) fn get(&self, key: &Value) -> Result<Option<&Value>> {
        if !key.is_hashable() {
            return fail(format!("unhashable type: '{}'", key.type_name()));
        }
        Ok(self.entries.iter().find(|(found, _)| found.equals(key)).map(|(_, value)| value))
    }

    pub(crate) fn get_str(&self, key: &str) -> Option<&Value> {
        self.entries.iter().find(|(found, _)| matches!(found, Value::Str(text) if **text == *key)).map(|(_, v)| v)
    }

    pub(crate) fn insert(&mut self, key: Value, value: Value) -> Result<()> {
        if !key.is_hashable() {
            return fail(format!("unhashable type: '{}'", key.type_name()));
        }
        self.extent = self.extent.with(key.extent()?)?.with(value.extent()?)?;
        if self.entries.len() > MAX_KEYS {
            return fail(format!("a dict has more than {MAX_KEYS} keys"));
        }
        match self.entries.iter_mut().find(|(found, _)| found.equals(&key)) {
            Some((_, found)) => *found = value,
            None => self.entries.push((key, value)),
        }
        Ok(())
    }

    pub(crate) fn copy(&self) -> Self {
        Dict { entries: self.entries.clone(), extent: self.extent }
    }

    pub(crate) fn view(&self, view: View) -> Result<Vec<Value>> {
        self.entries
            .iter()
            .map(|(key, value)| match view {
                View::Keys => Ok(key.clone()),
                View::Values => Ok(value.clone()),
                View::Items => Value::tuple(vec![key.clone(), value.clone()]),
            })
            .collect()
    }
}
