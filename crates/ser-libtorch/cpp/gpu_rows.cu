// SwiGLU and the rotary embedding on a GPU, one kernel each for a pass forward or backward. They read and write 16 bytes at once
// where sizes and addresses allow it, compute in f32 and round once. NVRTC compiles this file at run time and has no header files;
// gpu_rows_check.cpp compiles it for the CPU and defines SER_ON_CPU.

struct bf16 {
  unsigned short bits;
};

struct f16 {
  unsigned short bits;
};

#ifndef SER_ON_CPU
__device__ inline float value(f16 x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}

__device__ inline void set(f16& y, float x) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x)); }
#endif

__device__ inline float value(float x) { return x; }
__device__ inline void set(float& y, float x) { y = x; }

__device__ inline float value(bf16 x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }
__device__ inline void set(bf16& y, float x) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
#else
  // To the nearest, ties to even; a NaN stays one.
  const unsigned bits = __float_as_uint(x);
  y.bits = x != x ? 0x7fff : static_cast<unsigned short>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
#endif
}

// N entries that are read and written at once.
template <typename E, int N>
struct alignas(N * sizeof(E)) Pack {
  E entries[N];

  static __device__ Pack at(const E* p) { return *reinterpret_cast<const Pack*>(p); }
  __device__ void store(E* p) const { *reinterpret_cast<Pack*>(p) = *this; }
  __device__ float get(int k) const { return value(entries[k]); }
  __device__ void put(int k, float x) { set(entries[k], x); }
};

// The entries of 16 bytes.
template <typename E>
constexpr int WIDE = 16 / sizeof(E);

__device__ inline long long first_index() { return static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline long long all_threads() { return static_cast<long long>(gridDim.x) * blockDim.x; }

// 1 / (1 + e^-x): 0 where e^-x overflows.
__device__ inline float sigmoid(float x) { return __fdividef(1.0f, 1.0f + expf(-x)); }

template <int N, typename E>
__device__ inline void swiglu_at(long long i, const E* gate, const E* up, E* y) {
  const auto g = Pack<E, N>::at(gate + i), u = Pack<E, N>::at(up + i);
  Pack<E, N> out;
#pragma unroll
  for (int k = 0; k < N; k++) out.put(k, g.get(k) * sigmoid(g.get(k)) * u.get(k));
  out.store(y + i);
}

// y = silu(gate) * up for `count` entries, the first of them in `packs` packs.
template <typename E>
__device__ inline void swiglu(const E* gate, const E* up, E* y, long long packs, long long count) {
  constexpr int N = WIDE<E>;
  for (long long i = first_index(); i < packs; i += all_threads()) swiglu_at<N>(i * N, gate, up, y);
  for (long long i = packs * N + first_index(); i < count; i += all_threads()) swiglu_at<1>(i, gate, up, y);
}

template <int N, typename E>
__device__ inline void swiglu_backward_at(long long i, const E* gate, const E* up, const E* grad, E* grad_gate, E* grad_up) {
  const auto g = Pack<E, N>::at(gate + i), u = Pack<E, N>::at(up + i), d = Pack<E, N>::at(grad + i);
  Pack<E, N> to_gate, to_up;
#pragma unroll
  for (int k = 0; k < N; k++) {
    const float x = g.get(k), s = sigmoid(x);
    to_up.put(k, d.get(k) * x * s);
    to_gate.put(k, d.get(k) * u.get(k) * s * (x * (1.0f - s) + 1.0f));
  }
  to_gate.store(grad_gate + i);
  to_up.store(grad_up + i);
}

// The gradients of swiglu by gate and up.
template <typename E>
__device__ inline void swiglu_backward(const E* gate, const E* up, const E* grad, E* grad_gate, E* grad_up, long long packs,
                                       long long count) {
  constexpr int N = WIDE<E>;
  for (long long i = first_index(); i < packs; i += all_threads())
    swiglu_backward_at<N>(i * N, gate, up, grad, grad_gate, grad_up);
  for (long long i = packs * N + first_index(); i < count; i += all_threads())
    swiglu_backward_at<1>(i, gate, up, grad, grad_gate, grad_up);
}

// y = x * cos + swap(x) * sin, where swap exchanges the halves of the last dimension; x: [rows, heads, 2 half], cos and sin:
// [rows, 2 half]; half is a multiple of N. `back`: with the halves of the sine exchanged, which is the gradient. Threads are in
// two dimensions, the packs of a row and rows.
template <int N, typename E>
__device__ inline void rotate(const E* x, const E* cos, const E* sin, E* y, long long rows, unsigned heads, unsigned half, unsigned back) {
  const unsigned packs = half / N, dim = 2 * half;
  const long long step = static_cast<long long>(gridDim.x) * blockDim.y;
  for (long long row = static_cast<long long>(blockIdx.x) * blockDim.y + threadIdx.y; row < rows; row += step) {
    for (unsigned item = threadIdx.x; item < heads * packs; item += blockDim.x) {
      const unsigned head = item / packs, i = (item - head * packs) * N;
      const long long from = (row * heads + head) * dim + i, table = row * dim + i;
      const auto a = Pack<E, N>::at(x + from), b = Pack<E, N>::at(x + from + half);
      const auto cos_a = Pack<E, N>::at(cos + table), cos_b = Pack<E, N>::at(cos + table + half);
      auto sin_a = Pack<E, N>::at(sin + table), sin_b = Pack<E, N>::at(sin + table + half);
      if (back) {
        const auto exchanged = sin_a;
        sin_a = sin_b, sin_b = exchanged;
      }
      Pack<E, N> out_a, out_b;
#pragma unroll
      for (int k = 0; k < N; k++) {
        out_a.put(k, a.get(k) * cos_a.get(k) + b.get(k) * sin_a.get(k));
        out_b.put(k, b.get(k) * cos_b.get(k) + a.get(k) * sin_b.get(k));
      }
      out_a.store(y + from);
      out_b.store(y + from + half);
    }
  }
}

#define SER_KERNEL extern "C" __global__ void __launch_bounds__(256)

#define SER_ROWS(E)                                                                                                           \
  SER_KERNEL swiglu_##E(const E* __restrict__ gate, const E* __restrict__ up, E* __restrict__ y, long long packs,             \
                        long long count) {                                                                                    \
    swiglu(gate, up, y, packs, count);                                                                                        \
  }                                                                                                                           \
  SER_KERNEL swiglu_backward_##E(const E* __restrict__ gate, const E* __restrict__ up, const E* __restrict__ grad,            \
                                 E* __restrict__ grad_gate, E* __restrict__ grad_up, long long packs, long long count) {      \
    swiglu_backward(gate, up, grad, grad_gate, grad_up, packs, count);                                                        \
  }                                                                                                                           \
  SER_KERNEL rotate_##E(const E* __restrict__ x, const E* __restrict__ cos, const E* __restrict__ sin, E* __restrict__ y,     \
                        long long rows, unsigned heads, unsigned half, unsigned back) {                                                      \
    rotate<1>(x, cos, sin, y, rows, heads, half, back);                                                                       \
  }                                                                                                                           \
  SER_KERNEL rotate_wide_##E(const E* __restrict__ x, const E* __restrict__ cos, const E* __restrict__ sin,                   \
                             E* __restrict__ y, long long rows, unsigned heads, unsigned half, unsigned back) {                              \
    rotate<WIDE<E>>(x, cos, sin, y, rows, heads, half, back);                                                                 \
  }
SER_ROWS(float)
SER_ROWS(bf16)
SER_ROWS(f16)
