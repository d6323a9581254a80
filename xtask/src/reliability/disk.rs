//! A simulated disk: it follows a trace, and tells the files that survive a power loss.
//!
//! The model is POSIX without the kindnesses of any one file system: a file's bytes survive if the file was synced after they
//! were written; a name survives if its folder was synced after it was made, changed or removed. All other changes
//! may survive or not. A rename within a folder is atomic.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::trace::Change;

/// The names in a folder, with the index of each node.
type Names = BTreeMap<String, usize>;

enum Node {
    File {
        now: Vec<u8>,
        synced: Vec<u8>,
    },
    Folder {
        now: Names,
        synced: Names,
        /// The changes since the folder was synced; each is atomic. Without a node, the name is removed.
        pending: Vec<Vec<(String, Option<usize>)>>,
    },
}

/// The part of the changes that were not synced that survives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Survives {
    /// All: the process was killed, the system goes on.
    All,
    /// None.
    Synced,
    /// Names, without the bytes of the files: metadata reach the disk first.
    Names,
    /// Names, and the first half of the bytes that were not synced; the rest are zeros.
    HalfOfBytes,
    /// Bytes, without names: data reach the disk first.
    Bytes,
    /// Of each folder the changes up to a random one; of each file nothing, half or all.
    Random(u64),
}

/// The files of a folder by path; folders have no bytes.
pub(super) type Tree = BTreeMap<String, Option<Vec<u8>>>;

pub(super) struct Disk {
    nodes: Vec<Node>,
    handles: HashMap<u64, usize>,
}

fn folder() -> Node {
    Node::Folder { now: Names::new(), synced: Names::new(), pending: Vec::new() }
}

impl Disk {
    /// An empty folder.
    pub(super) fn new() -> Self {
        Disk { nodes: vec![folder()], handles: HashMap::new() }
    }

    pub(super) fn apply(&mut self, change: &Change) -> Result<()> {
        match change {
            Change::Open { handle, path } => {
                let node = self.find(path)?;
                self.handles.insert(*handle, node);
            }
            Change::Create { handle, path } => {
                let node = self.add(Node::File { now: Vec::new(), synced: Vec::new() });
                self.rename_in(path, vec![(name(path), Some(node))])?;
                self.handles.insert(*handle, node);
            }
            Change::Truncate { handle, length } => self.file(*handle)?.resize(usize::try_from(*length)?, 0),
            Change::Write { handle, offset, data } => {
                let (file, start) = (self.file(*handle)?, usize::try_from(*offset)?);
                if file.len() < start + data.len() {
                    file.resize(start + data.len(), 0);
                }
                if let Some(part) = file.get_mut(start..start + data.len()) {
                    part.copy_from_slice(data);
                }
            }
            Change::Sync { handle } => {
                let node = *self.handles.get(handle).context("a sync of a file that was not opened")?;
                match self.nodes.get_mut(node) {
                    Some(Node::File { now, synced }) => synced.clone_from(now),
                    Some(Node::Folder { now, synced, pending }) => {
                        synced.clone_from(now);
                        pending.clear();
                    }
                    None => {}
                }
            }
            Change::Rename { from, to } => {
                let node = self.find(from)?;
                if parent(from) == parent(to) {
                    self.rename_in(from, vec![(name(from), None), (name(to), Some(node))])?;
                } else {
                    self.rename_in(to, vec![(name(to), Some(node))])?;
                    self.rename_in(from, vec![(name(from), None)])?;
                }
            }
            Change::Link { from, to } => {
                let node = self.find(from)?;
                self.rename_in(to, vec![(name(to), Some(node))])?;
            }
            Change::MakeFolder { path } => {
                let node = self.add(folder());
                self.rename_in(path, vec![(name(path), Some(node))])?;
            }
            Change::RemoveFile { path } | Change::RemoveFolder { path } => {
                self.rename_in(path, vec![(name(path), None)])?;
            }
            Change::Failed { .. } => {}
        }
        Ok(())
    }

    /// The files that survive.
    pub(super) fn surviving(&self, survives: Survives) -> Tree {
        let mut tree = Tree::new();
        self.collect(0, "", survives, &mut tree);
        tree
    }

    fn collect(&self, node: usize, path: &str, survives: Survives, tree: &mut Tree) {
        match self.nodes.get(node) {
            Some(Node::File { now, synced }) => {
                tree.insert(path.to_owned(), Some(bytes(now, synced, survives, node as u64)));
            }
            Some(Node::Folder { now, synced, pending }) => {
                if !path.is_empty() {
                    tree.insert(path.to_owned(), None);
                }
                for (name, node) in names(now, synced, pending, survives, node as u64) {
                    let path = if path.is_empty() { name } else { format!("{path}/{name}") };
                    self.collect(node, &path, survives, tree);
                }
            }
            None => {}
        }
    }

    fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn find(&self, path: &str) -> Result<usize> {
        path.split('/').filter(|part| !part.is_empty()).try_fold(0, |node, part| match self.nodes.get(node) {
            Some(Node::Folder { now, .. }) => now.get(part).copied().with_context(|| format!("{path} does not exist")),
            _ => bail!("{path} is below a file"),
        })
    }

    fn file(&mut self, handle: u64) -> Result<&mut Vec<u8>> {
        let node = self.handles.get(&handle).and_then(|node| self.nodes.get_mut(*node));
        match node {
            Some(Node::File { now, .. }) => Ok(now),
            _ => bail!("handle {handle} is not an open file"),
        }
    }

    /// Changes names in the folder that `path` lies in.
    fn rename_in(&mut self, path: &str, changes: Vec<(String, Option<usize>)>) -> Result<()> {
        let folder = self.find(parent(path))?;
        match self.nodes.get_mut(folder) {
            Some(Node::Folder { now, pending, .. }) => {
                change_names(now, &changes);
                pending.push(changes);
                Ok(())
            }
            _ => bail!("{path} is below a file"),
        }
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn name(path: &str) -> String {
    path.rsplit_once('/').map_or(path, |(_, name)| name).to_owned()
}

fn change_names(names: &mut Names, changes: &[(String, Option<usize>)]) {
    for (name, node) in changes {
        match node {
            Some(node) => names.insert(name.clone(), *node),
            None => names.remove(name),
        };
    }
}

fn names(
    now: &Names,
    synced: &Names,
    pending: &[Vec<(String, Option<usize>)>],
    survives: Survives,
    node: u64,
) -> Names {
    match survives {
        Survives::All | Survives::Names | Survives::HalfOfBytes => now.clone(),
        Survives::Synced | Survives::Bytes => synced.clone(),
        Survives::Random(seed) => {
            let mut names = synced.clone();
            let count = random(seed, node) as usize % (pending.len() + 1);
            pending.iter().take(count).for_each(|changes| change_names(&mut names, changes));
            names
        }
    }
}

fn bytes(now: &[u8], synced: &[u8], survives: Survives, node: u64) -> Vec<u8> {
    match survives {
        Survives::All | Survives::Bytes => now.to_vec(),
        Survives::Synced | Survives::Names => synced.to_vec(),
        Survives::HalfOfBytes => half(now, synced),
        Survives::Random(seed) => match random(seed, node) % 3 {
            0 => synced.to_vec(),
            1 => half(now, synced),
            _ => now.to_vec(),
        },
    }
}

/// The file in its present length; the second half of what differs from the synced bytes is zero.
fn half(now: &[u8], synced: &[u8]) -> Vec<u8> {
    let same = now.iter().zip(synced).take_while(|(a, b)| a == b).count();
    let end = same + (now.len() - same) / 2;
    now.iter().enumerate().map(|(i, byte)| if i < end { *byte } else { 0 }).collect()
}

/// A number that depends on the seed and the node alone.
fn random(seed: u64, node: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, node).hash(&mut hasher);
    hasher.finish() >> 8
}

/// A hash of a tree.
pub(super) fn hash(tree: &Tree) -> u64 {
    let mut hasher = DefaultHasher::new();
    tree.hash(&mut hasher);
    hasher.finish()
}

/// Writes a tree into an empty folder.
pub(super) fn write(tree: &Tree, folder: &Path) -> Result<()> {
    for (path, bytes) in tree {
        let path = folder.join(path);
        match bytes {
            None => std::fs::create_dir(&path),
            Some(bytes) => std::fs::write(&path, bytes),
        }
        .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Reads a folder as a tree.
pub(super) fn read(folder: &Path) -> Result<Tree> {
    let mut tree = Tree::new();
    read_into(folder, "", &mut tree)?;
    Ok(tree)
}

fn read_into(folder: &Path, below: &str, tree: &mut Tree) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        if entry.file_type()?.is_dir() {
            read_into(&entry.path(), &path, tree)?;
            tree.insert(path, None);
        } else {
            tree.insert(path, Some(std::fs::read(entry.path())?));
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A file that is written, synced and renamed; its folder is synced only in the end.
    #[test]
    fn only_what_was_synced_survives() {
        let mut disk = Disk::new();
        let changes = [
            Change::Create { handle: 1, path: "new".into() },
            Change::Write { handle: 1, offset: 0, data: b"abcd".to_vec() },
            Change::Sync { handle: 1 },
            Change::Write { handle: 1, offset: 4, data: b"efgh".to_vec() },
            Change::Rename { from: "new".into(), to: "file".into() },
        ];
        changes.iter().for_each(|change| disk.apply(change).unwrap());
        let file = |name: &str, bytes: &[u8]| Tree::from([(name.to_owned(), Some(bytes.to_vec()))]);
        assert_eq!(disk.surviving(Survives::All), file("file", b"abcdefgh"));
        assert_eq!(disk.surviving(Survives::Synced), Tree::new());
        assert_eq!(disk.surviving(Survives::Bytes), Tree::new());
        assert_eq!(disk.surviving(Survives::Names), file("file", b"abcd"));
        assert_eq!(disk.surviving(Survives::HalfOfBytes), file("file", b"abcdef\0\0"));
        disk.apply(&Change::Open { handle: 2, path: String::new() }).unwrap();
        disk.apply(&Change::Sync { handle: 2 }).unwrap();
        assert_eq!(disk.surviving(Survives::Synced), file("file", b"abcd"));
        assert_eq!(disk.surviving(Survives::Bytes), file("file", b"abcdefgh"));
        disk.apply(&Change::RemoveFile { path: "file".into() }).unwrap();
        assert_eq!(disk.surviving(Survives::Names), Tree::new());
        assert_eq!(disk.surviving(Survives::Synced), file("file", b"abcd"));
    }
}
