/* The table of functions of the instruction set being compiled; include last. */
#include "finish.h"
#include "sums.h"

#define TABLE(NAME)                                                                                              \
  static const kernels table = {                                                                                 \
      NAME, pack, count, count_depthwise, dot, dot_depthwise, expand, finish_counts, finish_floats, linear, popcounts,   \
      dot_exact, depthwise_exact, add_gained}
