// Sparse columns, with ascending row numbers, in double precision: what coordinate-wise solvers spend their time on.

static double K(sparse_dot_f64)(const double *values, const uint32_t *rows, long count, const double *v) {
  double s0 = 0, s1 = 0, s2 = 0, s3 = 0;
  long i = 0;
  NO_GATHER for (; i + 4 <= count; i += 4) {
    s0 += values[i] * v[rows[i]];
    s1 += values[i + 1] * v[rows[i + 1]];
    s2 += values[i + 2] * v[rows[i + 2]];
    s3 += values[i + 3] * v[rows[i + 3]];
  }
  NO_GATHER for (; i < count; i++) s0 += values[i] * v[rows[i]];
  return (s0 + s1) + (s2 + s3);
}

static void K(sparse_axpy_f64)(double a, const double *values, const uint32_t *rows, long count, double *y) {
  NO_GATHER for (long i = 0; i < count; i++) y[rows[i]] += a * values[i];
}

static double K(sparse_weighted_squares_f64)(const double *values, const uint32_t *rows, long count, const double *w) {
  double s0 = 0, s1 = 0;
  long i = 0;
  NO_GATHER for (; i + 2 <= count; i += 2) {
    s0 += values[i] * values[i] * w[rows[i]];
    s1 += values[i + 1] * values[i + 1] * w[rows[i + 1]];
  }
  if (i < count) s0 += values[i] * values[i] * w[rows[i]];
  return s0 + s1;
}

static void K(sparse_dots_f64)(
    const double *values, const uint32_t *rows, const uint64_t *start, const uint32_t *columns, long count,
    const double *v, double *out) {
  for (long k = 0; k < count; k++) {
    long j = columns ? (long)columns[k] : k;
    out[k] = K(sparse_dot_f64)(values + start[j], rows + start[j], (long)(start[j + 1] - start[j]), v);
  }
}
