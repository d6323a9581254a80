// Attention over packed pairs on the CPU, compiled once per instruction set (SER_ISA).
//
// The keys of a chain are gathered once into scratch memory (rows, and transposed). Then each block of 32 queries computes
// S = Q K^T, the softmax over the keys of each row, and O = P V with one small matrix product. Masked blocks are skipped. Backward recomputes P from the saved log-sum-exp (Dao et al., FlashAttention, 2022, appendix B).
#include "kernel.h"
#include "vector.h"

namespace ser {
namespace SER_ISA {
namespace {

constexpr int MR = 4;           // rows of a register tile
constexpr int NR = 2 * LANES;   // columns of a register tile
constexpr int64_t BLOCK = 32;   // queries handled together

thread_local Scratch scratch;

// C[m, n] = (add ? C : 0) + A B. Entry (i, k) of A is at a[i * row + k * col]; the rows of B [depth, n] and C are ldb and ldc
// apart. m is a multiple of MR and n of NR; scratch memory is padded accordingly.
void product(int64_t m, int64_t n, int64_t depth, const float* a, int64_t row, int64_t col, const float* b,
             int64_t ldb, float* c, int64_t ldc, bool add) {
  for (int64_t j = 0; j < n; j += NR) {
    for (int64_t i = 0; i < m; i += MR) {
      vec acc[MR][2];
#pragma GCC unroll 4
      for (int r = 0; r < MR; r++) {
        float* at = c + (i + r) * ldc + j;
        acc[r][0] = add ? load(at) : vec{};
        acc[r][1] = add ? load(at + LANES) : vec{};
      }
      const float* ai = a + i * row;
      const float* bj = b + j;
      for (int64_t k = 0; k < depth; k++) {
        const vec b0 = load(bj), b1 = load(bj + LANES);
        bj += ldb;
#pragma GCC unroll 4
        for (int r = 0; r < MR; r++) {
          const vec x = splat(ai[r * row]);
          acc[r][0] += x * b0;
          acc[r][1] += x * b1;
        }
        ai += col;
      }
#pragma GCC unroll 4
      for (int r = 0; r < MR; r++) {
        float* at = c + (i + r) * ldc + j;
        store(at, acc[r][0]);
        store(at + LANES, acc[r][1]);
      }
    }
  }
}

// Replaces x[from..to], a multiple of LANES entries, by the softmax of scale * x. Returns the log-sum-exp.
inline float softmax(float* x, int64_t from, int64_t to, float scale) {
  const float top = largest(x, from, to) * scale;
  vec total{};
  for (int64_t i = from; i < to; i += LANES) {
    const vec p = exponential(load(x + i) * splat(scale) - splat(top));
    store(x + i, p);
    total += p;
  }
  const float sum = sum_of(total);
  const vec inverse = splat(1.0f / sum);
  for (int64_t i = from; i < to; i += LANES) store(x + i, load(x + i) * inverse);
  return top + std::log(sum);
}

// One causal chain. Its keys are in two ranges of rows, the prompt's and its own.
struct Chain {
  int64_t keys, prompt, first, own;  // number of keys; the prompt's length; first rows of the two ranges
  int64_t query, row;                // position of the first query in the chain; its row in q
};

int chains_of(const Segment& s, Chain out[2]) {
  int n = 0;
  const int64_t a = s.prompt + s.a;
  if (a > s.query_a) out[n++] = {a, s.prompt, s.start, s.start + s.prompt, s.query_a, s.row_a};
  if (s.b > s.query_b)
    out[n++] = {s.prompt + s.b, s.prompt, s.start, s.start + a, s.prompt + s.query_b, s.row_b};
  return n;
}

inline int64_t key_row(const Chain& c, int64_t i) { return i < c.prompt ? c.first + i : c.own + i - c.prompt; }

// to[0..n] = x[0..n]
void convert(const float* x, int64_t n, float* to) { std::memcpy(to, x, n * sizeof(float)); }
template <typename A, typename B>
void convert(const A* x, int64_t n, B* to) {
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES) store(to + i, load(x + i));
  for (; i < n; i++) set(to + i, value(x + i));
}

// Copies one head of a chain's keys or values to rows of `width`, padded with zeros to `rows`.
template <typename E>
void gather(const Chain& c, const E* x, int64_t stride, int64_t dim, float* to, int64_t width, int64_t rows) {
  for (int64_t i = 0; i < rows; i++) {
    float* row = to + i * width;
    int64_t d = 0;
    if (i < c.keys) {
      convert(x + key_row(c, i) * stride, dim, row);
      d = dim;
    }
    std::memset(row + d, 0, (width - d) * sizeof(float));
  }
}

// to[d, i] = x[i, d]
void transpose(const float* x, int64_t rows, int64_t dim, int64_t width, float* to, int64_t ld) {
  for (int64_t i0 = 0; i0 < rows; i0 += 16)
    for (int64_t d = 0; d < dim; d++)
      for (int64_t i = i0; i < std::min(i0 + 16, rows); i++) to[d * ld + i] = x[i * width + d];
}

template <typename E>
void copy_rows(const E* x, int64_t stride, int64_t rows, int64_t dim, float* to, int64_t width, int64_t padded) {
  for (int64_t i = 0; i < padded; i++) {
    const int64_t d = i < rows ? dim : 0;
    if (d) convert(x + i * stride, d, to + i * width);
    std::memset(to + i * width + d, 0, (width - d) * sizeof(float));
  }
}

// The keys of the query at position `position`: [low, position].
inline int64_t lowest(const Shape& s, int64_t position) {
  return s.window > 0 && position >= s.window ? position - s.window + 1 : 0;
}

// to[n] = a . b_n for N rows b_n, `stride` apart. A result does not depend on N.
template <int N, typename E>
inline void dots(const typename Entries<E>::Row* a, const E* b, int64_t stride, int64_t dim, float* to) {
  using Of = Entries<E>;
  vec sum[N] = {};
  int64_t d = 0;
  for (; d + Of::count <= dim; d += Of::count) {
#pragma GCC unroll 16
    for (int n = 0; n < N; n++) sum[n] = Of::add_product(sum[n], a + d, Of::of(b + n * stride + d));
  }
  if (d < dim) {
    const auto rest = rest_of(a + d, dim - d);
    for (int n = 0; n < N; n++)
      sum[n] = Of::add_product(sum[n], rest.entries, Of::of(rest_of(b + n * stride + d, dim - d).entries));
  }
  if constexpr (N == LANES) {
    store(to, sums_of(sum));
  } else {
    for (int n = 0; n < N; n++) to[n] = sum_of(sum[n]);
  }
}

// N vectors of the weighted sums of the ranges' values for G rows of weights, `apart` apart; the sums are `dim` apart.
template <int G, int N, typename E>
inline void weighted(const SlotRange* ranges, int64_t count, const E* v, int64_t stride, const float* weights,
                     int64_t apart, E* to, int64_t dim) {
  vec sum[G][N] = {};
  for (int64_t r = 0; r < count; r++) {
    const E* row = v + ranges[r].start * stride;
    for (int64_t i = 0; i < ranges[r].length; i++, weights++, row += stride)
#pragma GCC unroll 4
      for (int g = 0; g < G; g++)
#pragma GCC unroll 4
        for (int n = 0; n < N; n++) sum[g][n] += splat(weights[g * apart]) * load(row + n * LANES);
  }
  for (int g = 0; g < G; g++)
    for (int n = 0; n < N; n++) store(to + g * dim + n * LANES, sum[g][n]);
}

// The weighted sums of all `dim` entries.
template <int G, typename E>
inline void weighted_all(const SlotRange* ranges, int64_t count, const E* v, int64_t stride, const float* weights,
                         int64_t apart, E* to, int64_t dim) {
  constexpr int WIDE = LANES == 16 ? 4 : 2;  // 16 of 32 registers hold sums, or 8 of 16
  int64_t d = 0;
  for (; d + WIDE * LANES <= dim; d += WIDE * LANES)
    weighted<G, WIDE>(ranges, count, v + d, stride, weights, apart, to + d, dim);
  for (; d + LANES <= dim; d += LANES) weighted<G, 1>(ranges, count, v + d, stride, weights, apart, to + d, dim);
  for (; d < dim; d++)
    for (int g = 0; g < G; g++) {
      const float* weight = weights + g * apart;
      float sum = 0;
      for (int64_t r = 0; r < count; r++)
        for (int64_t i = 0; i < ranges[r].length; i++) sum += *weight++ * value(v + (ranges[r].start + i) * stride + d);
      set(to + g * dim + d, sum);
    }
}

}  // namespace

template <typename E>
void decode(const Shape& shape, const SlotRange* ranges, int64_t count, int64_t kv_head, const E* q, const E* k,
            const E* v, E* out) {
  const int64_t D = shape.dim, group = shape.heads / shape.kv_heads, stride = shape.kv_heads * D;
  int64_t keys = 0;
  for (int64_t r = 0; r < count; r++) keys += ranges[r].length;
  const int64_t padded = round_up(keys, LANES);
  float* scores = scratch.take(4, group * padded);
  const auto* queries = as_row(q + kv_head * group * D, group * D, scratch, 0);
  E* results = out + kv_head * group * D;
  int64_t j = 0;
  for (int64_t r = 0; r < count; r++) {
    const E* key = k + ranges[r].start * stride + kv_head * D;
    int64_t i = 0;
    for (; i + LANES <= ranges[r].length; i += LANES, j += LANES, key += LANES * stride)
      for (int64_t g = 0; g < group; g++) dots<LANES>(queries + g * D, key, stride, D, scores + g * padded + j);
    for (; i < ranges[r].length; i++, j++, key += stride)
      for (int64_t g = 0; g < group; g++) dots<1>(queries + g * D, key, stride, D, scores + g * padded + j);
  }
  for (int64_t g = 0; g < group; g++) {
    float* s = scores + g * padded;
    for (int64_t i = keys; i < padded; i++) s[i] = -std::numeric_limits<float>::infinity();
    softmax(s, 0, padded, shape.scale);
  }
  const E* values = v + kv_head * D;
  for (int64_t g = 0; g < group; g += 4) {
    const auto sums = [&](auto heads) {
      weighted_all<heads>(ranges, count, values, stride, scores + g * padded, padded, results + g * D, D);
    };
    switch (std::min<int64_t>(4, group - g)) {
      case 4: sums(std::integral_constant<int, 4>()); break;
      case 3: sums(std::integral_constant<int, 3>()); break;
      case 2: sums(std::integral_constant<int, 2>()); break;
      default: sums(std::integral_constant<int, 1>());
    }
  }
}

template <typename E>
void attend(const Shape& shape, const Segment& segment, int64_t kv_head, const E* q, const E* k, const E* v, E* out,
            float* lse) {
  const int64_t D = shape.dim, H = shape.heads, group = H / shape.kv_heads, kv_stride = shape.kv_heads * D;
  const int64_t width = round_up(D, NR);
  Chain chains[2];
  const int n = chains_of(segment, chains);
  for (int ci = 0; ci < n; ci++) {
    const Chain& c = chains[ci];
    const int64_t padded = round_up(c.keys, NR);
    float* keys = scratch.take(0, padded * width);
    float* keys_t = scratch.take(1, D * padded);
    float* values = scratch.take(2, padded * width);
    float* queries = scratch.take(3, BLOCK * width);
    float* scores = scratch.take(4, BLOCK * padded);
    float* result = scratch.take(5, BLOCK * width);
    gather(c, k + kv_head * D, kv_stride, D, keys, width, padded);
    gather(c, v + kv_head * D, kv_stride, D, values, width, padded);
    transpose(keys, padded, D, width, keys_t, padded);
    for (int64_t at = c.query; at < c.keys; at += BLOCK) {
      const int64_t rows = std::min(BLOCK, c.keys - at), tile = round_up(rows, MR);
      const int64_t from = lowest(shape, at) / NR * NR, to = round_up(at + rows, NR);
      for (int64_t h = kv_head * group; h < (kv_head + 1) * group; h++) {
        const int64_t first = c.row + at - c.query;
        copy_rows(q + (first * H + h) * D, H * D, rows, D, queries, width, tile);
        product(tile, to - from, D, queries, width, 1, keys_t + from, padded, scores + from, padded, false);
        for (int64_t i = 0; i < tile; i++) {
          float* s = scores + i * padded;
          const int64_t position = at + i;
          if (i >= rows) {
            std::memset(s + from, 0, (to - from) * sizeof(float));
            continue;
          }
          const int64_t low = lowest(shape, position), high = position + 1;
          // Masked keys become e^-inf = 0.
          for (int64_t j = from; j < low; j++) s[j] = -std::numeric_limits<float>::infinity();
          for (int64_t j = high; j < to; j++) s[j] = -std::numeric_limits<float>::infinity();
          lse[(first + i) * H + h] = softmax(s, from, to, shape.scale);
        }
        product(tile, width, to - from, scores + from, padded, 1, values + from * width, width, result, width, false);
        for (int64_t i = 0; i < rows; i++)
          convert(result + i * width, D, out + ((first + i) * H + h) * D);
      }
    }
  }
}

template <typename E>
void attend_backward(const Shape& shape, const Segment& segment, int64_t kv_head, const E* q, const E* k, const E* v,
                     const E* out, const float* lse, const E* grad_out, E* grad_q, float* grad_k, float* grad_v) {
  const int64_t D = shape.dim, H = shape.heads, group = H / shape.kv_heads, kv_stride = shape.kv_heads * D;
  const int64_t width = round_up(D, NR);
  Chain chains[2];
  const int n = chains_of(segment, chains);
  for (int ci = 0; ci < n; ci++) {
    const Chain& c = chains[ci];
    const int64_t padded = round_up(c.keys, NR);
    float* keys = scratch.take(0, padded * width);
    float* keys_t = scratch.take(1, D * padded);
    float* values_t = scratch.take(2, D * padded);
    float* queries = scratch.take(3, BLOCK * width);
    float* probability = scratch.take(4, BLOCK * padded);
    float* result = scratch.take(5, BLOCK * width);
    float* grads = scratch.take(6, BLOCK * width);
    float* delta = scratch.take(7, BLOCK * padded);
    float* key_sum = scratch.take(8, padded * width);
    float* value_sum = scratch.take(9, padded * width);
    // The transposed values are computed from rows, which use the memory of key_sum before it is needed.
    gather(c, v + kv_head * D, kv_stride, D, key_sum, width, padded);
    transpose(key_sum, padded, D, width, values_t, padded);
    gather(c, k + kv_head * D, kv_stride, D, keys, width, padded);
    transpose(keys, padded, D, width, keys_t, padded);
    std::memset(key_sum, 0, padded * width * sizeof(float));
    std::memset(value_sum, 0, padded * width * sizeof(float));
    for (int64_t at = c.query; at < c.keys; at += BLOCK) {
      const int64_t rows = std::min(BLOCK, c.keys - at), tile = round_up(rows, MR);
      const int64_t from = lowest(shape, at) / NR * NR, to = round_up(at + rows, NR);
      for (int64_t h = kv_head * group; h < (kv_head + 1) * group; h++) {
        const int64_t first = c.row + at - c.query;
        copy_rows(q + (first * H + h) * D, H * D, rows, D, queries, width, tile);
        copy_rows(grad_out + (first * H + h) * D, H * D, rows, D, grads, width, tile);
        product(tile, to - from, D, queries, width, 1, keys_t + from, padded, probability + from, padded, false);
        product(tile, to - from, D, grads, width, 1, values_t + from, padded, delta + from, padded, false);
        for (int64_t i = 0; i < tile; i++) {
          float* p = probability + i * padded;
          float* ds = delta + i * padded;
          if (i >= rows) {
            std::memset(p + from, 0, (to - from) * sizeof(float));
            std::memset(ds + from, 0, (to - from) * sizeof(float));
            continue;
          }
          const int64_t position = at + i, low = lowest(shape, position), high = position + 1;
          const E* o = out + ((first + i) * H + h) * D;
          const float* g = grads + i * width;
          const vec shift = splat(lse[(first + i) * H + h]), mean = splat(dot(o, g, D)), scale = splat(shape.scale);
          for (int64_t j = from; j < low; j++) p[j] = -std::numeric_limits<float>::infinity();
          for (int64_t j = high; j < to; j++) p[j] = -std::numeric_limits<float>::infinity();
          for (int64_t j = from; j < to; j += LANES) {
            const vec e = exponential(load(p + j) * scale - shift);
            store(p + j, e);
            store(ds + j, e * (load(ds + j) - mean) * scale);
          }
        }
        product(tile, width, to - from, delta + from, padded, 1, keys + from * width, width, result, width, false);
        for (int64_t i = 0; i < rows; i++)
          convert(result + i * width, D, grad_q + ((first + i) * H + h) * D);
        product(to - from, width, rows, delta + from, 1, padded, queries, width, key_sum + from * width, width, true);
        product(to - from, width, rows, probability + from, 1, padded, grads, width, value_sum + from * width, width,
                true);
      }
    }
    for (int64_t i = 0; i < c.keys; i++) {
      const int64_t at = key_row(c, i) * kv_stride + kv_head * D;
      for (int64_t d = 0; d < D; d++) {
        grad_k[at + d] += key_sum[i * width + d];
        grad_v[at + d] += value_sum[i * width + d];
      }
    }
  }
}

#define SER_ATTENTION(E)                                                                                             \
  template void attend(const Shape&, const Segment&, int64_t, const E*, const E*, const E*, E*, float*);             \
  template void attend_backward(const Shape&, const Segment&, int64_t, const E*, const E*, const E*, const E*,       \
                                const float*, const E*, E*, float*, float*);                                        \
  template void decode(const Shape&, const SlotRange*, int64_t, int64_t, const E*, const E*, const E*, E*);
SER_ATTENTION(float)
SER_ATTENTION(bf16)

}  // namespace SER_ISA
}  // namespace ser
