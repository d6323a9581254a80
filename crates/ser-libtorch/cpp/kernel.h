// What is compiled once per instruction set, in f32 on the CPU. Each call is one task: it writes rows, heads or
// columns of its own.
#pragma once
#include <cstdint>

namespace ser {

// A pair [prompt | a | b] in the packed rows: `prompt` then `a` is one causal chain, `prompt` then `b` the other.
// Queries are given from place `query_a` of the first chain and from place `query_b` of the second on; they lie at
// rows `row_a` and `row_b` of q. A single text has b = 0.
struct Segment {
  int64_t start, prompt, a, b, query_a, query_b, row_a, row_b;
};

// A row of a decoding step reads keys and values in runs of consecutive slots.
struct Run {
  int64_t start, length;
};

struct Shape {
  int64_t heads, kv_heads, dim;
  float scale;
  int64_t window;  // keys further back than this are not seen; 0 means all are
};

// Entry (i, j) lies at data[i * row + j * column]; one of the two is 1.
struct Matrix {
  const float* data;
  int64_t row, column;
};

// attention_kernel.cpp: one segment (decode: one row), one key/value head. q, out, grad_*: [rows, heads, dim]; k, v:
//   [rows, kv_heads, dim]; lse: [rows, heads]. decode: q and out are one row, [heads, dim]; k and v
//   [slots, kv_heads, dim].
// product_kernel.cpp: multiply: rows row..row_end of columns column..column_end of c = a b + bias (null for none), a
//   [rows, depth], c's rows `width` apart, `column` a multiple of panel_width. few_rows: columns from..to of
//   y = x W^T + bias, x [rows, depth], W [width, depth], y [rows, width]. An entry's sum does not depend on what stands
//   beside it.
// rows_kernel.cpp: one row each, or a range of entries. dropout: entries from..to, each 0 or x / (1 - p) by a draw that
//   depends on its place and the seed, whatever the instruction set. rms_norm: y = x inverse weight with inverse =
//   1 / sqrt(mean(x^2) + eps). swiglu: y = silu(gate) up. rotate: of each head, y_a = x_a cos_a + x_b first and
//   y_b = x_b cos_b + x_a second, a and b its halves; with first and second changed over it is its own gradient.
//   log_prob: of `target` under the softmax of the logits, the entropy of that, and two numbers which, taken from a
//   logit, leave its log p.
#define SER_DECLARE(ISA)                                                                                         \
  namespace ISA {                                                                                                \
  void attend(const Shape&, const Segment&, int64_t kv_head, const float* q, const float* k, const float* v,     \
              float* out, float* lse);                                                                           \
  void attend_backward(const Shape&, const Segment&, int64_t kv_head, const float* q, const float* k,            \
                       const float* v, const float* out, const float* lse, const float* grad_out, float* grad_q, \
                       float* grad_k, float* grad_v);                                                            \
  void decode(const Shape&, const Run* runs, int64_t count, int64_t kv_head, const float* q, const float* k,     \
              const float* v, float* out);                                                                       \
  int panel_width();                                                                                             \
  void multiply(const float* a, const Matrix& b, const float* bias, float* c, int64_t width, int64_t depth,      \
                int64_t row, int64_t row_end, int64_t column, int64_t column_end);                               \
  void few_rows(int64_t rows, int64_t depth, int64_t from, int64_t to, int64_t width, const float* x,            \
                const float* weight, const float* bias, float* y);                                               \
  void dropout(int64_t from, int64_t to, double p, uint64_t seed, const float* x, float* y);                     \
  void rms_norm(int64_t dim, float eps, const float* x, const float* weight, float* y, float* inverse);          \
  void rms_norm_backward(int64_t dim, const float* x, const float* weight, float inverse, const float* grad,     \
                         float* grad_x);                                                                         \
  void swiglu(int64_t count, const float* gate, const float* up, float* y);                                      \
  void swiglu_backward(int64_t count, const float* gate, const float* up, const float* grad, float* grad_gate,   \
                       float* grad_up);                                                                          \
  void rotate(int64_t heads, int64_t half, const float* x, const float* cos, const float* first,                 \
              const float* second, float* y);                                                                    \
  void log_prob(int64_t vocab, const float* logits, int64_t target, float* log_prob, float* entropy,             \
                float* norm);                                                                                    \
  void log_prob_backward(int64_t vocab, const float* logits, int64_t target, const float* norm, float entropy,   \
                         float grad, float grad_entropy, float* grad_logits);                                    \
  }
SER_DECLARE(baseline)
#if defined(__x86_64__)
SER_DECLARE(avx2)
SER_DECLARE(avx512)
#endif

// Those of the best instruction set that this processor has, but of none better than the environment variable
// SER_KERNELS names (avx512, avx2, baseline): so that the others can be tested.
struct Kernel {
  const char* name;
  decltype(&baseline::attend) attend;
  decltype(&baseline::attend_backward) attend_backward;
  decltype(&baseline::decode) decode;
  decltype(&baseline::panel_width) panel_width;
  decltype(&baseline::multiply) multiply;
  decltype(&baseline::few_rows) few_rows;
  decltype(&baseline::dropout) dropout;
  decltype(&baseline::rms_norm) rms_norm;
  decltype(&baseline::rms_norm_backward) rms_norm_backward;
  decltype(&baseline::swiglu) swiglu;
  decltype(&baseline::swiglu_backward) swiglu_backward;
  decltype(&baseline::rotate) rotate;
  decltype(&baseline::log_prob) log_prob;
  decltype(&baseline::log_prob_backward) log_prob_backward;
};
const Kernel& kernel();

}  // namespace ser
