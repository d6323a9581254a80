// Vectors of the instruction set that a kernel is compiled for (SER_ISA), and their common operations.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#include "kernel.h"

namespace ser {
namespace SER_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX2__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

typedef float vec __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef uint32_t uvec __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

inline vec splat(float x) { return x - vec{}; }
inline vec load(const float* p) { return *reinterpret_cast<const vec*>(p); }
inline void store(float* p, vec x) { *reinterpret_cast<vec*>(p) = x; }

typedef uint16_t hvec __attribute__((vector_size(LANES * 2), aligned(2), may_alias));

inline vec load(const bf16* p) {
  const uvec bits = __builtin_convertvector(*reinterpret_cast<const hvec*>(p), uvec) << 16;
  vec x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// Rounded to the nearest, halves to even; NaN stays NaN.
inline void store(bf16* p, vec x) {
  uvec bits;
  std::memcpy(&bits, &x, sizeof x);
  const uvec rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const ivec nan = x != x;
  *reinterpret_cast<hvec*>(p) = __builtin_convertvector(nan ? (bits >> 16) | 0x40u : rounded, hvec);
}

inline float value(const float* p) { return *p; }
inline float value(const bf16* p) {
  const uint32_t bits = static_cast<uint32_t>(p->bits) << 16;
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
inline void set(float* p, float x) { *p = x; }
inline void set(bf16* p, float x) {
  bf16 lanes[LANES];
  store(lanes, splat(x));
  *p = lanes[0];
}

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// Lane l of the result is lane S[l] of [a | b].
template <int... S>
inline vec shuffle(vec a, vec b) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, S...);
#else
  return __builtin_shuffle(a, b, ivec{S...});
#endif
}

// e^x for x <= 0 or a little above; under -87 it is 0. Cephes' polynomial, about 1 ulp.
inline vec exponential(vec x) {
  const vec low = splat(-87.0f);
  const ivec tiny = x < low;
  x = tiny ? low : x;
  vec y = x * splat(1.44269504088896341f);
  y = y + (y < splat(0.0f) ? splat(-0.5f) : splat(0.5f));
  const ivec n = __builtin_convertvector(y, ivec);
  const vec fn = __builtin_convertvector(n, vec);
  vec r = x - fn * splat(0.693359375f);
  r = r + fn * splat(2.12194440e-4f);
  vec p = splat(1.9875691500e-4f);
  p = p * r + splat(1.3981999507e-3f);
  p = p * r + splat(8.3334519073e-3f);
  p = p * r + splat(4.1665795894e-2f);
  p = p * r + splat(1.6666665459e-1f);
  p = p * r + splat(5.0000001201e-1f);
  p = p * r * r + r + splat(1.0f);
  const ivec exponent = (n + 127) << 23;
  vec power;
  std::memcpy(&power, &exponent, sizeof power);
  p = p * power;
  return tiny ? splat(0.0f) : p;
}

// The sum of the lanes, by halves: adding lane after lane would be one long chain of dependent additions.
inline float sum_of(vec x) {
  typedef float four __attribute__((vector_size(16), aligned(4), may_alias));
  four parts[LANES / 4];
  std::memcpy(parts, &x, sizeof x);
  for (int n = LANES / 4; n > 1; n /= 2)
    for (int i = 0; i < n / 2; i++) parts[i] += parts[i + n / 2];
  return (parts[0][0] + parts[0][2]) + (parts[0][1] + parts[0][3]);
}

// The source lane in [a | b] of lane `lane` of halves<H>, for the lower halves.
constexpr int lower(int half, int lane) { return lane / half * 2 * half + lane % half; }

// For every 2 H lanes of [a | b], the sum of the lower and the upper half.
template <int H, int... L>
inline vec halves(vec a, vec b, std::integer_sequence<int, L...>) {
  return shuffle<lower(H, L)...>(a, b) + shuffle<(lower(H, L) + H)...>(a, b);
}

// Lane i is sum_of(x[i]) bit for bit: the same halves are added, for several vectors in one instruction. x is overwritten.
template <int H = LANES / 2>
inline vec sums_of(vec (&x)[LANES]) {
  if constexpr (H == 0) {
    return x[0];
  } else {
#pragma GCC unroll 8
    for (int i = 0; i < H; i++) x[i] = halves<H>(x[2 * i], x[2 * i + 1], std::make_integer_sequence<int, LANES>());
    return sums_of<H / 2>(x);
  }
}

// sum_d a[d] b[d]
template <typename A, typename B>
inline float dot(const A* a, const B* b, int64_t dim) {
  vec sum{};
  int64_t d = 0;
  for (; d + LANES <= dim; d += LANES) sum += load(a + d) * load(b + d);
  float total = sum_of(sum);
  for (; d < dim; d++) total += value(a + d) * value(b + d);
  return total;
}

// The products of two rows, the second of kind E, `count` entries at a time, summed in f32.
template <typename E>
struct Entries {
  using Row = float;  // the kind that the first row has for it
  using Other = vec;  // entries of the second
  static constexpr int count = LANES;
  static Other of(const E* x) { return load(x); }
  static vec add_product(vec sum, const Row* x, Other y) { return sum + load(x) * y; }
};

#if defined(__AVX512BF16__)
// The processor's own products of bf16, two per lane, added in f32. Subnormal numbers count as zeros.
template <>
struct Entries<bf16> {
  using Row = bf16;
  using Other = __m512bh;
  static constexpr int count = 2 * LANES;
  static Other of(const bf16* x) { return (__m512bh)_mm512_loadu_si512(x); }
  static vec add_product(vec sum, const Row* x, Other y) {
    return (vec)_mm512_dpbf16_ps((__m512)sum, of(x), y);
  }
};
#endif

// The first n entries, fewer than two vectors, and zeros.
template <typename E>
struct Rest {
  E entries[2 * LANES];
};
template <typename E>
inline Rest<E> rest_of(const E* x, int64_t n) {
  Rest<E> rest{};
  std::memcpy(rest.entries, x, n * sizeof(E));
  return rest;
}

// The maximum of x[from..to], a multiple of LANES entries, without NaN.
template <typename E>
inline float largest(const E* x, int64_t from, int64_t to) {
  vec most = splat(-std::numeric_limits<float>::infinity());
  for (int64_t i = from; i < to; i += LANES) {
    const vec here = load(x + i);
    most = here > most ? here : most;
  }
  float top = most[0];
  for (int l = 1; l < LANES; l++) top = std::max(top, most[l]);
  return top;
}

// Memory that a thread keeps between calls. Not std::vector: the linker keeps one copy of a template's code, which may be
// that of another instruction set.
struct Scratch {
  float* held[10] = {};
  int64_t sizes[10] = {};
  float* take(int which, int64_t size) {
    if (sizes[which] < size) {
      std::free(held[which]);
      sizes[which] = 0;
      held[which] = static_cast<float*>(std::aligned_alloc(64, round_up(size * sizeof(float), 64)));
      if (!held[which]) throw std::bad_alloc();
      sizes[which] = size;
    }
    return held[which];
  }
  ~Scratch() {
    for (float* memory : held) std::free(memory);
  }
};

// n entries as the first row of products with kind E; converted ones are in scratch memory.
template <typename E>
inline const typename Entries<E>::Row* as_row(const E* x, int64_t n, Scratch& scratch, int which) {
  if constexpr (std::is_same_v<typename Entries<E>::Row, E>) {
    return x;
  } else {
    float* converted = scratch.take(which, n);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) store(converted + i, load(x + i));
    for (; i < n; i++) converted[i] = value(x + i);
    return converted;
  }
}

}  // namespace
}  // namespace SER_ISA
}  // namespace ser
