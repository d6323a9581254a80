//! `ser merge`.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use ser::linear::is_linear_reward;
use ser::model::merge_adapter;
use ser::{adapter_folder, fetched};

use crate::output;

/// Merges an adapter into its base model
///
/// Writes a model folder that transformers loads: a classifier if the adapter has a head, else a causal model.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Folder of the base model
    #[arg(long)]
    model: PathBuf,
    /// Adapter folder in PEFT's layout, or the run folder of `ser train reward`
    #[arg(long)]
    adapter: PathBuf,
    /// The merged model's folder; new or empty
    #[arg(long)]
    out: PathBuf,
    /// Largest size of a file in gigabytes (10^9 bytes)
    #[arg(long, default_value_t = 5.0)]
    max_shard_size: f64,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let bytes = arguments.max_shard_size * 1e9;
    if !(bytes.is_finite() && bytes >= 1.0) {
        bail!("--max-shard-size is {}; it must be over 0", arguments.max_shard_size);
    }
    let (model, adapter) = (fetched(&arguments.model)?, adapter_folder(&arguments.adapter)?);
    if is_linear_reward(&adapter) {
        bail!("{}: a linear reward model has no adapter to merge", adapter.display());
    }
    let merged = merge_adapter(&model, &adapter, &arguments.out, bytes as u64)?;
    let (out, files) = (arguments.out.display(), if merged.shards == 1 { "file" } else { "files" });
    let (architecture, changed, shards) = (&merged.architecture, merged.changed, merged.shards);
    output::note(format_args!("{out}: {architecture}, {changed} projections changed, {shards} {files}"));
    Ok(())
}
