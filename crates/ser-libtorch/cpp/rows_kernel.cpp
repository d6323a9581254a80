// Row-wise operations of a decoder, and their gradients, in f32 arithmetic on the CPU, compiled once per instruction set (SER_ISA).
#include "kernel.h"
#include "vector.h"

namespace ser {
namespace SER_ISA {
namespace {

// Runs `work(i, vec)` for the full vectors of 0..n and `work(i, float)` for the rest.
template <typename Work>
inline void over(int64_t n, const Work& work) {
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES) work(i, vec{});
  for (; i < n; i++) work(i, 0.0f);
}

template <typename E>
inline void read(const E* p, vec& x) {
  x = load(p);
}
template <typename E>
inline void read(const E* p, float& x) {
  x = value(p);
}
template <typename E>
inline void write(E* p, vec x) {
  store(p, x);
}
template <typename E>
inline void write(E* p, float x) {
  set(p, x);
}

// 1 / (1 + e^-x), without overflow.
inline vec sigmoid(vec x) {
  const ivec negative = x < vec{};
  const vec e = exponential(negative ? x : -x), inverse = splat(1.0f) / (splat(1.0f) + e);
  return negative ? e * inverse : inverse;
}
inline float sigmoid(float x) { return sigmoid(splat(x))[0]; }
inline float exponential(float x) { return exponential(splat(x))[0]; }

// x, but 0 where p is 0: a logit of -inf has p log p = 0.
inline vec where_positive(vec p, vec x) { return p > vec{} ? x : vec{}; }
inline float where_positive(float p, float x) { return p > 0 ? x : 0; }

// 32 pseudo-random bits for each number and key: the finalizer of MurmurHash3, twice.
inline uvec hash(uvec x, uint32_t first, uint32_t second) {
  x = x * 0x9e3779b9u + first;
  for (uint32_t key : {second, 0u}) {
    x = (x ^ (x >> 16)) * 0x85ebca6bu;
    x = (x ^ (x >> 13)) * 0xc2b2ae35u;
    x = x ^ (x >> 16) ^ key;
  }
  return x;
}

}  // namespace

template <typename E>
void dropout(int64_t from, int64_t to, int64_t first, double p, uint64_t seed, const E* x, E* y) {
  const auto threshold = static_cast<uint32_t>(p * 4294967296.0);
  const auto low = static_cast<uint32_t>(seed), high = static_cast<uint32_t>(seed >> 32);
  const vec scale = splat(static_cast<float>(1 / (1 - p)));
  uvec lane;
  for (int l = 0; l < LANES; l++) lane[l] = l;
  for (int64_t i = from, here; i < to; i += here) {
    // After 2^32 entries the indices repeat with another key.
    const int64_t draw = first + i, round = draw >> 32;
    here = std::min({static_cast<int64_t>(LANES), to - i, ((round + 1) << 32) - draw});
    const uvec indices = lane + static_cast<uint32_t>(draw);
    const ivec dropped = hash(indices, low, high + static_cast<uint32_t>(round)) < threshold;
    E entries[LANES] = {};
    if (here < LANES) std::memcpy(entries, x + i, here * sizeof(E));
    const vec given = load(here < LANES ? entries : x + i);
    store(here < LANES ? entries : y + i, dropped ? vec{} : given * scale);
    if (here < LANES) std::memcpy(y + i, entries, here * sizeof(E));
  }
}

template <typename E>
void rms_norm(int64_t dim, float eps, const E* x, const E* weight, E* y, float* inverse) {
  const float scale = 1.0f / std::sqrt(dot(x, x, dim) / static_cast<float>(dim) + eps);
  *inverse = scale;
  over(dim, [&](int64_t i, auto a) {
    auto w = a;
    read(x + i, a);
    read(weight + i, w);
    write(y + i, a * scale * w);
  });
}

template <typename E>
void rms_norm_backward(int64_t dim, const E* x, const E* weight, float inverse, const E* grad, E* grad_x) {
  // With g = grad * weight: grad_x = inverse (g - x inverse^2 mean(g x)).
  vec sums{};
  float rest = 0;
  const auto add = [&](vec x) { sums += x; };
  const auto add_one = [&](float x) { rest += x; };
  over(dim, [&](int64_t i, auto g) {
    auto w = g, a = g;
    read(grad + i, g);
    read(weight + i, w);
    read(x + i, a);
    if constexpr (std::is_same_v<decltype(g), float>) add_one(g * w * a);
    else add(g * w * a);
  });
  const float mean = (sum_of(sums) + rest) / static_cast<float>(dim) * inverse * inverse;
  over(dim, [&](int64_t i, auto g) {
    auto w = g, a = g;
    read(grad + i, g);
    read(weight + i, w);
    read(x + i, a);
    write(grad_x + i, (g * w - a * mean) * inverse);
  });
}

template <typename E>
void swiglu(int64_t count, const E* gate, const E* up, E* y) {
  over(count, [&](int64_t i, auto g) {
    auto u = g;
    read(gate + i, g);
    read(up + i, u);
    write(y + i, g * sigmoid(g) * u);
  });
}

template <typename E>
void swiglu_backward(int64_t count, const E* gate, const E* up, const E* grad, E* grad_gate, E* grad_up) {
  over(count, [&](int64_t i, auto g) {
    auto u = g, d = g;
    read(gate + i, g);
    read(up + i, u);
    read(grad + i, d);
    const auto s = sigmoid(g);
    write(grad_up + i, d * g * s);
    write(grad_gate + i, d * u * s * (g * (1.0f - s) + 1.0f));
  });
}

template <typename E>
void rotate(int64_t heads, int64_t half, const E* x, const E* cos, const E* first, const E* second, E* y) {
  for (int64_t h = 0; h < heads; h++, x += 2 * half, y += 2 * half)
    over(half, [&](int64_t i, auto a) {
      auto b = a, ca = a, cb = a, sa = a, sb = a;
      read(x + i, a);
      read(x + half + i, b);
      read(cos + i, ca);
      read(cos + half + i, cb);
      read(first + i, sa);
      read(second + i, sb);
      write(y + i, a * ca + b * sa);
      write(y + half + i, b * cb + a * sb);
    });
}

template <typename E>
void log_prob(int64_t vocab, const E* logits, int64_t target, float* log_prob, float* entropy, float* norm) {
  // The last entries, padded with values whose e^ is 0.
  const int64_t whole = vocab / LANES * LANES;
  float rest[LANES];
  std::fill_n(rest, LANES, std::numeric_limits<float>::lowest() / 2);
  for (int64_t i = whole; i < vocab; i++) rest[i - whole] = value(logits + i);
  const float top = std::max(largest(logits, 0, whole), largest(rest, 0, LANES));
  // Sums of e^(x - top) and of (x - top) e^(x - top), block by block: one long sum would lose precision.
  double total = 0, moment = 0;
  vec sum{}, product{};
  const auto add = [&](vec x) {
    const vec e = exponential(x - top);
    sum += e;
    product += where_positive(e, e * (x - top));
  };
  for (int64_t from = 0; from < whole; from += 1024) {
    for (int64_t i = from; i < std::min(from + 1024, whole); i += LANES) add(load(logits + i));
    total += sum_of(sum), moment += sum_of(product);
    sum = product = vec{};
  }
  add(load(rest));
  total += sum_of(sum), moment += sum_of(product);
  const double log_total = std::log(total);
  norm[0] = top, norm[1] = static_cast<float>(log_total);
  *log_prob = static_cast<float>(value(logits + target) - top - log_total);
  *entropy = static_cast<float>(log_total - moment / total);
}

template <typename E>
void log_prob_backward(int64_t vocab, const E* logits, int64_t target, const float* norm, float entropy, float grad, float grad_entropy, E* grad_logits) {
  // With p the softmax and H the entropy: -p grad, and grad itself at the target; -p (log p + H) grad_entropy.
  over(vocab, [&](int64_t i, auto x) {
    read(logits + i, x);
    x = x - norm[0] - norm[1];
    const auto p = exponential(x);
    write(grad_logits + i, where_positive(p, p * (-grad - grad_entropy * (x + entropy))));
  });
  // The target's entry in one rounding.
  const float x = value(logits + target) - norm[0] - norm[1], p = exponential(x);
  set(grad_logits + target, (p > 0 ? p * (-grad - grad_entropy * (x + entropy)) : 0) + grad);
}

#define SER_ROWS(E)                                                                                                  \
  template void dropout(int64_t, int64_t, int64_t, double, uint64_t, const E*, E*);                                  \
  template void rms_norm(int64_t, float, const E*, const E*, E*, float*);                                            \
  template void rms_norm_backward(int64_t, const E*, const E*, float, const E*, E*);                                 \
  template void swiglu(int64_t, const E*, const E*, E*);                                                             \
  template void swiglu_backward(int64_t, const E*, const E*, const E*, E*, E*);                                      \
  template void rotate(int64_t, int64_t, const E*, const E*, const E*, const E*, E*);                                \
  template void log_prob(int64_t, const E*, int64_t, float*, float*, float*);                                        \
  template void log_prob_backward(int64_t, const E*, int64_t, const float*, float, float, float, E*);
SER_ROWS(float)
SER_ROWS(bf16)

}  // namespace SER_ISA
}  // namespace ser
