// Attention by the kernels: over packed segments, as an autograd function, and of a decoding step.
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <atomic>
#include <numeric>

#include "kernel.h"
#include "kinds.h"
#include "ops.h"

namespace ser {
namespace {

std::vector<Segment> read(const at::Tensor& table) {
  std::vector<Segment> segments(table.size(0));
  static_assert(sizeof(Segment) == 8 * sizeof(int64_t));
  if (!segments.empty()) std::memcpy(segments.data(), table.data_ptr<int64_t>(), segments.size() * sizeof(Segment));
  return segments;
}

// Runs `work(segment, kv_head)` for all, the longest segments first, so that the threads finish at about the same time.
// Tasks write disjoint rows and heads, so the result does not depend on the threads.
template <typename Work>
void for_each_task(const std::vector<Segment>& segments, int64_t kv_heads, const Work& work) {
  std::vector<int64_t> order(segments.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t x, int64_t y) {
    auto size = [](const Segment& s) { return s.prompt + s.a + s.b; };
    return size(segments[x]) > size(segments[y]);
  });
  const int64_t tasks = static_cast<int64_t>(order.size()) * kv_heads;
  std::atomic<int64_t> next{0};
  at::parallel_for(0, at::get_num_threads(), 1, [&](int64_t, int64_t) {
    for (int64_t i; (i = next.fetch_add(1)) < tasks;) work(segments[order[i / kv_heads]], i % kv_heads);
  });
}

Shape shape_of(const at::Tensor& q, const at::Tensor& k, double scale, int64_t window) {
  return {q.size(1), k.size(1), q.size(2), static_cast<float>(scale), window};
}

class PackedAttention : public torch::autograd::Function<PackedAttention> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& q_, const at::Tensor& k_,
                            const at::Tensor& v_, const at::Tensor& table, double scale, int64_t window) {
    const auto q = q_.contiguous(), k = k_.contiguous(), v = v_.contiguous();
    auto out = at::empty_like(q);
    auto lse = at::empty({q.size(0), q.size(1)}, q.options().dtype(at::kFloat));
    const auto shape = shape_of(q, k, scale, window);
    in_kind_of(q, [&](auto kind) {
      using E = decltype(kind);
      for_each_task(read(table), shape.kv_heads, [&](const Segment& s, int64_t head) {
        kernel().of<E>().attend(shape, s, head, data<E>(q), data<E>(k), data<E>(v), data<E>(out),
                                lse.data_ptr<float>());
      });
    });
    ctx->save_for_backward({q, k, v, table, out, lse});
    ctx->saved_data["scale"] = scale;
    ctx->saved_data["window"] = window;
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[4], &lse = saved[5];
    const auto grad_out = grads[0].contiguous();
    // Rows of a shared prompt get a sum, which is rounded once.
    auto grad_q = at::empty_like(q);
    auto grad_k = at::zeros(k.sizes(), lse.options()), grad_v = at::zeros(v.sizes(), lse.options());
    const auto shape = shape_of(q, k, ctx->saved_data["scale"].toDouble(), ctx->saved_data["window"].toInt());
    in_kind_of(q, [&](auto kind) {
      using E = decltype(kind);
      for_each_task(read(saved[3]), shape.kv_heads, [&](const Segment& s, int64_t head) {
        kernel().of<E>().attend_backward(shape, s, head, data<E>(q), data<E>(k), data<E>(v), data<E>(out),
                                         lse.data_ptr<float>(), data<E>(grad_out), data<E>(grad_q),
                                         grad_k.data_ptr<float>(), grad_v.data_ptr<float>());
      });
    });
    const auto kind = k.scalar_type();
    return {grad_q, grad_k.to(kind), grad_v.to(kind), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& table,
                            double scale, int64_t window) {
  return PackedAttention::apply(q, k, v, table, scale, window);
}

at::Tensor decode_attention(const at::Tensor& q_, const at::Tensor& k, const at::Tensor& v, const int64_t* ranges,
                            const int64_t* ends, double scale) {
  const auto q = q_.contiguous();
  auto out = at::empty_like(q);
  const auto shape = shape_of(q, k, scale, 0);
  const auto* table = reinterpret_cast<const SlotRange*>(ranges);
  const int64_t width = shape.heads * shape.dim;
  in_kind_of(q, [&](auto kind) {
    using E = decltype(kind);
    // One task for each row and key/value head; tasks write disjoint heads.
    at::parallel_for(0, q.size(0) * shape.kv_heads, 1, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; i++) {
        const int64_t row = i / shape.kv_heads, first = row == 0 ? 0 : ends[row - 1];
        kernel().of<E>().decode(shape, table + first, ends[row] - first, i % shape.kv_heads, data<E>(q) + row * width,
                                data<E>(k), data<E>(v), data<E>(out) + row * width);
      }
    });
  });
  return out;
}

}  // namespace ser
