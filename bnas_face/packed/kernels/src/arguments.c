/* What `arguments.h` promises: nothing a caller passes can make the kernels leave an array. */
#include "arguments.h"

#include <stdlib.h>
#include <string.h>

void release(buffers *b) {
  while (b->n) PyBuffer_Release(&b->views[--b->n]);
}

/* a · b; −1 where that is more than MOST_ELEMENTS or a factor is negative. */
int64_t product(int64_t a, int64_t b) {
  if (a < 0 || b < 0) return -1;
  if (a && b > MOST_ELEMENTS / a) return -1;
  return a * b;
}

/* The array's address, if it holds exactly `elements` of `size` bytes; None gives NULL. */
void *take(buffers *b, PyObject *object, const char *name, int64_t elements, int64_t size, int writable) {
  if (object == Py_None) return NULL;
  Py_buffer *view = &b->views[b->n];
  if (b->n == MOST_BUFFERS || PyObject_GetBuffer(object, view, writable ? PyBUF_WRITABLE : PyBUF_SIMPLE)) {
    PyErr_Clear();
    PyErr_Format(PyExc_ValueError, "'%s' is no contiguous%s array.", name, writable ? " writable" : "");
    return NULL;
  }
  b->n++;
  if (elements < 0 || view->len != elements * size) {
    PyErr_Format(PyExc_ValueError, "'%s' has %zd bytes; its sizes say %lld elements of %lld bytes.", name, view->len,
                 (long long)elements, (long long)size);
    return NULL;
  }
  if ((uintptr_t)view->buf % (uintptr_t)size) {
    PyErr_Format(PyExc_ValueError, "'%s' does not begin at a multiple of %lld bytes.", name, (long long)size);
    return NULL;
  }
  return view->buf;
}

/* As `take`, None being an error. */
void *need(buffers *b, PyObject *object, const char *name, int64_t elements, int64_t size, int writable) {
  if (object == Py_None) PyErr_Format(PyExc_ValueError, "'%s' is missing.", name);
  return object == Py_None ? NULL : take(b, object, name, elements, size, writable);
}

const kernels *chosen(int index, int threads) {
  const kernels *k = implementation(index);
  if (!k) PyErr_Format(PyExc_ValueError, "There is no implementation %d on this processor.", index);
  if (threads >= 1 && threads <= MOST_THREADS) return k;
  PyErr_Format(PyExc_ValueError, "Number of threads %d: expected 1 to %d.", threads, MOST_THREADS);
  return NULL;
}

PyObject *outcome(int result) {
  if (PyErr_Occurred()) return NULL;
  if (result == NO_MEMORY) return PyErr_NoMemory();
  Py_RETURN_NONE;
}

/* Per-channel arrays of an epilogue, padded by BLOCK zeros, in one allocation. */
enum { SCALE, BIAS, BEFORE, SLOPE, AFTER, THRESHOLD, FLIP, WHOLE, MAGNITUDE, GAIN, OFFSET, N_ARRAYS };
static const char *const ARRAY_NAMES[N_ARRAYS] = {"scale", "bias", "before", "slope", "after",
                                                  "threshold", "flip", "integer_threshold", "magnitude",
                                                  "shortcut_gain", "shortcut_offset"};

void turn(float *threshold, uint32_t *sign, const uint8_t *flip, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    sign[i] = flip[i] ? 0x80000000u : 0;
    if (flip[i]) threshold[i] = -threshold[i];
  }
}

static void turn_whole(int32_t *whole, uint32_t *sign, const uint8_t *flip, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    sign[i] = flip[i] ? 0x80000000u : 0;
    if (flip[i]) whole[i] = whole[i] == INT32_MIN ? INT32_MAX : -whole[i];
  }
}

static int complete(const void *const *arrays, const epilogue *e) {
  const char *wrong = NULL;
  int active = (arrays[BEFORE] != NULL) + (arrays[SLOPE] != NULL) + (arrays[AFTER] != NULL);
  if (!arrays[SCALE] || !arrays[BIAS]) wrong = "An epilogue needs a scale and a bias.";
  if (active % 3) wrong = "An epilogue has all of before, slope and after, or none.";
  if (!arrays[GAIN] != !arrays[OFFSET]) wrong = "A shortcut has both a gain and an offset, or neither.";
  if ((arrays[THRESHOLD] || arrays[WHOLE]) && !arrays[FLIP]) wrong = "A threshold needs a flip.";
  if (arrays[THRESHOLD] && arrays[WHOLE]) wrong = "An epilogue has one kind of threshold.";
  if (!arrays[THRESHOLD] && !arrays[WHOLE] && e->bits) wrong = "Bits need a threshold.";
  if ((arrays[THRESHOLD] || arrays[WHOLE]) && !e->bits) wrong = "A threshold needs an array for bits.";
  if (!e->floats && !e->bits) wrong = "An epilogue leaves floats, bits or both.";
  if (arrays[WHOLE] && e->floats) wrong = "An integer threshold leaves bits only.";
  if (wrong) PyErr_SetString(PyExc_ValueError, wrong);
  return wrong == NULL;
}

/* Fills everything of `e` that is per channel; the copies are *memory, to be freed. */
int read_epilogue(buffers *b, PyObject *tuple, epilogue *e, void **memory) {
  PyObject *objects[N_ARRAYS];
  const void *arrays[N_ARRAYS];
  if (!PyArg_ParseTuple(tuple, "OOOOOOOOOOO", &objects[0], &objects[1], &objects[2], &objects[3], &objects[4],
                        &objects[5], &objects[6], &objects[7], &objects[8], &objects[9], &objects[10]))
    return 0;
  for (int i = 0; i < N_ARRAYS; i++) {
    int64_t n = i == GAIN || i == OFFSET ? e->source_channels : e->out;
    arrays[i] = take(b, objects[i], ARRAY_NAMES[i], n, i == FLIP ? 1 : 4, 0);
    if (PyErr_Occurred()) return 0;
  }
  if (!complete(arrays, e)) return 0;
  int64_t padded = e->out + BLOCK;
  float *copies = calloc((size_t)(padded * (MAGNITUDE + 1)), sizeof *copies);
  *memory = copies;
  if (!copies) return PyErr_NoMemory() != NULL;
  for (int i = 0; i <= MAGNITUDE; i++)
    if (arrays[i] && i != FLIP) memcpy(copies + i * padded, arrays[i], (size_t)e->out * sizeof *copies);
  uint32_t *sign = (uint32_t *)(copies + FLIP * padded);
  if (arrays[THRESHOLD]) turn(copies + THRESHOLD * padded, sign, arrays[FLIP], e->out);
  if (arrays[WHOLE]) turn_whole((int32_t *)(copies + WHOLE * padded), sign, arrays[FLIP], e->out);
  for (int64_t i = 0; i < e->out && !arrays[MAGNITUDE]; i++) copies[MAGNITUDE * padded + i] = 1;
  e->magnitude = copies + MAGNITUDE * padded;
  e->scale = copies + SCALE * padded, e->bias = copies + BIAS * padded, e->sign = sign;
  if (arrays[SLOPE]) {
    e->before = copies + BEFORE * padded, e->slope = copies + SLOPE * padded, e->after = copies + AFTER * padded;
  }
  if (arrays[THRESHOLD]) e->threshold = copies + THRESHOLD * padded;
  if (arrays[WHOLE]) e->whole = (const int32_t *)(copies + WHOLE * padded);
  e->gain = arrays[GAIN], e->offset = arrays[OFFSET];
  return 1;
}

/* Arrays that receive a map of `pixels` pixels of e->out channels. */
int take_outputs(buffers *b, epilogue *e, PyObject *floats, PyObject *bits, int64_t pixels) {
  e->words = ceil_div(e->out, WORD);
  e->floats = take(b, floats, "floats", product(pixels, e->out), sizeof(float), 1);
  if (PyErr_Occurred()) return 0;
  e->bits = take(b, bits, "bits", product(pixels, e->words), sizeof(uint64_t), 1);
  return !PyErr_Occurred();
}

int within(int64_t value, int64_t least, int64_t most, const char *name) {
  if (value >= least && value <= most) return 1;
  PyErr_Format(PyExc_ValueError, "%s %lld: expected %lld to %lld.", name, (long long)value, (long long)least,
               (long long)most);
  return 0;
}

/* Sizes of a map that a window moves over. */
int read_shape(PyObject *tuple, shape *s, int64_t most_kernel) {
  long long v[10];
  if (!PyArg_ParseTuple(tuple, "LLLLLLLLLL", v, v + 1, v + 2, v + 3, v + 4, v + 5, v + 6, v + 7, v + 8, v + 9))
    return 0;
  *s = (shape){v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8], v[9], 0, 0};
  const int64_t most = (int64_t)1 << 31;
  return within(s->n, 0, most, "Number of images") && within(s->height, 1, most, "Height") &&
         within(s->width, 1, most, "Width") && within(s->channels, 1, 1 << 22, "Input channels") &&
         within(s->out, 1, 1 << 22, "Output channels") && within(s->kernel, 1, most_kernel, "Kernel") &&
         within(s->stride, 1, 1 << 12, "Stride") && within(s->dilation, 1, 1 << 8, "Dilation") &&
         within(s->padding, 0, s->dilation * (s->kernel - 1) + 1, "Padding") && within(s->groups, 1, 1 << 22, "Groups");
}

/* Output size of a convolution; the map with its padding must be of a size that can be computed with. */
int convolution_sizes(shape *s) {
  int64_t reach = s->dilation * (s->kernel - 1) + 1;
  int64_t height = s->height + 2 * s->padding, width = s->width + 2 * s->padding;
  const char *wrong = NULL;
  if (s->channels % s->groups || s->out % s->groups) wrong = "Groups do not divide the channels.";
  if (height < reach || width < reach) wrong = "The kernel is larger than the padded map.";
  if (product(product(product(height, width), s->channels + WORD * s->groups), s->n) < 0) wrong = "The map is too large.";
  if (product(product(s->kernel * s->kernel, s->channels), 1 << 14) < 0) wrong = "The kernel is too large.";
  if (wrong) PyErr_SetString(PyExc_ValueError, wrong);
  s->rows = wrong ? 0 : (height - reach) / s->stride + 1;
  s->columns = wrong ? 0 : (width - reach) / s->stride + 1;
  return wrong == NULL;
}

/* Elements of the prepared weights. */
static int64_t tile_elements(const shape *s, int kind) {
  int64_t inside = s->channels / s->groups, outside = s->out / s->groups, taps = s->kernel * s->kernel;
  int depthwise = s->groups > 1 && inside == 1 && outside == 1;
  if (depthwise && kind == BITS_BITS) return product(ceil_div(s->out, WORD), taps);
  int64_t blocks = depthwise ? ceil_div(s->out, BLOCK) : product(s->groups, ceil_div(outside, BLOCK));
  int64_t inputs = kind == BITS_BITS ? ceil_div(inside, WORD) : inside;
  return product(product(blocks, product(taps, inputs)), kind == FLOATS_BITS ? 1 : BLOCK);
}

int take_shortcut(buffers *b, epilogue *e, const shape *s, PyObject *source, PyObject *sizes) {
  long long h, w, c;
  if (source == Py_None) return 1;
  if (!PyArg_ParseTuple(sizes, "LLL", &h, &w, &c)) return 0;
  const int64_t most = (int64_t)1 << 31;
  if (!within(h, 1, most, "Shortcut's height") || !within(w, 1, most, "Shortcut's width") ||
      !within(c, 1, 1 << 22, "Shortcut's channels"))
    return 0;
  int same = h == s->rows && w == s->columns;
  if (!same && (ceil_div(h, s->stride) != s->rows || ceil_div(w, s->stride) != s->columns)) {
    PyErr_Format(PyExc_ValueError, "A shortcut of %lld x %lld does not fit an output of %lld x %lld.", h, w,
                 (long long)s->rows, (long long)s->columns);
    return 0;
  }
  e->source_height = h, e->source_width = w, e->source_channels = c;
  e->source = take(b, source, "shortcut", product(product(s->n, product(h, w)), c), sizeof(float), 0);
  return e->source != NULL;
}

int take_weights(buffers *b, convolution *c, PyObject *input, PyObject *tiles, PyObject *ones) {
  const shape *s = &c->s;
  int64_t size = c->kind == BITS_BITS ? 8 : c->kind == FLOATS_BITS ? 2 : 4;
  int64_t inputs = c->kind == BITS_BITS ? ceil_div(s->channels, WORD) : s->channels;
  int64_t elements = product(product(s->n, product(s->height, s->width)), inputs);
  c->input = need(b, input, "input", elements, c->kind == BITS_BITS ? 8 : 4, 0);
  if (!c->input) return 0;
  c->tiles = need(b, tiles, "weight", tile_elements(s, c->kind), size, 0);
  if (!c->tiles) return 0;
  if (c->kind != BITS_BITS) return 1;
  c->ones = need(b, ones, "ones", product(s->kernel * s->kernel, s->out + BLOCK), sizeof(int32_t), 0);
  return c->ones != NULL;
}
