// SwiGLU and the rotary embedding on a GPU by the kernels of gpu_rows.cu.
#include "gpu_rows.h"

#include <array>
#include <string>

#include "gpu_module.h"

namespace ser {
namespace {

// The entries that a thread reads at once, 16 bytes, or 1 if a tensor starts between two such groups.
int64_t pack_of(std::initializer_list<at::Tensor> tensors) {
  for (const auto& x : tensors)
    if (reinterpret_cast<uintptr_t>(x.data_ptr()) % 16 != 0) return 1;
  return 16 / static_cast<int64_t>(tensors.begin()->element_size());
}

// Callers have checked the kind.
std::string named(const char* kernel, const at::Tensor& x) {
  const auto kind = x.scalar_type();
  return std::string(kernel) + (kind == at::kFloat ? "_float" : kind == at::kBFloat16 ? "_bf16" : "_f16");
}

// Runs a kernel on the entries of tensors of one size, the first of them in packs.
template <size_t N>
void run_on_entries(const char* kernel, const std::array<at::Tensor, N>& tensors, int64_t pack) {
  long long count = tensors[0].numel(), packs = pack > 1 ? count / pack : 0;
  if (count == 0) return;
  std::array<void*, N> pointers;
  std::array<void*, N + 2> arguments;
  for (size_t i = 0; i < N; i++) pointers[i] = tensors[i].data_ptr(), arguments[i] = &pointers[i];
  arguments[N] = &packs, arguments[N + 1] = &count;
  launch(tensors[0], named(kernel, tensors[0]), over_list(packs, count - packs * pack), arguments.data());
}

}  // namespace

void gpu_swiglu(const at::Tensor& gate, const at::Tensor& up, const at::Tensor& y) {
  run_on_entries<3>("swiglu", {gate, up, y}, pack_of({gate, up, y}));
}

void gpu_swiglu_backward(const at::Tensor& gate, const at::Tensor& up, const at::Tensor& grad,
                         const at::Tensor& grad_gate, const at::Tensor& grad_up) {
  run_on_entries<5>("swiglu_backward", {gate, up, grad, grad_gate, grad_up},
                    pack_of({gate, up, grad, grad_gate, grad_up}));
}

void gpu_rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, const at::Tensor& y, bool exchange) {
  if (x.numel() == 0) return;
  long long rows = x.size(0);
  unsigned heads = static_cast<unsigned>(x.size(1)), half = static_cast<unsigned>(x.size(2) / 2), back = exchange;
  const int64_t pack = pack_of({x, cos, sin, y});
  const bool wide = pack > 1 && half % pack == 0;
  void *input = x.data_ptr(), *cosines = cos.data_ptr(), *sines = sin.data_ptr(), *output = y.data_ptr();
  void* arguments[] = {&input, &cosines, &sines, &output, &rows, &heads, &half, &back};
  const int64_t items = x.size(1) * (wide ? half / pack : half);
  launch(x, named(wide ? "rotate_wide" : "rotate", x), over_rows(rows, items), arguments);
}

}  // namespace ser
