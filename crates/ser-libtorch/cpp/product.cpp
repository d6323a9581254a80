// The linear map with frozen weights, as an autograd function over the kernels.
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <optional>

#include "kernel.h"
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
  // A task takes at least some tens of microseconds; multiples of four keep the kernel's tiles complete.
  const int64_t grain = std::max<int64_t>(1, 32768 / std::max<int64_t>(1, depth));
  at::parallel_for(0, (width + 3) / 4, grain, [&](int64_t from, int64_t to) {
    kernel().few_rows(rows, depth, from * 4, std::min(width, to * 4), width, x.data_ptr<float>(),
                      weight.data_ptr<float>(), data_or_null(bias), y.data_ptr<float>());
  });
  return y;
}

class Linear : public Function<Linear> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x_, const at::Tensor& weight, const Bias& bias) {
    const auto x = x_.contiguous();
    ctx->save_for_backward({weight});
    ctx->saved_data["bias"] = bias && bias->requires_grad();
    if (x.size(0) <= FEW) return few_rows(x, weight, bias);
    return multiply(x, {weight.data_ptr<float>(), 1, weight.size(1)}, weight.size(0), bias);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto weight = ctx->get_saved_variables()[0];
    const Matrix b{weight.data_ptr<float>(), weight.size(1), 1};
    const auto grad = grads[0].contiguous();
    variable_list out(3);
    if (ctx->needs_input_grad(0)) out[0] = multiply(grad, b, weight.size(1), std::nullopt);
    if (ctx->saved_data["bias"].toBool()) out[2] = grad.sum(0);
    return out;
  }
};

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const Bias& bias) {
  return Linear::apply(x, weight, bias);
}

}  // namespace ser
