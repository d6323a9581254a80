// Row-wise operations of a decoder, as autograd functions over the kernels.
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "gpu_rows.h"
#include "kernel.h"
#include "kinds.h"
#include "ops.h"

namespace ser {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// The number of entries that justifies another thread.
constexpr int64_t GRAIN = 1 << 14;

// Runs `work(row)` for all rows of `width` entries.
template <typename Work>
void for_each_row(int64_t rows, int64_t width, const Work& work) {
  const int64_t grain = std::max<int64_t>(1, GRAIN / std::max<int64_t>(1, width));
  at::parallel_for(0, rows, grain, [&](int64_t from, int64_t to) {
    for (int64_t row = from; row < to; row++) work(row);
  });
}

class RmsNorm : public Function<RmsNorm> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x_, const at::Tensor& weight, double eps) {
    const auto x = x_.contiguous();
    const int64_t dim = x.size(-1), rows = x.numel() / std::max<int64_t>(1, dim);
    auto y = at::empty_like(x), inverse = at::empty({rows}, x.options().dtype(at::kFloat));
    auto* scales = inverse.data_ptr<float>();
    in_kind_of(x, [&](auto kind) {
      using E = decltype(kind);
      for_each_row(rows, dim, [&](int64_t r) {
        kernel().of<E>().rms_norm(dim, static_cast<float>(eps), data<E>(x) + r * dim, data<E>(weight),
                                  data<E>(y) + r * dim, scales + r);
      });
    });
    ctx->save_for_backward({x, weight, inverse});
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto &x = saved[0], &weight = saved[1];
    const auto grad = grads[0].contiguous();
    const int64_t dim = grad.size(-1);
    auto grad_x = at::empty_like(grad);
    const auto* scales = saved[2].data_ptr<float>();
    in_kind_of(x, [&](auto kind) {
      using E = decltype(kind);
      for_each_row(saved[2].size(0), dim, [&](int64_t r) {
        kernel().of<E>().rms_norm_backward(dim, data<E>(x) + r * dim, data<E>(weight), scales[r],
                                           data<E>(grad) + r * dim, data<E>(grad_x) + r * dim);
      });
    });
    return {grad_x, at::Tensor(), at::Tensor()};
  }
};

class SwiGlu : public Function<SwiGlu> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate_, const at::Tensor& up_) {
    const auto gate = gate_.contiguous(), up = up_.contiguous();
    ctx->save_for_backward({gate, up});
    auto y = at::empty_like(gate);
    if (gate.is_cuda()) {
      gpu_swiglu(gate, up, y);
      return y;
    }
    in_kind_of(gate, [&](auto kind) {
      using E = decltype(kind);
      at::parallel_for(0, gate.numel(), GRAIN, [&](int64_t a, int64_t b) {
        kernel().of<E>().swiglu(b - a, data<E>(gate) + a, data<E>(up) + a, data<E>(y) + a);
      });
    });
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto &gate = saved[0], &up = saved[1];
    const auto grad = grads[0].contiguous();
    auto grad_gate = at::empty_like(grad), grad_up = at::empty_like(grad);
    if (gate.is_cuda()) {
      gpu_swiglu_backward(gate, up, grad, grad_gate, grad_up);
      return {grad_gate, grad_up};
    }
    in_kind_of(gate, [&](auto kind) {
      using E = decltype(kind);
      at::parallel_for(0, grad.numel(), GRAIN, [&](int64_t a, int64_t b) {
        kernel().of<E>().swiglu_backward(b - a, data<E>(gate) + a, data<E>(up) + a, data<E>(grad) + a,
                                         data<E>(grad_gate) + a, data<E>(grad_up) + a);
      });
    });
    return {grad_gate, grad_up};
  }
};

// The gradient of a rotation is the rotation with the halves of the sine exchanged.
at::Tensor turned(const at::Tensor& x_, const at::Tensor& cos, const at::Tensor& sin, bool back) {
  const auto x = x_.contiguous();
  const int64_t heads = x.size(1), dim = x.size(2), half = dim / 2, width = heads * dim;
  auto y = at::empty_like(x);
  if (x.is_cuda()) {
    gpu_rotate(x, cos, sin, y, back);
    return y;
  }
  in_kind_of(x, [&](auto kind) {
    using E = decltype(kind);
    for_each_row(x.size(0), width, [&](int64_t r) {
      const E *first = data<E>(sin) + r * dim, *second = first + half;
      if (back) std::swap(first, second);
      kernel().of<E>().rotate(heads, half, data<E>(x) + r * width, data<E>(cos) + r * dim, first, second,
                              data<E>(y) + r * width);
    });
  });
  return y;
}

class Rotate : public Function<Rotate> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
    ctx->save_for_backward({cos, sin});
    return turned(x, cos, sin, false);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    return {turned(grads[0], saved[0], saved[1], true), at::Tensor(), at::Tensor()};
  }
};

class LogProbs : public Function<LogProbs> {
 public:
  static variable_list forward(AutogradContext* ctx, const at::Tensor& logits_, const at::Tensor& targets) {
    const auto logits = logits_.contiguous();
    const int64_t rows = logits.size(0), vocab = logits.size(1);
    const auto options = logits.options().dtype(at::kFloat);
    auto log_probs = at::empty({rows}, options), entropies = at::empty({rows}, options);
    auto norms = at::empty({rows, 2}, options);
    const auto* target = targets.data_ptr<int64_t>();
    auto *p = log_probs.data_ptr<float>(), *h = entropies.data_ptr<float>(), *n = norms.data_ptr<float>();
    in_kind_of(logits, [&](auto kind) {
      using E = decltype(kind);
      for_each_row(rows, vocab, [&](int64_t r) {
        kernel().of<E>().log_prob(vocab, data<E>(logits) + r * vocab, target[r], p + r, h + r, n + 2 * r);
      });
    });
    ctx->save_for_backward({logits, targets, norms, entropies});
    return {log_probs, entropies};
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto &logits = saved[0], &targets = saved[1], &norms = saved[2], &entropies = saved[3];
    const auto grad = grads[0].contiguous(), grad_entropy = grads[1].contiguous();
    const int64_t vocab = logits.size(1);
    auto grad_logits = at::empty_like(logits);
    const auto *n = norms.data_ptr<float>(), *h = entropies.data_ptr<float>();
    const auto *g = grad.data_ptr<float>(), *gh = grad_entropy.data_ptr<float>();
    const auto* target = targets.data_ptr<int64_t>();
    in_kind_of(logits, [&](auto kind) {
      using E = decltype(kind);
      for_each_row(logits.size(0), vocab, [&](int64_t r) {
        kernel().of<E>().log_prob_backward(vocab, data<E>(logits) + r * vocab, target[r], n + 2 * r, h[r], g[r], gh[r],
                                           data<E>(grad_logits) + r * vocab);
      });
    });
    return {grad_logits, at::Tensor()};
  }
};

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return RmsNorm::apply(x, weight, eps);
}

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) { return SwiGlu::apply(gate, up); }

at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  return Rotate::apply(x, cos, sin);
}

std::pair<at::Tensor, at::Tensor> log_probs(const at::Tensor& logits, const at::Tensor& targets) {
  const auto both = LogProbs::apply(logits, targets);
  return {both[0], both[1]};
}

}  // namespace ser
