/* A convolution: which rows and blocks a task computes, from a padded copy of the rows it sees.
 *
 * Padding with zero bits counts the weights' own ones of taps that lie outside of the map. They are known beforehand:
 * for every class of border (which taps are inside) and channel, `border` = valid bits + 2 · ones outside, so that
 * border − 2 · popcount is the exact sum of the valid taps.
 */
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

#define FIT_BYTES (128 * 1024) /* of padded rows of a task: with the weights of a block they stay in the L2 cache */
#define LEAST_ROWS 4 /* of a band: its first and last rows are copied twice */
#define MOST_SCRATCH ((int64_t)1 << 28) /* bytes of all threads together, or of one that needs more */
#define TASKS_OF_THREAD 3 /* so that threads end together */
#define LIGHT_BYTES (16 * 1024) /* weights that stay in the L1 cache while all blocks of a row are computed */

typedef struct {
  const convolution *c;
  const epilogue *e;
  int64_t element, pixel_elements, pitch; /* bytes of an element; elements of a pixel and of a row of the copy */
  int64_t group_elements, taps, offsets_n, blocks_of_group, blocks, block_elements;
  int64_t bands, band_rows, parts; /* tasks: n · bands · parts of the blocks */
  int64_t *offset;
  int32_t *row_class, *column_class, *border;
  int64_t n_columns_classes, padded_out;
  int threads, depthwise, copied, exact;
  int64_t copy_bytes, scratch_bytes, sums_bytes, addend_bytes, tile_bytes;
  unsigned char *scratch;
} plan;

typedef struct {
  unsigned char *copy;
  void *sums;
  float *addend;
  void *tile; /* a block's weights as floats ±1 or as doubles */
} space;

static int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

/* Classes of positions along one side by the range of taps that lie inside; returns their number. */
static int64_t classify(int64_t outputs, int64_t side, const shape *s, int32_t *class, int64_t (*range)[2]) {
  int64_t n = 0;
  for (int64_t i = 0; i < outputs; i++) {
    int64_t start = i * s->stride - s->padding, low = 0, high = s->kernel, found = 0;
    while (low < s->kernel && start + low * s->dilation < 0) low++;
    while (high > low && start + (high - 1) * s->dilation >= side) high--;
    while (found < n && (range[found][0] != low || range[found][1] != high)) found++;
    if (found == n) range[n][0] = low, range[n][1] = high, n++;
    class[i] = (int32_t)found;
  }
  return n;
}

static void fill_border(plan *p, const int64_t (*rows)[2], int64_t n_rows, const int64_t (*columns)[2]) {
  const shape *s = &p->c->s;
  int64_t bits = s->channels / s->groups;
  for (int64_t v = 0; v < n_rows; v++)
    for (int64_t u = 0; u < p->n_columns_classes; u++) {
      int32_t *to = p->border + (v * p->n_columns_classes + u) * p->padded_out;
      int64_t valid = (rows[v][1] - rows[v][0]) * (columns[u][1] - columns[u][0]) * bits;
      for (int64_t o = 0; o < p->padded_out; o++) to[o] = (int32_t)valid;
      for (int64_t tap = 0; tap < p->taps; tap++) {
        int64_t i = tap / s->kernel, j = tap % s->kernel;
        if (i >= rows[v][0] && i < rows[v][1] && j >= columns[u][0] && j < columns[u][1]) continue;
        const int32_t *ones = p->c->ones + tap * p->padded_out;
        for (int64_t o = 0; o < p->padded_out; o++) to[o] += 2 * ones[o];
      }
    }
}

static int make_border(plan *p) {
  const shape *s = &p->c->s;
  int64_t (*rows)[2] = malloc((size_t)s->rows * sizeof *rows), (*columns)[2] = malloc((size_t)s->columns * sizeof *columns);
  p->row_class = malloc((size_t)s->rows * sizeof *p->row_class);
  p->column_class = malloc((size_t)s->columns * sizeof *p->column_class);
  int result = NO_MEMORY;
  if (rows && columns && p->row_class && p->column_class) {
    int64_t n_rows = classify(s->rows, s->height, s, p->row_class, rows);
    p->n_columns_classes = classify(s->columns, s->width, s, p->column_class, columns);
    p->border = malloc((size_t)(n_rows * p->n_columns_classes * p->padded_out) * sizeof *p->border);
    if (p->border) {
      fill_border(p, (const int64_t (*)[2])rows, n_rows, (const int64_t (*)[2])columns);
      result = OK;
    }
  }
  free(rows);
  free(columns);
  return result;
}

/* Where every (tap, word) of a window lies, from its first element; of floats, every tap. */
static int make_offsets(plan *p) {
  const shape *s = &p->c->s;
  int64_t per_tap = p->c->kind == BITS_BITS && !p->depthwise ? p->group_elements : 1;
  p->offsets_n = p->taps * per_tap;
  p->offset = malloc((size_t)p->offsets_n * sizeof *p->offset);
  if (!p->offset) return NO_MEMORY;
  for (int64_t tap = 0; tap < p->taps; tap++) {
    int64_t at = (tap / s->kernel) * s->dilation * p->pitch + (tap % s->kernel) * s->dilation * p->pixel_elements;
    for (int64_t i = 0; i < per_tap; i++) p->offset[tap * per_tap + i] = at + i;
  }
  return OK;
}

/* Elements of one pixel, of one group, and of one block's weights. */
static void measure(plan *p) {
  const shape *s = &p->c->s;
  int64_t inside = s->channels / s->groups, outside = s->out / s->groups;
  int bits = p->c->kind == BITS_BITS;
  p->taps = s->kernel * s->kernel;
  p->padded_out = s->out + BLOCK;
  p->depthwise = s->groups > 1 && inside == 1 && outside == 1;
  p->exact = p->c->kind == FLOATS_EXACT;
  p->element = bits || p->exact ? 8 : 4; /* words and doubles, or floats */
  p->group_elements = bits ? ceil_div(inside, WORD) : inside;
  p->pixel_elements = bits ? (p->depthwise ? ceil_div(s->channels, WORD) : s->groups * p->group_elements) : s->channels;
  int64_t together = p->depthwise && bits ? WORD : BLOCK;
  p->blocks_of_group = ceil_div(p->depthwise ? s->out : outside, together);
  p->blocks = p->blocks_of_group * (p->depthwise ? 1 : s->groups);
  p->block_elements = p->taps * (p->depthwise ? (bits ? 1 : BLOCK) : p->group_elements * BLOCK);
  p->copied = s->padding > 0 || p->depthwise || p->exact || (bits && s->groups > 1 && inside % WORD);
  p->pitch = (s->width + 2 * s->padding) * p->pixel_elements;
  /* In the time of a word's product: four products of floats, one of doubles, one number of the output. */
  double products = (double)(p->taps * p->group_elements) / (bits || p->exact ? 1 : 4);
  p->threads = worthwhile(p->c->k, p->c->threads,
                          (double)(s->n * s->rows * s->columns * p->blocks * together) * (products + 1));
}

/* Tasks: bands of rows that fit the cache, more of them where threads would wait, else parts of the blocks. */
static void divide(plan *p) {
  const shape *s = &p->c->s;
  int64_t reach = s->dilation * (s->kernel - 1) + 1, row_bytes = p->pitch * p->element, threads = p->threads;
  int64_t fit = (FIT_BYTES / row_bytes - reach) / s->stride + 1;
  p->band_rows = fit < LEAST_ROWS ? LEAST_ROWS : fit;
  if (!p->copied || p->band_rows > s->rows) p->band_rows = s->rows;
  while (threads > 1 && s->n * ceil_div(s->rows, p->band_rows) < TASKS_OF_THREAD * threads &&
         p->band_rows >= 2 * LEAST_ROWS)
    p->band_rows = ceil_div(p->band_rows, 2);
  p->bands = ceil_div(s->rows, p->band_rows);
  p->parts = 1;
  int whole_words = !p->e->bits || (s->groups == 1 && s->out % WORD == 0);
  if (threads > 1 && s->n * p->bands < 2 * threads && p->blocks >= 4 * threads && whole_words) p->parts = threads;
}

static int make_space(plan *p) {
  const shape *s = &p->c->s;
  int64_t reach = s->dilation * (s->kernel - 1) + 1;
  int64_t copied_rows = p->copied ? (p->band_rows - 1) * s->stride + reach : 0;
  p->copy_bytes = round_up(copied_rows * p->pitch * p->element + BLOCK * (int64_t)sizeof(double), 64);
  p->sums_bytes = round_up(s->columns * (p->depthwise ? WORD : BLOCK) * (int64_t)sizeof(float), 64);
  p->addend_bytes = p->e->source ? round_up(s->columns * BLOCK * (int64_t)sizeof(float), 64) : 0;
  int expanded = p->c->kind == FLOATS_BITS || p->exact;
  p->tile_bytes = expanded ? round_up(p->block_elements * p->element, 64) : 0;
  p->scratch_bytes = p->copy_bytes + p->sums_bytes + p->addend_bytes + p->tile_bytes;
  if (p->scratch_bytes * p->threads > MOST_SCRATCH)
    p->threads = p->scratch_bytes < MOST_SCRATCH ? (int)(MOST_SCRATCH / p->scratch_bytes) : 1;
  p->scratch = malloc((size_t)(p->scratch_bytes * p->threads + 64));
  return p->scratch ? OK : NO_MEMORY;
}

static space space_of(const plan *p, int worker) {
  uintptr_t aligned = ((uintptr_t)p->scratch + 63) & ~(uintptr_t)63;
  space result;
  result.copy = (unsigned char *)aligned + p->scratch_bytes * worker;
  result.sums = result.copy + p->copy_bytes;
  result.addend = (float *)((unsigned char *)result.sums + p->sums_bytes);
  result.tile = (unsigned char *)result.addend + p->addend_bytes;
  return result;
}

/* Bits of each group moved to words of its own. */
static void regroup(const plan *p, const uint64_t *from, uint64_t *to) {
  int64_t inside = p->c->s.channels / p->c->s.groups, words = ceil_div(p->c->s.channels, WORD);
  for (int64_t group = 0; group < p->c->s.groups; group++)
    for (int64_t part = 0; part < p->group_elements; part++) {
      int64_t bit = group * inside + part * WORD, left = inside - part * WORD, word = bit / WORD;
      int shift = (int)(bit % WORD);
      uint64_t found = from[word] >> shift;
      if (shift && word + 1 < words) found |= from[word + 1] << (WORD - shift);
      if (left < WORD) found &= ((uint64_t)1 << left) - 1;
      *to++ = found;
    }
}

/* The rows that output rows first … last − 1 see, zeros around them. */
static void copy_rows(const plan *p, int64_t image, int64_t first, int64_t last, unsigned char *to) {
  const shape *s = &p->c->s;
  int64_t top = first * s->stride - s->padding, end = (last - 1) * s->stride - s->padding + s->dilation * (s->kernel - 1);
  int bits = p->c->kind == BITS_BITS;
  int64_t from_pixel = bits ? ceil_div(s->channels, WORD) * 8 : s->channels * 4;
  int64_t side = s->padding * p->pixel_elements * p->element, inner = s->width * p->pixel_elements * p->element;
  int regrouped = bits && !p->depthwise && s->groups > 1 && (s->channels / s->groups) % WORD;
  for (int64_t y = top; y <= end; y++, to += p->pitch * p->element) {
    if (y < 0 || y >= s->height) {
      memset(to, 0, (size_t)(p->pitch * p->element));
      continue;
    }
    const unsigned char *from = (const unsigned char *)p->c->input + (image * s->height + y) * s->width * from_pixel;
    memset(to, 0, (size_t)side);
    memset(to + side + inner, 0, (size_t)side);
    if (p->exact) {
      double *wide = (double *)(to + side);
      for (int64_t i = 0; i < s->width * s->channels; i++) wide[i] = ((const float *)from)[i];
    } else if (!regrouped) {
      memcpy(to + side, from, (size_t)inner);
    }
    for (int64_t x = 0; regrouped && x < s->width; x++)
      regroup(p, (const uint64_t *)(from + x * from_pixel), (uint64_t *)(to + side) + x * p->pixel_elements);
  }
}

/* Sums of a row of one block, but for those of `count_row`. */
static void sum_row(const plan *p, int64_t block, const unsigned char *base, const space *room) {
  const convolution *c = p->c;
  ptrdiff_t step = (ptrdiff_t)(c->s.stride * p->pixel_elements);
  int64_t at = block * p->block_elements, columns = c->s.columns;
  if (c->kind == BITS_BITS) {
    c->k->count_depthwise((const uint64_t *)base, step, p->offset, p->taps, (const uint64_t *)c->tiles + at, columns,
                          room->sums);
    return;
  }
  const kernels *k = c->k;
  int64_t channels = p->group_elements;
  if (p->exact && p->depthwise) {
    k->depthwise_exact((const double *)base, step, p->offset, p->taps, room->tile, columns, room->sums);
  } else if (p->exact) {
    k->dot_exact((const double *)base, step, p->offset, p->taps, channels, room->tile, columns, room->sums);
  } else {
    const float *tile = c->kind == FLOATS_BITS ? room->tile : (const float *)c->tiles + at;
    if (p->depthwise) {
      k->dot_depthwise((const float *)base, step, p->offset, p->taps, tile, columns, room->sums);
    } else {
      k->dot((const float *)base, step, p->offset, p->taps, channels, tile, columns, room->sums);
    }
  }
}

/* A block's weights as `sum_row` takes them. */
static void expand_block(const plan *p, int64_t block, void *tile) {
  int64_t at = block * p->block_elements;
  if (p->c->kind == FLOATS_BITS)
    p->c->k->expand((const uint16_t *)p->c->tiles + at / BLOCK, p->block_elements / BLOCK, tile);
  const float *from = (const float *)p->c->tiles + at;
  double *to = tile;
  for (int64_t i = 0; p->exact && i < p->block_elements; i++) to[i] = from[i];
}

/* Channels `channel` … `end` − 1 of an output row: one block, or the four of a depthwise word. */
static void finish_row(const plan *p, int64_t block, int64_t channel, int64_t end, int64_t image, int64_t y,
                       const unsigned char *base, const space *room) {
  const shape *s = &p->c->s;
  int bits = p->c->kind == BITS_BITS;
  row r = {.sums = room->sums, .sum_step = BLOCK, .padded_out = p->padded_out, .pixels = s->columns};
  r.first_pixel = (image * s->rows + y) * s->columns;
  r.column_class = p->column_class;
  if (bits) r.border = p->border + p->row_class[y] * p->n_columns_classes * p->padded_out;
  for (; channel < end; channel += BLOCK) {
    r.channel = channel;
    r.count = end - channel < BLOCK ? (int)(end - channel) : BLOCK;
    r.addend = NULL;
    if (p->e->source) shortcut_row(p->e, &r, image, y, s->columns, s->rows, room->addend);
    if (bits && !p->depthwise) {
      const uint64_t *tile = (const uint64_t *)p->c->tiles + block * p->block_elements;
      p->c->k->count_row((const uint64_t *)base, (ptrdiff_t)(s->stride * p->pixel_elements), p->offset, p->offsets_n,
                         s->channels / s->groups <= WORD / 2, tile, p->e, &r);
    } else if (bits) {
      p->c->k->finish_counts(p->e, &r);
      r.sums = (const int32_t *)r.sums + s->columns * BLOCK;
    } else {
      p->c->k->finish_floats(p->e, &r);
    }
  }
}

/* One block of one output row; `base` is the window of its first pixel. */
static void block_row(const plan *p, int64_t block, const unsigned char *base, int64_t image, int64_t y,
                      const space *room) {
  const shape *s = &p->c->s;
  int64_t group = block / p->blocks_of_group, within = block % p->blocks_of_group;
  int64_t together = p->depthwise && p->c->kind == BITS_BITS ? WORD : BLOCK;
  int64_t outside = p->depthwise ? s->out : s->out / s->groups;
  int64_t channel = group * outside + within * together, end = channel + together;
  int64_t first = group * p->group_elements;
  if (p->depthwise) first = p->c->kind == BITS_BITS ? within : channel;
  if (end > (group + 1) * outside) end = (group + 1) * outside;
  base += first * p->element;
  if (p->c->kind != BITS_BITS || p->depthwise) sum_row(p, block, base, room);
  finish_row(p, block, channel, end, image, y, base, room);
}

/* Parts end between words of the output's bits: no word is written by two threads. */
static int64_t first_block(const plan *p, int64_t part) {
  int64_t block = p->blocks * part / p->parts;
  return part == p->parts ? block : block - block % (WORD / BLOCK);
}

static void run_task(void *context, int64_t task, int worker) {
  const plan *p = context;
  const shape *s = &p->c->s;
  space room = space_of(p, worker);
  int64_t part = task % p->parts, band = task / p->parts % p->bands, image = task / p->parts / p->bands;
  int64_t y0 = band * p->band_rows, y1 = y0 + p->band_rows < s->rows ? y0 + p->band_rows : s->rows;
  int64_t b0 = first_block(p, part), b1 = first_block(p, part + 1);
  int64_t pixel_bytes = p->pixel_elements * p->element;
  const unsigned char *top = room.copy;
  if (p->copied) {
    copy_rows(p, image, y0, y1, room.copy);
  } else {
    top = (const unsigned char *)p->c->input + (image * s->height + y0 * s->stride) * s->width * pixel_bytes;
  }
  int light = p->c->kind == BITS_BITS && p->blocks * p->block_elements * p->element <= LIGHT_BYTES;
  int64_t chunk = light ? b1 - b0 : 1;
  for (int64_t from = b0; from < b1; from += chunk) {
    if (p->tile_bytes) expand_block(p, from, room.tile);
    for (int64_t y = y0; y < y1; y++)
      for (int64_t block = from; block < from + chunk; block++)
        block_row(p, block, top + (y - y0) * s->stride * p->pitch * p->element, image, y, &room);
  }
}

int convolve(const convolution *c, const epilogue *e) {
  plan p = {.c = c, .e = e};
  if (!c->s.n) return OK;
  measure(&p);
  divide(&p);
  int result = make_offsets(&p);
  if (result == OK) result = make_space(&p);
  if (result == OK && c->kind == BITS_BITS) result = make_border(&p);
  if (result == OK && e->bits)
    memset(e->bits, 0, (size_t)(c->s.n * c->s.rows * c->s.columns * e->words) * sizeof *e->bits);
  if (result == OK) in_parallel(p.threads, c->s.n * p.bands * p.parts, run_task, &p);
  free(p.offset);
  free(p.scratch);
  free(p.row_class);
  free(p.column_class);
  free(p.border);
  return result;
}
