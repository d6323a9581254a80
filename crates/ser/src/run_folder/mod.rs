//! A run folder: stages that are done once, checkpoints, settings, fingerprints of the data, and the files' formats.

mod atomic_write;
mod checkpoint;
mod digest;
mod fingerprint;
mod folder;
mod log;
mod manifest;
mod parts;
mod repair;
mod scores_file;
#[cfg(test)]
mod tests;

pub(crate) use atomic_write::{read_json, remove, write_file, write_json};
pub(crate) use fingerprint::{Fingerprint, PairsHasher, hash_text};
pub use folder::RunFolder;
pub(crate) use parts::Parts;
pub(crate) use scores_file::{SelectionLine, both, read_scores, write_lines, write_scores};
