/* The functions that Python sees. */
#include "arguments.h"

#include <stdlib.h>
#include <string.h>

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
      (c.k = chosen(index, threads)) && within(c.kind, BITS_BITS, FLOATS_EXACT, "Kind") &&
      read_shape(sizes, &c.s, c.kind == BITS_BITS ? MAX_BIT_KERNEL : MAX_KERNEL) && convolution_sizes(&c.s)) {
    c.threads = threads;
    e.out = c.s.out, e.stride = c.s.stride, e.k = c.k;
    if (take_weights(b, &c, input, tiles, ones) && take_shortcut(b, &e, &c.s, source, source_sizes) &&
        take_outputs(b, &e, floats, bits, product(product(c.s.n, c.s.rows), c.s.columns)) &&
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
      (k = chosen(index, threads)) && within(pixels, 0, MOST_ELEMENTS, "Pixels") &&
      within(channels, 1, 1 << 22, "Channels")) {
    const float *from = need(b, values, "values", product(pixels, channels), sizeof(float), 0);
    const float *limits = from ? need(b, threshold, "threshold", channels, sizeof(float), 0) : NULL;
    const uint8_t *flips = limits ? need(b, flip, "flip", channels, 1, 0) : NULL;
    uint64_t *to = flips ? need(b, bits, "bits", product(pixels, ceil_div(channels, WORD)), sizeof(uint64_t), 1) : NULL;
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
      (k = chosen(index, threads)) && within(kind, POOL_AVERAGE, POOL_MAX, "Kind") && read_shape(sizes, &s, 1 << 12)) {
    s.rows = ceil_div(s.height, s.stride), s.columns = ceil_div(s.width, s.stride);
    e.out = s.channels, e.stride = 1;
    const float *from = need(b, values, "values", product(product(s.n, product(s.height, s.width)), s.channels), 4, 0);
    if (s.padding >= s.kernel) PyErr_SetString(PyExc_ValueError, "A pool's padding is less than its kernel.");
    if (!PyErr_Occurred() && take_outputs(b, &e, floats, bits, product(product(s.n, s.rows), s.columns)) &&
        read_epilogue(b, arrays, &e, &memory)) {
      if (e.whole) {
        PyErr_SetString(PyExc_ValueError, "A pool has no integer threshold.");
      } else {
        Py_BEGIN_ALLOW_THREADS;
        result = pool(k, threads, kind, &s, from, &e);
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
      (k = chosen(index, threads)) && within(pixels, 0, MOST_ELEMENTS, "Pixels") &&
      within(channels, 1, 1 << 22, "Channels")) {
    e.out = channels, e.stride = 1;
    n_maps = take_maps(b, tuple, product(pixels, channels), maps);
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
  int index, threads, type, result = OK;
  static const int bytes[N_TYPES] = {4, 2, 1};
  long long n, inputs, out;
  PyObject *values, *weight, *scale, *bias, *to;
  buffers *b = calloc(1, sizeof *b);
  const kernels *k;
  (void)self;
  if (!b) return PyErr_NoMemory();
  if (PyArg_ParseTuple(args, "iiiLLLOOOOO", &index, &threads, &type, &n, &inputs, &out, &values, &weight, &scale, &bias,
                       &to) &&
      (k = chosen(index, threads)) && within(type, 0, N_TYPES - 1, "Type of weights") &&
      within(n, 0, MOST_ELEMENTS, "Number of images") && within(inputs, 1, MOST_ELEMENTS, "Inputs") && within(out, 1, MOST_ELEMENTS, "Outputs")) {
    const float *x = need(b, values, "values", product(n, inputs), 4, 0);
    const void *w = x ? need(b, weight, "weight", product(out, inputs), bytes[type], 0) : NULL;
    const float *a = w ? need(b, scale, "scale", out, 4, 0) : NULL;
    const float *c = a ? need(b, bias, "bias", out, 4, 0) : NULL;
    float *y = c ? need(b, to, "result", product(n, out), 4, 1) : NULL;
    if (y) {
      Py_BEGIN_ALLOW_THREADS;
      result = linear_map(k, threads, x, n, inputs, w, type, out, a, c, y);
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
    {"allocate", allocate, METH_O, "A buffer of that many bytes."},
    {"popcounts", py_popcounts, METH_VARARGS, "Counts bits and nothing else, for benchmarks: bits counted."},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_kernels", "Kernels of the packed engine.", 0,
                                        methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernels(void);
PyMODINIT_FUNC PyInit__kernels(void) { return PyModule_Create(&definition); }
