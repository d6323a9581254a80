//! `cargo xtask features`: every crate that needs no libtorch compiles, without warnings, with each set of its features.

use anyhow::Result;
use clap::Args;

use crate::packages::Package;
use crate::workspace::{Workspace, run};

#[derive(Args)]
pub(crate) struct Options {
    /// Features turned on together, at most
    #[arg(long, default_value_t = 2)]
    pub(crate) depth: usize,
}

/// Lints each package with each set of at most `depth` features, and with none.
pub(crate) fn check(workspace: &Workspace, options: &Options) -> Result<()> {
    for package in Package::published(workspace)?.iter().filter(|package| package.is_torch_free()) {
        for features in subsets(&package.torch_free_features(), options.depth) {
            let mut lint = workspace.cargo(&["clippy", "--quiet", "--package", &package.name, "--no-default-features"]);
            if !features.is_empty() {
                lint.args(["--features", &features.join(",")]);
            }
            lint.args(["--", "-D", "warnings"]);
            run(lint)?;
        }
    }
    Ok(())
}

/// Every subset of at most `size` items, the empty one first.
fn subsets<'a>(items: &[&'a str], size: usize) -> Vec<Vec<&'a str>> {
    let Some(((first, rest), smaller)) = items.split_first().zip(size.checked_sub(1)) else {
        return vec![Vec::new()];
    };
    let mut all = subsets(rest, size);
    all.extend(subsets(rest, smaller).into_iter().map(|subset| [&[*first][..], &subset].concat()));
    all.sort_by_key(Vec::len);
    all
}

#[cfg(test)]
mod tests {
    use super::subsets;

    #[test]
    fn subsets_are_counted_by_binomials() {
        assert_eq!(subsets(&["a", "b"], 1), [vec![], vec!["b"], vec!["a"]]);
        assert_eq!(subsets(&["a", "b", "c", "d", "e", "f"], 2).len(), 1 + 6 + 15);
        assert_eq!(subsets(&[], 2), [Vec::<&str>::new()]);
    }
}
