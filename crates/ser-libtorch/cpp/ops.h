// The functions of tensors that the shim hands out: f32 on the CPU, weights contiguous. Those that are not for decoding
// have gradients.
#pragma once
#include <ATen/core/Tensor.h>

#include <optional>
#include <utility>

namespace ser {

// q: [rows, heads, dim], k and v: [rows, kv_heads, dim]; table: [segments, 8] int64 (struct Segment). By q, k and v.
at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& table,
                            double scale, int64_t window);

// One query per row against cached keys. q: [rows, heads, dim]; k and v: [slots, kv_heads, dim]; runs: [all runs, 2]
// int64 (struct Run), row i's from ends[i - 1] (0 for the first row) up to ends[i]. No gradients.
at::Tensor decode_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const int64_t* runs,
                            const int64_t* ends, double scale);

// x W^T + bias, x: [rows, depth], weight: [width, depth]. By x and bias.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias);

// x with each entry 0 with probability p and x / (1 - p) else, by draws that depend on the seed alone. By x.
at::Tensor dropout(const at::Tensor& x, double p, uint64_t seed);

// x / sqrt(mean(x^2) + eps) * weight over the last dimension. By x.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

// silu(gate) * up, of one shape. By both.
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);

// x * cos + swap(x) * sin, swap changing the halves over; x: [rows, heads, dim], cos and sin [rows, 1, dim]. By x.
at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);

// log p of the targets, and the entropies, [n] each, of logits [n, vocab]; targets: [n] int64. By the logits.
std::pair<at::Tensor, at::Tensor> log_probs(const at::Tensor& logits, const at::Tensor& targets);

}  // namespace ser
