//! Errors of compiling and rendering.

/// A message for the template's author, with the line of the error.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TemplateError {
    message: String,
    line: Option<usize>,
}

pub(crate) type Result<T> = std::result::Result<T, TemplateError>;

impl TemplateError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        TemplateError { message: message.into(), line: None }
    }

    pub(crate) fn at(line: usize, message: impl Into<String>) -> Self {
        TemplateError { message: message.into(), line: Some(line) }
    }

    /// Adds the line unless a more precise one is known.
    pub(crate) fn or_line(mut self, line: usize) -> Self {
        self.line.get_or_insert(line);
        self
    }
}

impl std::fmt::Display for TemplateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "{} (line {line} of the template)", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// A feature of Jinja2 that this engine does not render.
pub(crate) fn unsupported<T>(what: impl std::fmt::Display) -> Result<T> {
    Err(TemplateError::new(format!("{what} is not supported in chat templates here")))
}

/// An operation that Python refuses too.
pub(crate) fn fail<T>(message: impl Into<String>) -> Result<T> {
    Err(TemplateError::new(message))
}
