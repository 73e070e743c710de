/* Arguments from Python: buffers whose sizes are checked before a pointer is used. */
#ifndef BNAS_ARGUMENTS_H
#define BNAS_ARGUMENTS_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include "kernels.h"

#define MOST_BUFFERS 80
#define MOST_MAPS 64
#define MOST_THREADS 256
#define MOST_ELEMENTS ((int64_t)1 << 44) /* of any map, its padding included */

/* All buffers of a call, released together. */
typedef struct {
  Py_buffer views[MOST_BUFFERS];
  int n;
} buffers;

void release(buffers *b);

/* a · b; −1 where that is more than MOST_ELEMENTS or a factor is negative. */
int64_t product(int64_t a, int64_t b);

/* The address of an array that holds exactly `elements` of `size` bytes. None: NULL for `take`, an error for `need`. */
void *take(buffers *b, PyObject *object, const char *name, int64_t elements, int64_t size, int writable);
void *need(buffers *b, PyObject *object, const char *name, int64_t elements, int64_t size, int writable);

const kernels *chosen(int index, int threads);
PyObject *outcome(int result);

/* Below: 0 after an error. Everything per channel is copied to *memory, which is to be freed. */
int read_epilogue(buffers *b, PyObject *tuple, epilogue *e, void **memory);
int take_outputs(buffers *b, epilogue *e, PyObject *floats, PyObject *bits, int64_t pixels);
void turn(float *threshold, uint32_t *sign, const uint8_t *flip, int64_t n);
int within(int64_t value, int64_t least, int64_t most, const char *name);
int read_shape(PyObject *tuple, shape *s, int64_t most_kernel);
int convolution_sizes(shape *s);
int take_shortcut(buffers *b, epilogue *e, const shape *s, PyObject *source, PyObject *sizes);
int take_weights(buffers *b, convolution *c, PyObject *input, PyObject *tiles, PyObject *ones);

/* A writable buffer of that many bytes that begins at a cache line; see memory.c. */
PyObject *allocate(PyObject *self, PyObject *size);

#endif
