// The tensor functions of the shim, on the CPU unless they say otherwise, weights contiguous, in f32 and bf16. All but the
// decoding step have gradients.
#pragma once
#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <optional>
#include <utility>
#include <vector>

namespace torch::autograd {
struct AutogradContext;
}

namespace ser {

// q: [rows, heads, dim], k and v: [rows, kv_heads, dim]; table: [segments, 8] int64 (struct Segment). Gradients
// by q, k and v.
at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& table,
                            double scale, int64_t window);

// The sequences of an attention. Each has consecutive queries and consecutive keys; its queries are the last positions of its
// keys.
struct VarlenSequences {
  // [sequences + 1] int32, on the device: the first query, and the first key, of each sequence, then the end of the last.
  at::Tensor queries, keys;
  // [2, sequences + 1] int64, on the CPU: the same.
  at::Tensor host;
  // int64, on the device, all undefined if the keys of the sequences are the rows in order. gather: the row of each key;
  // own: [rows] the first key of each row; copied and copies: rows that are two keys, and their second key.
  at::Tensor gather, own, copies, copied;
  int64_t longest_query = 0, longest_key = 0;
};

// Causal attention within sequences, on any device and in any floating-point kind. q: [queries, heads, dim]; k and v: [rows,
// kv_heads, dim]. window: sliding-window size in tokens, 0 for none. Gradients by q, k and v.
at::Tensor varlen_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const VarlenSequences& sequences,
                            double scale, int64_t window);

// One query per row against cached keys. q: [rows, heads, dim]; k and v: [slots, kv_heads, dim]; ranges: [ranges, 2]
// int64 (struct SlotRange), those of row i from ends[i - 1] (0 for the first row) up to ends[i]. No gradients.
at::Tensor decode_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const int64_t* ranges,
                            const int64_t* ends, double scale);

// x W^T + bias, x: [rows, depth], weight: [width, depth]. Gradients by x and bias. In bf16 libtorch multiplies more than 16
// rows.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias);

// A new generator: its draws depend only on the seed.
at::Generator seeded(at::Device device, uint64_t seed);

// The probability of a 0, and the seed of the draws. Where x has some rows of a larger batch, `rows` tells which: for each range
// of rows its first one in x, their number, and the position of the first one in the batch. The draws are then the batch's.
struct DropoutMode {
  double p = 0;
  uint64_t seed = 0;
  std::vector<int64_t> rows;
};

struct LoraMode {
  double scale;
  DropoutMode dropout;
  bool kernels;  // whether the product with the weight is linear's; else it is libtorch's
};

// x W^T + bias + scale dropout(x) A^T B^T, on any device and in any kind; x: [rows, depth], weight: [width, depth], a: [rank,
// depth] and b: [width, rank] in the same kind or in f32. Gradients by all five.
at::Tensor lora_linear(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                       const at::Tensor& a, const at::Tensor& b, const LoraMode& mode);

// Each entry is 0 with probability p, else x / (1 - p). The draws depend only on the mode. Any device and kind, without
// gradients. drop_again repeats the draws for another tensor of the same shape; the mask is undefined where they are made again
// from the seed.
struct Dropped {
  at::Tensor x, mask;
};
Dropped drop(const at::Tensor& x, const DropoutMode& mode);
at::Tensor drop_again(const at::Tensor& x, const DropoutMode& mode, const at::Tensor& mask);

// Keep a mode from forward to backward pass.
void save(torch::autograd::AutogradContext* ctx, const DropoutMode& mode);
DropoutMode saved_dropout(torch::autograd::AutogradContext* ctx);

// The same with a gradient by x.
at::Tensor dropout(const at::Tensor& x, const DropoutMode& mode);

// x / sqrt(mean(x^2) + eps) * weight over the last dimension. Gradient by x.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

// silu(gate) * up, of one shape; also on a GPU, in f16 too. Gradients by both.
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);

// x * cos + swap(x) * sin, where swap exchanges the halves; x: [rows, heads, dim], cos and sin [rows, 1, dim]; also on a GPU,
// in f16 too. Gradient by x.
at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);

// log p of the targets, and the entropies, [n] each in f32, of logits [n, vocab]; targets: [n] int64. Gradients by the
// logits.
std::pair<at::Tensor, at::Tensor> log_probs(const at::Tensor& logits, const at::Tensor& targets);

}  // namespace ser
