// The kernels, in f32 on the CPU, compiled once per instruction set. Each call is one task; tasks write disjoint rows, heads
// or columns.
#pragma once
#include <cstdint>

namespace ser {

// A pair [prompt | a | b] in the packed rows: `prompt` then `a` is one causal chain, `prompt` then `b` the other.
// The queries are the positions from `query_a` on in the first chain, at rows `row_a..` of q, and from `query_b` on in b, at
// rows `row_b..`. A single text has b = 0.
struct Segment {
  int64_t start, prompt, a, b, query_a, query_b, row_a, row_b;
};

// Consecutive slots of the cache. A row of a decoding step reads the keys and values of several ranges.
struct SlotRange {
  int64_t start, length;
};

struct Shape {
  int64_t heads, kv_heads, dim;
  float scale;
  int64_t window;  // sliding-window size in tokens; 0 for none
};

// Entry (i, j) is at data[i * row + j * column]; one of the two is 1.
struct Matrix {
  const float* data;
  int64_t row, column;
};

// attention_kernel.cpp: one segment (decode: one row), one key/value head. q, out, grad_*: [rows, heads, dim]; k, v:
//   [rows, kv_heads, dim]; lse: [rows, heads]. decode: q and out are one row, [heads, dim]; k and v
//   [slots, kv_heads, dim].
// product_kernel.cpp: multiply: rows row..row_end of columns column..column_end of c = a b + bias (null for none), a
//   [rows, depth], c's rows `width` apart, `column` a multiple of panel_width. few_rows: columns from..to of
//   y = x W^T + bias, x [rows, depth], W [width, depth], y [rows, width]. An entry's sum does not depend on other
//   entries.
// rows_kernel.cpp: one row each, or a range of entries. dropout: entries from..to, each 0 or x / (1 - p) by a draw that
//   depends on its index and the seed, not on the instruction set. rms_norm: y = x inverse weight with inverse =
//   1 / sqrt(mean(x^2) + eps). swiglu: y = silu(gate) up. rotate: of each head, y_a = x_a cos_a + x_b first and
//   y_b = x_b cos_b + x_a second, a and b its halves; with first and second exchanged it is its own gradient.
//   log_prob: log p of `target` under the softmax of the logits, the entropy, and two numbers whose subtraction from a
//   logit gives its log p.
#define SER_DECLARE(ISA)                                                                                         \
  namespace ISA {                                                                                                \
  void attend(const Shape&, const Segment&, int64_t kv_head, const float* q, const float* k, const float* v,     \
              float* out, float* lse);                                                                           \
  void attend_backward(const Shape&, const Segment&, int64_t kv_head, const float* q, const float* k,            \
                       const float* v, const float* out, const float* lse, const float* grad_out, float* grad_q, \
                       float* grad_k, float* grad_v);                                                            \
  void decode(const Shape&, const SlotRange* ranges, int64_t count, int64_t kv_head, const float* q, const float* k,     \
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

// The kernels of the best instruction set that the processor supports, limited by the environment variable SER_KERNELS
// (avx512, avx2, baseline), which lets tests run the others.
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
