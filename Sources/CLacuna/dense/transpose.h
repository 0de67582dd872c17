// Transposes that scale and add, and sums of vectors. Included by real.h once for each type.

// As transpose_square of dense/panel.h.
INLINE void R(transpose_square)(VECTOR *rows) {
  VECTOR other[STEP];
  UNROLLED for (int width = 1; width < STEP; width *= 2) {
    UNROLLED for (int i = 0; i < STEP / 2; i++) {
      other[2 * i] = PAIR_LOW(rows[i], rows[i + STEP / 2]);
      other[2 * i + 1] = PAIR_HIGH(rows[i], rows[i + STEP / 2]);
    }
    UNROLLED for (int i = 0; i < STEP; i++) rows[i] = other[i];
  }
}

INLINE void R(transpose_add_inner)(
    const REAL *source, long source_stride, long m, long n, REAL alpha, const int fresh, REAL beta, REAL *target,
    long target_stride) {
  for (long i = 0; i < m; i += STEP)
    for (long j = 0; j < n; j += STEP) {
      if (i + STEP <= m && j + STEP <= n) {
        VECTOR rows[STEP];
        UNROLLED for (int k = 0; k < STEP; k++) rows[k] = FREE(source + (i + k) * source_stride + j);
        R(transpose_square)(rows);
        UNROLLED for (int k = 0; k < STEP; k++) {
          REAL *p = target + (j + k) * target_stride + i;
          FREE(p) = fresh ? alpha * rows[k] : alpha * rows[k] + beta * FREE(p);
        }
      } else {
        for (long a = i; a < m && a < i + STEP; a++)
          for (long b = j; b < n && b < j + STEP; b++) {
            REAL *p = target + b * target_stride + a;
            *p = fresh ? alpha * source[a * source_stride + b] : alpha * source[a * source_stride + b] + beta * *p;
          }
      }
    }
}

static void R(transpose_add)(
    const void *source, long source_stride, long m, long n, double alpha, double beta, void *target,
    long target_stride) {
  if (beta == 0)
    R(transpose_add_inner)(
        (const REAL *)source, source_stride, m, n, (REAL)alpha, 1, 0, (REAL *)target, target_stride);
  else
    R(transpose_add_inner)(
        (const REAL *)source, source_stride, m, n, (REAL)alpha, 0, (REAL)beta, (REAL *)target, target_stride);
}

static void R(combine)(double alpha_, const void *x_, double beta_, void *y_, long n) {
  const REAL alpha = (REAL)alpha_, beta = (REAL)beta_, *x = (const REAL *)x_;
  REAL *y = (REAL *)y_;
  long i = 0;
  if (beta == 0) {
    for (; i + STEP <= n; i += STEP) FREE(y + i) = alpha * FREE(x + i);
    for (; i < n; i++) y[i] = alpha * x[i];
  } else {
    for (; i + STEP <= n; i += STEP) FREE(y + i) = alpha * FREE(x + i) + beta * FREE(y + i);
    for (; i < n; i++) y[i] = alpha * x[i] + beta * y[i];
  }
}
