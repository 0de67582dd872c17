// Products of BSR matrices of floats with panels of many vectors, for training. Included by level.h once for each level,
// after csr/sampled.h.
//
// Up to four rows (or columns) of a block × up to four vectors of the panel are summed in registers, so that every entry
// of the panel and every value that is loaded is used up to four times.

enum { K(BLOCK_VECTORS) = VECTOR_BYTES == 64 ? 4 : 2 };

// Calls part(…, vectors, …) for strips of `width` with the number of vectors known to the compiler.
#define BLOCK_STRIPS(part, ...)                                                                                    \
  for (long t = 0; t < width;) {                                                                                   \
    if (K(BLOCK_VECTORS) == 4 && t + 4 * LANES <= width) {                                                         \
      part(4, t, __VA_ARGS__);                                                                                     \
      t += 4 * LANES;                                                                                              \
    } else if (t + 2 * LANES <= width) {                                                                           \
      part(2, t, __VA_ARGS__);                                                                                     \
      t += 2 * LANES;                                                                                              \
    } else {                                                                                                       \
      part(1, t, __VA_ARGS__);                                                                                     \
      t += LANES;                                                                                                  \
    }                                                                                                              \
  }

// sums[i] += Σ_j a[i * stride_i + j * stride_j] panel[j] for i < count (1...4), j < n: rows of a block and its columns,
// or the other way round.
INLINE void K(block_sums)(
    const int vectors, const int count, const float *a, long stride_i, long stride_j, long n, const float *panel,
    long width, float *sums) {
  VF sum[4][4];
  for (int i = 0; i < count; i++)
    for (int u = 0; u < vectors; u++) sum[i][u] = AT_f32(sums + i * width + u * LANES);
  for (long j = 0; j < n; j++, a += stride_j, panel += width)
    for (int u = 0; u < vectors; u++) {
      const VF x = AT_f32(panel + u * LANES);
      for (int i = 0; i < count; i++) sum[i][u] += a[i * stride_i] * x;
    }
  for (int i = 0; i < count; i++)
    for (int u = 0; u < vectors; u++) AT_f32(sums + i * width + u * LANES) = sum[i][u];
}

INLINE void K(block_sums_by_four)(
    const int vectors, long t, const float *a, long m, long stride_i, long n, long stride_j, const float *panel,
    long width, float *sums) {
  long i = 0;
  for (; i + 4 <= m; i += 4)
    K(block_sums)(vectors, 4, a + i * stride_i, stride_i, stride_j, n, panel + t, width, sums + i * width + t);
  for (; i < m; i++)
    K(block_sums)(vectors, 1, a + i * stride_i, stride_i, stride_j, n, panel + t, width, sums + i * width + t);
}

// The part of block column `c` that lies within the matrix.
INLINE long K(block_span)(long c, long size, long limit) { return (c + 1) * size <= limit ? size : limit - c * size; }

static void K(product_blocks_f32)(
    const lk_bsr *w, long rows, long first, long last, const float *panel, long width, float *tile) {
  const float *values = (const float *)w->values;
  const long size = w->block_rows * w->block_columns;
  for (long i = first; i < last; i++) {
    const long m = K(block_span)(i, w->block_rows, rows);
    float *sums = tile + (i - first) * w->block_rows * width;
    for (long b = w->row_start[i]; b < (long)w->row_start[i + 1]; b++) {
      const long c = w->block_column[b], n = K(block_span)(c, w->block_columns, w->columns);
      BLOCK_STRIPS(
          K(block_sums_by_four), values + b * size, m, w->block_columns, n, 1, panel + c * w->block_columns * width,
          width, sums)
    }
  }
}

static void K(transposed_blocks_f32)(
    const lk_bsr *w, long rows, long first, long last, const float *panel, long width, float *tile) {
  const float *values = (const float *)w->values;
  const long size = w->block_rows * w->block_columns;
  for (long i = 0; i * w->block_rows < rows; i++) {
    const long m = K(block_span)(i, w->block_rows, rows);
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
      const long c = w->block_column[b], n = K(block_span)(c, w->block_columns, w->columns);
      BLOCK_STRIPS(
          K(block_sums_by_four), values + b * size, n, 1, m, w->block_columns, panel + i * w->block_rows * width,
          width, tile + (c - first) * w->block_columns * width)
    }
  }
}

// The inner products of row `a` with rows b, b + width, ... (`count` of them; LANES at most).
INLINE VF K(block_dots)(const int vectors, const float *a, const float *b, long width, long count) {
  VF sum[LANES];
  for (int j = 0; j < LANES; j++) {
    const float *entry = b + (j < count ? j : count - 1) * width;
    sum[j] = AT_f32(a) * AT_f32(entry);
    for (int u = 1; u < vectors; u++) sum[j] += AT_f32(a + u * LANES) * AT_f32(entry + u * LANES);
  }
  for (int half = LANES / 2; half >= 1; half /= 2)
    for (int j = 0; j < half; j++) {
      const VF low = PAIR_LOW_f32(sum[j], sum[j + half]), high = PAIR_HIGH_f32(sum[j], sum[j + half]);
      sum[j] = low + high;
    }
  return sum[0];
}

INLINE void K(sampled_block)(
    const int vectors, long t, const float *a, long m, const float *b, long n, long stride, long width, int add,
    float *values) {
  for (long i = 0; i < m; i++)
    for (long j = 0; j < n; j += LANES) {
      const long count = n - j < LANES ? n - j : LANES;
      const VF sum = K(block_dots)(vectors, a + i * width + t, b + j * width + t, width, count);
      float *p = values + i * stride + j;
      const int keep = add || t > 0;
      if (count == LANES) K(store)(p, keep ? K(load)(p) + sum : sum);
      else K(store_part)(p, keep ? K(load_part)(p, count) + sum : sum, count);
    }
}

static void K(sampled_blocks_f32)(
    const lk_bsr *w, long rows, long first, long last, const float *a, const float *b, long width, int add,
    float *values) {
  const long size = w->block_rows * w->block_columns;
  for (long i = first; i < last; i++) {
    const long m = K(block_span)(i, w->block_rows, rows);
    for (long k = w->row_start[i]; k < (long)w->row_start[i + 1]; k++) {
      const long c = w->block_column[k], n = K(block_span)(c, w->block_columns, w->columns);
      BLOCK_STRIPS(
          K(sampled_block), a + i * w->block_rows * width, m, b + c * w->block_columns * width, n, w->block_columns,
          width, add, values + k * size)
    }
  }
}

#undef BLOCK_STRIPS
