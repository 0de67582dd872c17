// Sampled dense-dense products: entries of A Bᵀ at the positions of a sparse pattern. Included by level.h once for each
// level, after csr/panel.h.
//
// LANES entries of a row at a time: each is a vector of partial sums, and log2(LANES) rounds of interleaving and adding
// turn the LANES vectors into one that holds their totals in order.

#if VECTOR_BYTES == 64
#define PAIR_LOW_f64(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define PAIR_HIGH_f64(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#define PAIR_LOW_f32(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define PAIR_HIGH_f32(a, b) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#elif VECTOR_BYTES == 32
#define PAIR_LOW_f64(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define PAIR_HIGH_f64(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#define PAIR_LOW_f32(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define PAIR_HIGH_f32(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#else
#define PAIR_LOW_f64(a, b) __builtin_shufflevector(a, b, 0, 2)
#define PAIR_HIGH_f64(a, b) __builtin_shufflevector(a, b, 1, 3)
#define PAIR_LOW_f32(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define PAIR_HIGH_f32(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#endif

// The first n numbers of x, stored or added.
INLINE void K(put_f32)(float *v, VF x, long n, const int add) {
  if (n == LANES) K(store)(v, add ? K(load)(v) + x : x);
  else K(store_part)(v, add ? K(load_part)(v, n) + x : x, n);
}
INLINE void K(put_f64)(double *v, K(vd) x, long n, const int add) {
  if (n == LANES / 2) {
    K(vd_memory) *const whole = (K(vd_memory) *)v;
    *whole = add ? *whole + x : x;
  } else {
    double some[LANES / 2];
    memcpy(some, &x, sizeof some);
    for (long i = 0; i < n; i++) v[i] = add ? v[i] + some[i] : some[i];
  }
}

#define SAMPLED(real, R)                                                                                           \
  /* The inner products of `x` (`vectors` vectors, held in registers) with `count` (LANES, or 1) panel rows. */    \
  INLINE VECTOR_##real K(sampled_group_##real)(                                                                    \
      const VECTOR_##real *x, const uint32_t *column, const R *panel, const long width, const int vectors) {       \
    VECTOR_##real sum[LANES_##real];                                                                               \
    for (int i = 0; i < LANES_##real; i++) {                                                                       \
      const R *entry = panel + (long)column[i] * width;                                                            \
      sum[i] = x[0] * AT_##real(entry);                                                                            \
      for (int u = 1; u < vectors; u++) sum[i] += x[u] * AT_##real(entry + u * LANES_##real);                      \
    }                                                                                                              \
    for (int half = LANES_##real / 2; half >= 1; half /= 2)                                                        \
      for (int i = 0; i < half; i++)                                                                               \
        sum[i] = PAIR_LOW_##real(sum[i], sum[i + half]) + PAIR_HIGH_##real(sum[i], sum[i + half]);                 \
    return sum[0];                                                                                                 \
  }                                                                                                                \
  /* Entries j..<end of the row of which `a` is the panel row. */                                          \
  INLINE void K(sampled_entries_##real)(                                                                           \
      const uint32_t *column, long j, long end, const R *a, const R *b, const long width, const int vectors,       \
      const int add, R *values) {                                                                                  \
    VECTOR_##real x[4];                                                                                            \
    for (int u = 0; u < vectors; u++) x[u] = AT_##real(a + u * LANES_##real);                                      \
    for (; j + LANES_##real <= end; j += LANES_##real)                                                             \
      K(put_##real)(values + j, K(sampled_group_##real)(x, column + j, b, width, vectors), LANES_##real, add);     \
    if (j < end) {                                                                                                 \
      /* The rest is filled up with column 0. */                                                                   \
      uint32_t columns[LANES];                                                                                     \
      K(store)((float *)columns, K(load_part)((const float *)(column + j), end - j));                              \
      K(put_##real)(values + j, K(sampled_group_##real)(x, columns, b, width, vectors), end - j, add);             \
    }                                                                                                              \
  }                                                                                                                \
  INLINE void K(sampled_strip_##real)(                                                                             \
      const uint32_t *row_start, const uint32_t *column, long r0, long r1, const R *a, const R *b,                 \
      const long width, const int vectors, const int add, R *values) {                                             \
    for (long r = r0; r < r1; r++)                                                                                 \
      K(sampled_entries_##real)(                                                                                   \
          column, row_start[r], row_start[r + 1], a + r * width, b, width, vectors, add, values);                  \
  }                                                                                                                \
  /* Band by band, so that the rows of b stay in the first-level cache. */                                         \
  INLINE void K(sampled_segments_strip_##real)(                                                                    \
      const lk_segmented *w, long block, const R *a, const R *b, const long width, const int vectors,              \
      const int add, R *values) {                                                                                  \
    const uint32_t *column = (const uint32_t *)w->column;                                                          \
    const R *rows = a + (long)w->block_start[block] * width;                                                       \
    const lk_segment *s = w->segments + w->first[block * w->bands];                                                \
    const lk_segment *const end = w->segments + w->first[(block + 1) * w->bands];                                  \
    for (; s < end; s++) {                                                                                         \
      PREFETCH_SEGMENT(R)                                                                                          \
      for (int u = 0; u < vectors; u++) __builtin_prefetch(rows + s[4].row * width + u * LANES_##real);            \
      K(sampled_entries_##real)(                                                                                   \
          column, s->start, (long)s->start + s->count, rows + s->row * width, b, width, vectors, add, values);     \
    }                                                                                                              \
  }                                                                                                                \
  static void K(sampled_segments_##real)(                                                                          \
      const lk_segmented *w, long block, const R *a, const R *b, long width, int add, R *values) {                 \
    const long n = LANES_##real;                                                                                   \
    long t = 0;                                                                                                    \
    for (; t + 4 * n <= width; t += 4 * n)                                                                         \
      K(sampled_segments_strip_##real)(w, block, a + t, b + t, width, 4, add || t > 0, values);                    \
    for (; t + 2 * n <= width; t += 2 * n)                                                                         \
      K(sampled_segments_strip_##real)(w, block, a + t, b + t, width, 2, add || t > 0, values);                    \
    for (; t < width; t += n)                                                                                      \
      K(sampled_segments_strip_##real)(w, block, a + t, b + t, width, 1, add || t > 0, values);                    \
  }                                                                                                                \
  static void K(sampled_##real)(                                                                                   \
      const uint32_t *row_start, const uint32_t *column, long r0, long r1, const R *a, const R *b, long width,     \
      int add, R *values) {                                                                                        \
    const long n = LANES_##real;                                                                                   \
    long t = 0;                                                                                                    \
    for (; t + 4 * n <= width; t += 4 * n)                                                                         \
      K(sampled_strip_##real)(row_start, column, r0, r1, a + t, b + t, width, 4, add || t > 0, values);            \
    for (; t + 2 * n <= width; t += 2 * n)                                                                         \
      K(sampled_strip_##real)(row_start, column, r0, r1, a + t, b + t, width, 2, add || t > 0, values);            \
    for (; t < width; t += n)                                                                                      \
      K(sampled_strip_##real)(row_start, column, r0, r1, a + t, b + t, width, 1, add || t > 0, values);            \
  }

SAMPLED(f32, float)
SAMPLED(f64, double)

#undef SAMPLED
#undef PREFETCH_SEGMENT
