/* Popcounts with AVX-512 VPOPCNTDQ: a 64-bit lane is an output channel, an input word is spread over all lanes.
 *
 * Two inputs x = word XOR weight enter a carry-save adder with the running bit s by three ternary operations,
 *     t = s ^ x1,   s' = t ^ x2,   carry = majority(s, x1, x2) = t ? ~(t ^ s') ...  = (t & ~s') | (~t & s),
 * the XORs with the weights included, so that one popcount and one addition serve two inputs.
 */
#ifndef BNAS_COUNT_AVX512_H
#define BNAS_COUNT_AVX512_H

#include "vector.h"

#define XOR3 0x96
/* bits of the truth table: index = 4·t + 2·s' + s */
#define CARRY 0x3A

INLINE void count_pixels(const uint64_t *base, ptrdiff_t step, const int64_t *offset, int64_t n, const uint64_t *tile,
                         int pixels, int32_t *sums) {
  __m512i ones[8][2], twos[8][2];
  for (int v = 0; v < 2; v++) {
    __m512i w = _mm512_loadu_si512(tile + 8 * v);
#pragma GCC unroll 8
    for (int p = 0; p < pixels; p++) {
      ones[p][v] = _mm512_xor_si512(w, _mm512_set1_epi64((long long)base[p * step + offset[0]]));
      twos[p][v] = _mm512_setzero_si512();
    }
  }
  int64_t i = 1;
  for (; i + 1 < n; i += 2) {
    const uint64_t *first = base + offset[i], *second = base + offset[i + 1];
#pragma GCC unroll 2
    for (int v = 0; v < 2; v++) {
      __m512i w1 = _mm512_loadu_si512(tile + i * BLOCK + 8 * v), w2 = _mm512_loadu_si512(tile + (i + 1) * BLOCK + 8 * v);
#pragma GCC unroll 8
      for (int p = 0; p < pixels; p++) {
        __m512i s = ones[p][v];
        __m512i t = _mm512_ternarylogic_epi64(s, w1, _mm512_set1_epi64((long long)first[p * step]), XOR3);
        ones[p][v] = _mm512_ternarylogic_epi64(t, w2, _mm512_set1_epi64((long long)second[p * step]), XOR3);
        __m512i carry = _mm512_ternarylogic_epi64(t, ones[p][v], s, CARRY);
        twos[p][v] = _mm512_add_epi64(twos[p][v], _mm512_popcnt_epi64(carry));
      }
    }
  }
#pragma GCC unroll 8
  for (int p = 0; p < pixels; p++) {
    __m256i halves[2];
#pragma GCC unroll 2
    for (int v = 0; v < 2; v++) {
      __m512i total = _mm512_add_epi64(_mm512_add_epi64(twos[p][v], twos[p][v]), _mm512_popcnt_epi64(ones[p][v]));
      if (i < n) {
        __m512i w = _mm512_loadu_si512(tile + i * BLOCK + 8 * v);
        __m512i x = _mm512_xor_si512(w, _mm512_set1_epi64((long long)base[p * step + offset[i]]));
        total = _mm512_add_epi64(total, _mm512_popcnt_epi64(x));
      }
      halves[v] = _mm512_cvtepi64_epi32(total);
    }
    _mm512_storeu_si512(sums + p * BLOCK, _mm512_inserti64x4(_mm512_castsi256_si512(halves[0]), halves[1], 1));
  }
}

#define MOST_PIXELS 7
static void count(const uint64_t *base, ptrdiff_t step, const int64_t *offset, int64_t n, const uint64_t *tile,
                  int64_t pixels, int32_t *sums) {
  while (pixels > 0) {
    int64_t now = ceil_div(pixels, ceil_div(pixels, MOST_PIXELS));
    switch (now) {
      case 1: count_pixels(base, step, offset, n, tile, 1, sums); break;
      case 2: count_pixels(base, step, offset, n, tile, 2, sums); break;
      case 3: count_pixels(base, step, offset, n, tile, 3, sums); break;
      case 4: count_pixels(base, step, offset, n, tile, 4, sums); break;
      case 5: count_pixels(base, step, offset, n, tile, 5, sums); break;
      case 6: count_pixels(base, step, offset, n, tile, 6, sums); break;
      default: count_pixels(base, step, offset, n, tile, 7, sums); break;
    }
    base += now * step, sums += now * BLOCK, pixels -= now;
  }
}

static uint64_t popcounts(uint64_t rounds) {
  __m512i bits[8], total[8];
  for (int i = 0; i < 8; i++) bits[i] = _mm512_set1_epi64((long long)rounds + i), total[i] = bits[i];
  for (uint64_t round = 0; round < rounds; round++) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) total[i] = _mm512_popcnt_epi64(total[i]);
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) __asm__ volatile("" : "+v"(total[i]));
  }
  uint64_t sink = 0;
  for (int i = 0; i < 8; i++) sink |= (uint64_t)_mm512_reduce_add_epi64(total[i]) & 0;
  return rounds * 8 * 512 + sink;
}

#endif
