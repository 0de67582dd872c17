// Scalar versions of the kernels on columns in double precision.
#ifndef LACUNA_REFERENCE_COLUMNS_H
#define LACUNA_REFERENCE_COLUMNS_H

#include "lacuna_kernels.h"

double reference_dot_f64(const double *a, const double *b, long n);
void reference_axpy_f64(double a, const double *x, double *y, long n);
double reference_weighted_squares_f64(const double *x, const double *w, long n);
void reference_dots_f64(
    const double *x, long stride, const uint32_t *columns, long count, const double *v, long n, double *out);
double reference_sparse_dot_f64(const double *values, const uint32_t *rows, long count, const double *v);
void reference_sparse_axpy_f64(double a, const double *values, const uint32_t *rows, long count, double *y);
double reference_sparse_weighted_squares_f64(
    const double *values, const uint32_t *rows, long count, const double *w);
void reference_sparse_dots_f64(
    const double *values, const uint32_t *rows, const uint64_t *start, const uint32_t *columns, long count,
    const double *v, double *out);

#define REFERENCE_COLUMNS_ENTRIES                                                                            \
  .dot_f64 = reference_dot_f64, .axpy_f64 = reference_axpy_f64,                                              \
  .weighted_squares_f64 = reference_weighted_squares_f64, .dots_f64 = reference_dots_f64,                    \
  .sparse_dot_f64 = reference_sparse_dot_f64, .sparse_axpy_f64 = reference_sparse_axpy_f64,                  \
  .sparse_weighted_squares_f64 = reference_sparse_weighted_squares_f64,                                      \
  .sparse_dots_f64 = reference_sparse_dots_f64

#endif
