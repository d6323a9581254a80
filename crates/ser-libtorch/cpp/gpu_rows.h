// The forward and backward passes of rows.cpp on a GPU, in f32, bf16 and f16. Tensors are contiguous, and results are written to the
// last ones. Throw if the kernels cannot be compiled or loaded (gpu_module.h).
#pragma once
#include <ATen/core/Tensor.h>

namespace ser {

void gpu_swiglu(const at::Tensor& gate, const at::Tensor& up, const at::Tensor& y);

void gpu_swiglu_backward(const at::Tensor& gate, const at::Tensor& up, const at::Tensor& grad,
                         const at::Tensor& grad_gate, const at::Tensor& grad_up);

// exchange: with the halves of the sine exchanged, which is the gradient.
void gpu_rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, const at::Tensor& y, bool exchange);

}  // namespace ser
