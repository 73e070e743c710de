/* Sums of products of one block of output channels. `sums.h` includes this once for floats and once for doubles, with
 *
 *   NAMED(name)     the functions' names
 *   NUMBER, VECTOR  type of inputs and weights, and of vectors of them
 *   AT_ONCE, IN_BLOCK, TOGETHER   lanes of a vector, vectors of a block, pixels that are computed together
 *   LOAD, SPREAD, FUSED           operations on vectors
 *   SAVE(to, v)     writes a vector of sums as floats
 */

INLINE void NAMED(dot_pixels)(const NUMBER *base, ptrdiff_t step, const int64_t *offset, int64_t taps, int64_t channels,
                              const NUMBER *tile, int pixels, float *sums) {
  VECTOR total[TOGETHER][IN_BLOCK];
#pragma GCC unroll 16
  for (int p = 0; p < pixels; p++)
    for (int part = 0; part < IN_BLOCK; part++) total[p][part] = SPREAD(0);
  for (int64_t tap = 0; tap < taps; tap++) {
    const NUMBER *from = base + offset[tap];
    for (int64_t i = 0; i < channels; i++, tile += BLOCK) {
      VECTOR w[IN_BLOCK];
      for (int part = 0; part < IN_BLOCK; part++) w[part] = LOAD(tile + part * AT_ONCE);
#pragma GCC unroll 16
      for (int p = 0; p < pixels; p++) {
        VECTOR value = SPREAD(from[p * step + i]);
        for (int part = 0; part < IN_BLOCK; part++) total[p][part] = FUSED(value, w[part], total[p][part]);
      }
    }
  }
#pragma GCC unroll 16
  for (int p = 0; p < pixels; p++)
    for (int part = 0; part < IN_BLOCK; part++) SAVE(sums + p * BLOCK + part * AT_ONCE, total[p][part]);
}

static void NAMED(dot)(const NUMBER *base, ptrdiff_t step, const int64_t *offset, int64_t taps, int64_t channels,
                       const NUMBER *tile, int64_t pixels, float *sums) {
  for (; pixels >= TOGETHER; pixels -= TOGETHER, base += TOGETHER * step, sums += TOGETHER * BLOCK)
    NAMED(dot_pixels)(base, step, offset, taps, channels, tile, TOGETHER, sums);
#if TOGETHER > 7
  for (; pixels >= 7; pixels -= 7, base += 7 * step, sums += 7 * BLOCK)
    NAMED(dot_pixels)(base, step, offset, taps, channels, tile, 7, sums);
#endif
  for (; pixels >= 2; pixels -= 2, base += 2 * step, sums += 2 * BLOCK)
    NAMED(dot_pixels)(base, step, offset, taps, channels, tile, 2, sums);
  if (pixels) NAMED(dot_pixels)(base, step, offset, taps, channels, tile, 1, sums);
}

INLINE void NAMED(depthwise_part)(const NUMBER *base, ptrdiff_t step, const int64_t *offset, int64_t taps,
                                  const NUMBER *tile, int64_t pixels, float *sums) {
  for (int64_t pixel = 0; pixel < pixels; pixel++, base += step) {
    VECTOR total = SPREAD(0);
    for (int64_t tap = 0; tap < taps; tap++) total = FUSED(LOAD(base + offset[tap]), LOAD(tile + tap * BLOCK), total);
    SAVE(sums + pixel * BLOCK, total);
  }
}

/* One block of channels, each with its own kernel: tile is [tap][16]; the input's channels lie side by side. The usual
 * number of taps is compiled by itself: their weights stay in registers. */
static void NAMED(depthwise)(const NUMBER *base, ptrdiff_t step, const int64_t *offset, int64_t taps,
                             const NUMBER *tile, int64_t pixels, float *sums) {
  for (int at = 0; at < BLOCK; at += AT_ONCE) {
    if (taps == 9) {
      NAMED(depthwise_part)(base + at, step, offset, 9, tile + at, pixels, sums + at);
    } else {
      NAMED(depthwise_part)(base + at, step, offset, taps, tile + at, pixels, sums + at);
    }
  }
}

#undef NAMED
#undef NUMBER
#undef VECTOR
#undef AT_ONCE
#undef IN_BLOCK
#undef TOGETHER
#undef LOAD
#undef SPREAD
#undef FUSED
#undef SAVE
