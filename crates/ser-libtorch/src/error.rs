/// Why a call into libtorch failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// libtorch refused; its message.
    #[error("libtorch: {0}")]
    Torch(String),
    /// A tensor has not the shape, kind or device that the function takes.
    #[error("{function}: {problem}")]
    Argument {
        /// The function.
        function: &'static str,
        /// What is wrong with which tensor.
        problem: String,
    },
}
