// Tensors of the kinds that the kernels take, f32 and bf16.
#pragma once
#include <ATen/core/Tensor.h>

#include "kernel.h"

namespace ser {

// Runs `work` with a value of the type of the tensor's entries. Callers have checked the kind.
template <typename Work>
void in_kind_of(const at::Tensor& x, const Work& work) {
  if (x.scalar_type() == at::kBFloat16) work(bf16{});
  else work(float{});
}

template <typename E>
E* data(const at::Tensor& x) {
  return static_cast<E*>(x.data_ptr());
}

}  // namespace ser
