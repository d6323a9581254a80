// C entry points. Each returns null, or a message on the heap that the caller frees with ser_free.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/DeviceAccelerator.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <dlfcn.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "gpu_module.h"
#include "guarded.h"
#include "kernel.h"
#include "ops.h"

namespace {

std::vector<at::Tensor> list(at::Tensor** tensors, int64_t count) {
  std::vector<at::Tensor> out;
  out.reserve(count);
  for (int64_t i = 0; i < count; i++) out.push_back(*tensors[i]);
  return out;
}

// ranges: the number of ranges of rows, three numbers each.
ser::DropoutMode dropout_mode(double p, uint64_t seed, const int64_t* rows, int64_t ranges) {
  return {p, seed, std::vector<int64_t>(rows, rows + 3 * ranges)};
}

}  // namespace

extern "C" {

void ser_free(char* message) { free(message); }

// 1 if libtorch_cuda was loaded, 0 if it is not beside libtorch_cpu.
int ser_load_cuda() {
  return dlopen((ser::libtorch_folder() + "libtorch_cuda.so").c_str(), RTLD_NOW | RTLD_GLOBAL) != nullptr;
}

// Free bytes of a GPU.
char* ser_free_memory(int64_t index, uint64_t* out) {
  return guarded([&] { *out = at::accelerator::getMemoryInfo(static_cast<c10::DeviceIndex>(index)).first; });
}

// Waits until a GPU has done all work that was queued on it.
char* ser_synchronize(int64_t index) {
  return guarded([&] { at::accelerator::synchronizeDevice(static_cast<c10::DeviceIndex>(index)); });
}

// Restarts the peak of a GPU's allocated memory at what is allocated now.
char* ser_reset_peak_memory(int64_t index) {
  return guarded([&] { at::accelerator::resetPeakStats(static_cast<c10::DeviceIndex>(index)); });
}

// The most bytes that tensors have taken on a GPU since the peak was reset.
char* ser_peak_memory(int64_t index, uint64_t* out) {
  return guarded([&] {
    auto stats = at::accelerator::getDeviceStats(static_cast<c10::DeviceIndex>(index));
    constexpr auto all = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    *out = static_cast<uint64_t>(stats.allocated_bytes[all].peak);
  });
}

// The number of threads of this shim's parallel loops.
int64_t ser_threads() {
  std::atomic<int64_t> threads{0};
  at::parallel_for(0, at::get_num_threads(), 1, [&](int64_t, int64_t) { threads++; });
  return threads;
}

// Creates a team of OpenMP threads on the calling thread, one more than there are processors. The team ends with the calling
// thread. Returns the size of the team, 1 without OpenMP.
int64_t ser_oversized_team() {
  int64_t size = 1;
#ifdef _OPENMP
#pragma omp parallel num_threads(omp_get_num_procs() + 1)
#pragma omp single
  size = omp_get_num_threads();
#endif
  return size;
}

// Ends the process with code 0 and without the destructors of static objects.
void ser_end_process() {
  fflush(nullptr);
  std::_Exit(0);
}

// The instruction set of the kernels, as a static string.
const char* ser_instruction_set() { return ser::kernel().name; }

char* ser_packed_attention(at::Tensor* q, at::Tensor* k, at::Tensor* v, at::Tensor* table, double scale,
                           int64_t window, at::Tensor** out) {
  return guarded([&] { *out = new at::Tensor(ser::packed_attention(*q, *k, *v, *table, scale, window)); });
}

// sequences: queries, keys and host of VarlenSequences; gather: gather, own, copies and copied, or null.
char* ser_varlen_attention(at::Tensor* q, at::Tensor* k, at::Tensor* v, at::Tensor** sequences, at::Tensor** gather,
                           int64_t longest_query, int64_t longest_key, double scale, int64_t window, at::Tensor** out) {
  return guarded([&] {
    ser::VarlenSequences s;
    s.queries = *sequences[0], s.keys = *sequences[1], s.host = *sequences[2];
    if (gather) s.gather = *gather[0], s.own = *gather[1], s.copies = *gather[2], s.copied = *gather[3];
    s.longest_query = longest_query, s.longest_key = longest_key;
    *out = new at::Tensor(ser::varlen_attention(*q, *k, *v, s, scale, window));
  });
}

char* ser_decode_attention(at::Tensor* q, at::Tensor* k, at::Tensor* v, const int64_t* ranges, const int64_t* ends,
                           double scale, at::Tensor** out) {
  return guarded([&] { *out = new at::Tensor(ser::decode_attention(*q, *k, *v, ranges, ends, scale)); });
}

// bias may be null.
char* ser_linear(at::Tensor* x, at::Tensor* weight, at::Tensor* bias, at::Tensor** out) {
  return guarded([&] {
    *out = new at::Tensor(ser::linear(*x, *weight, bias ? std::make_optional(*bias) : std::nullopt));
  });
}

// bias may be null.
char* ser_lora_linear(at::Tensor* x, at::Tensor* weight, at::Tensor* bias, at::Tensor* a, at::Tensor* b, double scale,
                      double p, uint64_t seed, const int64_t* rows, int64_t ranges, bool kernels, at::Tensor** out) {
  return guarded([&] {
    const auto own = bias ? std::make_optional(*bias) : std::nullopt;
    *out = new at::Tensor(ser::lora_linear(*x, *weight, own, *a, *b, {scale, dropout_mode(p, seed, rows, ranges), kernels}));
  });
}

char* ser_rms_norm(at::Tensor* x, at::Tensor* weight, double eps, at::Tensor** out) {
  return guarded([&] { *out = new at::Tensor(ser::rms_norm(*x, *weight, eps)); });
}

char* ser_swiglu(at::Tensor* gate, at::Tensor* up, at::Tensor** out) {
  return guarded([&] { *out = new at::Tensor(ser::swiglu(*gate, *up)); });
}

char* ser_rotate(at::Tensor* x, at::Tensor* cos, at::Tensor* sin, at::Tensor** out) {
  return guarded([&] { *out = new at::Tensor(ser::rotate(*x, *cos, *sin)); });
}

// Compiles and loads the kernels of a GPU, unless that is done.
char* ser_load_gpu_kernels(int64_t index) {
  return guarded([&] { ser::load_gpu_kernels(static_cast<c10::DeviceIndex>(index)); });
}

// log: the compiler's, freed with ser_free.
char* ser_compile_gpu_kernels(const char* architecture, char** log) {
  return guarded([&] { *log = strdup(ser::compile_gpu_kernels(architecture).c_str()); });
}

// Two results: log-probabilities, entropies.
char* ser_log_probs(at::Tensor* logits, at::Tensor* targets, at::Tensor** out) {
  return guarded([&] {
    auto [log_probs, entropies] = ser::log_probs(*logits, *targets);
    out[0] = new at::Tensor(std::move(log_probs));
    out[1] = new at::Tensor(std::move(entropies));
  });
}

char* ser_dropout(at::Tensor* x, double p, uint64_t seed, const int64_t* rows, int64_t ranges, at::Tensor** out) {
  return guarded([&] { *out = new at::Tensor(ser::dropout(*x, dropout_mode(p, seed, rows, ranges))); });
}

char* ser_fill_uniform(at::Tensor* x, double low, double high, uint64_t seed) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    x->uniform_(low, high, ser::seeded(x->device(), seed));
  });
}

char* ser_fill_normal(at::Tensor* x, double mean, double std, uint64_t seed) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    x->normal_(mean, std, ser::seeded(x->device(), seed));
  });
}

// A queued copy of numbers to a device, from pinned memory if it is a GPU; libtorch keeps the memory until the copy is done.
char* ser_upload(const int64_t* values, int64_t count, int device_type, int device_index, at::Tensor** out) {
  return guarded([&] {
    const at::Device device(static_cast<at::DeviceType>(device_type), static_cast<at::DeviceIndex>(device_index));
    auto host = at::empty({count}, at::TensorOptions(at::kLong).pinned_memory(device.is_cuda()));
    if (count > 0) std::memcpy(host.data_ptr<int64_t>(), values, count * sizeof(int64_t));
    *out = new at::Tensor(device.is_cpu() ? host : host.to(device, /*non_blocking=*/true));
  });
}

// The Euclidean norm of all gradients, in f32; of tensors on several devices too.
char* ser_gradients_norm(at::Tensor** grads, int64_t count, double* out) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    *out = 0;
    if (count == 0) return;
    const auto all = list(grads, count);
    auto norms = at::_foreach_norm(all, 2);
    for (auto& norm : norms) norm = norm.to(all[0].device());
    *out = at::stack(norms).norm().item<double>();
  });
}

char* ser_scale(at::Tensor** tensors, int64_t count, double factor) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    if (count > 0) at::_foreach_mul_(list(tensors, count), factor);
  });
}

// Makes the tensors have no gradients; the next backward pass stores its own without adding.
char* ser_clear_gradients(at::Tensor** tensors, int64_t count) {
  return guarded([&] {
    for (int64_t i = 0; i < count; i++) tensors[i]->mutable_grad().reset();
  });
}

char* ser_fused_adamw(at::Tensor** params, at::Tensor** grads, at::Tensor** first, at::Tensor** second,
                      at::Tensor** steps, int64_t count, double learning_rate, double beta1, double beta2,
                      double weight_decay, double epsilon) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    at::_fused_adamw_(list(params, count), list(grads, count), list(first, count), list(second, count), {},
                      list(steps, count), learning_rate, beta1, beta2, weight_decay, epsilon, /*amsgrad=*/false,
                      /*maximize=*/false);
  });
}
}
