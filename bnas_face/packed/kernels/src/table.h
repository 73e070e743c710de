/* The table of functions of the instruction set being compiled; include last. */
#include "finish.h"
#include "sums.h"

#define TILE_PIXELS 12

/* The lines of the output come into the cache while their pixels are counted. */
INLINE void fetch_lines(const epilogue *e, const row *r) {
  const float *to = e->floats + r->first_pixel * e->out + r->channel;
  for (int64_t pixel = 0; pixel < r->pixels; pixel++) __builtin_prefetch(to + pixel * e->out, 1);
}

/* Counts and finishes few pixels at a time: their stores drain while the next are counted. */
static void count_row(const uint64_t *base, ptrdiff_t step, const int64_t *offset, int64_t n_offsets,
                      int narrow, const uint64_t *tile, const epilogue *e, const row *r) {
  int32_t sums[TILE_PIXELS * BLOCK];
  row part = *r;
  part.sums = sums;
  int64_t together = ceil_div(r->pixels, ceil_div(r->pixels, TILE_PIXELS));
  for (int64_t done = 0; done < r->pixels; done += together) {
    part.pixels = r->pixels - done < together ? r->pixels - done : together;
    if (e->floats) fetch_lines(e, &part);
    count(base, step, offset, n_offsets, tile, part.pixels, narrow, sums);
    finish_counts(e, &part);
    base += together * step;
    part.first_pixel += together;
    part.column_class += together;
    if (part.addend) part.addend += together * part.addend_step;
  }
}

#define TABLE(NAME, WORDS_PER_NS)                                                                                   \
  static const kernels table = {                                                                                    \
      NAME, WORDS_PER_NS, pack, count_row, count_depthwise, dot_floats, depthwise_floats, expand, finish_counts,    \
      finish_floats, linear, popcounts, dot_exact, depthwise_exact, add_gained, average_row,          \
      pool_window}
