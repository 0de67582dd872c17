// Products of BSR matrices with panels of many vectors, in bands of columns as those of bits/panel.h.

// Adds to the sums of `rows` (1...4) consecutive rows of a block row what its blocks `from`..<`to` give, for `vectors`
// vectors of the panel. `value` points at the first of these rows in block 0.
#define BSR_STRIP(format, T)                                                                                     \
  INLINE void K(bsr_strip_##format)(                                                                             \
      const lk_bsr *w, const T *value, const float *panel, const long width, const int vectors, const int rows,  \
      long from, long to, int fresh, float *sums) {                                                              \
    VF sum[4][4];                                                                                                \
    for (int i = 0; i < rows; i++)                                                                               \
      for (int u = 0; u < vectors; u++)                                                                          \
        sum[i][u] = fresh ? (VF){0} : LOAD(sums + i * width + u * LANES);                                        \
    const long size = w->block_rows * w->block_columns;                                                          \
    for (long b = from; b < to; b++) {                                                                           \
      const long c0 = (long)w->block_column[b] * w->block_columns;                                               \
      const long n = c0 + w->block_columns <= w->columns ? w->block_columns : w->columns - c0;                   \
      const T *v = value + b * size;                                                                             \
      const float *entry = panel + c0 * width;                                                                   \
      for (long j = 0; j < n; j++, v++, entry += width)                                                          \
        for (int i = 0; i < rows; i++)                                                                           \
          for (int u = 0; u < vectors; u++)                                                                      \
            sum[i][u] += SPREAD_##format(v + i * w->block_columns) * LOAD(entry + u * LANES);                    \
    }                                                                                                            \
    for (int i = 0; i < rows; i++)                                                                               \
      for (int u = 0; u < vectors; u++) *(VF *)(sums + i * width + u * LANES) = sum[i][u];                       \
  }

#define PANEL_BSR(format, T)                                                                                        \
  BSR_STRIP(format, T)                                                                                              \
  INLINE void K(bsr_block_##format)(                                                                                \
      const lk_bsr *w, const float *panel, const long width, const int vectors, long r0, long r1, float *tile) {    \
    const long band = K(BAND_BYTES) / 4 / width, height = w->block_rows, size = height * w->block_columns;          \
    const long first = r0 / height, last = (r1 + height - 1) / height;                                              \
    uint32_t at[K(BLOCK_ROWS) + 1];                                                                                 \
    for (long i = first; i < last; i++) at[i - first] = w->row_start[i];                                            \
    if (w->columns == 0) memset(tile, 0, (size_t)((r1 - r0) * width) * sizeof(float));                              \
    for (long c0 = 0; c0 < w->columns; c0 += band) {                                                                \
      for (long i = first; i < last; i++) {                                                                         \
        const long from = at[i - first], stop = w->row_start[i + 1];                                                \
        long to = from;                                                                                             \
        while (to < stop && (long)w->block_column[to] * w->block_columns < c0 + band) to++;                         \
        at[i - first] = (uint32_t)to;                                                                               \
        if (i + 1 < last) { /* the next row of blocks begins elsewhere: about as much of it as of this one */       \
          const char *next = (const char *)((const T *)w->values + (long)at[i + 1 - first] * size);                 \
          const long bytes = (to - from) * size * (long)sizeof(T);                                                  \
          for (long byte = 0; byte < bytes; byte += 64) __builtin_prefetch(next + byte);                            \
        }                                                                                                           \
        const long low = i * height > r0 ? i * height : r0, high = (i + 1) * height < r1 ? (i + 1) * height : r1;   \
        for (long r = low; r < high;) {                                                                             \
          const T *value = (const T *)w->values + (r - i * height) * w->block_columns;                              \
          const int rows = high - r >= 4 ? 4 : high - r >= 2 ? 2 : 1;                                               \
          for (long t = 0; t < width; t += vectors * LANES) {                                                       \
            float *sums = tile + (r - r0) * width + t;                                                              \
            if (rows == 4) K(bsr_strip_##format)(w, value, panel + t, width, vectors, 4, from, to, c0 == 0, sums);  \
            else if (rows == 2)                                                                                     \
              K(bsr_strip_##format)(w, value, panel + t, width, vectors, 2, from, to, c0 == 0, sums);               \
            else K(bsr_strip_##format)(w, value, panel + t, width, vectors, 1, from, to, c0 == 0, sums);            \
          }                                                                                                         \
          r += rows;                                                                                                \
        }                                                                                                           \
      }                                                                                                             \
    }                                                                                                               \
    SCALE_##format(w, width, r0, r1, tile);                                                                         \
  }                                                                                                                 \
  static void K(panel_bsr_##format)(                                                                                \
      const lk_bsr *w, const float *panel, long width, long r0, long r1, float *tile) {                             \
    for (long first = r0; first < r1; first += K(BLOCK_ROWS)) {                                                     \
      long last = first + K(BLOCK_ROWS) < r1 ? first + K(BLOCK_ROWS) : r1;                                          \
      float *sums = tile + (first - r0) * width;                                                                    \
      if (width == 64) K(bsr_block_##format)(w, panel, 64, VECTOR_BYTES == 64 ? 4 : 2, first, last, sums);          \
      else if (width == 32) K(bsr_block_##format)(w, panel, 32, 2, first, last, sums);                              \
      else K(bsr_block_##format)(w, panel, 16, VECTOR_BYTES == 64 ? 1 : 2, first, last, sums);                      \
    }                                                                                                               \
  }

PANEL_BSR(f32, float)
PANEL_BSR(bf16, uint16_t)
PANEL_BSR(f16, uint16_t)
PANEL_BSR(i8, int8_t)

#undef PANEL_BSR
#undef BSR_STRIP
