// Sampled dense-dense products: entries of A Bᵀ at the positions of a sparse pattern. Included by real.h once for each
// type.
//
// STEP entries of a row at a time: each is a vector of partial sums, and log2(STEP) rounds of interleaving and adding
// turn the STEP vectors into one that holds their totals in order.

// The inner products of `x` (`vectors` vectors, held in registers) with STEP panel rows.
INLINE VECTOR R(sampled_group)(
    const VECTOR *x, const uint32_t *column, const REAL *panel, const long width, const int vectors) {
  VECTOR sum[STEP];
  UNROLLED for (int i = 0; i < STEP; i++) {
    const REAL *entry = panel + (long)column[i] * width;
    sum[i] = x[0] * AT(entry);
    UNROLLED for (int u = 1; u < vectors; u++) sum[i] += x[u] * AT(entry + u * STEP);
  }
  UNROLLED for (int half = STEP / 2; half >= 1; half /= 2)
    UNROLLED for (int i = 0; i < half; i++)
      sum[i] = PAIR_LOW(sum[i], sum[i + half]) + PAIR_HIGH(sum[i], sum[i + half]);
  return sum[0];
}

// Entries j..<end of the row of which `a` is the panel row.
INLINE void R(sampled_entries)(
    const uint32_t *column, long j, long end, const REAL *a, const REAL *b, const long width, const int vectors,
    const int add, REAL *values) {
  VECTOR x[4];
  UNROLLED for (int u = 0; u < vectors; u++) x[u] = AT(a + u * STEP);
  for (; j + STEP <= end; j += STEP)
    R(put)(values + j, R(sampled_group)(x, column + j, b, width, vectors), STEP, add);
  if (j < end) {
    // The rest is filled up with column 0.
    uint32_t columns[LANES];
    K(store)((float *)columns, K(load_part)((const float *)(column + j), end - j));
    R(put)(values + j, R(sampled_group)(x, columns, b, width, vectors), end - j, add);
  }
}

INLINE void R(sampled_strip)(
    const long *row_start, const uint32_t *column, long r0, long r1, const REAL *a, const REAL *b, const long width,
    const int vectors, const int add, REAL *values) {
  for (long r = r0; r < r1; r++)
    R(sampled_entries)(column, row_start[r], row_start[r + 1], a + r * width, b, width, vectors, add, values);
}

// Band by band, so that the rows of b stay in the first-level cache.
INLINE void R(sampled_segments_strip)(
    const lk_segmented *w, long block, const REAL *a, const REAL *b, const long width, const int vectors,
    const int add, REAL *all) {
  const uint32_t *column = (const uint32_t *)w->column + w->block_entry[block];
  REAL *values = all + w->block_entry[block];
  const REAL *rows = a + (long)w->block_start[block] * width;
  const lk_segment *s = w->segments + w->first[block * w->bands];
  const lk_segment *const end = w->segments + w->first[(block + 1) * w->bands];
  for (; s < end; s++) {
    PREFETCH_SEGMENT(REAL)
    UNROLLED for (int u = 0; u < vectors; u++) __builtin_prefetch(rows + s[4].row * width + u * STEP);
    R(sampled_entries)(
        column, s->start, (long)s->start + s->count, rows + s->row * width, b, width, vectors, add, values);
  }
}

// Strips of four, two and one vectors of every panel row; those after the first add to what it left.
#define SAMPLED_STRIPS(strip)                             \
  long t = 0;                                             \
  for (; t + 4 * STEP <= width; t += 4 * STEP) strip(4);  \
  for (; t + 2 * STEP <= width; t += 2 * STEP) strip(2);  \
  for (; t < width; t += STEP) strip(1);

static void R(sampled_segments)(
    const lk_segmented *w, long block, const void *a_, const void *b_, long width, int add, void *values) {
  const REAL *a = (const REAL *)a_, *b = (const REAL *)b_;
#define STRIP(n) R(sampled_segments_strip)(w, block, a + t, b + t, width, n, add || t > 0, (REAL *)values)
  SAMPLED_STRIPS(STRIP)
#undef STRIP
}

static void R(sampled)(
    const long *row_start, const uint32_t *column, long r0, long r1, const void *a_, const void *b_, long width,
    int add, void *values) {
  const REAL *a = (const REAL *)a_, *b = (const REAL *)b_;
#define STRIP(n) R(sampled_strip)(row_start, column, r0, r1, a + t, b + t, width, n, add || t > 0, (REAL *)values)
  SAMPLED_STRIPS(STRIP)
#undef STRIP
}

#undef SAMPLED_STRIPS
#undef PREFETCH_SEGMENT
