/* A vector of floats of the instruction set being compiled: `vf` with LANES lanes and PARTS of them in a block.
 *
 * Only what the compilers' own vector operators (+ − · and comparisons) do not say is written per instruction set.
 */
#ifndef BNAS_VECTOR_H
#define BNAS_VECTOR_H

#include <string.h>

#include "kernels.h"

#if defined(ISA_AVX512)
#define LANES 16
#elif defined(ISA_AVX2)
#define LANES 8
#else
#define LANES 4
#endif
#define PARTS (BLOCK / LANES)

typedef float vf __attribute__((vector_size(LANES * 4)));
typedef int32_t vi __attribute__((vector_size(LANES * 4)));

INLINE vf load(const float *from) {
  vf v;
  memcpy(&v, from, sizeof v);
  return v;
}

INLINE vi load_whole(const void *from) {
  vi v;
  memcpy(&v, from, sizeof v);
  return v;
}

INLINE void store(float *to, vf v) { memcpy(to, &v, sizeof v); }

/* Doubles: half as many in a vector of the same size. */
#define D_LANES (LANES / 2)
#define D_PARTS (BLOCK / D_LANES)
typedef double vd __attribute__((vector_size(LANES * 4)));

INLINE vd load_double(const double *from) {
  vd v;
  memcpy(&v, from, sizeof v);
  return v;
}

INLINE vf to_float(vi v) { return __builtin_convertvector(v, vf); }

/* once(a, b, c) = a · b + c rounded once; fused may round twice. NaN stays NaN in max_zero(v) + slope * min_zero(v). */
#if defined(ISA_AVX512)
#include <immintrin.h>
INLINE vf spread(float v) { return _mm512_set1_ps(v); }
INLINE vf fused(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vf once(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vd spread_double(double v) { return _mm512_set1_pd(v); }
INLINE vd fused_double(vd a, vd b, vd c) { return _mm512_fmadd_pd(a, b, c); }
INLINE vf max_zero(vf v) { return _mm512_max_ps(_mm512_setzero_ps(), v); }
INLINE vf min_zero(vf v) { return _mm512_min_ps(_mm512_setzero_ps(), v); }
INLINE uint32_t less(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
INLINE uint32_t less_whole(vi a, vi b) { return _mm512_cmplt_epi32_mask((__m512i)a, (__m512i)b); }
#elif defined(ISA_AVX2)
#include <immintrin.h>
INLINE vf spread(float v) { return _mm256_set1_ps(v); }
INLINE vf fused(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
INLINE vf once(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
INLINE vd spread_double(double v) { return _mm256_set1_pd(v); }
INLINE vd fused_double(vd a, vd b, vd c) { return _mm256_fmadd_pd(a, b, c); }
INLINE vf max_zero(vf v) { return _mm256_max_ps(_mm256_setzero_ps(), v); }
INLINE vf min_zero(vf v) { return _mm256_min_ps(_mm256_setzero_ps(), v); }
INLINE uint32_t less(vf a, vf b) { return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_LT_OQ)); }
INLINE uint32_t less_whole(vi a, vi b) { return (uint32_t)_mm256_movemask_ps((__m256)(a < b)); }
#else
INLINE vf spread(float v) { return (vf){v, v, v, v}; }
#if defined(ISA_NEON)
#include <arm_neon.h>
INLINE vf fused(vf a, vf b, vf c) { return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
INLINE vf once(vf a, vf b, vf c) { return fused(a, b, c); }
#else
INLINE vf fused(vf a, vf b, vf c) { return a * b + c; }
INLINE vf once(vf a, vf b, vf c) { /* as the numpy definition */
  vf result;
  for (int i = 0; i < LANES; i++) result[i] = (float)((double)a[i] * b[i] + c[i]);
  return result;
}
#endif
INLINE vd spread_double(double v) { return (vd){v, v}; }
INLINE vd fused_double(vd a, vd b, vd c) { return a * b + c; } /* of floats, whose products are exact: rounded once */
INLINE vf max_zero(vf v) { return (vf)((vi)v & ~(v < 0)); }
INLINE vf min_zero(vf v) { return (vf)((vi)v & (v < 0)); }
INLINE uint32_t four(vi mask) {
  return ((uint32_t)mask[0] & 1) | ((uint32_t)mask[1] & 2) | ((uint32_t)mask[2] & 4) | ((uint32_t)mask[3] & 8);
}
INLINE uint32_t less(vf a, vf b) { return four(a < b); }
INLINE uint32_t less_whole(vi a, vi b) { return four(a < b); }
#endif

/* v · (−1 where the sign bit of `sign` is set). */
INLINE vf flipped(vf v, const uint32_t *sign) { return (vf)((vi)v ^ load_whole(sign)); }

#endif
