//! Arguments of calls.

use super::error::{Result, fail};
use super::value::Value;

#[derive(Clone, Default)]
pub(crate) struct Args {
    pub(crate) positional: Vec<Value>,
    pub(crate) named: Vec<(String, Value)>,
}

impl Args {
    /// Assigns the arguments to parameters; the first `required` are mandatory. A parameter with an empty name is
    /// positional-only.
    pub(crate) fn bind<const N: usize>(
        self,
        function: &str,
        params: [&str; N],
        required: usize,
    ) -> Result<[Option<Value>; N]> {
        if self.positional.len() > N {
            return fail(format!("{function} takes at most {N} arguments, {} are given", self.positional.len()));
        }
        let mut bound = [const { None }; N];
        for (slot, value) in bound.iter_mut().zip(self.positional) {
            *slot = Some(value);
        }
        for (name, value) in self.named {
            let slot = params.iter().position(|param| *param == name).and_then(|i| bound.get_mut(i));
            match slot {
                Some(slot @ None) => *slot = Some(value),
                Some(Some(_)) => return fail(format!("{function} got two values for its argument '{name}'")),
                None => return fail(format!("{function} has no argument '{name}'")),
            }
        }
        if let Some(i) = bound.iter().take(required).position(Option::is_none) {
            return fail(format!("{function} lacks its argument {}", i + 1));
        }
        Ok(bound)
    }
}
