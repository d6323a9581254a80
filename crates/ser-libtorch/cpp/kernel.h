// Attention over one packed segment for one key/value head, in f32. See kernel.cpp.
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

// One function per instruction set. q, out, grad_*: [rows, heads, dim]; k, v: [rows, kv_heads, dim]; lse: [rows, heads].
// Each call touches the rows of one segment and the heads of one key/value head only. decode: q and out are one row,
// [heads, dim]; k and v [slots, kv_heads, dim]. few_rows: columns from..to of y = x W^T + bias (null for none), x
// [rows, depth], W [width, depth], y [rows, width].
#define SER_DECLARE(ISA)                                                                                       \
  namespace ISA {                                                                                              \
  void forward(const Shape&, const Segment&, int64_t kv_head, const float* q, const float* k, const float* v,  \
               float* out, float* lse);                                                                        \
  void backward(const Shape&, const Segment&, int64_t kv_head, const float* q, const float* k, const float* v, \
                const float* out, const float* lse, const float* grad_out, float* grad_q, float* grad_k,       \
                float* grad_v);                                                                                \
  void decode(const Shape&, const Run* runs, int64_t count, int64_t kv_head, const float* q, const float* k,   \
              const float* v, float* out);                                                                     \
  void few_rows(int64_t rows, int64_t depth, int64_t from, int64_t to, int64_t width, const float* x,          \
                const float* weight, const float* bias, float* y);                                             \
  }
SER_DECLARE(baseline)
#if defined(__x86_64__)
SER_DECLARE(avx2)
SER_DECLARE(avx512)
#endif

}  // namespace ser
