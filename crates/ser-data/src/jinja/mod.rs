//! Jinja2 as configured by transformers for chat templates: `trim_blocks`, `lstrip_blocks`, `break` and `continue`,
//! `generation` blocks, no escaping, and the sandbox with immutable lists and dicts.
//!
//! Values, operators, methods, filters and formats are those of Python and Jinja2 3.1. An unsupported feature is an
//! error; supported ones render exactly as in Jinja2. Time, memory and depth are bounded.

mod arithmetic;
mod ast;
mod calls;
mod compare;
mod display;
mod error;
mod filters;
mod format;
mod from_json;
mod globals;
mod interpreter;
mod json;
mod lexer;
mod lookup;
mod methods;
mod number;
mod parser;
mod predicates;
#[cfg(test)]
mod tests;
mod text;
mod value;

pub(crate) use error::TemplateError;
use interpreter::Interpreter;
pub(crate) use value::{Dict, Value};

/// Maximum size of a template in bytes.
const MAX_SOURCE: usize = 1 << 20;

/// A compiled template.
#[derive(Debug)]
pub(crate) struct Template {
    nodes: Vec<ast::Node>,
}

impl Template {
    /// Compiles a template.
    pub(crate) fn new(source: &str) -> Result<Self, TemplateError> {
        if source.len() > MAX_SOURCE {
            return Err(TemplateError::new(format!("the template has more than {MAX_SOURCE} bytes")));
        }
        Ok(Template { nodes: parser::parse(source)? })
    }

    /// Renders it with the named values; `strftime_now` writes `now`.
    pub(crate) fn render(
        &self,
        values: impl IntoIterator<Item = (String, Value)>,
        now: &jiff::Zoned,
    ) -> Result<String, TemplateError> {
        Interpreter::render(&self.nodes, values.into_iter().collect(), now)
    }
}
