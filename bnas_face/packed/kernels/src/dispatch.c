/* Which instruction sets are here, and one loop over tasks by several threads. */
#include "kernels.h"

#include <stdlib.h>

#ifdef _OPENMP
#include <omp.h>
#endif

static const char *const NAMES[N_IMPLEMENTATIONS] = {"avx512-vpopcntdq", "avx2", "neon", "portable"};

const char *implementation_name(int index) { return NAMES[index]; }

const kernels *implementation(int index) {
  switch (index) {
    case 0: return avx512_kernels();
    case 1: return avx2_kernels();
    case 2: return neon_kernels();
    case 3: return portable_kernels();
    default: return NULL;
  }
}

/* What a thread has to do at the least: as much as it costs to have it begin. On two cores of a virtual Zen 4 server a
 * sleeping thread (OMP_WAIT_POLICY=passive) took 75 to 150 µs to wake, a spinning one 25. Tests build with 0. */
static double least_ns(void) {
#ifdef THREAD_NS
  return THREAD_NS;
#else
  const char *policy = getenv("OMP_WAIT_POLICY");
  return policy && (*policy == 'p' || *policy == 'P') ? 1e5 : 2.5e4;
#endif
}

int worthwhile(const kernels *k, int threads, double words) {
  double least = k->words_per_ns * least_ns();
  while (threads > 1 && words < least * threads) threads--;
  return threads;
}

void in_parallel(int threads, int64_t n_tasks, void (*body)(void *, int64_t, int), void *context) {
#ifdef _OPENMP
  if (threads > n_tasks) threads = (int)n_tasks;
  if (threads > 1) {
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int64_t task = 0; task < n_tasks; task++) body(context, task, omp_get_thread_num());
    return;
  }
#else
  (void)threads;
#endif
  for (int64_t task = 0; task < n_tasks; task++) body(context, task, 0);
}
