// Intel's MKL, if a copy is at hand: loaded at run time, to be measured against in the same rounds.
#ifndef BENCHMARK_MKL_H
#define BENCHMARK_MKL_H

#include <stdint.h>

// Loads libmkl_rt; 0 if that or one of the functions is not there. The others may be called only after it returned 1.
int mkl_open(const char *path);
void mkl_threads(int count);
// A CSR matrix over the given arrays, analysed for products with `width` columns (0: not at all). Null on failure. Its
// products run on as many threads as were set when it was made.
void *mkl_csr(int rows, int columns, const uint32_t *offsets, const uint32_t *indices, const float *values, int width);
void mkl_free(void *matrix);
// y = A x
int mkl_vector(void *matrix, const float *x, float *y);
// C = A B for row-major B [columns, width] and C [rows, width].
int mkl_matrix(void *matrix, const float *b, int width, float *c);
// A B, thrown away.
int mkl_product(void *a, void *b, int sorted);

#endif
