#![doc = include_str!("../README.md")]

mod error;
mod key;
mod metrics;
mod queue;
mod reply;
mod routes;
mod scoring;
mod server;
mod settings;
mod state;
mod stop;
mod texts;

pub use error::ServeError;
pub use key::ApiKey;
pub use server::{ChangeAdapter, RewardServer};
pub use settings::{CheckedServeSettings, ServeSettings};
pub use stop::Stop;
pub use texts::whole_text;
