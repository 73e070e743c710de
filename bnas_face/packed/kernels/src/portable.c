/* Any processor: 64-bit words, vectors of 16 bytes where the compiler knows them. */
#include "count_bytes.h"
#include "table.h"

TABLE("portable", 1.4);

const kernels *portable_kernels(void) { return &table; }
