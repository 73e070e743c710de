/* What the files of this folder share: shapes, epilogues, and one table of functions per instruction set.
 *
 * Words: a block is 16 output channels that are computed together; a tap is one position of a convolution's window.
 * Sums of a row come as [pixel][16]. Bits are little endian: channel i is bit i % 64 of word i / 64, 1 is negative.
 */
#ifndef BNAS_KERNELS_H
#define BNAS_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#define BLOCK 16
#define WORD 64
#define MAX_KERNEL 64    /* of floats */
#define MAX_BIT_KERNEL 15 /* of bits: 225 taps fit the 8 planes of a depthwise counter */

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

typedef struct {
  int64_t n, height, width, channels, out; /* of the input map; channels that leave */
  int64_t kernel, stride, dilation, padding, groups;
  int64_t rows, columns; /* of the output map */
} shape;

/* Per-channel arrays are padded with zeros by BLOCK entries. */
typedef struct {
  const float *magnitude, *scale, *bias;
  const float *before, *slope, *after;  /* all or none */
  const float *threshold;               /* negated where `sign` is set; NULL: no bits by floats */
  const uint32_t *sign;                 /* 0x80000000 where the comparison is turned round, else 0 */
  const int32_t *whole;                 /* integer thresholds, likewise; NULL: none */
  const float *source, *gain, *offset;  /* shortcut; gain and offset both or neither */
  int64_t source_height, source_width, source_channels;
  float *floats;   /* (n, rows, columns, out) or NULL */
  uint64_t *bits;  /* (n, rows, columns, words) or NULL */
  int64_t out, words, stride;
  const struct kernels *k;
} epilogue;

/* One row of sums of one block. */
typedef struct {
  const void *sums;      /* int32 popcounts or float sums */
  ptrdiff_t sum_step;    /* from pixel to pixel, in elements */
  const int32_t *border; /* (classes, padded out): valid bits of each class of columns; popcounts only */
  const int32_t *column_class;
  int64_t padded_out;
  const float *addend; /* of the shortcut, or NULL */
  ptrdiff_t addend_step;
  int64_t pixels, first_pixel, channel; /* index of the first pixel in the output map; first channel of the block */
  int count;                            /* channels of this block, at most BLOCK */
} row;

typedef struct kernels {
  const char *name;
  double words_per_ns; /* 1-bit products of 64 channels that a thread makes; measured, but for NEON's */
  void (*pack)(const float *values, int64_t pixels, int64_t channels, const float *threshold, const uint32_t *sign,
               uint64_t *bits);
  void (*count_row)(const uint64_t *base, ptrdiff_t step, const int64_t *offset, int64_t n_offsets, int narrow,
                    const uint64_t *tile, const epilogue *e, const row *r); /* counts and finishes; narrow: the upper
                                                                               32 bits of every word are zero */
  void (*count_depthwise)(const uint64_t *base, ptrdiff_t step, const int64_t *offset, int64_t taps,
                          const uint64_t *tile, int64_t pixels, int32_t *sums);
  void (*dot)(const float *base, ptrdiff_t step, const int64_t *offset, int64_t taps, int64_t channels,
              const float *tile, int64_t pixels, float *sums);
  void (*dot_depthwise)(const float *base, ptrdiff_t step, const int64_t *offset, int64_t taps, const float *tile,
                        int64_t pixels, float *sums);
  void (*expand)(const uint16_t *masks, int64_t n, float *tile);
  void (*finish_counts)(const epilogue *e, const row *r);
  void (*finish_floats)(const epilogue *e, const row *r);
  void (*linear)(const float *values, int64_t n, int64_t k, const void *weight, int type, int64_t out, int64_t first,
                 int64_t last, const float *scale, const float *bias, float *result);
  uint64_t (*popcounts)(uint64_t rounds); /* bits counted by `rounds` rounds of nothing but popcounts; for benchmarks */
  void (*dot_exact)(const double *base, ptrdiff_t step, const int64_t *offset, int64_t taps, int64_t channels,
                    const double *tile, int64_t pixels, float *sums);
  void (*depthwise_exact)(const double *base, ptrdiff_t step, const int64_t *offset, int64_t taps, const double *tile,
                          int64_t pixels, float *sums);
  void (*add_gained)(float *sum, const float *from, const float *gain, const float *offset, int64_t count);
  void (*average_row)(const epilogue *e, const float *from, int64_t channel, int64_t rows, int64_t columns,
                      int64_t groups, float *to);
  void (*pool_window)(const float *from, ptrdiff_t row, int64_t rows, int64_t columns, int64_t channels, int largest,
                      float *to);
} kernels;

const kernels *portable_kernels(void);
const kernels *avx2_kernels(void);   /* NULL where not compiled or the processor lacks it; likewise below */
const kernels *avx512_kernels(void);
const kernels *neon_kernels(void);

enum { N_IMPLEMENTATIONS = 4 };
const kernels *implementation(int index); /* best first; NULL: not here */
const char *implementation_name(int index);

/* At most `threads`, so that each has enough of `words` to do: products of 64 channels, or what takes as long. */
int worthwhile(const kernels *k, int threads, double words);

/* Calls body(context, task, worker) for every task below n_tasks; worker < threads. */
void in_parallel(int threads, int64_t n_tasks, void (*body)(void *, int64_t, int), void *context);

enum { OK = 0, NO_MEMORY = 1 };

enum { BITS_BITS, FLOATS_BITS, FLOATS_FLOATS, FLOATS_EXACT };
typedef struct {
  const kernels *k;
  int threads, kind;
  shape s;
  const void *input; /* uint64 (n, height, width, words) or float (n, height, width, channels) */
  const void *tiles; /* see docs/packed.md */
  const int32_t *ones; /* (taps, padded out): bits set in every tap's weights; BITS_BITS only */
} convolution;
int convolve(const convolution *c, const epilogue *e);

enum { POOL_AVERAGE, POOL_MAX };
int pool(const kernels *k, int threads, int kind, const shape *s, const float *values, const epilogue *e);
int combine(const kernels *k, int threads, const float *const *maps, int n_maps, int64_t pixels, const epilogue *e);
int pack_map(const kernels *k, int threads, const float *values, int64_t pixels, int64_t channels,
             const float *threshold, const uint32_t *sign, uint64_t *bits);
enum { FLOAT, HALF, INT8, N_TYPES }; /* of the weights of a linear layer */
int linear_map(const kernels *k, int threads, const float *values, int64_t n, int64_t inputs, const void *weight,
               int type, int64_t out, const float *scale, const float *bias, float *result);

/* Fills `r` with the addend of one row of output pixels of one block; `space` holds columns · BLOCK floats. */
void shortcut_row(const epilogue *e, row *r, int64_t image, int64_t y, int64_t columns, int64_t rows, float *space);

INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

#endif
