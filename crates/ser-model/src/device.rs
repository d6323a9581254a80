//! Which device computes, and why.

use serde::{Deserialize, Serialize};
use tch::{Cuda, Kind};

use crate::ModelError;

/// What people ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceChoice {
    /// The first GPU, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The first GPU, or an error.
    Cuda,
}

/// Numbers the network computes in. Adapters, heads and optimizers stay in f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    #[serde(rename = "float32")]
    F32,
    /// bfloat16.
    #[serde(rename = "bfloat16")]
    Bf16,
    /// IEEE half precision.
    #[serde(rename = "float16")]
    F16,
}

impl Precision {
    pub(crate) fn kind(self) -> Kind {
        match self {
            Precision::F32 => Kind::Float,
            Precision::Bf16 => Kind::BFloat16,
            Precision::F16 => Kind::Half,
        }
    }
}

/// A device that is there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Device(pub(crate) tch::Device);

impl Device {
    /// Settles which device computes and says why in one line. Call it before anything else that uses libtorch.
    pub fn choose(choice: DeviceChoice) -> Result<(Self, String), ModelError> {
        let loaded = choice != DeviceChoice::Cpu && ser_libtorch::load_cuda();
        let gpus = if loaded && Cuda::is_available() { Cuda::device_count() } else { 0 };
        let missing = if loaded {
            "libtorch_cuda is loaded but finds no GPU"
        } else {
            "libtorch_cuda is not beside libtorch_cpu"
        };
        match choice {
            DeviceChoice::Cpu => Ok((Device::cpu(), "device: CPU, as asked".into())),
            _ if gpus > 0 => Ok((Device(tch::Device::Cuda(0)), format!("device: CUDA GPU 0 of {gpus}"))),
            DeviceChoice::Cuda => Err(ModelError::Setting {
                name: "device",
                value: "cuda".into(),
                expected: "no GPU can be used; install the CUDA libtorch (cargo xtask setup --cuda) or choose cpu",
            }),
            DeviceChoice::Auto => {
                Ok((Device::cpu(), format!("device: CPU with {} threads ({missing})", tch::get_num_threads())))
            }
        }
    }

    /// The CPU.
    pub fn cpu() -> Self {
        Device(tch::Device::Cpu)
    }
}

/// How many threads libtorch computes with on the CPU; as many as there are cores if 0.
pub fn set_threads(threads: usize) {
    if let Ok(threads @ 1..) = i32::try_from(threads) {
        tch::set_num_threads(threads);
    }
}
