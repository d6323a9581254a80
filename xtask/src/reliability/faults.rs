//! The faults: what is done to a run, and what must be true afterwards.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};

use super::child::{Act, End, WorkFolder};
use super::compare::difference;
use super::disk::{self, Disk, Survives, Tree};
use super::kinds::{Kind, Programs};
use super::trace::{self, Change};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Fault {
    /// Killed before each operation, after the last one, and within each write
    Kill,
    /// Power is lost before each operation: what was not synced is lost or torn
    PowerLoss,
    /// From each operation on that takes space, the disk is full
    FullDisk,
    /// Each sync fails
    FailedSync,
    /// From each operation on, the file system is read-only; and one without locks
    Refusal,
}

impl Fault {
    pub(super) const ALL: [Fault; 5] =
        [Fault::Kill, Fault::PowerLoss, Fault::FullDisk, Fault::FailedSync, Fault::Refusal];

    pub(super) fn name(self) -> &'static str {
        match self {
            Fault::Kill => "kills",
            Fault::PowerLoss => "power losses",
            Fault::FullDisk => "full disks",
            Fault::FailedSync => "failed syncs",
            Fault::Refusal => "read-only, no locks",
        }
    }
}

/// One try of a fault.
enum Try {
    /// A fault at an operation of a run.
    At(Act, usize),
    /// A run that finds these files, which survive a power loss.
    From(String, Tree),
    /// No run: the files that survive lack what had to be kept.
    Lost(String),
}

/// What came of the tries of a fault.
pub(super) struct Outcome {
    pub(super) tried: usize,
    pub(super) failures: Vec<String>,
    /// What failing runs said, each once.
    pub(super) sentences: BTreeSet<String>,
}

/// A run without a fault: its operations and its result.
pub(super) struct Reference<'a> {
    kind: Kind,
    programs: &'a Programs,
    shim: &'a Path,
    folder: PathBuf,
    changes: Vec<Change>,
    result: Tree,
}

impl<'a> Reference<'a> {
    pub(super) fn of(kind: Kind, programs: &'a Programs, shim: &'a Path, folder: &Path) -> Result<Self> {
        let folder = folder.join(kind.name());
        let work_folder = WorkFolder::new(folder.join("reference"))?;
        let changes = trace::parse(&work_folder.traced(programs, kind, shim)?)?;
        let result = disk::read(&work_folder.path())?;
        // A function that the shim does not wrap would show here.
        let mut disk = Disk::new();
        changes.iter().try_for_each(|change| disk.apply(change))?;
        if disk.surviving(Survives::All) != result {
            bail!("{}: the trace does not lead to the files that are there", kind.name());
        }
        match work_folder.run_without_fault(programs, kind)? {
            End::Done | End::Refused(_) => {}
            End::Killed => bail!("{}: the second run was killed", kind.name()),
        }
        if let Some(difference) = difference(kind, &result, &disk::read(&work_folder.path())?) {
            bail!("{}: a second run after the first changes its result: {difference}", kind.name());
        }
        Ok(Reference { kind, programs, shim, folder, changes, result })
    }

    /// The operations in order.
    fn numbered(&self) -> impl Iterator<Item = (usize, &Change)> {
        (1..).zip(self.changes.iter().filter(|change| change.is_operation()))
    }

    pub(super) fn operations(&self) -> usize {
        self.numbered().count()
    }

    /// Tries a fault at every operation, or every nth, `jobs` at a time.
    pub(super) fn test(&self, fault: Fault, every: usize, jobs: usize) -> Result<Outcome> {
        let tries: Vec<Try> = self.tries(fault)?.into_iter().step_by(every).collect();
        let next = AtomicUsize::new(0);
        let outcome = Mutex::new(Outcome { tried: tries.len(), failures: Vec::new(), sentences: BTreeSet::new() });
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    while let Some((i, attempt)) =
                        Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, tries.get(i)?)))
                    {
                        let tried =
                            self.attempt(attempt, &self.folder.join(format!("{}-{i}", fault.name().replace(' ', "-"))));
                        let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
                        match tried {
                            Ok(sentence) => outcome.sentences.extend(sentence),
                            Err(error) => {
                                outcome.failures.push(format!("{}, {}: {error:#}", self.kind.name(), name(attempt)))
                            }
                        }
                    }
                });
            }
        });
        Ok(outcome.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn tries(&self, fault: Fault) -> Result<Vec<Try>> {
        Ok(match fault {
            Fault::Kill => {
                let torn = |change: &Change| change.is_write().then_some(Act::Tear);
                let mut tries: Vec<Try> = self
                    .numbered()
                    .flat_map(|(n, change)| {
                        [Some(Act::KillBefore), torn(change)].into_iter().flatten().map(move |act| Try::At(act, n))
                    })
                    .collect();
                tries.push(Try::At(Act::KillAfter, self.operations()));
                tries
            }
            Fault::PowerLoss => self.power_losses()?,
            Fault::FullDisk => {
                self.numbered().filter(|(_, change)| change.takes_space()).map(|(n, _)| Try::At(Act::Full, n)).collect()
            }
            Fault::FailedSync => {
                self.numbered().filter(|(_, change)| change.is_sync()).map(|(n, _)| Try::At(Act::FailSync, n)).collect()
            }
            Fault::Refusal => {
                let mut tries: Vec<Try> = self
                    .numbered()
                    .filter(|(_, change)| !change.is_sync())
                    .map(|(n, _)| Try::At(Act::ReadOnly, n))
                    .collect();
                tries.push(Try::At(Act::NoLocks, 1));
                tries
            }
        })
    }

    /// The different trees that may survive a power loss before each operation and after the last one.
    fn power_losses(&self) -> Result<Vec<Try>> {
        let (mut disk, mut number) = (Disk::new(), 0);
        let (mut seen, mut tries) = (Vec::new(), Vec::new());
        for change in self.changes.iter().map(Some).chain([None]) {
            if change.is_none_or(Change::is_operation) {
                number += 1;
                for survives in [
                    Survives::Synced,
                    Survives::Names,
                    Survives::HalfOfBytes,
                    Survives::Bytes,
                    Survives::Random(2 * number),
                    Survives::Random(2 * number + 1),
                ] {
                    let tree = disk.surviving(survives);
                    if self.kind.kept(&tree) + 1 < self.kind.kept(&disk.surviving(Survives::All)) {
                        tries.push(Try::Lost(format!("{survives:?} before operation {number}")));
                    }
                    let hash = disk::hash(&tree);
                    if !seen.contains(&hash) {
                        seen.push(hash);
                        tries.push(Try::From(format!("{survives:?} before operation {number}"), tree));
                    }
                }
            }
            if let Some(change) = change {
                disk.apply(change)?;
            }
        }
        Ok(tries)
    }

    /// Does one try. Returns the sentence of a run that failed as it should.
    fn attempt(&self, attempt: &Try, folder: &Path) -> Result<Option<String>> {
        let work_folder = WorkFolder::new(folder.to_owned())?;
        let mut said = None;
        match attempt {
            Try::From(_, tree) => disk::write(tree, &work_folder.path())?,
            Try::Lost(_) => bail!("more than the last answer is lost"),
            Try::At(act, n) => match (act, work_folder.faulty(self.programs, self.kind, self.shim, *act, *n)?) {
                (Act::KillBefore | Act::KillAfter | Act::Tear, End::Killed) => {}
                (Act::Full | Act::FailSync | Act::ReadOnly | Act::NoLocks, End::Refused(sentence)) => {
                    said = Some(sentence)
                }
                // A fault that the run can live with.
                (Act::Full | Act::FailSync | Act::ReadOnly | Act::NoLocks, End::Done) => {}
                (_, end) => bail!("the run with the fault ended otherwise: {end:?}"),
            },
        }
        let end = work_folder.run_without_fault(self.programs, self.kind)?;
        let found = disk::read(&work_folder.path())?;
        match (difference(self.kind, &self.result, &found), end) {
            // A command that does not write over its result says so, and the result is there.
            (None, End::Done | End::Refused(_)) => {}
            (_, End::Refused(sentence)) => bail!("it does not go on: {sentence}"),
            (Some(difference), _) => bail!("the result is another: {difference}"),
            (None, End::Killed) => bail!("it was killed"),
        }
        work_folder.remove()?;
        Ok(said)
    }
}

fn name(attempt: &Try) -> String {
    match attempt {
        Try::At(act, n) => format!("{act:?} at operation {n}"),
        Try::From(name, _) | Try::Lost(name) => name.clone(),
    }
}
