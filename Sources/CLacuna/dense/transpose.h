// Panels of either type of number, and transposes that scale and add. Included by level.h once for each level, after
// dense/panel.h, of which the floats take the transposition, and csr/sampled.h.

// As transpose_square of dense/panel.h.
INLINE void K(transpose_square_f32)(VF *rows) { K(transpose_square)(rows); }
INLINE void K(transpose_square_f64)(K(vd) *rows) {
  K(vd) other[LANES / 2];
  for (int width = 1; width < LANES / 2; width *= 2) {
    for (int i = 0; i < LANES / 4; i++) {
      other[2 * i] = PAIR_LOW_f64(rows[i], rows[i + LANES / 4]);
      other[2 * i + 1] = PAIR_HIGH_f64(rows[i], rows[i + LANES / 4]);
    }
    for (int i = 0; i < LANES / 2; i++) rows[i] = other[i];
  }
}

#define FREE_f32(p) (*(K(vf_memory) *)(p))
#define FREE_f64(p) (*(K(vd_memory) *)(p))

// target[j, i] = alpha source[i, j] + beta target[j, i]; what `target` held does not matter if beta is 0.
#define TRANSPOSE(real, R)                                                                                         \
  INLINE void K(transpose_add_inner_##real)(                                                                       \
      const R *source, long source_stride, long m, long n, R alpha, const int fresh, R beta, R *target,            \
      long target_stride) {                                                                                        \
    const long lanes = LANES_##real;                                                                               \
    for (long i = 0; i < m; i += lanes)                                                                            \
      for (long j = 0; j < n; j += lanes) {                                                                        \
        if (i + lanes <= m && j + lanes <= n) {                                                                    \
          VECTOR_##real rows[LANES_##real];                                                                        \
          for (int k = 0; k < LANES_##real; k++) rows[k] = FREE_##real(source + (i + k) * source_stride + j);      \
          K(transpose_square_##real)(rows);                                                                        \
          for (int k = 0; k < LANES_##real; k++) {                                                                 \
            R *p = target + (j + k) * target_stride + i;                                                           \
            FREE_##real(p) = fresh ? alpha * rows[k] : alpha * rows[k] + beta * FREE_##real(p);                    \
          }                                                                                                        \
        } else {                                                                                                   \
          for (long a = i; a < m && a < i + lanes; a++)                                                            \
            for (long b = j; b < n && b < j + lanes; b++) {                                                        \
              R *p = target + b * target_stride + a;                                                               \
              *p = fresh ? alpha * source[a * source_stride + b] : alpha * source[a * source_stride + b] + beta * *p; \
            }                                                                                                      \
        }                                                                                                          \
      }                                                                                                            \
  }                                                                                                                \
  static void K(transpose_add_##real)(                                                                             \
      const R *source, long source_stride, long m, long n, R alpha, R beta, R *target, long target_stride) {       \
    if (beta == 0) K(transpose_add_inner_##real)(source, source_stride, m, n, alpha, 1, 0, target, target_stride); \
    else K(transpose_add_inner_##real)(source, source_stride, m, n, alpha, 0, beta, target, target_stride);        \
  }                                                                                                                \
  static void K(combine_##real)(R alpha, const R *x, R beta, R *y, long n) {                                       \
    long i = 0;                                                                                                    \
    if (beta == 0) {                                                                                               \
      for (; i + LANES_##real <= n; i += LANES_##real) FREE_##real(y + i) = alpha * FREE_##real(x + i);            \
      for (; i < n; i++) y[i] = alpha * x[i];                                                                      \
    } else {                                                                                                       \
      for (; i + LANES_##real <= n; i += LANES_##real)                                                             \
        FREE_##real(y + i) = alpha * FREE_##real(x + i) + beta * FREE_##real(y + i);                               \
      for (; i < n; i++) y[i] = alpha * x[i] + beta * y[i];                                                        \
    }                                                                                                              \
  }

TRANSPOSE(f32, float)
TRANSPOSE(f64, double)

#undef TRANSPOSE
