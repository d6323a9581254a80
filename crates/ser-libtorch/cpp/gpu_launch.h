// How many threads the kernels of gpu_rows.cu get. Any numbers are right; these keep all of a GPU busy.
#pragma once
#include <algorithm>
#include <cstdint>

namespace ser {

struct Launch {
  unsigned blocks, columns, rows;  // threads of a block: columns * rows
};

// The most threads of a block, as the kernels declare it.
constexpr int64_t BLOCK = 256;

inline unsigned blocks(int64_t work, int64_t per_block) {
  // A grid has at most 2^31 - 1 blocks; the kernels loop over what is left.
  return static_cast<unsigned>(std::clamp<int64_t>((work + per_block - 1) / per_block, 1, 1 << 30));
}

// For `packs` packs of a list, then `rest` single entries.
inline Launch over_list(int64_t packs, int64_t rest) {
  return {blocks(std::max(packs, rest), BLOCK), static_cast<unsigned>(BLOCK), 1};
}

// For `rows` rows of `items` items.
inline Launch over_rows(int64_t rows, int64_t items) {
  const int64_t columns = std::clamp<int64_t>((items + 31) / 32 * 32, 32, BLOCK), high = BLOCK / columns;
  return {blocks(rows, high), static_cast<unsigned>(columns), static_cast<unsigned>(high)};
}

}  // namespace ser
