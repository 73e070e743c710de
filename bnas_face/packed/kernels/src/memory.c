/* Memory of large maps: freed blocks are kept for the next map instead of going back to the system.
 *
 * A network makes and drops the same maps over and over. Fresh pages have to be mapped and zeroed at their first
 * touch; kept ones are there and often still in the cache.
 */
#include "arguments.h"

#include <stdlib.h>

#define MOST_KEPT 64
#define MOST_KEPT_BYTES ((size_t)128 << 20)
#define LINE_BYTES 64

typedef struct {
  PyObject_HEAD
  void *start;
  size_t capacity;
  Py_ssize_t bytes;
} block;

typedef struct {
  void *start;
  size_t capacity;
} kept_block;

/* Guarded by the interpreter's lock. */
static struct {
  PyTypeObject *type;
  kept_block blocks[MOST_KEPT];
  int n;
  size_t bytes;
} kept;

/* A little more than asked for, in steps of an eighth, so that maps of nearly the same size share blocks. */
static size_t capacity_of(size_t bytes) {
  size_t step = 4096;
  while (step * 16 < bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

static void *obtain(size_t capacity) {
  for (int i = kept.n - 1; i >= 0; i--) /* the latest is the likeliest to be in the cache */
    if (kept.blocks[i].capacity == capacity) {
      void *start = kept.blocks[i].start;
      kept.bytes -= capacity;
      kept.n--;
      for (; i < kept.n; i++) kept.blocks[i] = kept.blocks[i + 1];
      return start;
    }
  void *start = NULL;
  return posix_memalign(&start, LINE_BYTES, capacity) ? NULL : start;
}

/* Keeps a block; the oldest make room for it. */
static void keep(void *start, size_t capacity) {
  if (capacity > MOST_KEPT_BYTES) {
    free(start);
    return;
  }
  int gone = 0;
  while (gone < kept.n && (kept.bytes + capacity > MOST_KEPT_BYTES || kept.n - gone == MOST_KEPT)) {
    kept.bytes -= kept.blocks[gone].capacity;
    free(kept.blocks[gone++].start);
  }
  kept.n -= gone;
  for (int i = 0; i < kept.n; i++) kept.blocks[i] = kept.blocks[i + gone];
  kept.blocks[kept.n].start = start, kept.blocks[kept.n++].capacity = capacity;
  kept.bytes += capacity;
}

static void block_dealloc(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);
  block *b = (block *)self;
  if (b->start) keep(b->start, b->capacity);
  PyObject_Free(self);
  Py_DECREF(type);
}

static int block_buffer(PyObject *self, Py_buffer *view, int flags) {
  block *b = (block *)self;
  return PyBuffer_FillInfo(view, self, b->start, b->bytes, 0, flags);
}

static PyType_Slot slots[] = {
    {Py_tp_dealloc, (void *)block_dealloc}, {Py_bf_getbuffer, (void *)block_buffer}, {0, NULL}};
static PyType_Spec spec = {"bnas_face.packed.kernels._kernels.Block", sizeof(block), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};

PyObject *allocate(PyObject *self, PyObject *size) {
  (void)self;
  Py_ssize_t bytes = PyLong_AsSsize_t(size);
  if (bytes == -1 && PyErr_Occurred()) return NULL;
  if (!within(bytes, 1, MOST_ELEMENTS, "Bytes")) return NULL;
  if (!kept.type && !(kept.type = (PyTypeObject *)PyType_FromSpec(&spec))) return NULL;
  block *b = PyObject_New(block, kept.type);
  if (!b) return NULL;
  b->bytes = bytes, b->capacity = capacity_of((size_t)bytes), b->start = obtain(b->capacity);
  if (b->start) return (PyObject *)b;
  Py_DECREF(b);
  return PyErr_NoMemory();
}
