//! Converts tokens to a syntax tree: the grammar of Jinja2's `parser.py`.

mod expressions;
mod statements;

use super::ast::Node;
use super::error::{Result, TemplateError};
use super::lexer::{Token, tokenize};

/// Maximum nesting of expressions and blocks: more than templates need, and safe for every thread's stack.
const MAX_DEPTH: usize = 100;

/// Parses a template.
pub(crate) fn parse(source: &str) -> Result<Vec<Node>> {
    let tokens = tokenize(source)?;
    let mut parser = Parser { tokens, position: 0, depth: 0, loops: 0, names: Vec::new() };
    let body = parser.body(&[])?;
    Ok(body)
}

pub(crate) struct Parser {
    tokens: Vec<(Token, usize)>,
    position: usize,
    depth: usize,
    /// The number of loops that `break` could leave here.
    loops: usize,
    /// Every name read so far; used to find the names in a macro's body.
    names: Vec<String>,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.look(0)
    }

    fn look(&self, ahead: usize) -> &Token {
        self.tokens.get(self.position + ahead).map_or(&Token::End, |(token, _)| token)
    }

    fn line(&self) -> usize {
        self.tokens.get(self.position).or(self.tokens.last()).map_or(1, |(_, line)| *line)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.position += 1;
        token
    }

    fn is_op(&self, op: &str) -> bool {
        matches!(self.peek(), Token::Op(found) if *found == op)
    }

    fn skip_op(&mut self, op: &str) -> bool {
        let found = self.is_op(op);
        self.position += usize::from(found);
        found
    }

    fn expect_op(&mut self, op: &str) -> Result<()> {
        if self.skip_op(op) { Ok(()) } else { self.unexpected(&format!("'{op}'")) }
    }

    fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Token::Name(found) if found == name)
    }

    fn skip_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        self.position += usize::from(found);
        found
    }

    fn expect_name(&mut self) -> Result<String> {
        match self.next() {
            Token::Name(name) => Ok(name),
            _ => {
                self.position -= 1;
                self.unexpected("a name")
            }
        }
    }

    fn unexpected<T>(&self, expected: &str) -> Result<T> {
        let found = match self.peek() {
            Token::End => "the end of the template".to_string(),
            Token::Data(_) => "text".to_string(),
            Token::BlockBegin => "'{%'".to_string(),
            Token::BlockEnd => "'%}'".to_string(),
            Token::VariableBegin => "'{{'".to_string(),
            Token::VariableEnd => "'}}'".to_string(),
            Token::Name(name) => format!("'{name}'"),
            Token::Str(text) => format!("{text:?}"),
            Token::Int(value) => value.to_string(),
            Token::Float(value) => value.to_string(),
            Token::Op(op) => format!("'{op}'"),
        };
        self.fail(format!("expected {expected}, found {found}"))
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(TemplateError::at(self.line(), message))
    }

    /// Runs a nested rule one level deeper.
    fn nested<T>(&mut self, rule: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= MAX_DEPTH {
            return self.fail(format!("the template nests deeper than {MAX_DEPTH} levels"));
        }
        self.depth += 1;
        let parsed = rule(self);
        self.depth -= 1;
        parsed
    }
}
