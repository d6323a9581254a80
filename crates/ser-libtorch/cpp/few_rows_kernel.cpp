// Products of a few rows with frozen weights on the CPU, as in a decoding step, compiled once per instruction set (SER_ISA).
//
// The weights are read once, unpacked, while the rows stay in the first caches. The time is that of reading the weights, so
// they are fetched ahead in the order in which they lie in memory.
#include "kernel.h"
#include "vector.h"

namespace ser {
namespace SER_ISA {
namespace {

constexpr int64_t AHEAD = 12 * 1024;  // bytes from the weights in use to those that are fetched

thread_local Scratch scratch;

// y[r, c] = x_r . w_c + bias_c for R rows and C columns. A row's sums do not depend on how many rows there are.
template <int R, int C, typename E>
inline void tile(int64_t depth, int64_t width, const typename Entries<E>::Row* x, const E* weight, const E* bias, E* y) {
  using Of = Entries<E>;
  const char* ahead = reinterpret_cast<const char*>(weight) + AHEAD;
  vec acc[R][C] = {};
  int64_t d = 0;
  for (; d + Of::count <= depth; d += Of::count) {
    typename Of::Other w[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; c++) {
      w[c] = Of::of(weight + c * depth + d);
      // Into the second-level cache. A prefetch past the end does nothing.
      __builtin_prefetch(ahead, 0, 2);
      ahead += Of::count * sizeof(E);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
      for (int c = 0; c < C; c++) acc[r][c] = Of::add_product(acc[r][c], x + r * depth + d, w[c]);
    }
  }
  if (d < depth) {
    // The rest as one step, filled with zeros: a scalar loop might be contracted in one tile and not in another.
    typename Of::Other w[C];
    for (int c = 0; c < C; c++) w[c] = Of::of(rest_of(weight + c * depth + d, depth - d).entries);
    for (int r = 0; r < R; r++) {
      const auto entries = rest_of(x + r * depth + d, depth - d);
      for (int c = 0; c < C; c++) acc[r][c] = Of::add_product(acc[r][c], entries.entries, w[c]);
    }
  }
  float sums[R * C];
  if constexpr (R * C == LANES) {
    store(sums, sums_of(reinterpret_cast<vec(&)[LANES]>(acc)));
  } else {
    for (int i = 0; i < R * C; i++) sums[i] = sum_of(acc[i / C][i % C]);
  }
  if (bias)
    for (int i = 0; i < R * C; i++) sums[i] += value(bias + i % C);
  E rounded[R * C];
  if constexpr (R * C == LANES) {
    store(rounded, load(sums));
  } else {
    for (int i = 0; i < R * C; i++) set(rounded + i, sums[i]);
  }
  for (int r = 0; r < R; r++)
    for (int c = 0; c < C; c++) y[r * width + c] = rounded[r * C + c];
}

// C columns of all rows.
template <int R, int C, typename E>
inline void columns(int64_t rows, int64_t depth, int64_t width, const typename Entries<E>::Row* x, const E* weight,
                    const E* bias, E* y) {
  int64_t r = 0;
  for (; r + R <= rows; r += R) tile<R, C>(depth, width, x + r * depth, weight, bias, y + r * width);
  for (; r < rows; r++) tile<1, C>(depth, width, x + r * depth, weight, bias, y + r * width);
}

// R rows and so many columns that a vector holds their sums.
template <int R, typename E>
void by_tiles(int64_t rows, int64_t depth, int64_t from, int64_t to, int64_t width, const typename Entries<E>::Row* x,
              const E* weight, const E* bias, E* y) {
  constexpr int C = LANES / R;
  int64_t c = from;
  for (; c + C <= to; c += C) columns<R, C>(rows, depth, width, x, weight + c * depth, bias ? bias + c : bias, y + c);
  for (; c < to; c++) columns<R, 1>(rows, depth, width, x, weight + c * depth, bias ? bias + c : bias, y + c);
}

}  // namespace

template <typename E>
void few_rows(int64_t rows, int64_t depth, int64_t from, int64_t to, int64_t width, const E* x, const E* weight,
              const E* bias, E* y) {
  const auto* entries = as_row(x, rows * depth, scratch, 0);
  constexpr int MANY = LANES < 8 ? LANES : 8, FEW = 4;
  if (rows >= MANY) by_tiles<MANY>(rows, depth, from, to, width, entries, weight, bias, y);
  else by_tiles<FEW>(rows, depth, from, to, width, entries, weight, bias, y);
}

template void few_rows(int64_t, int64_t, int64_t, int64_t, int64_t, const float*, const float*, const float*, float*);
template void few_rows(int64_t, int64_t, int64_t, int64_t, int64_t, const bf16*, const bf16*, const bf16*, bf16*);

}  // namespace SER_ISA
}  // namespace ser
