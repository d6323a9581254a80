// Matrix products in f32 on the CPU, compiled once per instruction set (SER_ISA).
//
// After Goto and van de Geijn (Anatomy of high-performance matrix multiplication, 2008): panels of the right side are packed
// into the second-level cache and multiplied with register tiles of the left side.
#include "kernel.h"
#include "vector.h"

namespace ser {
namespace SER_ISA {
namespace {

constexpr int MR = LANES == 16 ? 12 : 6;  // rows of a register tile: 24 of 32 registers hold sums, or 12 of 16
constexpr int NR = 2 * LANES;             // columns of a panel
constexpr int GROUP = 4;                  // panels packed together
constexpr int64_t DEEP = 512;             // depth per block: a group takes 256 KiB with vectors of 16

thread_local Scratch scratch;

// Swaps the off-diagonal blocks of S x S in every block of 2S x 2S.
template <int S, int... L>
inline void swap_blocks(vec (&x)[LANES], std::integer_sequence<int, L...>) {
#pragma GCC unroll 16
  for (int i = 0; i < LANES; i++) {
    if (i & S) continue;
    const vec a = x[i], b = x[i + S];
    x[i] = shuffle<(L & S ? LANES + L - S : L)...>(a, b);
    x[i + S] = shuffle<(L & S ? LANES + L : L + S)...>(a, b);
  }
}

// x[i][j] becomes x[j][i].
template <int S = 1>
inline void transpose(vec (&x)[LANES]) {
  if constexpr (S < LANES) {
    swap_blocks<S>(x, std::make_integer_sequence<int, LANES>());
    transpose<2 * S>(x);
  }
}

// Columns column..column + NR of rows k..k + deep, as rows of NR; columns past column_end are 0.
void pack(const Matrix& b, int64_t k, int64_t deep, int64_t column, int64_t column_end, float* to) {
  const int64_t columns = std::min<int64_t>(NR, column_end - column);
  const float* from = b.data + k * b.row + column * b.column;
  if (b.column == 1) {
    if (columns == NR) {
      for (int64_t i = 0; i < deep; i++, to += NR)
        for (int half = 0; half < NR; half += LANES) store(to + half, load(from + i * b.row + half));
      return;
    }
    for (int64_t i = 0; i < deep; i++, to += NR) {
      std::memcpy(to, from + i * b.row, columns * sizeof(float));
      std::memset(to + columns, 0, (NR - columns) * sizeof(float));
    }
    return;
  }
  for (int half = 0; half < NR; half += LANES) {
    const int64_t here = std::clamp<int64_t>(columns - half, 0, LANES);
    int64_t i = 0;
    for (; i + LANES <= deep; i += LANES) {
      vec block[LANES];
      for (int64_t j = 0; j < LANES; j++) block[j] = j < here ? load(from + (half + j) * b.column + i) : vec{};
      transpose(block);
      for (int j = 0; j < LANES; j++) store(to + (i + j) * NR + half, block[j]);
    }
    for (; i < deep; i++)
      for (int64_t j = 0; j < LANES; j++) to[i * NR + half + j] = j < here ? from[(half + j) * b.column + i] : 0.0f;
  }
}

// R rows of a, `row` apart, against one panel. `first` starts the sums, from the bias if there is one.
template <int R>
inline void tile(const float* a, int64_t row, const float* panel, int64_t deep, bool first, const float* bias, float* c,
                 int64_t width) {
  // Three rows at a time: base, base + row and base + 2 row each fit one addressing mode.
  constexpr int THREE = R < 3 ? R : 3, T = R / THREE;
  static_assert(R % THREE == 0);
  vec sum[R][2];
  for (int r = 0; r < R; r++)
    for (int h = 0; h < 2; h++) {
      const float* from = first ? bias : c + r * width;
      sum[r][h] = from ? load(from + h * LANES) : vec{};
    }
  const float* rows[T];
  for (int t = 0; t < T; t++) rows[t] = a + 3 * t * row;
  for (int64_t k = 0; k < deep; k++, panel += NR) {
    const vec b0 = load(panel), b1 = load(panel + LANES);
#pragma GCC unroll 4
    for (int t = 0; t < T; t++) {
#pragma GCC unroll 3
      for (int r = 0; r < THREE; r++) {
        const vec x = splat(rows[t][r * row]);
        sum[3 * t + r][0] += x * b0;
        sum[3 * t + r][1] += x * b1;
      }
      rows[t]++;
    }
  }
  for (int r = 0; r < R; r++)
    for (int h = 0; h < 2; h++) store(c + r * width + h * LANES, sum[r][h]);
}

// Up to MR rows against the first `columns` columns of one panel.
void rows_by_panel(const float* a, int64_t row, int64_t rows, const float* panel, int64_t deep, bool first,
                   const float* bias, int64_t columns, float* c, int64_t width) {
  // At the right edge a full tile is computed in a buffer.
  float aside[MR * NR], padded_bias[NR] = {};
  float* to = c;
  int64_t apart = width;
  if (columns < NR) {
    to = aside, apart = NR;
    if (bias) bias = static_cast<float*>(std::memcpy(padded_bias, bias, columns * sizeof(float)));
    if (!first)
      for (int64_t r = 0; r < rows; r++) std::memcpy(aside + r * NR, c + r * width, columns * sizeof(float));
  }
  const auto pass = [&](auto size, int64_t i) {
    tile<decltype(size)::value>(a + i * row, row, panel, deep, first, bias, to + i * apart, apart);
  };
  int64_t i = 0;
  if (rows == MR) {
    pass(std::integral_constant<int, MR>(), 0);
  } else {
    for (; i + 6 <= rows; i += 6) pass(std::integral_constant<int, 6>(), i);
    for (; i + 3 <= rows; i += 3) pass(std::integral_constant<int, 3>(), i);
    for (; i < rows; i++) pass(std::integral_constant<int, 1>(), i);
  }
  if (columns < NR)
    for (int64_t r = 0; r < rows; r++) std::memcpy(c + r * width, aside + r * NR, columns * sizeof(float));
}

}  // namespace

int panel_width() { return NR; }

void multiply(const float* a, const Matrix& b, const float* bias, float* c, int64_t width, int64_t depth, int64_t row,
              int64_t row_end, int64_t column, int64_t column_end) {
  // Equal blocks of the depth.
  const int64_t parts = std::max<int64_t>(1, (depth + DEEP - 1) / DEEP);
  const int64_t part = round_up(std::max<int64_t>(1, (depth + parts - 1) / parts), LANES);
  float* packed = scratch.take(0, GROUP * DEEP * NR);
  for (int64_t group = column; group < column_end; group += GROUP * NR) {
    const int64_t group_end = std::min(column_end, group + GROUP * NR);
    for (int64_t k = 0; k == 0 || k < depth; k += part) {
      const int64_t deep = std::min(part, depth - k);
      for (int64_t j = group; j < group_end; j += NR) pack(b, k, deep, j, column_end, packed + (j - group) * deep);
      // A block of rows that fits the first-level cache is multiplied with all panels.
      for (int64_t i = row; i < row_end; i += MR)
        for (int64_t j = group; j < group_end; j += NR)
          rows_by_panel(a + i * depth + k, depth, std::min<int64_t>(MR, row_end - i), packed + (j - group) * deep, deep,
                        k == 0, bias ? bias + j : nullptr, std::min<int64_t>(NR, column_end - j), c + i * width + j,
                        width);
    }
  }
}

}  // namespace SER_ISA
}  // namespace ser
