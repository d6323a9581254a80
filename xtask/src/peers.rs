//! `cargo xtask peers`.

use anyhow::Result;
use clap::Args;

use crate::workspace::Workspace;

#[derive(Args)]
pub(crate) struct Options {}

pub(crate) fn run(_: &Workspace, _: &Options) -> Result<()> {
    anyhow::bail!("not yet")
}
