/* Popcounts where the processor counts bits of bytes only (NEON), or by nibbles (AVX2), or not at all (portable).
 *
 * A 64-bit lane is an output channel, an input word is spread over all lanes; bits are counted per byte, and the eight
 * bytes of a lane are summed before one of them could overflow.
 */
#ifndef BNAS_COUNT_BYTES_H
#define BNAS_COUNT_BYTES_H

#include "vector.h"

#define WORDS_IN_VECTOR (LANES / 2)
#define VECTORS (BLOCK / WORDS_IN_VECTOR)
#define ROUNDS 31 /* of at most 8 bits a byte: 248 fits */

typedef uint64_t vw __attribute__((vector_size(LANES * 4)));

#if defined(ISA_AVX2)
INLINE vw spread_word(uint64_t word) { return (vw)_mm256_set1_epi64x((long long)word); }
INLINE vw bytes_of(vw x) {
  const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2,
                                         2, 3, 2, 3, 3, 4);
  const __m256i nibble = _mm256_set1_epi8(15);
  __m256i low = _mm256_and_si256((__m256i)x, nibble);
  __m256i high = _mm256_and_si256(_mm256_srli_epi16((__m256i)x, 4), nibble);
  return (vw)_mm256_add_epi8(_mm256_shuffle_epi8(table, low), _mm256_shuffle_epi8(table, high));
}
INLINE vw add_bytes(vw a, vw b) { return (vw)_mm256_add_epi8((__m256i)a, (__m256i)b); }
INLINE vw sum_bytes(vw bytes) { return (vw)_mm256_sad_epu8((__m256i)bytes, _mm256_setzero_si256()); }
#define PIXELS 2
#else
INLINE vw spread_word(uint64_t word) { return (vw){word, word}; }
INLINE vw add_bytes(vw a, vw b) { return a + b; } /* no byte overflows */
#define PIXELS 2
#if defined(ISA_NEON)
INLINE vw bytes_of(vw x) { return (vw)vcntq_u8((uint8x16_t)x); }
INLINE vw sum_bytes(vw bytes) { return (vw)vpaddlq_u32(vpaddlq_u16(vpaddlq_u8((uint8x16_t)bytes))); }
#else
INLINE vw bytes_of(vw x) {
  x = x - ((x >> 1) & 0x5555555555555555);
  x = (x & 0x3333333333333333) + ((x >> 2) & 0x3333333333333333);
  return (x + (x >> 4)) & 0x0F0F0F0F0F0F0F0F;
}
INLINE vw sum_bytes(vw bytes) {
  vw pairs = (bytes & 0x00FF00FF00FF00FF) + ((bytes >> 8) & 0x00FF00FF00FF00FF);
  return (pairs * 0x0001000100010001) >> 48;
}
#endif
#endif

/* Eight channels at a time for AVX2, four for the others: accumulators stay in registers. */
#define CHUNK 2

INLINE void count_pixels(const uint64_t *base, ptrdiff_t step, const int64_t *offset, int64_t n, const uint64_t *tile,
                         int pixels, int32_t *sums) {
  for (int chunk = 0; chunk < VECTORS; chunk += CHUNK) {
    vw total[PIXELS][CHUNK] = {0};
    for (int64_t i = 0; i < n;) {
      vw bytes[PIXELS][CHUNK] = {0};
      int64_t end = i + ROUNDS < n ? i + ROUNDS : n;
      for (; i < end; i++) {
        for (int p = 0; p < pixels; p++) {
          vw word = spread_word(base[p * step + offset[i]]);
          for (int v = 0; v < CHUNK; v++) {
            vw weight;
            memcpy(&weight, tile + i * BLOCK + (chunk + v) * WORDS_IN_VECTOR, sizeof weight);
            bytes[p][v] = add_bytes(bytes[p][v], bytes_of(weight ^ word));
          }
        }
      }
      for (int p = 0; p < pixels; p++)
        for (int v = 0; v < CHUNK; v++) total[p][v] += sum_bytes(bytes[p][v]);
    }
    for (int p = 0; p < pixels; p++)
      for (int v = 0; v < CHUNK; v++)
        for (int lane = 0; lane < WORDS_IN_VECTOR; lane++)
          sums[p * BLOCK + (chunk + v) * WORDS_IN_VECTOR + lane] = (int32_t)total[p][v][lane];
  }
}

static void count(const uint64_t *base, ptrdiff_t step, const int64_t *offset, int64_t n, const uint64_t *tile,
                  int64_t pixels, int narrow, int32_t *sums) {
  (void)narrow;
  for (; pixels >= PIXELS; pixels -= PIXELS, base += PIXELS * step, sums += PIXELS * BLOCK)
    count_pixels(base, step, offset, n, tile, PIXELS, sums);
  for (; pixels > 0; pixels--, base += step, sums += BLOCK) count_pixels(base, step, offset, n, tile, 1, sums);
}

static uint64_t popcounts(uint64_t rounds) {
  vw x[4], total = {0};
  for (int i = 0; i < 4; i++) x[i] = spread_word(rounds + (uint64_t)i);
  for (uint64_t round = 0; round < rounds; round++)
    for (int i = 0; i < 4; i++) x[i] = bytes_of(x[i]);
  for (int i = 0; i < 4; i++) total += x[i];
  return rounds * 4 * sizeof(vw) * 8 + (total[0] >> 63); /* never 1, which the compiler cannot know */
}

#endif
