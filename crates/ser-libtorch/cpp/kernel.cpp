// Selection of the instruction set.
#include "kernel.h"

#include <cstdlib>
#include <string>

namespace ser {
namespace {

#define SER_KERNEL_OF(ISA, E)                                                                                       \
  {                                                                                                                 \
    ISA::attend<E>, ISA::attend_backward<E>, ISA::decode<E>, ISA::few_rows<E>, ISA::dropout<E>, ISA::rms_norm<E>,   \
        ISA::rms_norm_backward<E>, ISA::swiglu<E>, ISA::swiglu_backward<E>, ISA::rotate<E>, ISA::log_prob<E>,       \
        ISA::log_prob_backward<E>                                                                                   \
  }
#define SER_KERNEL(ISA)                                                                                             \
  Kernel { #ISA, ISA::panel_width, ISA::multiply, SER_KERNEL_OF(ISA, float), SER_KERNEL_OF(ISA, bf16) }

Kernel pick() {
#if defined(__x86_64__)
  const char* named = std::getenv("SER_KERNELS");
  const std::string most = named ? named : "avx512bf16";
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (most == "avx512bf16" && avx512 && __builtin_cpu_supports("avx512bf16")) return SER_KERNEL(avx512bf16);
  if ((most == "avx512bf16" || most == "avx512") && avx512) return SER_KERNEL(avx512);
  if (most != "baseline" && avx2) return SER_KERNEL(avx2);
#endif
  return SER_KERNEL(baseline);
}

}  // namespace

const Kernel& kernel() {
  static const Kernel chosen = pick();
  return chosen;
}

}  // namespace ser
