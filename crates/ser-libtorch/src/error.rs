use tch::{Device, Kind, Tensor};

/// An error of a call into libtorch.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// libtorch's error message.
    #[error("libtorch: {0}")]
    Torch(String),
    /// A tensor has the wrong shape, kind or device for the function.
    #[error("{function}: {problem}")]
    Argument {
        /// The function.
        function: &'static str,
        /// The tensor and its problem.
        problem: String,
    },
    /// An operation of a process group failed on this rank.
    #[error("rank {rank} of {size}: {operation}: {problem}")]
    Group {
        /// This process.
        rank: usize,
        /// Number of processes.
        size: usize,
        /// The operation.
        operation: &'static str,
        /// The problem and its remedy.
        problem: String,
    },
}

impl Error {
    /// An error for a tensor that is not on the CPU, or neither f32 nor bf16, or of another kind than `first`.
    pub(crate) fn unless_like(
        function: &'static str,
        first: &Tensor,
        name: &str,
        tensor: &Tensor,
    ) -> Result<(), Error> {
        let (kind, device) = (tensor.kind(), tensor.device());
        if device == Device::Cpu && [Kind::Float, Kind::BFloat16].contains(&kind) && kind == first.kind() {
            return Ok(());
        }
        let problem = format!("{name} is {kind:?} on {device:?}; it takes f32 or bf16 on the CPU, all of one kind");
        Err(Error::Argument { function, problem })
    }

    /// As [`unless_like`](Self::unless_like), for functions that GPUs have kernels for too, in f32, bf16 and f16.
    pub(crate) fn unless_like_or_on_gpu(
        function: &'static str,
        first: &Tensor,
        name: &str,
        tensor: &Tensor,
    ) -> Result<(), Error> {
        let (kind, device) = (tensor.kind(), tensor.device());
        if !first.device().is_cuda() {
            return Error::unless_like(function, first, name, tensor);
        }
        let taken = [Kind::Float, Kind::BFloat16, Kind::Half].contains(&kind);
        if taken && kind == first.kind() && device == first.device() {
            return Ok(());
        }
        let problem = format!("{name} is {kind:?} on {device:?}; on a GPU it takes f32, bf16 or f16, all of one kind");
        Err(Error::Argument { function, problem })
    }

    /// An error for a tensor that has a gradient or is not contiguous.
    pub(crate) fn unless_constant(function: &'static str, name: &str, tensor: &Tensor) -> Result<(), Error> {
        let missing = if tensor.requires_grad() { "without a gradient" } else { "contiguous" };
        if tensor.is_contiguous() && !tensor.requires_grad() {
            return Ok(());
        }
        Err(Error::Argument { function, problem: format!("{name} must be {missing}") })
    }
}
