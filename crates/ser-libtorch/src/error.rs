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
}

impl Error {
    /// An error for a tensor that is not f32 on the CPU.
    pub(crate) fn unless_plain(function: &'static str, name: &str, tensor: &Tensor) -> Result<(), Error> {
        if tensor.kind() == Kind::Float && tensor.device() == Device::Cpu {
            return Ok(());
        }
        let problem = format!("{name} is {:?} on {:?}; it takes f32 on the CPU", tensor.kind(), tensor.device());
        Err(Error::Argument { function, problem })
    }

    /// An error for a weight that is not f32 on the CPU, contiguous and without a gradient.
    pub(crate) fn unless_frozen(function: &'static str, name: &str, weight: &Tensor) -> Result<(), Error> {
        Error::unless_plain(function, name, weight)?;
        let missing = if weight.requires_grad() { "without a gradient" } else { "contiguous" };
        if weight.is_contiguous() && !weight.requires_grad() {
            return Ok(());
        }
        Err(Error::Argument { function, problem: format!("{name} must be {missing}") })
    }
}
