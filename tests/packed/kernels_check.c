/* Every implementation that runs here against sums written down as they are defined: for sanitizers and emulators. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

#ifndef _OPENMP
#error "Compile with OpenMP: everything here is to run in several threads."
#endif
#include <omp.h>

enum { THREADS = 3 };

static uint64_t state = 88172645463325252u;

static uint64_t draw(void) {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return state;
}

static int64_t below(int64_t n) { return (int64_t)(draw() >> 11) % n; }

static void *room(int64_t n, size_t size) {
  void *memory = calloc(n ? (size_t)n : 1, size);
  if (!memory) exit(3);
  return memory;
}

/* Quarters from −2 to 2: sums of their products are exact in any order. */
static float *numbers(int64_t n, int64_t padded) {
  float *values = room(padded, sizeof *values);
  for (int64_t i = 0; i < n; i++) values[i] = (float)(below(17) - 8) / 4;
  return values;
}

static float *zeros(int64_t n) { return room(n, sizeof(float)); }

typedef struct {
  shape s;
  int kind;
  float *input, *weight; /* (n, h, w, c); (out, k, k, c / groups); of 1-bit kinds ±1 */
} problem;

static void make_signs(float *values, int64_t n) {
  for (int64_t i = 0; i < n; i++) values[i] = draw() & 1024 ? -1.0f : 1.0f;
}

static float reference(const problem *p, int64_t image, int64_t y, int64_t x, int64_t o) {
  const shape *s = &p->s;
  int64_t inside = s->channels / s->groups, first = o / (s->out / s->groups) * inside;
  float sum = 0;
  for (int64_t i = 0; i < s->kernel; i++)
    for (int64_t j = 0; j < s->kernel; j++)
      for (int64_t c = 0; c < inside; c++) {
        int64_t v = y * s->stride - s->padding + i * s->dilation, u = x * s->stride - s->padding + j * s->dilation;
        if (v < 0 || u < 0 || v >= s->height || u >= s->width) continue;
        sum += p->input[((image * s->height + v) * s->width + u) * s->channels + first + c] *
               p->weight[((o * s->kernel + i) * s->kernel + j) * inside + c];
      }
  return sum;
}

static uint64_t *pack_rows(const float *values, int64_t rows, int64_t channels) {
  int64_t words = ceil_div(channels, WORD);
  uint64_t *bits = room(rows * words, sizeof *bits);
  for (int64_t row = 0; row < rows; row++)
    for (int64_t i = 0; i < channels; i++)
      bits[row * words + i / WORD] |= (uint64_t)(values[row * channels + i] < 0) << (i % WORD);
  return bits;
}

/* Weights in the kernels' order (bnas_face/packed/kernels/_layout.py). */
static void *tiles_of(const problem *p, int32_t *ones) {
  const shape *s = &p->s;
  int64_t inside = s->channels / s->groups, outside = s->out / s->groups, taps = s->kernel * s->kernel;
  int depthwise = s->groups > 1 && inside == 1 && outside == 1;
  int64_t groups = depthwise ? 1 : s->groups, per_group = depthwise ? s->out : outside;
  int64_t blocks = ceil_div(per_group, BLOCK), words = ceil_div(inside, WORD);
  int64_t together = p->kind == BITS_BITS ? words : inside, n = taps * together;
  uint64_t *bits = room(groups * blocks * BLOCK * n + s->out * taps, sizeof *bits);
  uint16_t *masks = room(groups * blocks * n, sizeof *masks);
  float *floats = zeros(groups * blocks * BLOCK * n);
  for (int64_t o = 0; o < s->out; o++)
    for (int64_t tap = 0; tap < taps; tap++)
      for (int64_t c = 0; c < inside; c++) {
        int64_t group = o / per_group, block = group * blocks + o % per_group / BLOCK, lane = o % per_group % BLOCK;
        float w = p->weight[(o * taps + tap) * inside + c];
        int64_t at = block * n + tap * together + (p->kind == BITS_BITS ? c / WORD : c);
        floats[at * BLOCK + lane] = w;
        if (w >= 0 || p->kind >= FLOATS_FLOATS) continue;
        if (p->kind == FLOATS_BITS) masks[at] |= (uint16_t)(1 << lane);
        if (p->kind == BITS_BITS && depthwise) bits[o / WORD * taps + tap] |= (uint64_t)1 << (o % WORD);
        if (p->kind == BITS_BITS && !depthwise) bits[at * BLOCK + lane] |= (uint64_t)1 << (c % WORD);
        ones[tap * (s->out + BLOCK) + o]++;
      }
  void *result = p->kind == BITS_BITS ? (void *)bits : p->kind == FLOATS_BITS ? (void *)masks : (void *)floats;
  if (result != bits) free(bits);
  if (result != masks) free(masks);
  if (result != floats) free(floats);
  return result;
}

/* The exact size, so that a sanitizer sees every step beyond it. */
static void *trimmed(void *tiles, const problem *p) {
  const shape *s = &p->s;
  int64_t inside = s->channels / s->groups, outside = s->out / s->groups, taps = s->kernel * s->kernel;
  if (p->kind != BITS_BITS || s->groups == 1 || inside != 1 || outside != 1) return tiles;
  int64_t n = ceil_div(s->out, WORD) * taps;
  uint64_t *exact = room(n, sizeof *exact);
  memcpy(exact, tiles, (size_t)n * sizeof *exact);
  free(tiles);
  return exact;
}

static int check_convolution(const kernels *k, const problem *p, int threads) {
  const shape *s = &p->s;
  int64_t pixels = s->n * s->rows * s->columns, padded = s->out + BLOCK, words = ceil_div(s->out, WORD);
  int32_t *ones = room(s->kernel * s->kernel * padded, sizeof *ones);
  float *scale = numbers(s->out, padded), *bias = numbers(s->out, padded), *slope = numbers(s->out, padded);
  float *threshold = numbers(s->out, padded), *source = numbers(pixels * s->out, pixels * s->out);
  float *floats = zeros(pixels * s->out), *nothing = zeros(padded), *magnitude = numbers(s->out, padded);
  uint64_t *bits = room(pixels * words, sizeof *bits);
  uint32_t *sign = room(padded, sizeof *sign);
  void *tiles = trimmed(tiles_of(p, ones), p);
  int64_t maps = s->n * s->height * s->width;
  uint64_t *packed = p->kind == BITS_BITS ? pack_rows(p->input, maps, s->channels) : NULL;
  for (int64_t o = 0; o < s->out; o++) {
    sign[o] = draw() & 64 ? 0x80000000u : 0;
    if (sign[o]) threshold[o] = -threshold[o];
  }
  convolution c = {k, threads, p->kind, *s, packed ? (void *)packed : (void *)p->input, tiles, ones};
  epilogue e = {.magnitude = magnitude, .scale = scale, .bias = bias, .before = nothing, .slope = slope};
  e.after = nothing, e.k = k;
  e.threshold = threshold, e.sign = sign, e.source = source, e.floats = floats, e.bits = bits;
  e.source_height = s->rows, e.source_width = s->columns, e.source_channels = s->out;
  e.out = s->out, e.words = words, e.stride = s->stride;
  int wrong = convolve(&c, &e) != OK;
  for (int64_t at = 0; at < pixels * s->out && !wrong; at++) {
    int64_t o = at % s->out, pixel = at / s->out, image = pixel / (s->rows * s->columns);
    int64_t y = pixel / s->columns % s->rows, x = pixel % s->columns;
    float value = reference(p, image, y, x, o) * magnitude[o] * scale[o] + bias[o] + source[at];
    value = value > 0 ? value : slope[o] * value;
    int bit = sign[o] ? value > -threshold[o] : value < threshold[o];
    wrong = floats[at] != value || (int)(bits[pixel * words + o / WORD] >> (o % WORD) & 1) != bit;
  }
  void *all[] = {ones, scale, bias, slope, threshold, source, floats, nothing, magnitude, bits, sign, tiles, packed};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
  return wrong;
}

static int check_linear(const kernels *k, int64_t n, int64_t inputs, int64_t out) {
  float *x = numbers(n * inputs, n * inputs), *w = numbers(out * inputs, out * inputs), *y = zeros(n * out);
  float *scale = numbers(out, out), *bias = numbers(out, out);
  uint16_t *half = room(out * inputs, sizeof *half);
  for (int64_t i = 0; i < out * inputs; i++) { /* quarters are exact in half precision, too */
    uint32_t bits;
    memcpy(&bits, w + i, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000;
    half[i] = (uint16_t)(sign | (w[i] != 0 ? ((bits & 0x7FFFFFFF) - (112u << 23)) >> 13 : 0));
  }
  int wrong = 0;
  for (int is_half = 0; is_half < 2; is_half++) {
    linear_map(k, THREADS, x, n, inputs, is_half ? (void *)half : (void *)w, is_half, out, scale, bias, y);
    for (int64_t i = 0; i < n * out; i++) {
      float sum = 0;
      for (int64_t j = 0; j < inputs; j++) sum += x[i / out * inputs + j] * w[i % out * inputs + j];
      wrong |= y[i] != sum * scale[i % out] + bias[i % out];
    }
  }
  free(x), free(w), free(y), free(scale), free(bias), free(half);
  return wrong;
}

static int check_pack(const kernels *k, int64_t pixels, int64_t channels) {
  int64_t words = ceil_div(channels, WORD);
  float *values = numbers(pixels * channels, pixels * channels), *threshold = zeros(channels);
  uint32_t *sign = room(channels, sizeof *sign);
  uint64_t *bits = room(pixels * words, sizeof *bits), *expected = pack_rows(values, pixels, channels);
  pack_map(k, THREADS, values, pixels, channels, threshold, sign, bits);
  int wrong = memcmp(bits, expected, (size_t)(pixels * words) * sizeof *bits) != 0;
  free(values), free(threshold), free(sign), free(bits), free(expected);
  return wrong;
}

static int check_pool(const kernels *k, int kind, shape s) {
  int64_t n = s.n * s.height * s.width * s.channels, pixels = s.n * s.rows * s.columns, padded = s.channels + BLOCK;
  float *values = numbers(n, n), *scale = zeros(padded), *bias = zeros(padded), *floats = zeros(pixels * s.channels);
  for (int64_t i = 0; i < s.channels; i++) scale[i] = 1;
  epilogue e = {.magnitude = scale, .scale = scale, .bias = bias, .floats = floats, .out = s.channels, .stride = 1};
  int wrong = pool(k, THREADS, kind, &s, values, &e) != OK;
  for (int64_t at = 0; at < pixels * s.channels; at++) {
    int64_t c = at % s.channels, x = at / s.channels % s.columns, y = at / s.channels / s.columns % s.rows;
    int64_t image = at / s.channels / s.columns / s.rows;
    float sum = 0, most = -INFINITY, seen = 0;
    for (int64_t v = y * s.stride - s.padding; v < y * s.stride - s.padding + s.kernel; v++)
      for (int64_t u = x * s.stride - s.padding; u < x * s.stride - s.padding + s.kernel; u++) {
        if (v < 0 || u < 0 || v >= s.height || u >= s.width) continue;
        float value = values[((image * s.height + v) * s.width + u) * s.channels + c];
        sum += value, seen++, most = value > most ? value : most;
      }
    wrong |= floats[at] != (kind == POOL_MAX ? most : sum / seen);
  }
  free(values), free(scale), free(bias), free(floats);
  return wrong;
}

static int check_combine(const kernels *k, int n_maps, int64_t pixels, int64_t channels) {
  int64_t n = pixels * channels, padded = channels + BLOCK, words = ceil_div(channels, WORD);
  float *maps[4], *scale = zeros(padded), *bias = zeros(padded), *floats = zeros(n), *threshold = zeros(padded);
  uint32_t *sign = room(padded, sizeof *sign);
  uint64_t *bits = room(pixels * words, sizeof *bits);
  for (int map = 0; map < n_maps; map++) maps[map] = numbers(n, n);
  for (int64_t i = 0; i < channels; i++) scale[i] = 1;
  epilogue e = {.magnitude = scale, .scale = scale, .bias = bias, .threshold = threshold, .sign = sign};
  e.floats = floats, e.bits = bits, e.out = channels, e.words = words, e.stride = 1, e.k = k;
  int wrong = combine(k, THREADS, (const float *const *)maps, n_maps, pixels, &e) != OK;
  for (int64_t at = 0; at < n; at++) {
    float sum = maps[0][at];
    for (int map = 1; map < n_maps; map++) sum += maps[map][at];
    int64_t c = at % channels;
    wrong |= floats[at] != sum || (int)(bits[at / channels * words + c / WORD] >> (c % WORD) & 1) != (sum < 0);
  }
  for (int map = 0; map < n_maps; map++) free(maps[map]);
  free(scale), free(bias), free(floats), free(threshold), free(sign), free(bits);
  return wrong;
}

static shape some_shape(int kind) {
  static const int64_t insides[] = {1, 3, 20, 64, 65, 130}, outsides[] = {1, 7, 16, 24, 64}, kernels_[] = {1, 3, 3, 5};
  shape s = {.n = 1 + below(2), .height = 1 + below(9), .width = 1 + below(15), .stride = 1 + below(2)};
  s.groups = below(3) ? 1 : 1 + below(3), s.kernel = kernels_[below(4)], s.dilation = 1 + below(2);
  s.channels = s.groups * insides[below(6)], s.out = s.groups * outsides[below(5)];
  if (below(4) == 0) s.groups = s.channels = s.out = 2 + below(140);
  s.padding = s.dilation * (s.kernel / 2);
  if (kind >= FLOATS_FLOATS && below(3) == 0) s.padding = 0;
  int64_t reach = s.dilation * (s.kernel - 1) + 1;
  if (s.height + 2 * s.padding < reach) s.height = reach;
  if (s.width + 2 * s.padding < reach) s.width = reach;
  s.rows = (s.height + 2 * s.padding - reach) / s.stride + 1;
  s.columns = (s.width + 2 * s.padding - reach) / s.stride + 1;
  return s;
}

static int check_some(const kernels *k, int kind, int threads) {
  problem p = {.s = some_shape(kind), .kind = kind};
  int64_t inputs = p.s.n * p.s.height * p.s.width * p.s.channels;
  int64_t weights = p.s.out * p.s.kernel * p.s.kernel * (p.s.channels / p.s.groups);
  p.input = numbers(inputs, inputs), p.weight = numbers(weights, weights);
  if (kind == BITS_BITS) make_signs(p.input, inputs);
  if (kind < FLOATS_FLOATS) make_signs(p.weight, weights);
  int wrong = check_convolution(k, &p, threads);
  if (wrong)
    printf("%s: kind %d, %d x %d, %d to %d channels, kernel %d, stride %d, dilation %d, groups %d, %d threads: wrong\n",
           k->name, kind, (int)p.s.height, (int)p.s.width, (int)p.s.channels, (int)p.s.out, (int)p.s.kernel,
           (int)p.s.stride, (int)p.s.dilation, (int)p.s.groups, threads);
  free(p.input), free(p.weight);
  return wrong;
}

typedef struct {
  int arrived, workers[THREADS];
} meeting;

/* Waits (20 s at most) until as many tasks have begun as there are threads. */
static void meet(void *context, int64_t task, int worker) {
  meeting *m = context;
  double begun = omp_get_wtime();
  int arrived = 0;
  (void)task;
  __atomic_fetch_add(&m->workers[worker], 1, __ATOMIC_SEQ_CST);
  __atomic_fetch_add(&m->arrived, 1, __ATOMIC_SEQ_CST);
  while (arrived < THREADS && omp_get_wtime() - begun < 20) __atomic_load(&m->arrived, &arrived, __ATOMIC_SEQ_CST);
}

/* Whether the tasks of a small call are really done by several threads, each by its own worker. */
static int check_threads(const kernels *k) {
  meeting m = {0};
  in_parallel(worthwhile(k, THREADS, 1), THREADS, meet, &m);
  int wrong = m.arrived != THREADS;
  for (int i = 0; i < THREADS; i++) wrong |= m.workers[i] != 1;
  if (wrong) printf("%s: %d tasks do not run at the same time\n", k->name, THREADS);
  return wrong;
}

int main(int argc, char **argv) {
  int rounds = argc > 1 ? atoi(argv[1]) : 40, wrong = 0;
  for (int i = 0; i < N_IMPLEMENTATIONS; i++) {
    const kernels *k = implementation(i);
    if (!k) continue;
    wrong += check_threads(k);
    for (int round = 0; round < rounds; round++) {
      for (int kind = 0; kind < 4; kind++) wrong += check_some(k, kind, 1 + round % THREADS);
      wrong += check_linear(k, 1 + below(5), 1 + below(70), 1 + below(40));
      wrong += check_pack(k, 1 + below(40), 1 + below(200));
      wrong += check_combine(k, 1 + below(3), 1 + below(300), round % 4 ? 1 + below(200) : 64);
      shape s = {1 + below(2), 1 + below(7), 1 + below(7), 1 + below(70), 0, 1 + below(4), 1 + below(3), 1, 0, 1, 0, 0};
      s.out = s.channels, s.padding = below(s.kernel);
      s.rows = ceil_div(s.height, s.stride), s.columns = ceil_div(s.width, s.stride);
      wrong += check_pool(k, round % 2, s);
    }
    printf("%s\n", k->name);
  }
  printf("%d wrong\n", wrong);
  return wrong != 0;
}
