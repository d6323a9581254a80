// The kernels, on the CPU, compiled once per instruction set. Products of many rows are in f32; the others take f32 and bf16,
// and compute in f32. Each call is one task; tasks write disjoint rows, heads or columns.
#pragma once
#include <cstdint>
#include <type_traits>

namespace ser {

// A bfloat16 number: the upper half of an f32.
struct bf16 {
  uint16_t bits;
};

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
//   [rows, depth], c's rows `width` apart, `column` a multiple of panel_width. An entry's sum does not depend on other
//   entries.
// few_rows_kernel.cpp: columns from..to of y = x W^T + bias, x [rows, depth], W [width, depth], y [rows, width]. An entry's
//   sum does not depend on other entries.
// rows_kernel.cpp: one row each, or a range of entries. dropout: entries from..to, each 0 or x / (1 - p) by a draw that
//   depends on its index plus `first` and on the seed, not on the instruction set. rms_norm: y = x inverse weight with inverse =
//   1 / sqrt(mean(x^2) + eps). swiglu: y = silu(gate) up. rotate: of each head, y_a = x_a cos_a + x_b first and
//   y_b = x_b cos_b + x_a second, a and b its halves; with first and second exchanged it is its own gradient.
//   log_prob: log p of `target` under the softmax of the logits, the entropy, and two numbers whose subtraction from a
//   logit gives its log p.
#define SER_DECLARE(ISA)                                                                                               \
  namespace ISA {                                                                                                      \
  template <typename E>                                                                                                \
  void attend(const Shape&, const Segment&, int64_t kv_head, const E* q, const E* k, const E* v, E* out, float* lse);  \
  template <typename E>                                                                                                \
  void attend_backward(const Shape&, const Segment&, int64_t kv_head, const E* q, const E* k, const E* v, const E* out, \
                       const float* lse, const E* grad_out, E* grad_q, float* grad_k, float* grad_v);                  \
  template <typename E>                                                                                                \
  void decode(const Shape&, const SlotRange* ranges, int64_t count, int64_t kv_head, const E* q, const E* k,           \
              const E* v, E* out);                                                                                     \
  int panel_width();                                                                                                   \
  void multiply(const float* a, const Matrix& b, const float* bias, float* c, int64_t width, int64_t depth,            \
                int64_t row, int64_t row_end, int64_t column, int64_t column_end);                                     \
  template <typename E>                                                                                                \
  void few_rows(int64_t rows, int64_t depth, int64_t from, int64_t to, int64_t width, const E* x, const E* weight,     \
                const E* bias, E* y);                                                                                  \
  template <typename E>                                                                                                \
  void dropout(int64_t from, int64_t to, int64_t first, double p, uint64_t seed, const E* x, E* y);                    \
  template <typename E>                                                                                                \
  void rms_norm(int64_t dim, float eps, const E* x, const E* weight, E* y, float* inverse);                            \
  template <typename E>                                                                                                \
  void rms_norm_backward(int64_t dim, const E* x, const E* weight, float inverse, const E* grad, E* grad_x);           \
  template <typename E>                                                                                                \
  void swiglu(int64_t count, const E* gate, const E* up, E* y);                                                        \
  template <typename E>                                                                                                \
  void swiglu_backward(int64_t count, const E* gate, const E* up, const E* grad, E* grad_gate, E* grad_up);            \
  template <typename E>                                                                                                \
  void rotate(int64_t heads, int64_t half, const E* x, const E* cos, const E* first, const E* second, E* y);           \
  template <typename E>                                                                                                \
  void log_prob(int64_t vocab, const E* logits, int64_t target, float* log_prob, float* entropy, float* norm);         \
  template <typename E>                                                                                                \
  void log_prob_backward(int64_t vocab, const E* logits, int64_t target, const float* norm, float entropy, float grad, \
                         float grad_entropy, E* grad_logits);                                                          \
  }
SER_DECLARE(baseline)
#if defined(__x86_64__)
SER_DECLARE(avx2)
SER_DECLARE(avx512)
SER_DECLARE(avx512bf16)
#endif

// The kernels for tensors of one kind.
template <typename E>
struct KernelOf {
  decltype(&baseline::attend<E>) attend;
  decltype(&baseline::attend_backward<E>) attend_backward;
  decltype(&baseline::decode<E>) decode;
  decltype(&baseline::few_rows<E>) few_rows;
  decltype(&baseline::dropout<E>) dropout;
  decltype(&baseline::rms_norm<E>) rms_norm;
  decltype(&baseline::rms_norm_backward<E>) rms_norm_backward;
  decltype(&baseline::swiglu<E>) swiglu;
  decltype(&baseline::swiglu_backward<E>) swiglu_backward;
  decltype(&baseline::rotate<E>) rotate;
  decltype(&baseline::log_prob<E>) log_prob;
  decltype(&baseline::log_prob_backward<E>) log_prob_backward;
};

// The kernels of the best instruction set that the processor supports, limited by the environment variable SER_KERNELS
// (avx512bf16, avx512, avx2, baseline), which lets tests run the others.
struct Kernel {
  const char* name;
  decltype(&baseline::panel_width) panel_width;
  decltype(&baseline::multiply) multiply;
  KernelOf<float> of_float;
  KernelOf<bf16> of_bf16;

  template <typename E>
  const KernelOf<E>& of() const {
    if constexpr (std::is_same_v<E, float>) return of_float;
    else return of_bf16;
  }
};
const Kernel& kernel();

}  // namespace ser
