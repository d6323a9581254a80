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
    /// Layers over all GPUs, by their free memory, for models that one GPU cannot hold.
    Split,
}

/// Numbers the network computes in. All that is trained is kept in f32: adapters, heads, and the weights themselves where
/// these are trained; and so is the optimizer's state.
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

/// A device that is there; with more than one GPU, the first of those that a model's layers are spread over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Device(pub(crate) tch::Device, pub(crate) usize);

impl Device {
    /// Settles which device computes and says why in one line. Call it before anything else that uses libtorch.
    pub fn choose(choice: DeviceChoice) -> Result<(Self, String), ModelError> {
        ser_libtorch::limit_spinning();
        let loaded = choice != DeviceChoice::Cpu && ser_libtorch::load_cuda();
        let gpus = if loaded && Cuda::is_available() { Cuda::device_count() } else { 0 };
        let missing = if loaded {
            "libtorch_cuda is loaded but finds no GPU"
        } else {
            "libtorch_cuda is not beside libtorch_cpu"
        };
        match choice {
            DeviceChoice::Cpu => Ok((Device::cpu(), "device: CPU, as asked".into())),
            DeviceChoice::Split if gpus > 1 => Ok((
                Device(tch::Device::Cuda(0), gpus as usize),
                format!("device: layers over {gpus} CUDA GPUs, as asked"),
            )),
            _ if gpus > 0 => Ok((Device(tch::Device::Cuda(0), 1), format!("device: CUDA GPU 0 of {gpus}"))),
            DeviceChoice::Cuda | DeviceChoice::Split => Err(ModelError::Setting {
                name: "device",
                value: if choice == DeviceChoice::Split { "split".into() } else { "cuda".into() },
                expected: "no GPU can be used; install the CUDA libtorch (cargo xtask setup --cuda) or choose cpu",
            }),
            DeviceChoice::Auto => {
                Ok((Device::cpu(), format!("device: CPU with {} threads ({missing})", tch::get_num_threads())))
            }
        }
    }

    /// The first GPU if there is one, else the CPU, and why. Call it before anything else that uses libtorch.
    pub fn best() -> (Self, String) {
        Self::choose(DeviceChoice::Auto).unwrap_or_else(|error| (Device::cpu(), format!("device: CPU ({error})")))
    }

    /// The CPU.
    pub fn cpu() -> Self {
        ser_libtorch::limit_spinning();
        Device(tch::Device::Cpu, 1)
    }
}

/// How many threads libtorch computes with on the CPU; as many as there are cores if 0.
pub fn set_threads(threads: usize) {
    if let Ok(threads @ 1..) = i32::try_from(threads) {
        tch::set_num_threads(threads);
    }
}
