#pragma once
#include <ATen/core/Tensor.h>

namespace ser {

// q: [rows, heads, dim], k and v: [rows, kv_heads, dim], f32 on the CPU; table: [segments, 8] int64 (struct Segment).
at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& table,
                            double scale, int64_t window);

}  // namespace ser
