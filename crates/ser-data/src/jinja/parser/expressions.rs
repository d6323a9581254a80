//! Expressions, by precedence from `a if b else c` down to literals.

use super::Parser;
use crate::jinja::ast::{CallArgs, Comparison, Expr, Operator};
use crate::jinja::error::Result;
use crate::jinja::lexer::Token;

/// Maximum number of consecutive operators of one precedence: each is a level of the tree.
const MAX_CHAIN: usize = 60;

impl Parser {
    pub(super) fn expression(&mut self) -> Result<Expr> {
        self.nested(Parser::conditional)
    }

    /// An expression without `if … else`.
    fn plain_expression(&mut self) -> Result<Expr> {
        self.nested(Parser::or)
    }

    fn conditional(&mut self) -> Result<Expr> {
        let mut value = self.or()?;
        let mut chain = 0;
        while self.skip_name("if") {
            self.count(&mut chain)?;
            let condition = self.or()?;
            let other = if self.skip_name("else") { Some(Box::new(self.nested(Parser::conditional)?)) } else { None };
            value = Expr::If(Box::new(condition), Box::new(value), other);
        }
        Ok(value)
    }

    fn or(&mut self) -> Result<Expr> {
        let mut left = self.and()?;
        let mut chain = 0;
        while self.skip_name("or") {
            self.count(&mut chain)?;
            left = Expr::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expr> {
        let mut left = self.not()?;
        let mut chain = 0;
        while self.skip_name("and") {
            self.count(&mut chain)?;
            left = Expr::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expr> {
        if self.skip_name("not") {
            return Ok(Expr::Not(Box::new(self.nested(Parser::not)?)));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Expr> {
        let first = self.sum()?;
        let mut operands = Vec::new();
        loop {
            let comparison = match self.peek() {
                Token::Op("==") => Comparison::Eq,
                Token::Op("!=") => Comparison::Ne,
                Token::Op("<") => Comparison::Lt,
                Token::Op("<=") => Comparison::Le,
                Token::Op(">") => Comparison::Gt,
                Token::Op(">=") => Comparison::Ge,
                Token::Name(name) if name == "in" => Comparison::In,
                Token::Name(name) if name == "not" && matches!(self.look(1), Token::Name(next) if next == "in") => {
                    self.position += 1;
                    Comparison::NotIn
                }
                _ => break,
            };
            self.position += 1;
            operands.push((comparison, self.sum()?));
        }
        Ok(if operands.is_empty() { first } else { Expr::Compare(Box::new(first), operands) })
    }

    fn count(&self, chain: &mut usize) -> Result<()> {
        *chain += 1;
        if *chain > MAX_CHAIN {
            return self.fail(format!("an expression chains more than {MAX_CHAIN} operators; cut it by {{% set %}}"));
        }
        Ok(())
    }

    fn binary(&mut self, operators: &[(&str, Operator)], operand: impl Fn(&mut Self) -> Result<Expr>) -> Result<Expr> {
        let mut left = operand(self)?;
        let mut chain = 0;
        while let Some((_, operator)) = operators.iter().find(|(op, _)| self.is_op(op)) {
            self.position += 1;
            self.count(&mut chain)?;
            left = Expr::Binary(*operator, Box::new(left), Box::new(operand(self)?));
        }
        Ok(left)
    }

    fn sum(&mut self) -> Result<Expr> {
        self.binary(&[("+", Operator::Add), ("-", Operator::Sub)], Parser::concat)
    }

    fn concat(&mut self) -> Result<Expr> {
        let first = self.product()?;
        if !self.is_op("~") {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.skip_op("~") {
            parts.push(self.product()?);
        }
        Ok(Expr::Concat(parts))
    }

    fn product(&mut self) -> Result<Expr> {
        let operators = [("*", Operator::Mul), ("/", Operator::Div), ("//", Operator::FloorDiv), ("%", Operator::Mod)];
        self.binary(&operators, Parser::power)
    }

    fn power(&mut self) -> Result<Expr> {
        self.binary(&[("**", Operator::Pow)], |parser| parser.unary(true))
    }

    fn unary(&mut self, with_filter: bool) -> Result<Expr> {
        let node = if self.skip_op("-") {
            Expr::Negative(Box::new(self.nested(|parser| parser.unary(false))?))
        } else if self.skip_op("+") {
            Expr::Positive(Box::new(self.nested(|parser| parser.unary(false))?))
        } else {
            self.primary()?
        };
        let node = self.postfix(node)?;
        if with_filter { self.filters_and_tests(node) } else { Ok(node) }
    }

    pub(super) fn primary(&mut self) -> Result<Expr> {
        match self.next() {
            Token::Name(name) => Ok(match name.as_str() {
                "true" | "True" => Expr::Bool(true),
                "false" | "False" => Expr::Bool(false),
                "none" | "None" => Expr::None,
                _ => {
                    self.names.push(name.clone());
                    Expr::Name(name)
                }
            }),
            Token::Str(mut text) => {
                while let Token::Str(more) = self.peek() {
                    text.push_str(more);
                    self.position += 1;
                }
                Ok(Expr::Str(text))
            }
            Token::Int(value) => Ok(Expr::Int(value)),
            Token::Float(value) => Ok(Expr::Float(value)),
            Token::Op("(") => {
                let inner = self.tuple(true, &[], true)?;
                self.expect_op(")")?;
                Ok(inner)
            }
            Token::Op("[") => Ok(Expr::List(self.items("]", Parser::expression)?)),
            Token::Op("{") => Ok(Expr::Dict(self.items("}", |parser| {
                let key = parser.expression()?;
                parser.expect_op(":")?;
                Ok((key, parser.expression()?))
            })?)),
            _ => {
                self.position -= 1;
                self.unexpected("an expression")
            }
        }
    }

    fn items<T>(&mut self, close: &str, item: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = Vec::new();
        while !self.is_op(close) {
            if !items.is_empty() {
                self.expect_op(",")?;
                if self.is_op(close) {
                    break;
                }
            }
            items.push(item(self)?);
        }
        self.expect_op(close)?;
        Ok(items)
    }

    /// One expression, or a tuple of several separated by commas.
    pub(super) fn tuple(&mut self, conditional: bool, ends: &[&str], parentheses: bool) -> Result<Expr> {
        let mut items = Vec::new();
        let mut is_tuple = false;
        loop {
            if !items.is_empty() {
                self.expect_op(",")?;
            }
            if self.is_tuple_end(ends) {
                break;
            }
            items.push(if conditional { self.expression()? } else { self.plain_expression()? });
            if !self.is_op(",") {
                break;
            }
            is_tuple = true;
        }
        match items.pop() {
            Some(only) if !is_tuple => Ok(only),
            None if !parentheses => self.unexpected("an expression"),
            last => {
                items.extend(last);
                Ok(Expr::Tuple(items))
            }
        }
    }

    fn is_tuple_end(&self, ends: &[&str]) -> bool {
        match self.peek() {
            Token::VariableEnd | Token::BlockEnd | Token::Op(")") | Token::End => true,
            Token::Name(name) => ends.contains(&name.as_str()),
            _ => false,
        }
    }

    fn postfix(&mut self, mut node: Expr) -> Result<Expr> {
        let mut chain = 0;
        loop {
            node = if self.skip_op(".") {
                match self.next() {
                    Token::Name(name) => Expr::Attr(Box::new(node), name),
                    Token::Int(index) => Expr::Item(Box::new(node), Box::new(Expr::Int(index))),
                    _ => {
                        self.position -= 1;
                        return self.unexpected("a name or number after '.'");
                    }
                }
            } else if self.skip_op("[") {
                self.nested(|parser| parser.subscript(node))?
            } else if self.is_op("(") {
                Expr::Call(Box::new(node), self.nested(Parser::call_args)?)
            } else {
                return Ok(node);
            };
            self.count(&mut chain)?;
        }
    }

    fn subscript(&mut self, node: Expr) -> Result<Expr> {
        let start = if self.is_op(":") { None } else { Some(Box::new(self.expression()?)) };
        if !self.skip_op(":") {
            let Some(mut index) = start.map(|start| *start) else { return self.unexpected("an index") };
            if self.is_op(",") {
                let mut items = vec![index];
                while self.skip_op(",") {
                    items.push(self.expression()?);
                }
                index = Expr::Tuple(items);
            }
            self.expect_op("]")?;
            return Ok(Expr::Item(Box::new(node), Box::new(index)));
        }
        let bound = |parser: &mut Self| -> Result<Option<Box<Expr>>> {
            if parser.is_op(":") || parser.is_op("]") { Ok(None) } else { Ok(Some(Box::new(parser.expression()?))) }
        };
        let stop = bound(self)?;
        let step = if self.skip_op(":") { bound(self)? } else { None };
        self.expect_op("]")?;
        Ok(Expr::Slice(Box::new(node), [start, stop, step]))
    }

    fn filters_and_tests(&mut self, mut node: Expr) -> Result<Expr> {
        let mut chain = 0;
        loop {
            node = if self.is_op("|") {
                self.position += 1;
                self.filter(Some(Box::new(node)))?
            } else if self.skip_name("is") {
                self.test(node)?
            } else if self.is_op("(") {
                Expr::Call(Box::new(node), self.nested(Parser::call_args)?)
            } else {
                return Ok(node);
            };
            self.count(&mut chain)?;
        }
    }

    /// A filter's name and arguments, after the `|`.
    pub(super) fn filter(&mut self, value: Option<Box<Expr>>) -> Result<Expr> {
        let name = self.expect_name()?;
        let args = if self.is_op("(") { self.nested(Parser::call_args)? } else { CallArgs::default() };
        Ok(Expr::Filter(value, name, args))
    }

    fn test(&mut self, node: Expr) -> Result<Expr> {
        let negated = self.skip_name("not");
        let name = self.expect_name()?;
        let argument = match self.peek() {
            Token::Op("(") => false,
            Token::Name(name) if name == "is" => return self.fail("tests cannot be chained with 'is'"),
            Token::Name(name) => !matches!(name.as_str(), "else" | "or" | "and"),
            Token::Str(_) | Token::Int(_) | Token::Float(_) | Token::Op("[" | "{") => true,
            _ => false,
        };
        let args = if self.is_op("(") {
            self.nested(Parser::call_args)?
        } else if argument {
            let value = self.nested(|parser| {
                let value = parser.primary()?;
                parser.postfix(value)
            })?;
            CallArgs { positional: vec![value], ..CallArgs::default() }
        } else {
            CallArgs::default()
        };
        let test = Expr::Test(Box::new(node), name, args);
        Ok(if negated { Expr::Not(Box::new(test)) } else { test })
    }

    pub(super) fn call_args(&mut self) -> Result<CallArgs> {
        self.expect_op("(")?;
        let mut args = CallArgs::default();
        let mut first = true;
        while !self.is_op(")") {
            if !first {
                self.expect_op(",")?;
                if self.is_op(")") {
                    break;
                }
            }
            first = false;
            if args.dict.is_some() {
                return self.fail("no argument can follow **");
            }
            if self.skip_op("**") {
                args.dict = Some(Box::new(self.expression()?));
            } else if self.skip_op("*") {
                if args.list.is_some() {
                    return self.fail("a call takes one * argument");
                }
                args.list = Some(Box::new(self.expression()?));
            } else if let (Token::Name(name), Token::Op("=")) = (self.peek().clone(), self.look(1)) {
                self.position += 2;
                let value = self.expression()?;
                args.named.push((name, value));
            } else if args.list.is_some() || !args.named.is_empty() {
                return self.fail("a positional argument cannot follow a named one");
            } else {
                args.positional.push(self.expression()?);
            }
        }
        self.expect_op(")")?;
        Ok(args)
    }
}
