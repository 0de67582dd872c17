#include "mkl.h"

#include <dlfcn.h>
#include <stddef.h>
#include <stdlib.h>

typedef struct descriptor {
  int type, mode, diagonal;
} descriptor;

static const descriptor general = {20, 0, 0};
enum { none = 10, rowMajor = 101 };

static int (*create)(void **, int, int, int, const int *, const int *, const int *, const float *);
static int (*set_mv_hint)(void *, int, descriptor, int);
static int (*set_mm_hint)(void *, int, descriptor, int, int, int);
static int (*optimize)(void *);
static int (*mv)(int, float, void *, descriptor, const float *, float, float *);
static int (*mm)(int, float, void *, descriptor, int, const float *, int, int, float, float *, int);
static int (*spmm)(int, void *, void *, void **);
static int (*order)(void *);
static int (*destroy)(void *);
static void (*set_threads)(int);

int mkl_open(const char *path) {
  // Its threads would otherwise go on spinning for 0.2 s after every product, in the way of what is measured next.
  setenv("KMP_BLOCKTIME", "0", 0);
  void *library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
  if (!library) return 0;
  create = dlsym(library, "mkl_sparse_s_create_csr");
  set_mv_hint = dlsym(library, "mkl_sparse_set_mv_hint");
  set_mm_hint = dlsym(library, "mkl_sparse_set_mm_hint");
  optimize = dlsym(library, "mkl_sparse_optimize");
  mv = dlsym(library, "mkl_sparse_s_mv");
  mm = dlsym(library, "mkl_sparse_s_mm");
  spmm = dlsym(library, "mkl_sparse_spmm");
  order = dlsym(library, "mkl_sparse_order");
  destroy = dlsym(library, "mkl_sparse_destroy");
  set_threads = dlsym(library, "MKL_Set_Num_Threads");
  return create && set_mv_hint && set_mm_hint && optimize && mv && mm && spmm && order && destroy && set_threads;
}

void mkl_threads(int count) { set_threads(count); }

void *mkl_csr(int rows, int columns, const uint32_t *offsets, const uint32_t *indices, const float *values, int width) {
  void *matrix = NULL;
  const int *starts = (const int *)offsets;
  if (create(&matrix, 0, rows, columns, starts, starts + 1, (const int *)indices, values) != 0) return NULL;
  if (width == 1) set_mv_hint(matrix, none, general, 1000);
  if (width > 1) set_mm_hint(matrix, none, general, rowMajor, width, 1000);
  if (width > 0) optimize(matrix);
  return matrix;
}

void mkl_free(void *matrix) { destroy(matrix); }

int mkl_vector(void *matrix, const float *x, float *y) { return mv(none, 1, matrix, general, x, 0, y); }

int mkl_matrix(void *matrix, const float *b, int width, float *c) {
  return mm(none, 1, matrix, general, rowMajor, b, width, width, 0, c, width);
}

int mkl_product(void *a, void *b, int sorted) {
  void *c = NULL;
  if (spmm(none, a, b, &c) != 0) return 1;
  if (sorted) order(c);
  return destroy(c);
}
