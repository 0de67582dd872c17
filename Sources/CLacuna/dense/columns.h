// Columns of a dense matrix in double precision: what coordinate-wise solvers spend their time on.

#define DLANES (VECTOR_BYTES / 8)
#define VD K(vd)

INLINE VD K(load_f64)(const double *p) { return *(const K(vd_memory) *)p; }
INLINE void K(store_f64)(double *p, VD v) { *(K(vd_memory) *)p = v; }

INLINE double K(sum_lanes_f64)(VD v) {
#if LEVEL >= LK_AVX512
  return _mm512_reduce_add_pd(v);
#else
  double sum = 0;
  for (int i = 0; i < DLANES; i++) sum += v[i];
  return sum;
#endif
}

INLINE double K(dot_ahead_f64)(const double *a, const double *b, long n, long ahead) {
  VD sum[4] = {0};
  long i = 0;
  for (; i + 4 * DLANES <= n; i += 4 * DLANES) {
    if (ahead)
      for (long line = 0; line < 4 * DLANES; line += 8) __builtin_prefetch(a + i + ahead + line);
    for (int u = 0; u < 4; u++) sum[u] += K(load_f64)(a + i + u * DLANES) * K(load_f64)(b + i + u * DLANES);
  }
  for (; i + DLANES <= n; i += DLANES) sum[0] += K(load_f64)(a + i) * K(load_f64)(b + i);
  double result = K(sum_lanes_f64)((sum[0] + sum[1]) + (sum[2] + sum[3]));
  for (; i < n; i++) result += a[i] * b[i];
  return result;
}

static double K(dot_f64)(const double *a, const double *b, long n) { return K(dot_ahead_f64)(a, b, n, 0); }

static void K(axpy_f64)(double a, const double *x, double *y, long n) {
  long i = 0;
  for (; i + 4 * DLANES <= n; i += 4 * DLANES)
    for (int u = 0; u < 4; u++)
      K(store_f64)(y + i + u * DLANES, K(load_f64)(y + i + u * DLANES) + a * K(load_f64)(x + i + u * DLANES));
  for (; i + DLANES <= n; i += DLANES) K(store_f64)(y + i, K(load_f64)(y + i) + a * K(load_f64)(x + i));
  for (; i < n; i++) y[i] += a * x[i];
}

static double K(weighted_squares_f64)(const double *x, const double *w, long n) {
  VD sum[4] = {0};
  long i = 0;
  for (; i + 4 * DLANES <= n; i += 4 * DLANES)
    for (int u = 0; u < 4; u++) {
      VD v = K(load_f64)(x + i + u * DLANES);
      sum[u] += v * v * K(load_f64)(w + i + u * DLANES);
    }
  double result = K(sum_lanes_f64)((sum[0] + sum[1]) + (sum[2] + sum[3]));
  for (; i < n; i++) result += w[i] * x[i] * x[i];
  return result;
}

// The next column follows in memory more often than not, so reading ahead may pass a column's end.
static void K(dots_f64)(
    const double *x, long stride, const uint32_t *columns, long count, const double *v, long n, double *out) {
  for (long k = 0; k < count; k++) {
    long j = columns ? (long)columns[k] : k;
    out[k] = K(dot_ahead_f64)(x + j * stride, v, n, 256);
  }
}

#undef DLANES
#undef VD
