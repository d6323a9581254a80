// The linear map with frozen weights, as an autograd function over the kernels.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <optional>

#include "kernel.h"
#include "kinds.h"
#include "ops.h"

namespace ser {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// Up to this many rows the time is that of reading the weights, and packing them first would double it.
constexpr int64_t FEW = 16;
// The number of multiplications that justifies another thread.
constexpr int64_t GRAIN = 1 << 19;

using Bias = std::optional<at::Tensor>;

const float* data_or_null(const Bias& bias) { return bias ? bias->data_ptr<float>() : nullptr; }

// a b + bias: a [rows, depth], b depth x width.
at::Tensor multiply(const at::Tensor& a, const Matrix& b, int64_t width, const Bias& bias) {
  const int64_t rows = a.size(0), depth = a.size(1), panel = kernel().panel_width();
  auto c = at::empty({rows, width}, a.options());
  // A task is a panel of columns. With fewer panels than threads the rows are split too.
  const int64_t panels = (width + panel - 1) / panel, threads = at::get_num_threads();
  const int64_t parts = std::max<int64_t>(1, std::min(threads / std::max<int64_t>(1, panels), rows / FEW));
  const int64_t part = (rows + parts - 1) / parts;
  const int64_t grain = std::max<int64_t>(1, GRAIN / std::max<int64_t>(1, part * depth * panel));
  at::parallel_for(0, panels * parts, grain, [&](int64_t from, int64_t to) {
    while (from < to) {
      const int64_t row = from / panels * part, first = from % panels, count = std::min(panels - first, to - from);
      kernel().multiply(a.data_ptr<float>(), b, data_or_null(bias), c.data_ptr<float>(), width, depth, row,
                        std::min(rows, row + part), first * panel, std::min(width, (first + count) * panel));
      from += count;
    }
  });
  return c;
}

at::Tensor few_rows(const at::Tensor& x, const at::Tensor& weight, const Bias& bias) {
  const int64_t rows = x.size(0), depth = x.size(1), width = weight.size(0);
  auto y = at::empty({rows, width}, x.options());
  // A task takes at least ten microseconds; multiples of four keep the kernel's tiles complete.
  const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, depth));
  in_kind_of(x, [&](auto kind) {
    using E = decltype(kind);
    at::parallel_for(0, (width + 3) / 4, grain, [&](int64_t from, int64_t to) {
      kernel().of<E>().few_rows(rows, depth, from * 4, std::min(width, to * 4), width, data<E>(x), data<E>(weight),
                                bias ? data<E>(*bias) : nullptr, data<E>(y));
    });
  });
  return y;
}

at::Tensor product(const at::Tensor& x_, const at::Tensor& weight, const Bias& bias, bool kernels) {
  // Products of many rows in bf16 are libtorch's.
  const bool few = x_.size(0) <= FEW;
  if (!kernels || !(few || x_.scalar_type() == at::kFloat)) return at::linear(x_, weight, bias);
  const auto x = x_.contiguous();
  if (few) return few_rows(x, weight, bias);
  return multiply(x, {weight.data_ptr<float>(), 1, weight.size(1)}, weight.size(0), bias);
}

// The gradient by x of a product with the weight.
at::Tensor product_backward(const at::Tensor& grad, const at::Tensor& weight, bool kernels) {
  if (!kernels || grad.scalar_type() != at::kFloat) return at::mm(grad, weight);
  return multiply(grad, {weight.data_ptr<float>(), weight.size(1), 1}, weight.size(1), std::nullopt);
}

class Linear : public Function<Linear> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight, const Bias& bias) {
    ctx->save_for_backward({weight});
    ctx->saved_data["bias"] = bias && bias->requires_grad();
    return product(x, weight, bias, true);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto weight = ctx->get_saved_variables()[0];
    const auto grad = grads[0].contiguous();
    variable_list out(3);
    if (ctx->needs_input_grad(0)) out[0] = product_backward(grad, weight, true);
    if (ctx->saved_data["bias"].toBool()) out[2] = grad.sum(0);
    return out;
  }
};

// One autograd function for a map and its low-rank update: y and the gradient of x are updated in place, and a graph of ten
// functions per map would cost the host more than the products cost a GPU.
class LoraLinear : public Function<LoraLinear> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight, const Bias& bias,
                            const at::Tensor& a, const at::Tensor& b, const LoraMode& mode) {
    const auto kind = x.scalar_type();
    const auto dropped = mode.dropout.p > 0 ? drop(x, mode.dropout) : Dropped{x, {}};
    const auto down = a.to(kind), up = b.to(kind), low = at::mm(dropped.x, down.t());
    auto y = product(x, weight, bias, mode.kernels);
    y.addmm_(low, up.t(), 1, mode.scale);
    ctx->save_for_backward({x, weight, down, up, low, dropped.mask});
    ctx->saved_data["kinds"] = std::vector<int64_t>{static_cast<int64_t>(a.scalar_type()),
                                                    static_cast<int64_t>(b.scalar_type())};
    ctx->saved_data["bias"] = bias && bias->requires_grad();
    ctx->saved_data["scale"] = mode.scale;
    save(ctx, mode.dropout);
    ctx->saved_data["kernels"] = mode.kernels;
    // Autograd counts the tensors that are given.
    ctx->saved_data["first"] = bias ? 3 : 2;
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto &x = saved[0], &weight = saved[1], &down = saved[2], &up = saved[3], &low = saved[4], &mask = saved[5];
    auto& data = ctx->saved_data;
    const double scale = data["scale"].toDouble();
    const auto dropout = saved_dropout(ctx);
    const auto kinds = data["kinds"].toIntVector();
    const auto grad = grads[0].contiguous();
    const auto grad_low = at::mm(grad, up).mul_(scale);
    variable_list out(6);
    if (ctx->needs_input_grad(0)) {
      out[0] = product_backward(grad, weight, data["kernels"].toBool());
      if (dropout.p > 0) out[0].add_(drop_again(at::mm(grad_low, down), dropout, mask));
      else out[0].addmm_(grad_low, down);
    }
    if (ctx->needs_input_grad(1)) out[1] = at::mm(grad.t(), x);
    if (data["bias"].toBool()) out[2] = grad.sum(0);
    const auto first = static_cast<size_t>(data["first"].toInt());
    if (ctx->needs_input_grad(first)) {
      const auto input = dropout.p > 0 ? drop_again(x, dropout, mask) : x;
      out[3] = at::mm(grad_low.t(), input).to(static_cast<at::ScalarType>(kinds[0]));
    }
    if (ctx->needs_input_grad(first + 1)) out[4] = at::mm(grad.t(), low).to(static_cast<at::ScalarType>(kinds[1])).mul_(scale);
    return out;
  }
};

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const Bias& bias) {
  return Linear::apply(x, weight, bias);
}

at::Tensor lora_linear(const at::Tensor& x, const at::Tensor& weight, const Bias& bias, const at::Tensor& a,
                       const at::Tensor& b, const LoraMode& mode) {
  return LoraLinear::apply(x, weight, bias, a, b, mode);
}

}  // namespace ser
