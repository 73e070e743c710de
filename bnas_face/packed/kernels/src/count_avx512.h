/* Popcounts with AVX-512 VPOPCNTDQ: a 64-bit lane is an output channel, an input word is spread over all lanes.
 *
 * XOR, popcount and addition are 1.5 cycles on Zen 4. Carry-save adders of ternary operations would need fewer
 * operations, but each of them waits for three sources that depend on each other.
 *
 * Where at most 32 input channels fill a word, a lane of 32 bits is an output channel, and a block one vector.
 */
#ifndef BNAS_COUNT_AVX512_H
#define BNAS_COUNT_AVX512_H

#include "vector.h"

#define MOST_PIXELS 12 /* two registers each; the others hold weights and passing values */

/* The lower 32 bits of every lane. */
INLINE __m512i low_halves(__m512i a, __m512i b) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi64_epi32(a)), _mm512_cvtepi64_epi32(b), 1);
}

/* One block of `pixels` pixels. */
INLINE void count_pixels(const uint64_t *base, ptrdiff_t step, const int64_t *offset, int64_t n, const uint64_t *tile,
                         int pixels, int32_t *sums) {
  __m512i low[MOST_PIXELS], high[MOST_PIXELS];
#pragma GCC unroll 16
  for (int p = 0; p < pixels; p++) low[p] = high[p] = _mm512_setzero_si512();
  for (int64_t i = 0; i < n; i++, tile += BLOCK) {
    const uint64_t *from = base + offset[i];
    __m512i w0 = _mm512_loadu_si512(tile), w1 = _mm512_loadu_si512(tile + BLOCK / 2);
#pragma GCC unroll 16
    for (int p = 0; p < pixels; p++) {
      __m512i word = _mm512_set1_epi64((long long)from[p * step]);
      low[p] = _mm512_add_epi64(low[p], _mm512_popcnt_epi64(_mm512_xor_si512(w0, word)));
      high[p] = _mm512_add_epi64(high[p], _mm512_popcnt_epi64(_mm512_xor_si512(w1, word)));
    }
  }
#pragma GCC unroll 16
  for (int p = 0; p < pixels; p++) _mm512_storeu_si512(sums + p * BLOCK, low_halves(low[p], high[p]));
}

INLINE void count_narrow(const uint64_t *base, ptrdiff_t step, const int64_t *offset, int64_t n, const uint64_t *tile,
                         int pixels, int32_t *sums) {
  __m512i total[MOST_PIXELS];
#pragma GCC unroll 16
  for (int p = 0; p < pixels; p++) total[p] = _mm512_setzero_si512();
  for (int64_t i = 0; i < n; i++, tile += BLOCK) {
    const uint64_t *from = base + offset[i];
    __m512i w = low_halves(_mm512_loadu_si512(tile), _mm512_loadu_si512(tile + BLOCK / 2));
#pragma GCC unroll 16
    for (int p = 0; p < pixels; p++) {
      __m512i word = _mm512_set1_epi32((int)from[p * step]);
      total[p] = _mm512_add_epi32(total[p], _mm512_popcnt_epi32(_mm512_xor_si512(w, word)));
    }
  }
#pragma GCC unroll 16
  for (int p = 0; p < pixels; p++) _mm512_storeu_si512(sums + p * BLOCK, total[p]);
}

#define CASE(N)                                                     \
  case N:                                                           \
    if (narrow) {                                                   \
      count_narrow(base, step, offset, n, tile, N, sums);           \
    } else {                                                        \
      count_pixels(base, step, offset, n, tile, N, sums);           \
    }                                                               \
    break

static void count(const uint64_t *base, ptrdiff_t step, const int64_t *offset, int64_t n, const uint64_t *tile,
                  int64_t pixels, int narrow, int32_t *sums) {
  while (pixels > 0) {
    int64_t now = ceil_div(pixels, ceil_div(pixels, MOST_PIXELS));
    switch (now) {
      CASE(1);
      CASE(2);
      CASE(3);
      CASE(4);
      CASE(5);
      CASE(6);
      CASE(7);
      CASE(8);
      CASE(9);
      CASE(10);
      CASE(11);
      CASE(MOST_PIXELS);
    }
    base += now * step, sums += now * BLOCK, pixels -= now;
  }
}

/* Eight chains of popcounts: more than the three cycles that one takes. */
static uint64_t popcounts(uint64_t rounds) {
  __m512i a = _mm512_set1_epi64((long long)rounds), b = a, c = a, d = a, e = a, f = a, g = a, h = a;
  for (uint64_t round = 0; round < rounds; round++) {
    a = _mm512_popcnt_epi64(a), b = _mm512_popcnt_epi64(b), c = _mm512_popcnt_epi64(c), d = _mm512_popcnt_epi64(d);
    e = _mm512_popcnt_epi64(e), f = _mm512_popcnt_epi64(f), g = _mm512_popcnt_epi64(g), h = _mm512_popcnt_epi64(h);
    __asm__ volatile("" : "+v"(a), "+v"(b), "+v"(c), "+v"(d), "+v"(e), "+v"(f), "+v"(g), "+v"(h));
  }
  return rounds * 8 * 512;
}

#endif
