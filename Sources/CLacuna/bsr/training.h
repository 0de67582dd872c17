// Products of matrices of dense blocks with panels of many vectors, for training. Included by real.h once for each type.
//
// Up to four rows (or columns) of a block × up to four vectors of the panel are summed in registers, so that every entry
// of the panel and every value that is loaded is used up to four times.

enum { R(BLOCK_VECTORS) = VECTOR_BYTES == 64 ? 4 : 2 };

// Calls part(…, vectors, …) for strips of `width` with the number of vectors known to the compiler.
#define BLOCK_STRIPS(part, ...)                            \
  for (long t = 0; t < width;) {                           \
    if (R(BLOCK_VECTORS) == 4 && t + 4 * STEP <= width) {  \
      part(4, t, __VA_ARGS__);                             \
      t += 4 * STEP;                                       \
    } else if (t + 2 * STEP <= width) {                    \
      part(2, t, __VA_ARGS__);                             \
      t += 2 * STEP;                                       \
    } else {                                               \
      part(1, t, __VA_ARGS__);                             \
      t += STEP;                                           \
    }                                                      \
  }

// sums[i] += Σ_j a[i * stride_i + j * stride_j] panel[j] for i < count (1...4), j < n: rows of a block and its columns,
// or the other way round.
INLINE void R(block_sums)(
    const int vectors, const int count, const REAL *a, long stride_i, long stride_j, long n, const REAL *panel,
    long width, REAL *sums) {
  VECTOR sum[4][4];
  UNROLLED for (int i = 0; i < count; i++)
    UNROLLED for (int u = 0; u < vectors; u++) sum[i][u] = AT(sums + i * width + u * STEP);
  for (long j = 0; j < n; j++, a += stride_j, panel += width)
    UNROLLED for (int u = 0; u < vectors; u++) {
      const VECTOR x = AT(panel + u * STEP);
      UNROLLED for (int i = 0; i < count; i++) sum[i][u] += a[i * stride_i] * x;
    }
  UNROLLED for (int i = 0; i < count; i++)
    UNROLLED for (int u = 0; u < vectors; u++) AT(sums + i * width + u * STEP) = sum[i][u];
}

INLINE void R(block_sums_by_four)(
    const int vectors, long t, const REAL *a, long m, long stride_i, long n, long stride_j, const REAL *panel,
    long width, REAL *sums) {
  long i = 0;
  for (; i + 4 <= m; i += 4)
    R(block_sums)(vectors, 4, a + i * stride_i, stride_i, stride_j, n, panel + t, width, sums + i * width + t);
  for (; i < m; i++)
    R(block_sums)(vectors, 1, a + i * stride_i, stride_i, stride_j, n, panel + t, width, sums + i * width + t);
}

// The part of block column `c` that lies within the matrix.
INLINE long R(block_span)(long c, long size, long limit) { return (c + 1) * size <= limit ? size : limit - c * size; }

static void R(product_blocks)(
    const lk_blocks *w, long first, long last, const void *panel_, long width, void *tile_) {
  const REAL *panel = (const REAL *)panel_;
  REAL *tile = (REAL *)tile_;
  const REAL *values = (const REAL *)w->values;
  const long size = w->block_rows * w->block_columns;
  for (long i = first; i < last; i++) {
    const long m = R(block_span)(i, w->block_rows, w->rows);
    REAL *sums = tile + (i - first) * w->block_rows * width;
    for (long b = w->row_start[i]; b < w->row_start[i + 1]; b++) {
      const long c = w->block_column[b], n = R(block_span)(c, w->block_columns, w->columns);
      BLOCK_STRIPS(
          R(block_sums_by_four), values + b * size, m, w->block_columns, n, 1, panel + c * w->block_columns * width,
          width, sums)
    }
  }
}

static void R(transposed_blocks)(
    const lk_blocks *w, long first, long last, const void *panel_, long width, void *tile_) {
  const REAL *panel = (const REAL *)panel_;
  REAL *tile = (REAL *)tile_;
  const REAL *values = (const REAL *)w->values;
  const long size = w->block_rows * w->block_columns;
  for (long i = 0; i * w->block_rows < w->rows; i++) {
    const long m = R(block_span)(i, w->block_rows, w->rows);
    long b = w->row_start[i];
    const long end = w->row_start[i + 1];
    for (long step = end - b; step > 0;) {  // the first block at or after column `first`
      const long half = step / 2;
      if ((long)w->block_column[b + half] < first) {
        b += half + 1;
        step -= half + 1;
      } else {
        step = half;
      }
    }
    for (; b < end && (long)w->block_column[b] < last; b++) {
      const long c = w->block_column[b], n = R(block_span)(c, w->block_columns, w->columns);
      BLOCK_STRIPS(
          R(block_sums_by_four), values + b * size, n, 1, m, w->block_columns, panel + i * w->block_rows * width,
          width, tile + (c - first) * w->block_columns * width)
    }
  }
}

// The inner products of row `a` with rows b, b + width, ... (`count` of them; STEP at most).
INLINE VECTOR R(block_dots)(const int vectors, const REAL *a, const REAL *b, long width, long count) {
  VECTOR sum[STEP];
  UNROLLED for (int j = 0; j < STEP; j++) {
    const REAL *entry = b + (j < count ? j : count - 1) * width;
    sum[j] = AT(a) * AT(entry);
    UNROLLED for (int u = 1; u < vectors; u++) sum[j] += AT(a + u * STEP) * AT(entry + u * STEP);
  }
  UNROLLED for (int half = STEP / 2; half >= 1; half /= 2)
    UNROLLED for (int j = 0; j < half; j++) {
      const VECTOR low = PAIR_LOW(sum[j], sum[j + half]), high = PAIR_HIGH(sum[j], sum[j + half]);
      sum[j] = low + high;
    }
  return sum[0];
}

INLINE void R(sampled_block)(
    const int vectors, long t, const REAL *a, long m, const REAL *b, long n, long stride, long width, int add,
    REAL *values) {
  for (long i = 0; i < m; i++)
    for (long j = 0; j < n; j += STEP) {
      const long count = n - j < STEP ? n - j : STEP;
      const VECTOR sum = R(block_dots)(vectors, a + i * width + t, b + j * width + t, width, count);
      REAL *p = values + i * stride + j;
      const int keep = add || t > 0;
      R(put)(p, sum, count, keep);
    }
}

static void R(sampled_blocks)(
    const lk_blocks *w, long first, long last, const void *a_, const void *b_, long width, int add, void *values_) {
  const REAL *a = (const REAL *)a_, *b = (const REAL *)b_;
  REAL *values = (REAL *)values_;
  const long size = w->block_rows * w->block_columns;
  for (long i = first; i < last; i++) {
    const long m = R(block_span)(i, w->block_rows, w->rows);
    for (long k = w->row_start[i]; k < w->row_start[i + 1]; k++) {
      const long c = w->block_column[k], n = R(block_span)(c, w->block_columns, w->columns);
      BLOCK_STRIPS(
          R(sampled_block), a + i * w->block_rows * width, m, b + c * w->block_columns * width, n, w->block_columns,
          width, add, values + k * size)
    }
  }
}

#undef BLOCK_STRIPS
