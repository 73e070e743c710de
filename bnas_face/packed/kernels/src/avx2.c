/* x86 with AVX2, FMA and F16C. */
#include "kernels.h"

#if defined(__x86_64__)
#define ISA_AVX2
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c")
#endif
#include <immintrin.h>

#include "count_bytes.h"
#include "table.h"

TABLE("avx2", 5);
#if defined(__clang__)
#pragma clang attribute pop
#endif

const kernels *avx2_kernels(void) {
  __builtin_cpu_init();
  int here = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  return here ? &table : NULL;
}
#else
const kernels *avx2_kernels(void) { return NULL; }
#endif
