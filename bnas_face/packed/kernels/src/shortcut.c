/* The parameter-free way around a convolution: averages where it strides, channels repeated or averaged. */
#include "kernels.h"

static int64_t gcd(int64_t a, int64_t b) {
  while (b) {
    int64_t rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

/* Average of the window of one output pixel, of `count` channels that lie side by side. */
static void window(const epilogue *e, int64_t image, int64_t y, int64_t x, int64_t side, int64_t channel, int count,
                   float *sum) {
  int64_t rows = e->source_height - y * side, columns = e->source_width - x * side;
  if (rows > side) rows = side;
  if (columns > side) columns = side;
  for (int i = 0; i < count; i++) sum[i] = 0;
  for (int64_t v = 0; v < rows; v++)
    for (int64_t u = 0; u < columns; u++) {
      int64_t pixel = (image * e->source_height + y * side + v) * e->source_width + x * side + u;
      const float *from = e->source + pixel * e->source_channels + channel;
      if (e->gain) {
        e->k->add_gained(sum, from, e->gain + channel, e->offset + channel, count);
      } else {
        for (int i = 0; i < count; i++) sum[i] += from[i];
      }
    }
  float number = (float)(rows * columns);
  if (rows * columns > 1)
    for (int i = 0; i < count; i++) sum[i] /= number;
}

/* One group of sources: output channel o takes source channel (group · out + o) % source_channels. */
static void one_group(const epilogue *e, const row *r, int64_t image, int64_t y, int64_t x, int64_t side, int64_t group,
                      float *to) {
  for (int done = 0; done < r->count;) {
    int64_t channel = (group * e->out + r->channel + done) % e->source_channels;
    int64_t together = e->source_channels - channel;
    int count = together < r->count - done ? (int)together : r->count - done;
    window(e, image, y, x, side, channel, count, to + done);
    done += count;
  }
}

void shortcut_row(const epilogue *e, row *r, int64_t image, int64_t y, int64_t columns, int64_t rows, float *space) {
  int same_size = e->source_height == rows && e->source_width == columns;
  int64_t groups = e->source_channels / gcd(e->source_channels, e->out);
  int64_t first = r->channel % e->source_channels;
  if (same_size && groups == 1 && !e->gain && r->count == BLOCK && first + BLOCK <= e->source_channels) {
    r->addend = e->source + (image * rows + y) * columns * e->source_channels + first;
    r->addend_step = e->source_channels;
    return;
  }
  int64_t side = same_size ? 1 : e->stride;
  r->addend = space;
  r->addend_step = BLOCK;
  int apart = groups == 1 || e->source_channels % e->out == 0; /* groups lie `out` channels apart */
  if (apart && r->count == BLOCK && first + BLOCK <= e->source_channels) {
    int64_t top = y * side, seen = e->source_height - top < side ? e->source_height - top : side;
    const float *from = e->source + (image * e->source_height + top) * e->source_width * e->source_channels + first;
    e->k->average_row(e, from, first, seen, columns, groups, space);
    return;
  }
  for (int64_t x = 0; x < columns; x++) {
    float *to = space + x * BLOCK, part[BLOCK];
    one_group(e, r, image, y, x, side, 0, to);
    for (int64_t group = 1; group < groups; group++) {
      one_group(e, r, image, y, x, side, group, part);
      for (int i = 0; i < r->count; i++) to[i] += part[i];
    }
    if (groups > 1)
      for (int i = 0; i < r->count; i++) to[i] /= (float)groups;
    for (int i = r->count; i < BLOCK; i++) to[i] = 0;
  }
}
