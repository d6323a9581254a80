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

at::Tensor with_kernel(const at::Tensor& x_, const DropoutMode& mode) {
  const auto x = x_.contiguous();
  auto y = at::empty_like(x);
  in_kind_of(x, [&](auto kind) {
    using E = decltype(kind);
    const auto range = [&](int64_t begin, int64_t end, int64_t first) {
      at::parallel_for(begin, end, GRAIN, [&](int64_t from, int64_t to) {
        kernel().of<E>().dropout(from, to, first, mode.p, mode.seed, data<E>(x), data<E>(y));
      });
    };
    if (mode.rows.empty()) return range(0, x.numel(), 0);
    const int64_t width = x.size(-1);
    for (size_t i = 0; i + 2 < mode.rows.size(); i += 3) {
      const int64_t start = mode.rows[i], count = mode.rows[i + 1], in_batch = mode.rows[i + 2];
      range(start * width, (start + count) * width, (in_batch - start) * width);
    }
  });
  return y;
}

at::Tensor masked(const at::Tensor& x, double p, const at::Tensor& mask) {
  return x.is_cuda() ? at::_masked_scale(x, mask, 1 / (1 - p)) : x.mul(mask).mul_(1 / (1 - p));
}

class Dropout : public torch::autograd::Function<Dropout> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const DropoutMode& mode) {
    auto [y, mask] = drop(x, mode);
    ctx->save_for_backward({mask});
    save(ctx, mode);
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto mask = ctx->get_saved_variables()[0];
    return {drop_again(grads[0], saved_dropout(ctx), mask), at::Tensor()};
  }
};

}  // namespace

at::Generator seeded(at::Device device, uint64_t seed) {
  if (device.is_cpu()) return at::detail::createCPUGenerator(seed);
  auto generator = at::globalContext().getAcceleratorHooksInterface(device.type()).getNewGenerator(device.index());
  generator.set_current_seed(seed);
  return generator;
}

void save(AutogradContext* ctx, const DropoutMode& mode) {
  ctx->saved_data["p"] = mode.p;
  ctx->saved_data["seed"] = static_cast<int64_t>(mode.seed);
  ctx->saved_data["rows"] = mode.rows;
}

DropoutMode saved_dropout(AutogradContext* ctx) {
  auto& data = ctx->saved_data;
  return {data["p"].toDouble(), static_cast<uint64_t>(data["seed"].toInt()), data["rows"].toIntVector()};
}

Dropped drop(const at::Tensor& x, const DropoutMode& mode) {
  if (has_kernel(x)) return {with_kernel(x, mode), {}};
  const double p = mode.p;
  // A generator cannot skip the draws of other rows, so other rows of a batch have another seed.
  const uint64_t place = mode.rows.empty() ? 0 : static_cast<uint64_t>(mode.rows[2]);
  const auto generator = seeded(x.device(), mode.seed + place * 0x9e3779b97f4a7c15u);
  if (x.is_cuda()) {
    auto [y, mask] = at::_fused_dropout(x, 1 - p, generator);
    return {y, mask};
  }
  const auto mask = at::empty_like(x, x.options().dtype(at::kByte)).bernoulli_(1 - p, generator);
  return {masked(x, p, mask), mask};
}

at::Tensor drop_again(const at::Tensor& x, const DropoutMode& mode, const at::Tensor& mask) {
  return mask.defined() ? masked(x, mode.p, mask) : with_kernel(x, mode);
}

at::Tensor dropout(const at::Tensor& x, const DropoutMode& mode) { return Dropout::apply(x, mode); }

}  // namespace ser
