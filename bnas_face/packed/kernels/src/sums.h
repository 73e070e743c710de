/* Sums that every instruction set computes alike: depthwise bit counters, float products, linear layers. */
#ifndef BNAS_SUMS_H
#define BNAS_SUMS_H

#include "vector.h"

#define PLANES 8

/* ones[channel] of 16 channels from the bit planes of their counters. */
INLINE void unfold(const uint64_t *planes, int n_planes, int shift, int32_t *sums) {
  const int32_t lanes[BLOCK] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768};
  for (int part = 0; part < PARTS; part++) {
    vi bit = load_whole(lanes + part * LANES), total = {0};
    for (int plane = 0; plane < n_planes; plane++) {
      int32_t mask = (int32_t)((planes[plane] >> shift) & 0xFFFF);
      total += ((bit & mask) == bit) & (1 << plane);
    }
    memcpy(sums + part * LANES, &total, sizeof total);
  }
}

/* 64 channels at once: counter plane k holds bit k of 64 counters. Sums come as [block of 4][pixel][16]. */
static void count_depthwise(const uint64_t *base, ptrdiff_t step, const int64_t *offset, int64_t taps,
                            const uint64_t *tile, int64_t pixels, int32_t *sums) {
  int n_planes = 1;
  while ((taps >> n_planes) > 0) n_planes++;
  for (int64_t pixel = 0; pixel < pixels; pixel++, base += step) {
    uint64_t planes[PLANES] = {0};
    for (int64_t tap = 0; tap < taps; tap++) {
      uint64_t carry = base[offset[tap]] ^ tile[tap];
      for (int plane = 0; plane < n_planes; plane++) {
        uint64_t both = planes[plane] & carry;
        planes[plane] ^= carry;
        carry = both;
      }
    }
    for (int block = 0; block < WORD / BLOCK; block++)
      unfold(planes, n_planes, block * BLOCK, sums + (block * pixels + pixel) * BLOCK);
  }
}

#define NAMED(name) name##_floats
#define NUMBER float
#define VECTOR vf
#define AT_ONCE LANES
#define IN_BLOCK PARTS
#if defined(ISA_AVX512)
#define TOGETHER 14
#elif defined(ISA_AVX2)
#define TOGETHER 6
#else
#define TOGETHER 4
#endif
#define LOAD load
#define SPREAD spread
#define FUSED fused
#define SAVE store
#include "products.h"

/* In double precision: products of floats are exact in it, so that the sums' order does not matter; rounded once. */
typedef float vd_rounded __attribute__((vector_size(D_LANES * 4)));
INLINE void store_rounded(float *to, vd v) {
  vd_rounded rounded = __builtin_convertvector(v, vd_rounded);
  memcpy(to, &rounded, sizeof rounded);
}
#define NAMED(name) name##_exact
#define NUMBER double
#define VECTOR vd
#define AT_ONCE D_LANES
#define IN_BLOCK D_PARTS
#if defined(ISA_AVX512)
#define TOGETHER 12
#else
#define TOGETHER 2
#endif
#define LOAD load_double
#define SPREAD spread_double
#define FUSED fused_double
#define SAVE store_rounded
#include "products.h"

/* Masks of 16 channels → weights ±1. */
static void expand(const uint16_t *masks, int64_t n, float *tile) {
  const int32_t lanes[BLOCK] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768};
  for (int64_t i = 0; i < n; i++, tile += BLOCK)
    for (int part = 0; part < PARTS; part++) {
      vi bit = load_whole(lanes + part * LANES);
      vi sign = ((bit & (int32_t)masks[i]) == bit) & INT32_MIN;
      store(tile + part * LANES, (vf)((vi)spread(1) ^ sign));
    }
}

INLINE float half_to_float(uint16_t half) {
  uint32_t sign = (uint32_t)(half & 0x8000) << 16, rest = half & 0x7FFF, bits;
  float scaled;
  if (rest >= 0x7C00) {
    bits = rest << 13 | 0x7F800000;
  } else {
    bits = rest << 13;
    memcpy(&scaled, &bits, sizeof scaled);
    scaled *= 0x1p112f; /* exponent bias 15 → 127; right for subnormal numbers, too */
    memcpy(&bits, &scaled, sizeof bits);
  }
  bits |= sign;
  memcpy(&scaled, &bits, sizeof scaled);
  return scaled;
}

#if defined(ISA_AVX512)
INLINE vf load_half(const uint16_t *from) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from)); }
#elif defined(ISA_AVX2)
INLINE vf load_half(const uint16_t *from) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from)); }
#elif defined(ISA_NEON)
INLINE vf load_half(const uint16_t *from) { return (vf)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from))); }
#else
INLINE vf load_half(const uint16_t *from) {
  return (vf){half_to_float(from[0]), half_to_float(from[1]), half_to_float(from[2]), half_to_float(from[3])};
}
#endif

#if defined(ISA_AVX512)
INLINE vf load_int8(const int8_t *from) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)from)));
}
#elif defined(ISA_AVX2)
INLINE vf load_int8(const int8_t *from) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)from)));
}
#else
INLINE vf load_int8(const int8_t *from) { return (vf){from[0], from[1], from[2], from[3]}; }
#endif

INLINE vf load_weight(const void *weight, int64_t at, int type) {
  if (type == HALF) return load_half((const uint16_t *)weight + at);
  return type == INT8 ? load_int8((const int8_t *)weight + at) : load((const float *)weight + at);
}

INLINE float weight_at(const void *weight, int64_t at, int type) {
  if (type == HALF) return half_to_float(((const uint16_t *)weight)[at]);
  return type == INT8 ? (float)((const int8_t *)weight)[at] : ((const float *)weight)[at];
}

/* `images` × `outputs` products of rows of length k, vectors along k. */
INLINE void linear_tile(const float *values, int64_t k, const void *weight, int64_t first, int type, int images,
                        int outputs, float sums[4][4]) {
  vf total[4][4];
  for (int a = 0; a < images; a++)
    for (int b = 0; b < outputs; b++) total[a][b] = spread(0);
  int64_t i = 0;
  for (; i + LANES <= k; i += LANES) {
    vf w[4];
    for (int b = 0; b < outputs; b++) w[b] = load_weight(weight, (first + b) * k + i, type);
    for (int a = 0; a < images; a++) {
      vf value = load(values + a * k + i);
      for (int b = 0; b < outputs; b++) total[a][b] = fused(value, w[b], total[a][b]);
    }
  }
  for (int a = 0; a < images; a++)
    for (int b = 0; b < outputs; b++) {
      float sum = 0;
      for (int lane = 0; lane < LANES; lane++) sum += total[a][b][lane];
      for (int64_t j = i; j < k; j++) sum += values[a * k + j] * weight_at(weight, (first + b) * k + j, type);
      sums[a][b] = sum;
    }
}

INLINE void linear_some(const float *values, int64_t n, int64_t k, const void *weight, int type, int64_t out,
                        int64_t first, int outputs, const float *scale, const float *bias, float *result) {
  float sums[4][4];
  for (int64_t image = 0; image < n;) {
    int now = n - image >= 4 ? 4 : 1;
    if (now == 4) {
      linear_tile(values + image * k, k, weight, first, type, 4, outputs, sums);
    } else {
      linear_tile(values + image * k, k, weight, first, type, 1, outputs, sums);
    }
    for (int a = 0; a < now; a++)
      for (int b = 0; b < outputs; b++)
        result[(image + a) * out + first + b] = sums[a][b] * scale[first + b] + bias[first + b];
    image += now;
  }
}

static void linear(const float *values, int64_t n, int64_t k, const void *weight, int type, int64_t out, int64_t first,
                   int64_t last, const float *scale, const float *bias, float *result) {
  for (; first + 4 <= last; first += 4) {
    if (type == HALF) {
      linear_some(values, n, k, weight, HALF, out, first, 4, scale, bias, result);
    } else if (type == INT8) {
      linear_some(values, n, k, weight, INT8, out, first, 4, scale, bias, result);
    } else {
      linear_some(values, n, k, weight, FLOAT, out, first, 4, scale, bias, result);
    }
  }
  for (; first < last; first++) linear_some(values, n, k, weight, type, out, first, 1, scale, bias, result);
}

#endif
