// Dropout: by the kernel for f32 and bf16 on the CPU, where the draws are a hash of index and seed; by a generator of its own
// elsewhere.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernel.h"
#include "kinds.h"
#include "ops.h"

namespace ser {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The number of entries that justifies another thread.
constexpr int64_t GRAIN = 1 << 14;

bool has_kernel(const at::Tensor& x) {
  return x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

at::Tensor with_kernel(const at::Tensor& x_, double p, uint64_t seed) {
  const auto x = x_.contiguous();
  auto y = at::empty_like(x);
  in_kind_of(x, [&](auto kind) {
    using E = decltype(kind);
    at::parallel_for(0, x.numel(), GRAIN, [&](int64_t from, int64_t to) {
      kernel().of<E>().dropout(from, to, p, seed, data<E>(x), data<E>(y));
    });
  });
  return y;
}

at::Tensor masked(const at::Tensor& x, double p, const at::Tensor& mask) {
  return x.is_cuda() ? at::_masked_scale(x, mask, 1 / (1 - p)) : x.mul(mask).mul_(1 / (1 - p));
}

class Dropout : public torch::autograd::Function<Dropout> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, double p, int64_t seed) {
    auto [y, mask] = drop(x, p, static_cast<uint64_t>(seed));
    ctx->save_for_backward({mask});
    ctx->saved_data["p"] = p;
    ctx->saved_data["seed"] = seed;
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto seed = static_cast<uint64_t>(ctx->saved_data["seed"].toInt());
    const auto mask = ctx->get_saved_variables()[0];
    return {drop_again(grads[0], ctx->saved_data["p"].toDouble(), seed, mask), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Generator seeded(at::Device device, uint64_t seed) {
  if (device.is_cpu()) return at::detail::createCPUGenerator(seed);
  auto generator = at::globalContext().getAcceleratorHooksInterface(device.type()).getNewGenerator(device.index());
  generator.set_current_seed(seed);
  return generator;
}

Dropped drop(const at::Tensor& x, double p, uint64_t seed) {
  if (has_kernel(x)) return {with_kernel(x, p, seed), {}};
  const auto generator = seeded(x.device(), seed);
  if (x.is_cuda()) {
    auto [y, mask] = at::_fused_dropout(x, 1 - p, generator);
    return {y, mask};
  }
  const auto mask = at::empty_like(x, x.options().dtype(at::kByte)).bernoulli_(1 - p, generator);
  return {masked(x, p, mask), mask};
}

at::Tensor drop_again(const at::Tensor& x, double p, uint64_t seed, const at::Tensor& mask) {
  return mask.defined() ? masked(x, p, mask) : with_kernel(x, p, seed);
}

at::Tensor dropout(const at::Tensor& x, double p, uint64_t seed) {
  return Dropout::apply(x, p, static_cast<int64_t>(seed));
}

}  // namespace ser
