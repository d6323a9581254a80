// The kernels of gpu_rows.cu on the GPUs of this process. NVRTC compiles them and the driver runs them; both are opened at run time,
// because the same binary runs on machines without a GPU.
#pragma once
#include <ATen/core/Tensor.h>

#include <string>

#include "gpu_launch.h"

namespace ser {

// The folder of libtorch_cpu, with a slash at its end; empty if it is unknown.
std::string libtorch_folder();

// Compiles the kernels for an architecture such as sm_90, without a GPU. Returns the compiler's log, which has the registers and
// the spilled bytes of each kernel. Throws if NVRTC is not found.
std::string compile_gpu_kernels(const std::string& architecture);

// Compiles and loads the kernels for a GPU, unless that is done. Throws with the reason if it is not possible.
void load_gpu_kernels(c10::DeviceIndex gpu);

// Queues a kernel on the current stream of the tensor's GPU, after loading the kernels.
void launch(const at::Tensor& on, const std::string& kernel, const Launch& shape, void** arguments);

}  // namespace ser
