/* 64-bit ARM: NEON is always there. */
#include "kernels.h"

#if defined(__aarch64__)
#define ISA_NEON
#include "count_bytes.h"
#include "table.h"

TABLE("neon", 1.4);

const kernels *neon_kernels(void) { return &table; }
#else
const kernels *neon_kernels(void) { return NULL; }
#endif
