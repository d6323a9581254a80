//! Works an adapter into its base and writes a model folder that transformers loads: a classifier if the adapter has a
//! head, else a causal model.
//!
//! ```sh
//! cargo run --release --features libtorch --example merge_adapter -- --model llama-3-8b --adapter rm --out merged
//! ```

mod exit;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Parser;
use ser::model::merge_adapter;

/// Works an adapter into its base
#[derive(Parser)]
struct Arguments {
    /// Folder of the base model
    #[arg(long)]
    model: PathBuf,
    /// Adapter folder in PEFT's layout
    #[arg(long)]
    adapter: PathBuf,
    /// The merged model's folder; new or empty
    #[arg(long)]
    out: PathBuf,
    /// Gigabytes (10^9 bytes) that a file holds at most
    #[arg(long, default_value_t = 5.0)]
    max_shard_size: f64,
}

fn main() -> ExitCode {
    exit::exit_code(run(&Arguments::parse()), None)
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let bytes = arguments.max_shard_size * 1e9;
    if !(bytes.is_finite() && bytes >= 1.0) {
        bail!("--max-shard-size is {}; it must be over 0", arguments.max_shard_size);
    }
    let merged = merge_adapter(&arguments.model, &arguments.adapter, &arguments.out, bytes as u64)?;
    let (out, files) = (arguments.out.display(), if merged.shards == 1 { "file" } else { "files" });
    eprintln!("{out}: {}, {} projections changed, {} {files}", merged.architecture, merged.changed, merged.shards);
    Ok(())
}
