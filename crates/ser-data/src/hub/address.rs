//! `hf://owner/name@revision/path`.

use crate::DataError;

/// An address on a hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// `owner/name`.
    pub(crate) name: String,
    /// A branch, tag or commit.
    pub(crate) revision: String,
    /// A file, a folder or a glob in the repository; empty for all files.
    pub(crate) path: String,
}

impl Address {
    /// Parses an address; `hf://` is optional, and `kind` (`datasets`, `models`) may precede the owner.
    pub(crate) fn parse(address: &str, kind: &str) -> Result<Self, DataError> {
        let bad = || DataError::HubAddress { address: address.to_string() };
        let bare = address.strip_prefix("hf://").unwrap_or(address).trim_matches('/');
        let bare = bare.strip_prefix(kind).and_then(|rest| rest.strip_prefix('/')).unwrap_or(bare);
        let (owner, rest) = bare.split_once('/').ok_or_else(bad)?;
        // A revision may contain slashes (refs/pr/3), written as %2F.
        let (name, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (name, revision) = name.split_once('@').unwrap_or((name, "main"));
        let is_name = |text: &str| {
            let known = |c: char| c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&c);
            !text.is_empty() && !text.starts_with('.') && text.chars().all(known)
        };
        let revision = revision.replace("%2F", "/").replace("%2f", "/");
        if !is_name(owner) || !is_name(name) || !revision.split('/').all(is_name) || !is_safe_path(path) {
            return Err(bad());
        }
        Ok(Address { name: format!("{owner}/{name}"), revision, path: path.to_string() })
    }
}

/// Whether a path stays below its folder.
pub(crate) fn is_safe_path(path: &str) -> bool {
    path.is_empty()
        || path.split('/').all(|part| !part.is_empty() && part != "." && part != ".." && !part.contains('\\'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed() {
        for (address, name, revision, path) in [
            ("hf://a/b", "a/b", "main", ""),
            ("a/b/", "a/b", "main", ""),
            ("hf://datasets/a/b.c@v1.0/data/train-*.parquet", "a/b.c", "v1.0", "data/train-*.parquet"),
            ("hf://a/b@refs%2Fpr%2F3", "a/b", "refs/pr/3", ""),
        ] {
            let expected = Address { name: name.into(), revision: revision.into(), path: path.into() };
            assert_eq!(Address::parse(address, "datasets").unwrap(), expected);
        }
        for address in ["hf://a", "hf://", "hf://a/b@", "hf://../b", "hf://a/b@../..", "hf://a/b/../c", "hf://a b/c"] {
            let error = Address::parse(address, "models").unwrap_err().to_string();
            assert!(error.contains("hf://owner/name"), "{error}");
        }
    }
}
