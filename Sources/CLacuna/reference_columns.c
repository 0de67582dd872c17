#include "reference_columns.h"

double reference_dot_f64(const double *a, const double *b, long n) {
  double sum = 0;
  for (long i = 0; i < n; i++) sum += a[i] * b[i];
  return sum;
}

void reference_axpy_f64(double a, const double *x, double *y, long n) {
  for (long i = 0; i < n; i++) y[i] += a * x[i];
}

double reference_weighted_squares_f64(const double *x, const double *w, long n) {
  double sum = 0;
  for (long i = 0; i < n; i++) sum += w[i] * x[i] * x[i];
  return sum;
}

void reference_dots_f64(
    const double *x, long stride, const uint32_t *columns, long count, const double *v, long n, double *out) {
  for (long k = 0; k < count; k++) out[k] = reference_dot_f64(x + (columns ? (long)columns[k] : k) * stride, v, n);
}

double reference_sparse_dot_f64(const double *values, const uint32_t *rows, long count, const double *v) {
  double sum = 0;
  for (long i = 0; i < count; i++) sum += values[i] * v[rows[i]];
  return sum;
}

void reference_sparse_axpy_f64(double a, const double *values, const uint32_t *rows, long count, double *y) {
  for (long i = 0; i < count; i++) y[rows[i]] += a * values[i];
}

double reference_sparse_weighted_squares_f64(
    const double *values, const uint32_t *rows, long count, const double *w) {
  double sum = 0;
  for (long i = 0; i < count; i++) sum += w[rows[i]] * values[i] * values[i];
  return sum;
}

void reference_sparse_dots_f64(
    const double *values, const uint32_t *rows, const uint64_t *start, const uint32_t *columns, long count,
    const double *v, double *out) {
  for (long k = 0; k < count; k++) {
    long j = columns ? (long)columns[k] : k;
    out[k] = reference_sparse_dot_f64(values + start[j], rows + start[j], (long)(start[j + 1] - start[j]), v);
  }
}
