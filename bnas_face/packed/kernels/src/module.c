/* The Python side: arrays come as buffers, and every size is checked before a pointer is used. */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

#define MOST_BUFFERS 80
#define MOST_MAPS 64
#define MOST_THREADS 1024
#define MOST_ELEMENTS ((int64_t)1 << 44) /* of any map, its padding included */

/* All buffers of a call, released together. */
typedef struct {
  Py_buffer views[MOST_BUFFERS];
  int n;
} buffers;

static void release(buffers *b) {
  while (b->n) PyBuffer_Release(&b->views[--b->n]);
}

/* a · b; −1 where that is more than MOST_ELEMENTS or a factor is negative. */
static int64_t times(int64_t a, int64_t b) {
  if (a < 0 || b < 0) return -1;
  if (a && b > MOST_ELEMENTS / a) return -1;
  return a * b;
}

/* The array's address, if it holds exactly `elements` of `size` bytes; None gives NULL. */
static void *take(buffers *b, PyObject *object, const char *name, int64_t elements, int64_t size, int writable) {
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
static void *need(buffers *b, PyObject *object, const char *name, int64_t elements, int64_t size, int writable) {
  if (object == Py_None) PyErr_Format(PyExc_ValueError, "'%s' is missing.", name);
  return object == Py_None ? NULL : take(b, object, name, elements, size, writable);
}

static const kernels *chosen(int index, int threads) {
  const kernels *k = implementation(index);
  if (!k) PyErr_Format(PyExc_ValueError, "There is no implementation %d on this processor.", index);
  if (threads >= 1 && threads <= MOST_THREADS) return k;
  PyErr_Format(PyExc_ValueError, "Number of threads %d: expected 1 to %d.", threads, MOST_THREADS);
  return NULL;
}

static PyObject *outcome(int result) {
  if (PyErr_Occurred()) return NULL;
  if (result == NO_MEMORY) return PyErr_NoMemory();
  Py_RETURN_NONE;
}

/* Per-channel arrays of an epilogue, padded by BLOCK zeros, in one allocation. */
enum { SCALE, BIAS, BEFORE, SLOPE, AFTER, THRESHOLD, FLIP, WHOLE, MAGNITUDE, GAIN, OFFSET, N_ARRAYS };
static const char *const ARRAY_NAMES[N_ARRAYS] = {"scale", "bias", "before", "slope", "after",
                                                  "threshold", "flip", "integer_threshold", "magnitude",
                                                  "shortcut_gain", "shortcut_offset"};

static void turn(float *threshold, uint32_t *sign, const uint8_t *flip, int64_t n) {
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
  if (arrays[WHOLE] && e->floats) wrong = "An integer threshold leaves bits only.";
  if (wrong) PyErr_SetString(PyExc_ValueError, wrong);
  return wrong == NULL;
}

/* Fills everything of `e` that is per channel; the copies are *memory, to be freed. */
static int read_epilogue(buffers *b, PyObject *tuple, epilogue *e, void **memory) {
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
  float *copies = calloc((size_t)(padded * 9), sizeof *copies);
  *memory = copies;
  if (!copies) return PyErr_NoMemory() != NULL;
  for (int i = 0; i <= MAGNITUDE; i++)
    if (arrays[i] && i != FLIP) memcpy(copies + i * padded, arrays[i], (size_t)e->out * sizeof *copies);
  uint32_t *sign = (uint32_t *)(copies + FLIP * padded);
  if (arrays[THRESHOLD]) turn(copies + THRESHOLD * padded, sign, arrays[FLIP], e->out);
  if (arrays[WHOLE]) turn_whole((int32_t *)(copies + WHOLE * padded), sign, arrays[FLIP], e->out);
  if (!arrays[MAGNITUDE])
    for (int64_t i = 0; i < e->out; i++) copies[MAGNITUDE * padded + i] = 1;
  e->magnitude = copies + MAGNITUDE * padded, e->scale = copies + SCALE * padded, e->bias = copies + BIAS * padded, e->sign = sign;
  if (arrays[SLOPE]) {
    e->before = copies + BEFORE * padded, e->slope = copies + SLOPE * padded, e->after = copies + AFTER * padded;
  }
  if (arrays[THRESHOLD]) e->threshold = copies + THRESHOLD * padded;
  if (arrays[WHOLE]) e->whole = (const int32_t *)(copies + WHOLE * padded);
  e->gain = arrays[GAIN], e->offset = arrays[OFFSET];
  return 1;
}

/* Arrays that receive a map of `pixels` pixels of e->out channels. */
static int take_outputs(buffers *b, epilogue *e, PyObject *floats, PyObject *bits, int64_t pixels) {
  e->words = ceil_div(e->out, WORD);
  e->floats = take(b, floats, "floats", times(pixels, e->out), sizeof(float), 1);
  if (PyErr_Occurred()) return 0;
  e->bits = take(b, bits, "bits", times(pixels, e->words), sizeof(uint64_t), 1);
  return !PyErr_Occurred();
}

static int positive(int64_t value, int64_t most, const char *name) {
  if (value >= 1 && value <= most) return 1;
  PyErr_Format(PyExc_ValueError, "%s %lld: expected 1 to %lld.", name, (long long)value, (long long)most);
  return 0;
}

/* Sizes of a map that a window moves over. */
static int read_shape(PyObject *tuple, shape *s, int64_t most_kernel) {
  long long v[10];
  if (!PyArg_ParseTuple(tuple, "LLLLLLLLLL", v, v + 1, v + 2, v + 3, v + 4, v + 5, v + 6, v + 7, v + 8, v + 9))
    return 0;
  *s = (shape){v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8], v[9], 0, 0};
  const int64_t most = (int64_t)1 << 31;
  return positive(s->n + 1, most, "Number of images + 1") && positive(s->height, most, "Height") &&
         positive(s->width, most, "Width") && positive(s->channels, 1 << 22, "Input channels") &&
         positive(s->out, 1 << 22, "Output channels") && positive(s->kernel, most_kernel, "Kernel") &&
         positive(s->stride, 1 << 12, "Stride") && positive(s->dilation, 1 << 12, "Dilation") &&
         positive(s->padding + 1, (1 << 18) + 1, "Padding + 1") && positive(s->groups, 1 << 22, "Groups");
}

/* Output size of a convolution; the map with its padding must be of a size that can be computed with. */
static int convolution_sizes(shape *s) {
  int64_t reach = s->dilation * (s->kernel - 1) + 1;
  int64_t height = s->height + 2 * s->padding, width = s->width + 2 * s->padding;
  const char *wrong = NULL;
  if (s->channels % s->groups || s->out % s->groups) wrong = "Groups do not divide the channels.";
  if (height < reach || width < reach) wrong = "The kernel is larger than the padded map.";
  if (times(times(times(height, width), s->channels + WORD * s->groups), s->n) < 0) wrong = "The map is too large.";
  if (times(times(s->kernel * s->kernel, s->channels), 1 << 14) < 0) wrong = "The kernel is too large.";
  if (wrong) PyErr_SetString(PyExc_ValueError, wrong);
  s->rows = wrong ? 0 : (height - reach) / s->stride + 1;
  s->columns = wrong ? 0 : (width - reach) / s->stride + 1;
  return wrong == NULL;
}

/* Elements of the prepared weights. */
static int64_t tile_elements(const shape *s, int kind) {
  int64_t inside = s->channels / s->groups, outside = s->out / s->groups, taps = s->kernel * s->kernel;
  int depthwise = s->groups > 1 && inside == 1 && outside == 1;
  if (depthwise && kind == BITS_BITS) return times(ceil_div(s->out, WORD), taps);
  int64_t blocks = depthwise ? ceil_div(s->out, BLOCK) : times(s->groups, ceil_div(outside, BLOCK));
  int64_t inputs = kind == BITS_BITS ? ceil_div(inside, WORD) : inside;
  return times(times(blocks, times(taps, inputs)), kind == FLOATS_BITS ? 1 : BLOCK);
}

static int take_shortcut(buffers *b, epilogue *e, const shape *s, PyObject *source, PyObject *sizes) {
  long long h, w, c;
  if (source == Py_None) return 1;
  if (!PyArg_ParseTuple(sizes, "LLL", &h, &w, &c)) return 0;
  const int64_t most = (int64_t)1 << 31;
  if (!positive(h, most, "Shortcut's height") || !positive(w, most, "Shortcut's width") ||
      !positive(c, 1 << 22, "Shortcut's channels"))
    return 0;
  int same = h == s->rows && w == s->columns;
  if (!same && (ceil_div(h, s->stride) != s->rows || ceil_div(w, s->stride) != s->columns)) {
    PyErr_Format(PyExc_ValueError, "A shortcut of %lld x %lld does not fit an output of %lld x %lld.", h, w,
                 (long long)s->rows, (long long)s->columns);
    return 0;
  }
  e->source_height = h, e->source_width = w, e->source_channels = c;
  e->source = take(b, source, "shortcut", times(times(s->n, times(h, w)), c), sizeof(float), 0);
  return e->source != NULL;
}

static int take_weights(buffers *b, convolution *c, PyObject *input, PyObject *tiles, PyObject *ones) {
  const shape *s = &c->s;
  int64_t size = c->kind == BITS_BITS ? 8 : c->kind == FLOATS_BITS ? 2 : 4;
  int64_t inputs = c->kind == BITS_BITS ? ceil_div(s->channels, WORD) : s->channels;
  int64_t elements = times(times(s->n, times(s->height, s->width)), inputs);
  c->input = need(b, input, "input", elements, c->kind == BITS_BITS ? 8 : 4, 0);
  if (!c->input) return 0;
  c->tiles = need(b, tiles, "weight", tile_elements(s, c->kind), size, 0);
  if (!c->tiles) return 0;
  if (c->kind != BITS_BITS) return 1;
  c->ones = need(b, ones, "ones", times(s->kernel * s->kernel, s->out + BLOCK), sizeof(int32_t), 0);
  return c->ones != NULL;
}

static PyObject *py_convolve(PyObject *self, PyObject *args) {
  int index, threads, result = OK;
  convolution c = {0};
  epilogue e = {0};
  PyObject *sizes, *input, *tiles, *ones, *arrays, *source, *source_sizes, *floats, *bits;
  buffers *b = calloc(1, sizeof *b);
  void *memory = NULL;
  (void)self;
  if (!b) return PyErr_NoMemory();
  if (PyArg_ParseTuple(args, "iiiO!OOOO!OO!OO", &index, &threads, &c.kind, &PyTuple_Type, &sizes, &input, &tiles, &ones,
                       &PyTuple_Type, &arrays, &source, &PyTuple_Type, &source_sizes, &floats, &bits) &&
      (c.k = chosen(index, threads)) && positive(c.kind + 1, 4, "Kind + 1") &&
      read_shape(sizes, &c.s, c.kind == BITS_BITS ? MAX_BIT_KERNEL : MAX_KERNEL) && convolution_sizes(&c.s)) {
    c.threads = threads;
    e.out = c.s.out, e.stride = c.s.stride, e.add_gained = c.k->add_gained;
    if (take_weights(b, &c, input, tiles, ones) && take_shortcut(b, &e, &c.s, source, source_sizes) &&
        take_outputs(b, &e, floats, bits, times(times(c.s.n, c.s.rows), c.s.columns)) &&
        read_epilogue(b, arrays, &e, &memory)) {
      if (e.whole && (c.kind != BITS_BITS || e.source || e.floats)) {
        PyErr_SetString(PyExc_ValueError, "An integer threshold needs 1-bit inputs and neither shortcut nor floats.");
      } else {
        Py_BEGIN_ALLOW_THREADS;
        result = convolve(&c, &e);
        Py_END_ALLOW_THREADS;
      }
    }
  }
  free(memory);
  release(b);
  free(b);
  return outcome(result);
}

static PyObject *py_pack(PyObject *self, PyObject *args) {
  int index, threads, result = OK;
  long long pixels, channels;
  PyObject *values, *threshold, *flip, *bits;
  float *turned = NULL;
  buffers *b = calloc(1, sizeof *b);
  (void)self;
  if (!b) return PyErr_NoMemory();
  const kernels *k;
  if (PyArg_ParseTuple(args, "iiLLOOOO", &index, &threads, &pixels, &channels, &values, &threshold, &flip, &bits) &&
      (k = chosen(index, threads)) && positive(pixels + 1, MOST_ELEMENTS, "Pixels + 1") &&
      positive(channels, 1 << 22, "Channels")) {
    const float *from = need(b, values, "values", times(pixels, channels), sizeof(float), 0);
    const float *limits = from ? need(b, threshold, "threshold", channels, sizeof(float), 0) : NULL;
    const uint8_t *flips = limits ? need(b, flip, "flip", channels, 1, 0) : NULL;
    uint64_t *to = flips ? need(b, bits, "bits", times(pixels, ceil_div(channels, WORD)), sizeof(uint64_t), 1) : NULL;
    turned = to ? malloc((size_t)channels * 8) : NULL;
    if (to && !turned) result = NO_MEMORY;
    if (turned) {
      uint32_t *sign = (uint32_t *)(turned + channels);
      memcpy(turned, limits, (size_t)channels * sizeof *turned);
      turn(turned, sign, flips, channels);
      Py_BEGIN_ALLOW_THREADS;
      result = pack_map(k, threads, from, pixels, channels, turned, sign, to);
      Py_END_ALLOW_THREADS;
    }
  }
  free(turned);
  release(b);
  free(b);
  return outcome(result);
}

static PyObject *py_pool(PyObject *self, PyObject *args) {
  int index, threads, kind, result = OK;
  shape s;
  epilogue e = {0};
  PyObject *sizes, *values, *arrays, *floats, *bits;
  buffers *b = calloc(1, sizeof *b);
  void *memory = NULL;
  const kernels *k;
  (void)self;
  if (!b) return PyErr_NoMemory();
  if (PyArg_ParseTuple(args, "iiiO!OO!OO", &index, &threads, &kind, &PyTuple_Type, &sizes, &values, &PyTuple_Type,
                       &arrays, &floats, &bits) &&
      (k = chosen(index, threads)) && read_shape(sizes, &s, 1 << 12)) {
    s.rows = ceil_div(s.height, s.stride), s.columns = ceil_div(s.width, s.stride);
    e.out = s.channels, e.stride = 1;
    const float *from = need(b, values, "values", times(times(s.n, times(s.height, s.width)), s.channels), 4, 0);
    if (s.padding >= s.kernel) PyErr_SetString(PyExc_ValueError, "A pool's padding is less than its kernel.");
    if (!PyErr_Occurred() && take_outputs(b, &e, floats, bits, times(times(s.n, s.rows), s.columns)) &&
        read_epilogue(b, arrays, &e, &memory)) {
      if (e.whole) {
        PyErr_SetString(PyExc_ValueError, "A pool has no integer threshold.");
      } else {
        Py_BEGIN_ALLOW_THREADS;
        result = pool(k, threads, kind == POOL_MAX ? POOL_MAX : POOL_AVERAGE, &s, from, &e);
        Py_END_ALLOW_THREADS;
      }
    }
  }
  free(memory);
  release(b);
  free(b);
  return outcome(result);
}

/* The maps of a tuple, all of the same size; −1 on error. */
static int take_maps(buffers *b, PyObject *tuple, int64_t elements, const float **maps) {
  Py_ssize_t n = PyTuple_Size(tuple);
  if (n < 1 || n > MOST_MAPS) {
    PyErr_Format(PyExc_ValueError, "%zd maps cannot be added: expected 1 to %d.", n, MOST_MAPS);
    return -1;
  }
  for (Py_ssize_t i = 0; i < n; i++) {
    maps[i] = need(b, PyTuple_GetItem(tuple, i), "values", elements, sizeof(float), 0);
    if (!maps[i]) return -1;
  }
  return (int)n;
}

static PyObject *py_combine(PyObject *self, PyObject *args) {
  int index, threads, n_maps, result = OK;
  long long pixels, channels;
  const float *maps[MOST_MAPS];
  epilogue e = {0};
  PyObject *tuple, *arrays, *floats, *bits;
  buffers *b = calloc(1, sizeof *b);
  void *memory = NULL;
  const kernels *k;
  (void)self;
  if (!b) return PyErr_NoMemory();
  if (PyArg_ParseTuple(args, "iiLLO!O!OO", &index, &threads, &pixels, &channels, &PyTuple_Type, &tuple, &PyTuple_Type,
                       &arrays, &floats, &bits) &&
      (k = chosen(index, threads)) && positive(pixels + 1, MOST_ELEMENTS, "Pixels + 1") &&
      positive(channels, 1 << 22, "Channels")) {
    e.out = channels, e.stride = 1;
    n_maps = take_maps(b, tuple, times(pixels, channels), maps);
    if (n_maps > 0 && take_outputs(b, &e, floats, bits, pixels) && read_epilogue(b, arrays, &e, &memory)) {
      if (e.whole) {
        PyErr_SetString(PyExc_ValueError, "A sum of maps has no integer threshold.");
      } else {
        Py_BEGIN_ALLOW_THREADS;
        result = combine(k, threads, maps, n_maps, pixels, &e);
        Py_END_ALLOW_THREADS;
      }
    }
  }
  free(memory);
  release(b);
  free(b);
  return outcome(result);
}

static PyObject *py_linear(PyObject *self, PyObject *args) {
  int index, threads, half, result = OK;
  long long n, inputs, out;
  PyObject *values, *weight, *scale, *bias, *to;
  buffers *b = calloc(1, sizeof *b);
  const kernels *k;
  (void)self;
  if (!b) return PyErr_NoMemory();
  if (PyArg_ParseTuple(args, "iiiLLLOOOOO", &index, &threads, &half, &n, &inputs, &out, &values, &weight, &scale, &bias,
                       &to) &&
      (k = chosen(index, threads)) && positive(n + 1, MOST_ELEMENTS, "Number of images + 1") &&
      positive(inputs, MOST_ELEMENTS, "Inputs") && positive(out, MOST_ELEMENTS, "Outputs")) {
    const float *x = need(b, values, "values", times(n, inputs), 4, 0);
    const void *w = x ? need(b, weight, "weight", times(out, inputs), half ? 2 : 4, 0) : NULL;
    const float *a = w ? need(b, scale, "scale", out, 4, 0) : NULL;
    const float *c = a ? need(b, bias, "bias", out, 4, 0) : NULL;
    float *y = c ? need(b, to, "result", times(n, out), 4, 1) : NULL;
    if (y) {
      Py_BEGIN_ALLOW_THREADS;
      result = linear_map(k, threads, x, n, inputs, w, half, out, a, c, y);
      Py_END_ALLOW_THREADS;
    }
  }
  release(b);
  free(b);
  return outcome(result);
}

static PyObject *py_implementations(PyObject *self, PyObject *args) {
  (void)self, (void)args;
  PyObject *found = PyDict_New();
  for (int i = 0; found && i < N_IMPLEMENTATIONS; i++) {
    if (!implementation(i)) continue;
    PyObject *index = PyLong_FromLong(i);
    if (!index || PyDict_SetItemString(found, implementation_name(i), index)) Py_CLEAR(found);
    Py_XDECREF(index);
  }
  return found;
}

static PyObject *py_popcounts(PyObject *self, PyObject *args) {
  int index;
  unsigned long long rounds, bits;
  (void)self;
  if (!PyArg_ParseTuple(args, "iK", &index, &rounds)) return NULL;
  const kernels *k = chosen(index, 1);
  if (!k) return NULL;
  Py_BEGIN_ALLOW_THREADS;
  bits = k->popcounts(rounds);
  Py_END_ALLOW_THREADS;
  return PyLong_FromUnsignedLongLong(bits);
}

static PyMethodDef methods[] = {
    {"implementations", py_implementations, METH_NOARGS, "Those this processor can run, best first: name to index."},
    {"convolve", py_convolve, METH_VARARGS, "Any convolution and its epilogue."},
    {"pack", py_pack, METH_VARARGS, "Signs of a map."},
    {"pool", py_pool, METH_VARARGS, "Average and max pools."},
    {"combine", py_combine, METH_VARARGS, "Sums of maps and an epilogue."},
    {"linear", py_linear, METH_VARARGS, "A linear layer."},
    {"popcounts", py_popcounts, METH_VARARGS, "Counts bits and nothing else, for benchmarks: bits counted."},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_kernels", "Kernels of the packed engine.", 0,
                                        methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernels(void);
PyMODINIT_FUNC PyInit__kernels(void) { return PyModule_Create(&definition); }
