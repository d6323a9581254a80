//! Jinja2 as transformers renders chat templates with it: `trim_blocks`, `lstrip_blocks`, `break` and `continue`,
//! `generation` blocks, no escaping, and the sandbox that changes no list or dict.
//!
//! Values, operators, methods, filters and formats are those of Python and Jinja2 3.1. What is not known here is an
//! error; nothing is rendered otherwise than Jinja2 renders it. Time, memory and depth are bounded.

mod arithmetic;
mod ast;
mod calls;
mod compare;
mod display;
mod error;
mod filters;
mod format;
mod globals;
mod interpreter;
mod json;
mod lexer;
mod lookup;
mod methods;
mod parser;
mod predicates;
#[cfg(test)]
mod tests;
mod text;
mod value;

pub(crate) use error::TemplateError;
use interpreter::Interpreter;
pub(crate) use value::{Dict, Value};

/// How many bytes a template may have.
const MAX_SOURCE: usize = 1 << 20;

/// A template that compiled.
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
