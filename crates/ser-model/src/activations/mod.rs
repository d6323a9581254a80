//! Kept activations: the rows that enter the lowest layer with an adapter. They are a function of the text alone, so they are
//! computed once for every epoch, iteration and scoring.

mod file;
mod settings;
mod store;
mod text;

pub use settings::{ActivationFormat, ActivationSettings};

#[cfg(test)]
pub(crate) use store::Usage;
pub(crate) use store::{Keep, KeptActivations};
pub(crate) use text::FrozenText;
