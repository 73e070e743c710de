/* x86 with AVX-512 F, BW, DQ, VL and VPOPCNTDQ (Ice Lake, Zen 4 and later). */
#include "kernels.h"

#if defined(__x86_64__)
#define ISA_AVX512

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,avx2,fma,f16c"))),\
                             apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,avx2,fma,f16c")
#endif
#include <immintrin.h>

#include "count_avx512.h"
#include "table.h"

TABLE("avx512-vpopcntdq", 11);
#if defined(__clang__)
#pragma clang attribute pop
#endif

const kernels *avx512_kernels(void) {
  __builtin_cpu_init();
  int here = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("fma") &&
             __builtin_cpu_supports("f16c");
  return here ? &table : NULL;
}
#else
const kernels *avx512_kernels(void) { return NULL; }
#endif
