#pragma once
#include <ATen/core/Tensor.h>

namespace ser {

// q: [rows, heads, dim], k and v: [rows, kv_heads, dim], f32 on the CPU; table: [segments, 8] int64 (struct Segment).
at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& table,
                            double scale, int64_t window);

// One query per row against cached keys. q: [rows, heads, dim]; k and v: [slots, kv_heads, dim], f32 on the CPU; runs:
// [all runs, 2] int64 (struct Run), row i's from ends[i - 1] (0 for the first row) up to ends[i].
at::Tensor decode_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const int64_t* runs,
                            const int64_t* ends, double scale);

// x W^T + bias for few rows, x: [rows, depth], weight: [width, depth], f32 on the CPU; bias may be undefined.
at::Tensor few_rows_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

}  // namespace ser
