// Attention over sequences of different lengths, for devices without the packed kernel: flash attention for half precision on
// GPUs (Dao, 2023), matrix products per sequence elsewhere.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "ops.h"

namespace ser {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Whether flash attention takes the tensor.
bool flash(const at::Tensor& q) {
  const bool half = q.scalar_type() == at::kHalf || q.scalar_type() == at::kBFloat16;
  return q.is_cuda() && half && q.size(2) % 8 == 0 && q.size(2) <= 256;
}

// One sequence's part of the tensors: [heads, rows, dim], keys and values repeated for each query head.
struct Sequence {
  int64_t query, queries, key, keys;

  at::Tensor of_queries(const at::Tensor& x) const { return x.narrow(0, query, queries).transpose(0, 1); }

  at::Tensor of_keys(const at::Tensor& x, int64_t repeat) const {
    return x.narrow(0, key, keys).transpose(0, 1).repeat_interleave(repeat, 0);
  }

  // The attention scores before the softmax, [heads, queries, keys]. The queries are the last positions of the keys.
  at::Tensor scores(const at::Tensor& q, const at::Tensor& k, int64_t repeat, double scale, int64_t window) const {
    const auto options = q.options().dtype(at::kBool);
    auto visible = at::ones({queries, keys}, options).tril(keys - queries);
    if (window > 0) visible = visible.triu(keys - queries - window + 1);
    const auto products = at::matmul(of_queries(q), of_keys(k, repeat).transpose(1, 2)).mul_(scale);
    return products.masked_fill_(visible.logical_not(), -std::numeric_limits<double>::infinity());
  }
};

std::vector<Sequence> sequences_of(const VarlenSequences& s) {
  const auto* ends = s.host.data_ptr<int64_t>();
  const int64_t columns = s.host.size(1);
  std::vector<Sequence> out;
  for (int64_t i = 0; i + 1 < columns; i++) {
    const auto *q = ends + i, *k = ends + columns + i;
    if (q[1] > q[0]) out.push_back({q[0], q[1] - q[0], k[0], k[1] - k[0]});
  }
  return out;
}

// Half precision is computed in f32.
at::Tensor wide(const at::Tensor& x) { return x.scalar_type() == at::kDouble ? x : x.to(at::kFloat); }

std::pair<at::Tensor, at::Tensor> attend(const at::Tensor& q_, const at::Tensor& k_, const at::Tensor& v_,
                                         const VarlenSequences& s, double scale, int64_t window) {
  const auto q = wide(q_), k = wide(k_), v = wide(v_);
  const int64_t repeat = q.size(1) / k.size(1);
  auto out = at::empty_like(q), lse = at::empty({q.size(1), q.size(0)}, q.options());
  for (const auto& sequence : sequences_of(s)) {
    const auto scores = sequence.scores(q, k, repeat, scale, window);
    const auto norm = scores.logsumexp(-1);
    sequence.of_queries(out).copy_(at::matmul((scores - norm.unsqueeze(-1)).exp_(), sequence.of_keys(v, repeat)));
    lse.narrow(1, sequence.query, sequence.queries).copy_(norm);
  }
  return {out.to(q_.scalar_type()), lse};
}

std::array<at::Tensor, 3> attend_backward(const at::Tensor& grad_, const at::Tensor& q_, const at::Tensor& k_,
                                          const at::Tensor& v_, const at::Tensor& out_, const at::Tensor& lse,
                                          const VarlenSequences& s, double scale, int64_t window) {
  const auto grad = wide(grad_), q = wide(q_), k = wide(k_), v = wide(v_), out = wide(out_);
  const int64_t kv_heads = k.size(1), repeat = q.size(1) / kv_heads;
  auto grad_q = at::empty_like(q), grad_k = at::zeros_like(k), grad_v = at::zeros_like(v);
  // [heads, keys, dim] -> [keys, kv_heads, dim], summed over the query heads of each key head.
  auto add = [&](at::Tensor& to, const Sequence& sequence, const at::Tensor& x) {
    auto sums = x.view({kv_heads, repeat, x.size(1), x.size(2)}).sum(1).transpose(0, 1);
    to.narrow(0, sequence.key, sequence.keys).add_(sums);
  };
  for (const auto& sequence : sequences_of(s)) {
    const auto norm = lse.narrow(1, sequence.query, sequence.queries).unsqueeze(-1);
    const auto p = (sequence.scores(q, k, repeat, scale, window) - norm).exp_();
    const auto slope = sequence.of_queries(grad), result = sequence.of_queries(out);
    const auto by_p = at::matmul(slope, sequence.of_keys(v, repeat).transpose(1, 2));
    const auto by_scores = (by_p - (slope * result).sum(-1, true)).mul_(p).mul_(scale);
    sequence.of_queries(grad_q).copy_(at::matmul(by_scores, sequence.of_keys(k, repeat)));
    add(grad_k, sequence, at::matmul(by_scores.transpose(1, 2), sequence.of_queries(q)));
    add(grad_v, sequence, at::matmul(p.transpose(1, 2), slope));
  }
  return {grad_q.to(q_.scalar_type()), grad_k.to(k_.scalar_type()), grad_v.to(v_.scalar_type())};
}

// The keys or values in the order of the sequences: rows of a shared prompt occur twice.
at::Tensor gathered(const at::Tensor& x, const VarlenSequences& s) {
  return s.gather.defined() ? x.index_select(0, s.gather) : x.contiguous();
}

// The gradient by the rows from that by the gathered rows. No two copies are of one row, so the sum has no order.
at::Tensor scattered(const at::Tensor& grad, const VarlenSequences& s) {
  if (!s.gather.defined()) return grad;
  return grad.index_select(0, s.own).index_add_(0, s.copied, grad.index_select(0, s.copies));
}

class VarlenAttention : public torch::autograd::Function<VarlenAttention> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& q_, const at::Tensor& k, const at::Tensor& v,
                            const VarlenSequences& s, double scale, int64_t window) {
    const auto q = q_.contiguous(), keys = gathered(k, s), values = gathered(v, s);
    at::Tensor out, lse, seed, offset;
    if (flash(q)) {
      // Right window 0 besides `is_causal`, because with one query per sequence flash attention reorders the heads unless a
      // window is set.
      std::tie(out, lse, seed, offset, std::ignore) = at::_flash_attention_forward(
          q, keys, values, s.queries, s.keys, s.longest_query, s.longest_key, /*dropout_p=*/0.0, /*is_causal=*/true,
          /*return_debug_mask=*/false, scale, window > 0 ? window - 1 : -1, 0);
    } else {
      std::tie(out, lse) = attend(q, keys, values, s, scale, window);
    }
    ctx->save_for_backward({q, k, v, out, lse, seed, offset});
    // The tensors of `s` have no gradients, so they need no place among the saved variables.
    ctx->saved_data["sequences"] = std::vector<at::Tensor>{s.queries, s.keys, s.host};
    if (s.gather.defined()) {
      ctx->saved_data["gather"] = std::vector<at::Tensor>{s.gather, s.own, s.copies, s.copied};
    }
    ctx->saved_data["longest_query"] = s.longest_query;
    ctx->saved_data["longest_key"] = s.longest_key;
    ctx->saved_data["scale"] = scale;
    ctx->saved_data["window"] = window;
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto &q = saved[0], &out = saved[3], &lse = saved[4];
    auto& data = ctx->saved_data;
    VarlenSequences s;
    const auto sequences = data["sequences"].toTensorVector();
    s.queries = sequences[0], s.keys = sequences[1], s.host = sequences[2];
    if (data.count("gather")) {
      const auto gather = data["gather"].toTensorVector();
      s.gather = gather[0], s.own = gather[1], s.copies = gather[2], s.copied = gather[3];
    }
    s.longest_query = data["longest_query"].toInt(), s.longest_key = data["longest_key"].toInt();
    const double scale = data["scale"].toDouble();
    const int64_t window = data["window"].toInt();
    const auto grad = grads[0].contiguous(), keys = gathered(saved[1], s), values = gathered(saved[2], s);
    at::Tensor grad_q, grad_k, grad_v;
    if (flash(q)) {
      std::tie(grad_q, grad_k, grad_v) = at::_flash_attention_backward(
          grad, q, keys, values, out, lse, s.queries, s.keys, s.longest_query, s.longest_key, /*dropout_p=*/0.0,
          /*is_causal=*/true, saved[5], saved[6], scale, window > 0 ? window - 1 : -1, 0);
    } else {
      const auto all = attend_backward(grad, q, keys, values, out, lse, s, scale, window);
      grad_q = all[0], grad_k = all[1], grad_v = all[2];
    }
    return {grad_q, scattered(grad_k, s), scattered(grad_v, s), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor varlen_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const VarlenSequences& s,
                            double scale, int64_t window) {
  return VarlenAttention::apply(q, k, v, s, scale, window);
}

}  // namespace ser
