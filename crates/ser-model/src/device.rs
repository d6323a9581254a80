//! The device and the precision of computation.

use serde::{Deserialize, Serialize};
use tch::{Cuda, Kind};

use crate::ModelError;

/// The requested device.
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
    /// Layers spread over all GPUs in proportion to their free memory, for models that do not fit one GPU.
    Split,
}

/// The floating-point format of the network's computation. Everything that is trained is stored in f32 (adapters, heads,
/// and the weights if they are trained), and so is the optimizer's state.
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

/// An available device; with more than one GPU, the first of those that a model's layers are spread over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Device(pub(crate) tch::Device, pub(crate) usize);

impl Device {
    /// Selects the device and returns one line that gives the reason. Call it before anything else that uses libtorch.
    pub fn choose(choice: DeviceChoice) -> Result<(Self, String), ModelError> {
        let chosen = Self::available(choice)?;
        tracing::debug!("{}", chosen.1);
        Ok(chosen)
    }

    fn available(choice: DeviceChoice) -> Result<(Self, String), ModelError> {
        ser_libtorch::limit_spinning();
        let loaded = choice != DeviceChoice::Cpu && ser_libtorch::load_cuda();
        let gpus = if loaded && Cuda::is_available() { Cuda::device_count() } else { 0 };
        let missing = if loaded {
            "libtorch_cuda is loaded but finds no GPU"
        } else {
            "libtorch_cuda is not beside libtorch_cpu"
        };
        match choice {
            DeviceChoice::Cpu => Ok((Device::cpu(), "device: CPU, as requested".into())),
            DeviceChoice::Split if gpus > 1 => Ok((
                Device(tch::Device::Cuda(0), gpus as usize),
                format!("device: layers over {gpus} CUDA GPUs, as requested"),
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

    /// The device of one of several processes of a machine, which each have a GPU of their own, or share the CPU.
    ///
    /// # Errors
    /// More processes than GPUs; layers spread over the GPUs.
    pub fn of_process(self, number: usize, processes: usize) -> Result<Self, ModelError> {
        if self.0 == tch::Device::Cpu || processes < 2 {
            return Ok(self);
        }
        let gpus = usize::try_from(Cuda::device_count()).unwrap_or(0);
        if self.1 > 1 || gpus < processes {
            return Err(ModelError::Workers(format!(
                "{processes} processes need {processes} GPUs, one each, and this machine has {gpus}; start fewer, with device = \
                 \"cuda\", or give --device cpu"
            )));
        }
        Ok(Device(tch::Device::Cuda(number), 1))
    }

    /// The first GPU if there is one, else the CPU, with the reason. Call it before anything else that uses libtorch.
    pub fn best() -> (Self, String) {
        Self::choose(DeviceChoice::Auto).unwrap_or_else(|error| (Device::cpu(), format!("device: CPU ({error})")))
    }

    /// The CPU.
    pub fn cpu() -> Self {
        ser_libtorch::limit_spinning();
        Device(tch::Device::Cpu, 1)
    }
}

/// Sets the number of libtorch's CPU threads; 0 keeps the default, one per core.
pub fn set_threads(threads: usize) {
    if let Ok(threads @ 1..) = i32::try_from(threads) {
        tch::set_num_threads(threads);
    }
}
