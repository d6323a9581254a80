// Which instruction set's kernels run.
#include "kernel.h"

namespace ser {
namespace {

#define SER_KERNEL(ISA)                                                                                          \
  Kernel {                                                                                                       \
    ISA::attend, ISA::attend_backward, ISA::decode, ISA::panel_width, ISA::multiply, ISA::few_rows, ISA::dropout, \
        ISA::rms_norm, ISA::rms_norm_backward, ISA::swiglu, ISA::swiglu_backward, ISA::rotate, ISA::log_prob, ISA::log_prob_backward \
  }

Kernel pick() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    return SER_KERNEL(avx512);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return SER_KERNEL(avx2);
#endif
  return SER_KERNEL(baseline);
}

}  // namespace

const Kernel& kernel() {
  static const Kernel chosen = pick();
  return chosen;
}

}  // namespace ser
