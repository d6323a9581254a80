// Runs the kernels of gpu_rows.cu on the CPU, thread by thread, in buffers of exact size, and compares with f64. A program of its
// own; `src/gpu.rs` compiles it with checks of addresses and alignment, and runs it. It exits with 1 if a result is wrong.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <type_traits>
#include <vector>

#include "gpu_launch.h"

#define SER_ON_CPU
#define __global__
#define __device__
#define __launch_bounds__(threads)

struct Index {
  unsigned x, y, z;
};
static Index blockIdx, threadIdx, blockDim, gridDim;

static float __fdividef(float a, float b) { return a / b; }
static float __uint_as_float(unsigned bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
static unsigned __float_as_uint(float x) {
  unsigned bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}

struct f16;
static float value(f16 x);
static void set(f16& y, float x);

#include "gpu_rows.cu"

static float value(f16 x) {
  const int exponent = x.bits >> 10 & 31, fraction = x.bits & 1023;
  const double size = exponent ? std::ldexp(1024 + fraction, exponent - 25) : std::ldexp(fraction, -24);
  return static_cast<float>(x.bits & 0x8000 ? -size : size);
}
// To the nearest, ties to even; results are below 65504.
static void set(f16& y, float x) {
  const double size = std::fabs(static_cast<double>(x));
  const int exponent = size < std::ldexp(1.0, -14) ? -14 : std::ilogb(size);
  const double units = std::nearbyint(std::ldexp(size, 10 - exponent));
  y.bits = static_cast<unsigned short>(static_cast<int>(units) + ((exponent + 14) << 10) + (std::signbit(x) ? 0x8000 : 0));
}

namespace {

int wrong = 0;
std::mt19937 random_bits(7);

// Entries on the heap; `shift` of them lie before the first, so that it is not aligned to 16 bytes.
template <typename E>
struct Buffer {
  std::vector<E> all;
  size_t shift;

  Buffer(size_t count, size_t shift, double scale) : all(count + shift), shift(shift) {
    std::normal_distribution<double> normal(0, scale);
    for (auto& x : all) set(x, static_cast<float>(normal(random_bits)));
  }
  E* data() { return all.data() + shift; }
  double operator[](size_t i) const { return value(all[shift + i]); }
};

template <typename Kernel>
void run(const ser::Launch& shape, const Kernel& kernel) {
  gridDim = {shape.blocks, 1, 1}, blockDim = {shape.columns, shape.rows, 1};
  for (blockIdx = {}; blockIdx.x < gridDim.x; blockIdx.x++)
    for (threadIdx.y = 0; threadIdx.y < blockDim.y; threadIdx.y++)
      for (threadIdx.x = 0; threadIdx.x < blockDim.x; threadIdx.x++) kernel();
}

template <typename E>
void near(const char* what, double ours, double want, size_t i, double size) {
  // Half of the last bit, and 2e-6 of the size of the terms that are added.
  const double bit = std::is_same_v<E, float> ? 0 : std::is_same_v<E, bf16> ? 1.0 / 256 : 1.0 / 2048;
  if (std::fabs(ours - want) <= bit * std::fabs(want) + 2e-6 * size + 1e-7) return;
  if (wrong++ < 20) std::printf("%s, %zu bytes, entry %zu: %g instead of %g\n", what, sizeof(E), i, ours, want);
}

template <typename E>
using Swiglu = void (*)(const E*, const E*, E*, long long, long long);
template <typename E>
using SwigluBackward = void (*)(const E*, const E*, const E*, E*, E*, long long, long long);
template <typename E>
using Rotate = void (*)(const E*, const E*, const E*, E*, long long, unsigned, unsigned, unsigned);

template <typename E>
void check_swiglu(Swiglu<E> forward, SwigluBackward<E> backward, long long count, size_t shift, unsigned most_blocks) {
  Buffer<E> gate(count, shift, 8), up(count, shift, 1), grad(count, shift, 1);
  Buffer<E> y(count, shift, 9), to_gate(count, shift, 9), to_up(count, shift, 9);
  const long long pack = 16 / sizeof(E), packs = shift ? 0 : count / pack;
  auto shape = ser::over_list(packs, count - packs * pack);
  shape.blocks = std::min(shape.blocks, most_blocks);
  run(shape, [&] { forward(gate.data(), up.data(), y.data(), packs, count); });
  run(shape, [&] {
    backward(gate.data(), up.data(), grad.data(), to_gate.data(), to_up.data(), packs, count);
  });
  for (long long i = 0; i < count; i++) {
    const double s = 1 / (1 + std::exp(-gate[i]));
    const double want = gate[i] * s * up[i], by_up = grad[i] * gate[i] * s, by_gate = grad[i] * up[i] * s * (1 + gate[i] * (1 - s));
    near<E>("swiglu", y[i], want, i, std::fabs(want));
    near<E>("gradient by up", to_up[i], by_up, i, std::fabs(by_up));
    near<E>("gradient by gate", to_gate[i], by_gate, i, std::fabs(grad[i] * up[i] * s * (1 + std::fabs(gate[i]))));
  }
}

template <typename E>
void check_rotate(Rotate<E> narrow, Rotate<E> wide, long long rows, int heads, int half, size_t shift, unsigned most_blocks) {
  const int dim = 2 * half, pack = 16 / sizeof(E);
  const bool in_packs = shift == 0 && half % pack == 0;
  Buffer<E> x(rows * heads * dim, shift, 1), y(rows * heads * dim, shift, 9);
  Buffer<E> cos(rows * dim, shift, 1), sin(rows * dim, shift, 1);
  auto shape = ser::over_rows(rows, heads * (in_packs ? half / pack : half));
  shape.blocks = std::min(shape.blocks, most_blocks);
  for (int back = 0; back < 2; back++) {
    run(shape, [&] { (in_packs ? wide : narrow)(x.data(), cos.data(), sin.data(), y.data(), rows, heads, half, back); });
    for (long long row = 0; row < rows; row++)
      for (int head = 0; head < heads; head++)
        for (int i = 0; i < dim; i++) {
          const long long at = (row * heads + head) * dim, other = (i + half) % dim;
          const double a = x[at + i] * cos[row * dim + i], b = x[at + other] * sin[row * dim + (back ? other : i)];
          near<E>(back ? "rotation back" : "rotation", y[at + i], a + b, at + i, std::fabs(a) + std::fabs(b));
        }
  }
}

template <typename E>
void check(Swiglu<E> swiglu, SwigluBackward<E> backward, Rotate<E> narrow, Rotate<E> wide) {
  for (unsigned most_blocks : {1u, 3u, 1u << 30})
    for (size_t shift : {0, 1}) {
      for (long long count : {1, 7, 8, 9, 300, 2048, 2049, 10007})
        check_swiglu<E>(swiglu, backward, count, shift, most_blocks);
      for (int half : {1, 3, 4, 8, 20, 32, 64})
        for (int heads : {1, 3, 32})
          for (long long rows : {1, 3, 50}) check_rotate<E>(narrow, wide, rows, heads, half, shift, most_blocks);
    }
}

}  // namespace

int main() {
  check<float>(swiglu_float, swiglu_backward_float, rotate_float, rotate_wide_float);
  check<bf16>(swiglu_bf16, swiglu_backward_bf16, rotate_bf16, rotate_wide_bf16);
  check<f16>(swiglu_f16, swiglu_backward_f16, rotate_f16, rotate_wide_f16);
  std::printf("%d wrong entries\n", wrong);
  return wrong > 0;
}
