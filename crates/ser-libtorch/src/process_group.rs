//! Operations on tensors among the processes of a run: libtorch's c10d with gloo, on the CPU.

use std::ffi::{CString, c_int, c_void};
use std::ptr::NonNull;

use ser_core::distributed::{Environment, Rendezvous};
use tch::{Device, Kind, Tensor};

use crate::{Error, ffi};

/// Dimensions that a tensor of an operation has at most.
const MAX_DIMENSIONS: usize = 7;

/// The processes of a run. Each calls the same operations in the same order, with tensors of equal shape and kind: f32, f64,
/// i64 or u8, contiguous, on the CPU. Before each operation the processes compare what they are about to do, so that a
/// difference is an error on all of them.
///
/// A single process is a group too: its operations change nothing and need no connection.
///
/// After an error the group cannot be used any more: end the process, which ends the operations of the others.
#[derive(Debug)]
pub struct ProcessGroup {
    environment: Environment,
    /// None for a single process.
    connection: Option<Connection>,
}

#[derive(Debug)]
struct Connection(NonNull<c_void>);

// SAFETY: the group of the shim belongs to no thread. It is not Sync: operations of two threads would be in no order.
unsafe impl Send for Connection {}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: made by ser_group_connect and freed once, here.
        unsafe { ffi::ser_group_free(self.0.as_ptr()) }
    }
}

impl ProcessGroup {
    /// Meets the other processes, within the environment's timeout.
    ///
    /// # Errors
    /// A process that does not come, an address that cannot be reached or listened at, processes that disagree on their number,
    /// and two processes of one rank.
    pub fn connect(environment: &Environment) -> Result<ProcessGroup, Error> {
        let mut group = ProcessGroup { environment: environment.clone(), connection: None };
        let Some(rendezvous) = environment.rendezvous.as_ref().filter(|_| environment.size > 1) else {
            if environment.size > 1 {
                return Err(group.error("connect", "several processes need a place to meet".into()));
            }
            return Ok(group);
        };
        let text = |text: &str| {
            CString::new(text).map_err(|_| group.error("connect", format!("{text:?} contains a null character")))
        };
        let host = text(&rendezvous.host)?;
        let prefix = text(&format!("ser/attempt_{}", rendezvous.attempt))?;
        let interface = rendezvous.interface.as_deref().map(text).transpose()?;
        let serves = environment.rank == 0 && !rendezvous.hosted_by_agent;
        let mut out = std::ptr::null_mut();
        // SAFETY: strings that live through the call, as does `out`.
        let message = unsafe {
            ffi::ser_group_connect(
                host.as_ptr(),
                rendezvous.port,
                serves,
                prefix.as_ptr(),
                interface.as_ref().map_or(std::ptr::null(), |interface| interface.as_ptr()),
                environment.rank as c_int,
                environment.size as c_int,
                i64::try_from(environment.timeout.as_millis()).unwrap_or(i64::MAX),
                &mut out,
            )
        };
        ffi::check(message).map_err(|error| group.connect_error(rendezvous, serves, &error))?;
        group.connection = NonNull::new(out).map(Connection);
        Ok(group)
    }

    /// Number of this process, from 0.
    pub fn rank(&self) -> usize {
        self.environment.rank
    }

    /// Number of processes.
    pub fn size(&self) -> usize {
        self.environment.size
    }

    /// Time limit of an operation.
    pub fn timeout(&self) -> std::time::Duration {
        self.environment.timeout
    }

    /// Replaces `tensor` by the sum over all processes. All receive the same bits.
    ///
    /// # Errors
    /// A tensor that the group does not take, or that differs in shape or kind among the processes; a process that ended or is
    /// late.
    pub fn all_reduce_sum(&self, tensor: &mut Tensor) -> Result<(), Error> {
        let operation = "all_reduce_sum";
        let Some(group) = self.agree(operation, Some(tensor), 0)? else { return Ok(()) };
        // SAFETY: a live group and a live tensor, borrowed exclusively, which all processes were found to have.
        self.finish(operation, unsafe { ffi::ser_group_all_reduce_sum(group, tensor.as_ptr()) })
    }

    /// Replaces `tensor` by that of the rank `root`.
    ///
    /// # Errors
    /// Like [`all_reduce_sum`](ProcessGroup::all_reduce_sum); a root that is not a rank.
    pub fn broadcast(&self, tensor: &mut Tensor, root: usize) -> Result<(), Error> {
        let operation = "broadcast";
        if root >= self.size() {
            let problem = format!("root {root} is not a rank of {} processes", self.size());
            return Err(Error::Argument { function: operation, problem });
        }
        let Some(group) = self.agree(operation, Some(tensor), root)? else { return Ok(()) };
        // SAFETY: as in all_reduce_sum.
        self.finish(operation, unsafe { ffi::ser_group_broadcast(group, tensor.as_ptr(), root as i64) })
    }

    /// The tensors of all processes, in the order of their ranks.
    ///
    /// # Errors
    /// Like [`all_reduce_sum`](ProcessGroup::all_reduce_sum).
    pub fn all_gather(&self, tensor: &Tensor) -> Result<Vec<Tensor>, Error> {
        let operation = "all_gather";
        match self.agree(operation, Some(tensor), 0)? {
            Some(group) => self.gathered(operation, group, tensor),
            None => Ok((0..self.size()).map(|_| tensor.copy()).collect()),
        }
    }

    /// Waits until all processes are here.
    ///
    /// # Errors
    /// A process that ended or is late.
    pub fn barrier(&self) -> Result<(), Error> {
        let operation = "barrier";
        let Some(group) = self.agree(operation, None, 0)? else { return Ok(()) };
        // SAFETY: a live group.
        self.finish(operation, unsafe { ffi::ser_group_barrier(group) })
    }

    /// Compares values, such as digests of settings and data, among the processes. Each has a name in the plural.
    ///
    /// # Errors
    /// The first value that is another one on some process; a process that ended or is late.
    pub fn require_equal(&self, values: &[(&str, i64)]) -> Result<(), Error> {
        let mine: Vec<i64> = values.iter().map(|(_, value)| *value).collect();
        for (rank, theirs) in self.all_gather(&Tensor::from_slice(&mine))?.iter().enumerate() {
            let theirs = integers(theirs)?;
            if let Some(((name, _), _)) = values.iter().zip(theirs).find(|((_, mine), theirs)| mine != theirs) {
                let problem = format!(
                    "this rank and rank {rank} have different {name}; start all processes with the same program, arguments and \
                     data"
                );
                return Err(self.error("compare", problem));
            }
        }
        Ok(())
    }

    /// Compares the operation among the processes: gloo ends the process if sizes differ. None if there is nothing to do.
    fn agree(
        &self,
        operation: &'static str,
        tensor: Option<&Tensor>,
        root: usize,
    ) -> Result<Option<*mut c_void>, Error> {
        if let Some(tensor) = tensor {
            unless_dense(operation, tensor)?;
        }
        let Some(Connection(group)) = &self.connection else { return Ok(None) };
        let group = group.as_ptr();
        let mine = Call::new(operation, tensor, root);
        let calls = self.gathered(operation, group, &Tensor::from_slice(&mine.0))?;
        for (rank, call) in calls.iter().enumerate() {
            let theirs = integers(call)?;
            if theirs != mine.0 {
                let problem = format!(
                    "this rank calls {mine} and rank {rank} calls {}; start all processes with the same program, arguments \
                     and data",
                    Call(theirs)
                );
                return Err(self.error(operation, problem));
            }
        }
        Ok((tensor.is_none_or(|tensor| tensor.numel() > 0)).then_some(group))
    }

    /// Gathers without comparing: for tensors of one shape.
    fn gathered(&self, operation: &'static str, group: *mut c_void, tensor: &Tensor) -> Result<Vec<Tensor>, Error> {
        // SAFETY: a live group and a live tensor of one shape on all processes.
        let all = ffi::produced(|out| unsafe { ffi::ser_group_all_gather(group, tensor.as_ptr(), out) });
        let all = all.map_err(|error| self.peer_error(operation, &error))?;
        Ok(all.unbind(0))
    }

    fn finish(&self, operation: &'static str, message: *mut std::ffi::c_char) -> Result<(), Error> {
        ffi::check(message).map_err(|error| self.peer_error(operation, &error))
    }

    fn error(&self, operation: &'static str, problem: String) -> Error {
        Error::Group { rank: self.rank(), size: self.size(), operation, problem }
    }

    /// The error of an operation among connected processes.
    fn peer_error(&self, operation: &'static str, error: &Error) -> Error {
        let text = plain(error);
        let problem = if is_timeout(&text) {
            format!(
                "no answer within {}; a rank hangs or is late: look at the other ranks' output, or raise SER_GROUP_TIMEOUT \
                 ({text})",
                self.seconds()
            )
        } else {
            format!("another rank ended or its connection broke: look at the other ranks' output ({text})")
        };
        self.error(operation, problem)
    }

    fn connect_error(&self, rendezvous: &Rendezvous, serves: bool, error: &Error) -> Error {
        let text = plain(error);
        let at = format!("MASTER_ADDR {} and MASTER_PORT {}", rendezvous.host, rendezvous.port);
        let problem = if text.contains("EADDRINUSE") || text.contains("Address already in use") {
            format!("another process listens at {at}; choose a free MASTER_PORT for all ranks")
        } else if text.contains("WORLD_SIZE is ") || text.contains("two processes have RANK") {
            text
        } else if ["reset", "closed", "roken pipe"].iter().any(|word| text.contains(word)) {
            format!("another rank ended while the processes met: look at the other ranks' output ({text})")
        } else if serves || text.contains("processes arrived") {
            format!("the other ranks did not come to {at} within {}; are all started? ({text})", self.seconds())
        } else {
            let host = if rendezvous.hosted_by_agent { "torchrun" } else { "rank 0" };
            format!(
                "{host} does not answer at {at} within {}; does it run, with the same port? ({text})",
                self.seconds()
            )
        };
        self.error("connect", problem)
    }

    fn seconds(&self) -> String {
        format!("{} s", self.environment.timeout.as_secs_f64())
    }
}

/// What a process is about to do: operation, root, kind, number of dimensions, and sizes.
struct Call(Vec<i64>);

const OPERATIONS: [&str; 4] = ["all_reduce_sum", "broadcast", "all_gather", "barrier"];
const KINDS: [Kind; 4] = [Kind::Float, Kind::Double, Kind::Int64, Kind::Uint8];

impl Call {
    fn new(operation: &str, tensor: Option<&Tensor>, root: usize) -> Call {
        let code = |found: Option<usize>| found.map_or(-1, |index| index as i64);
        let kind = tensor.and_then(|tensor| KINDS.iter().position(|kind| *kind == tensor.kind()));
        let size = tensor.map(Tensor::size).unwrap_or_default();
        let operation = OPERATIONS.iter().position(|known| *known == operation);
        let mut call = vec![code(operation), root as i64, code(kind), size.len() as i64];
        call.extend(&size);
        call.resize(4 + MAX_DIMENSIONS, 0);
        Call(call)
    }
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = |index: usize| self.0.get(index).copied().unwrap_or(-1);
        let index = |index: usize| usize::try_from(at(index)).unwrap_or(usize::MAX);
        f.write_str(OPERATIONS.get(index(0)).unwrap_or(&"another operation"))?;
        if let Some(kind) = KINDS.get(index(2)) {
            let size: Vec<_> = self.0.iter().skip(4).take(index(3)).collect();
            write!(f, " of {kind:?} {size:?}")?;
        }
        if at(0) == 1 { write!(f, " from rank {}", at(1)) } else { Ok(()) }
    }
}

fn integers(tensor: &Tensor) -> Result<Vec<i64>, Error> {
    Vec::<i64>::try_from(tensor).map_err(|error| Error::Torch(error.to_string()))
}

/// An error for a tensor that the group does not take.
fn unless_dense(function: &'static str, tensor: &Tensor) -> Result<(), Error> {
    let (kind, device) = (tensor.kind(), tensor.device());
    let problem = if device != Device::Cpu || !KINDS.contains(&kind) {
        format!("the tensor is {kind:?} on {device:?}; it takes f32, f64, i64 or u8 on the CPU")
    } else if !tensor.is_contiguous() {
        "the tensor must be contiguous".into()
    } else if tensor.dim() > MAX_DIMENSIONS {
        format!("the tensor has {} dimensions; it takes at most {MAX_DIMENSIONS}", tensor.dim())
    } else {
        return Ok(());
    };
    Err(Error::Argument { function, problem })
}

/// A message of c10d or gloo without the lines and source files around it.
fn plain(error: &Error) -> String {
    let text = match error {
        Error::Torch(text) => text.clone(),
        other => other.to_string(),
    };
    let line = text.lines().next().unwrap_or_default();
    let line = match line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((_, message)) => message,
        None => line,
    };
    line.trim_end_matches('.').to_owned()
}

fn is_timeout(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("timed out") || text.contains("timeout")
}
