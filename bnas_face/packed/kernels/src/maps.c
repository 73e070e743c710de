/* Whole maps without weights, and linear layers: signs, pools, sums of maps. */
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

#define PIXELS_AT_ONCE 64
#define NUMBER_WORDS 2 /* a number of a map that is read takes as long as so many 1-bit products of words */

typedef struct {
  const kernels *k;
  const float *values, *threshold;
  const uint32_t *sign;
  uint64_t *bits;
  int64_t pixels, channels, together;
} pack_job;

static void pack_task(void *context, int64_t task, int worker) {
  const pack_job *j = context;
  (void)worker;
  int64_t first = task * j->together, n = j->pixels - first < j->together ? j->pixels - first : j->together;
  const int64_t words = ceil_div(j->channels, WORD);
  /* few pixels at a time: all words of a pixel are read while it is in the L1 cache */
  int64_t step = ceil_div(16 * 1024, 4 * j->channels);
  for (int64_t done = 0; done < n; done += step) {
    int64_t now = n - done < step ? n - done : step;
    j->k->pack(j->values + (first + done) * j->channels, now, j->channels, j->threshold, j->sign,
               j->bits + (first + done) * words);
  }
}

int pack_map(const kernels *k, int threads, const float *values, int64_t pixels, int64_t channels,
             const float *threshold, const uint32_t *sign, uint64_t *bits) {
  threads = worthwhile(k, threads, (double)(pixels * channels) * NUMBER_WORDS);
  pack_job job = {k, values, threshold, sign, bits, pixels, channels, ceil_div(pixels, threads)};
  if (job.together * channels > 1 << 18) job.together = ceil_div(1 << 18, channels);
  in_parallel(threads, pixels ? ceil_div(pixels, job.together) : 0, pack_task, &job);
  return OK;
}

/* What `epilogue` makes of sums (pixels, step) of all channels. */
static void finish_all(const kernels *k, const epilogue *e, const float *sums, ptrdiff_t step, int64_t first,
                       int64_t pixels) {
  row r = {.sum_step = step, .pixels = pixels, .first_pixel = first};
  for (r.channel = 0; r.channel < e->out; r.channel += BLOCK) {
    r.sums = sums + r.channel;
    r.count = e->out - r.channel < BLOCK ? (int)(e->out - r.channel) : BLOCK;
    k->finish_floats(e, &r);
  }
}

typedef struct {
  const kernels *k;
  const epilogue *e;
  const float *const *maps;
  int n_maps;
  int64_t pixels, step, space; /* floats from pixel to pixel of the scratch; of a worker */
  float *scratch;
  const shape *s;
  int kind;
} map_job;

static void combine_task(void *context, int64_t task, int worker) {
  const map_job *j = context;
  int64_t c = j->e->out, first = task * PIXELS_AT_ONCE;
  int64_t n = j->pixels - first < PIXELS_AT_ONCE ? j->pixels - first : PIXELS_AT_ONCE;
  if (j->n_maps == 1 && c % BLOCK == 0) {
    finish_all(j->k, j->e, j->maps[0] + first * c, c, first, n);
    return;
  }
  float *sums = j->scratch + worker * j->space;
  for (int64_t pixel = 0; pixel < n; pixel++) {
    float *to = sums + pixel * j->step;
    memcpy(to, j->maps[0] + (first + pixel) * c, (size_t)c * sizeof *to);
    for (int map = 1; map < j->n_maps; map++) {
      const float *from = j->maps[map] + (first + pixel) * c;
      for (int64_t i = 0; i < c; i++) to[i] += from[i];
    }
  }
  finish_all(j->k, j->e, sums, j->step, first, n);
}

static void pool_pixel(const map_job *j, int64_t image, int64_t y, int64_t x, float *to) {
  const shape *s = j->s;
  int64_t top = y * s->stride - s->padding, left = x * s->stride - s->padding;
  int64_t bottom = top + s->kernel < s->height ? top + s->kernel : s->height;
  int64_t right = left + s->kernel < s->width ? left + s->kernel : s->width;
  if (top < 0) top = 0;
  if (left < 0) left = 0;
  const float *from = j->maps[0] + ((image * s->height + top) * s->width + left) * s->channels;
  j->k->pool_window(from, s->width * s->channels, bottom - top, right - left, s->channels, j->kind == POOL_MAX, to);
}

static void pool_task(void *context, int64_t task, int worker) {
  const map_job *j = context;
  const shape *s = j->s;
  float *sums = j->scratch + worker * j->space;
  for (int64_t x = 0; x < s->columns; x++) pool_pixel(j, task / s->rows, task % s->rows, x, sums + x * j->step);
  finish_all(j->k, j->e, sums, j->step, task * s->columns, s->columns);
}

/* `reads` numbers for each one that is made. */
static int run_map(map_job *j, int threads, int64_t reads, int64_t pixels_at_once, int64_t n_tasks,
                   void (*body)(void *, int64_t, int)) {
  j->step = ceil_div(j->e->out, BLOCK) * BLOCK;
  j->space = j->step * pixels_at_once;
  threads = worthwhile(j->k, threads, (double)(j->pixels * j->e->out) * (double)reads * NUMBER_WORDS);
  j->scratch = calloc((size_t)(j->space * threads), sizeof *j->scratch);
  if (!j->scratch) return NO_MEMORY;
  if (j->e->bits) memset(j->e->bits, 0, (size_t)(j->pixels * j->e->words) * sizeof *j->e->bits);
  in_parallel(threads, n_tasks, body, j);
  free(j->scratch);
  return OK;
}

int combine(const kernels *k, int threads, const float *const *maps, int n_maps, int64_t pixels, const epilogue *e) {
  map_job job = {.k = k, .e = e, .maps = maps, .n_maps = n_maps, .pixels = pixels};
  return run_map(&job, threads, n_maps, PIXELS_AT_ONCE, ceil_div(pixels, PIXELS_AT_ONCE), combine_task);
}

int pool(const kernels *k, int threads, int kind, const shape *s, const float *values, const epilogue *e) {
  map_job job = {.k = k, .e = e, .maps = &values, .n_maps = 1, .s = s, .kind = kind};
  job.pixels = s->n * s->rows * s->columns;
  if (!job.pixels) return OK;
  return run_map(&job, threads, s->kernel * s->kernel, s->columns, s->n * s->rows, pool_task);
}

typedef struct {
  const kernels *k;
  const float *values, *scale, *bias;
  const void *weight;
  float *result;
  int64_t n, inputs, out, together;
  int type;
} linear_job;

static void linear_task(void *context, int64_t task, int worker) {
  const linear_job *j = context;
  (void)worker;
  int64_t first = task * j->together, last = first + j->together < j->out ? first + j->together : j->out;
  j->k->linear(j->values, j->n, j->inputs, j->weight, j->type, j->out, first, last, j->scale, j->bias, j->result);
}

int linear_map(const kernels *k, int threads, const float *values, int64_t n, int64_t inputs, const void *weight,
               int type, int64_t out, const float *scale, const float *bias, float *result) {
  linear_job job = {k, values, scale, bias, weight, result, n, inputs, out, 16, type};
  threads = worthwhile(k, threads, (double)n * (double)inputs * (double)out / 4); /* four products of floats a word */
  in_parallel(threads, ceil_div(out, job.together), linear_task, &job);
  return OK;
}
