/* Sums of one row of one block → floats and bits of the output map. */
#ifndef BNAS_FINISH_H
#define BNAS_FINISH_H

#include "vector.h"

/* Writes the `count` low bits of `mask` at `channel` of a pixel whose words were zero. */
INLINE void put_bits(uint64_t *words, int64_t channel, int count, uint32_t mask) {
  if (count < BLOCK) mask &= (1u << count) - 1;
  int64_t word = channel / WORD;
  int shift = (int)(channel % WORD);
  words[word] |= (uint64_t)mask << shift;
  if (shift + count > WORD) words[word + 1] |= (uint64_t)mask >> (WORD - shift);
}

INLINE vf sum_of(const row *r, int64_t pixel, int part, int counts) {
  if (!counts) return load((const float *)r->sums + pixel * r->sum_step + part * LANES);
  const int32_t *valid = r->border + r->column_class[pixel] * r->padded_out + r->channel;
  vi ones = load_whole((const int32_t *)r->sums + pixel * r->sum_step + part * LANES);
  return to_float(load_whole(valid + part * LANES) - ones - ones);
}

INLINE void finish_whole(const epilogue *e, const row *r) {
  for (int64_t pixel = 0; pixel < r->pixels; pixel++) {
    const int32_t *valid = r->border + r->column_class[pixel] * r->padded_out + r->channel;
    uint32_t mask = 0;
    for (int part = 0; part < PARTS; part++) {
      int64_t at = r->channel + part * LANES;
      vi ones = load_whole((const int32_t *)r->sums + pixel * r->sum_step + part * LANES);
      vi sum = load_whole(valid + part * LANES) - ones - ones;
      vi turned = load_whole(e->sign + at) < 0;
      sum = (sum ^ turned) - turned;
      mask |= less_whole(sum, load_whole(e->whole + at)) << (part * LANES);
    }
    put_bits(e->bits + (r->first_pixel + pixel) * e->words, r->channel, r->count, mask);
  }
}

INLINE void finish_rows(const epilogue *e, const row *r, int counts, int added, int active, int bits) {
  vf magnitude[PARTS], scale[PARTS], bias[PARTS], before[PARTS], slope[PARTS], after[PARTS], threshold[PARTS];
  for (int part = 0; part < PARTS; part++) {
    int64_t at = r->channel + part * LANES;
    magnitude[part] = load(e->magnitude + at), scale[part] = load(e->scale + at), bias[part] = load(e->bias + at);
    if (active) before[part] = load(e->before + at), slope[part] = load(e->slope + at), after[part] = load(e->after + at);
    if (bits) threshold[part] = load(e->threshold + at);
  }
  for (int64_t pixel = 0; pixel < r->pixels; pixel++) {
    float values[BLOCK];
    float *out = e->floats ? e->floats + (r->first_pixel + pixel) * e->out + r->channel : values;
    float *to = r->count == BLOCK ? out : values;
    uint32_t mask = 0;
    for (int part = 0; part < PARTS; part++) {
      vf z = once(sum_of(r, pixel, part, counts) * magnitude[part], scale[part], bias[part]);
      if (added) z += load(r->addend + pixel * r->addend_step + part * LANES);
      if (active) {
        z += before[part];
        z = max_zero(z) + slope[part] * min_zero(z) + after[part];
      }
      if (bits) mask |= less(flipped(z, e->sign + r->channel + part * LANES), threshold[part]) << (part * LANES);
      store(to + part * LANES, z);
    }
    if (e->floats && to != out) memcpy(out, to, (size_t)r->count * sizeof *out);
    if (bits) put_bits(e->bits + (r->first_pixel + pixel) * e->words, r->channel, r->count, mask);
  }
}

/* The usual combinations are compiled by themselves, so that no test is left inside the loop. */
INLINE void finish_by_case(const epilogue *e, const row *r, int counts) {
  int added = r->addend != NULL, active = e->slope != NULL, bits = e->threshold != NULL;
  switch (added * 4 + active * 2 + bits) {
    case 0: finish_rows(e, r, counts, 0, 0, 0); break;
    case 1: finish_rows(e, r, counts, 0, 0, 1); break;
    case 2: finish_rows(e, r, counts, 0, 1, 0); break;
    case 3: finish_rows(e, r, counts, 0, 1, 1); break;
    case 4: finish_rows(e, r, counts, 1, 0, 0); break;
    case 5: finish_rows(e, r, counts, 1, 0, 1); break;
    case 6: finish_rows(e, r, counts, 1, 1, 0); break;
    default: finish_rows(e, r, counts, 1, 1, 1); break;
  }
}

static void finish_counts(const epilogue *e, const row *r) {
  if (e->whole) {
    finish_whole(e, r);
  } else {
    finish_by_case(e, r, 1);
  }
}

static void finish_floats(const epilogue *e, const row *r) { finish_by_case(e, r, 0); }

/* sum[i] += from[i] · gain[i] + offset[i], the latter rounded once. */
static void add_gained(float *sum, const float *from, const float *gain, const float *offset, int64_t count) {
  int64_t i = 0;
  for (; i + LANES <= count; i += LANES)
    store(sum + i, load(sum + i) + once(load(from + i), load(gain + i), load(offset + i)));
  for (; i < count; i++) sum[i] += (float)((double)from[i] * gain[i] + offset[i]);
}

/* Average of one window of LANES channels of the shortcut's source. */
INLINE vf average(const epilogue *e, const float *from, int64_t channel, int64_t rows, int64_t columns, int gained) {
  vf sum = spread(0);
  for (int64_t v = 0; v < rows; v++)
    for (int64_t u = 0; u < columns; u++) {
      vf value = load(from + (v * e->source_width + u) * e->source_channels);
      sum += gained ? once(value, load(e->gain + channel), load(e->offset + channel)) : value;
    }
  return rows * columns > 1 ? sum / spread((float)(rows * columns)) : sum;
}

/* One block of channels, and over `groups` of them that lie `out` apart. */
INLINE void average_block(const epilogue *e, const float *from, int64_t channel, int64_t rows, int64_t columns,
                          int64_t groups, int gained, float *to) {
  for (int64_t part = 0; part < BLOCK; part += LANES) {
    vf sum = average(e, from + part, channel + part, rows, columns, gained);
    for (int64_t other = e->out; other < groups * e->out; other += e->out)
      sum += average(e, from + other + part, channel + other + part, rows, columns, gained);
    if (groups > 1) sum /= spread((float)groups);
    store(to + part, sum);
  }
}

/* Averages of a row of windows, `rows` of them inside; `from` is the first one's first value. */
static void average_row(const epilogue *e, const float *from, int64_t channel, int64_t rows, int64_t columns,
                        int64_t groups, float *to) {
  int64_t side = e->source_width == columns ? 1 : e->stride;
  for (int64_t x = 0; x < columns; x++, from += side * e->source_channels, to += BLOCK) {
    int64_t seen = e->source_width - x * side < side ? e->source_width - x * side : side;
    if (e->gain) {
      average_block(e, from, channel, rows, seen, groups, 1, to);
    } else if (rows == 2 && seen == 2 && groups == 1) {
      average_block(e, from, channel, 2, 2, 1, 0, to);
    } else {
      average_block(e, from, channel, rows, seen, groups, 0, to);
    }
  }
}

/* Maximum or average of one window that lies `rows` × `columns` inside of a map; `row` floats from row to row. */
static void pool_window(const float *from, ptrdiff_t row, int64_t rows, int64_t columns, int64_t channels, int largest,
                        float *to) {
  int64_t i = 0;
  for (; i + LANES <= channels; i += LANES) {
    vf total = load(from + i);
    for (int64_t v = 0; v < rows; v++)
      for (int64_t u = v ? 0 : 1; u < columns; u++) {
        vf value = load(from + v * row + u * channels + i);
        if (largest) { /* NaN wins, as numpy and torch have it */
          vi greater = (value > total) | (value != value);
          total = (vf)(((vi)value & greater) | ((vi)total & ~greater));
        } else {
          total += value;
        }
      }
    if (!largest && rows * columns > 1) total /= spread((float)(rows * columns));
    store(to + i, total);
  }
  float *total = to + i;
  for (int64_t c = i; c < channels; c++) to[c] = from[c];
  for (int64_t v = 0; i < channels && v < rows; v++)
    for (int64_t u = v ? 0 : 1; u < columns; u++) {
      const float *value = from + v * row + u * channels + i;
      if (largest) {
        for (int64_t c = 0; c < channels - i; c++)
          total[c] = value[c] > total[c] || value[c] != value[c] ? value[c] : total[c];
      } else {
        for (int64_t c = 0; c < channels - i; c++) total[c] += value[c];
      }
    }
  if (!largest && rows * columns > 1)
    for (; i < channels; i++) to[i] /= (float)(rows * columns);
}

/* Signs of whole pixels: one word of 64 channels at a time, its thresholds in registers. */
static void pack(const float *values, int64_t pixels, int64_t channels, const float *threshold, const uint32_t *sign,
                 uint64_t *bits) {
  int64_t words = ceil_div(channels, WORD), full = channels / WORD;
  for (int64_t word = 0; word < full; word++) {
    const float *from = values + word * WORD;
    for (int64_t pixel = 0; pixel < pixels; pixel++, from += channels) {
      uint64_t found = 0;
      for (int part = 0; part < WORD / LANES; part++) {
        int64_t at = word * WORD + part * LANES;
        vf z = flipped(load(from + part * LANES), sign + at);
        found |= (uint64_t)less(z, load(threshold + at)) << (part * LANES);
      }
      bits[pixel * words + word] = found;
    }
  }
  for (int64_t pixel = 0; full < words && pixel < pixels; pixel++) {
    uint64_t found = 0;
    int64_t i = full * WORD;
    for (; i + LANES <= channels; i += LANES)
      found |= (uint64_t)less(flipped(load(values + pixel * channels + i), sign + i), load(threshold + i)) << (i % WORD);
    for (; i < channels; i++) {
      float value = values[pixel * channels + i];
      int negative = sign[i] ? -value < threshold[i] : value < threshold[i];
      found |= (uint64_t)negative << (i % WORD);
    }
    bits[pixel * words + full] = found;
  }
}

#endif
