// Products of CSR matrices, cut into segments, with panels of many vectors. Included by level.h once for each level.
//
// A panel that is walked whole misses the first-level cache at nearly every entry; walked in bands of columns it hits,
// but then a row has only a few entries in a band, and the branch that ends the loop over them is mispredicted at almost
// every row, which costs as much as the entries. So the entries of a row within a band are a *segment*, and the segments
// of a band and a block of rows are visited in the order of their lengths: the loop count changes a handful of times.
// What a row has gathered waits in the second-level cache, of which blocks of rows take a part.

// Vectors of one type of number. A panel's rows, `width` numbers, are cut into strips of up to four vectors.
#define VECTOR_f32 VF
#define VECTOR_f64 K(vd)
#define LANES_f32 LANES
#define LANES_f64 (LANES / 2)
typedef float K(aligned_f32) __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef double K(aligned_f64) __attribute__((vector_size(VECTOR_BYTES), may_alias));
#define AT_f32(p) (*(K(aligned_f32) *)(p))
#define AT_f64(p) (*(K(aligned_f64) *)(p))

// The value at p, as something that multiplies a vector.
#define VALUE_f32(p) (*(p))
#define VALUE_f64(p) (*(p))
#define VALUE_i8(p) ((float)*(p))
#define VALUE_bf16(p) ((VF)(((VU){0} + *(const lk_any_u32 *)(p)) << 16))

// tile[row] += Σ_c W[row, c] panel[c] for the rows of one block and `vectors` vectors of every panel row. `streams`
// entries at a time have sums of their own, so that one addition need not wait for that of the entry before.
#define SEGMENT_PRODUCT(format, V, real, R, C, suffix)                                                             \
  INLINE void K(product_strip_##format##suffix)(                                                                   \
      const lk_segmented *w, long block, const R *panel, const long width, const int vectors, const int streams,   \
      R *tile) {                                                                                                   \
    const C *column = (const C *)w->column;                                                                        \
    const V *values = (const V *)w->values;                                                                        \
    const lk_segment *s = w->segments + w->first[block * w->bands];                                                \
    const lk_segment *const end = w->segments + w->first[(block + 1) * w->bands];                                  \
    for (; s < end; s++) {                                                                                         \
      __builtin_prefetch(values + s[8].start);                                                                     \
      __builtin_prefetch(column + s[8].start);                                                                     \
      R *sums = tile + s->row * width;                                                                             \
      VECTOR_##real sum[8];                                                                                        \
      for (int u = 0; u < vectors; u++) sum[u] = AT_##real(sums + u * LANES_##real);                               \
      for (int u = vectors; u < vectors * streams; u++) sum[u] = (VECTOR_##real){0};                               \
      const V *v = values + s->start;                                                                              \
      const C *c = column + s->start, *const stop = c + s->count;                                                  \
      for (; c + streams <= stop; c += streams, v += streams)                                                      \
        for (int i = 0; i < streams; i++) {                                                                        \
          const R *entry = panel + (long)c[i] * width;                                                             \
          for (int u = 0; u < vectors; u++)                                                                        \
            sum[i * vectors + u] += VALUE_##format(v + i) * AT_##real(entry + u * LANES_##real);                   \
        }                                                                                                          \
      for (; streams > 1 && c < stop; c++, v++) {                                                                  \
        const R *entry = panel + (long)*c * width;                                                                 \
        for (int u = 0; u < vectors; u++) sum[u] += VALUE_##format(v) * AT_##real(entry + u * LANES_##real);       \
      }                                                                                                            \
      for (int u = 0; u < vectors; u++) {                                                                          \
        for (int i = 1; i < streams; i++) sum[u] += sum[i * vectors + u];                                          \
        AT_##real(sums + u * LANES_##real) = sum[u];                                                               \
      }                                                                                                            \
    }                                                                                                              \
  }

// The same row by row, for panels so narrow that they stay in the second-level cache, where a fetch costs less than what
// a segment costs beside its entries.
#define ROW_PRODUCT(format, V, real, R, C, suffix)                                                                 \
  INLINE void K(product_rows_##format##suffix)(                                                                    \
      const lk_segmented *w, long block, const R *panel, const long width, const int vectors, const int streams,   \
      R *tile) {                                                                                                   \
    const C *column = (const C *)w->column;                                                                        \
    const V *values = (const V *)w->values;                                                                        \
    for (long r = w->block_start[block]; r < (long)w->block_start[block + 1]; r++) {                               \
      R *sums = tile + (r - w->block_start[block]) * width;                                                        \
      VECTOR_##real sum[8];                                                                                        \
      for (int u = 0; u < vectors; u++) sum[u] = AT_##real(sums + u * LANES_##real);                               \
      for (int u = vectors; u < vectors * streams; u++) sum[u] = (VECTOR_##real){0};                               \
      long j = w->row_start[r];                                                                                    \
      const long end = w->row_start[r + 1];                                                                        \
      for (; j + streams <= end; j += streams)                                                                     \
        for (int i = 0; i < streams; i++) {                                                                        \
          const R *entry = panel + (long)column[j + i] * width;                                                    \
          for (int u = 0; u < vectors; u++)                                                                        \
            sum[i * vectors + u] += VALUE_##format(values + j + i) * AT_##real(entry + u * LANES_##real);          \
        }                                                                                                          \
      for (; j < end; j++)                                                                                         \
        for (int u = 0; u < vectors; u++)                                                                          \
          sum[u] += VALUE_##format(values + j) * AT_##real(panel + (long)column[j] * width + u * LANES_##real);    \
      for (int u = 0; u < vectors; u++) {                                                                          \
        for (int i = 1; i < streams; i++) sum[u] += sum[i * vectors + u];                                          \
        AT_##real(sums + u * LANES_##real) = sum[u];                                                               \
      }                                                                                                            \
    }                                                                                                              \
  }

// Panels of one or two vectors take the rows, wider ones the segments.
#define BY_PANEL(format, real, suffix)                                                                             \
  if (width == n) {                                                                                                \
    K(product_rows_##format##suffix)(w, block, panel, n, 1, 8, tile);                                              \
  } else if (width == 2 * n) {                                                                                     \
    K(product_rows_##format##suffix)(w, block, panel, 2 * n, 2, 4, tile);                                          \
  } else {                                                                                                         \
    for (; t + 4 * n <= width; t += 4 * n)                                                                         \
      K(product_strip_##format##suffix)(w, block, panel + t, width, 4, 2, tile + t);                               \
    for (; t + 2 * n <= width; t += 2 * n)                                                                         \
      K(product_strip_##format##suffix)(w, block, panel + t, width, 2, 4, tile + t);                               \
    for (; t < width; t += n) K(product_strip_##format##suffix)(w, block, panel + t, width, 1, 4, tile + t);       \
  }

// tile[c - first column of the band] += Σ_row W[row, c] panel[row] for the columns of one band: W's own rows are read in
// the order they are stored in, and what a column has gathered stays in the first-level cache.
#define SEGMENT_TRANSPOSED(format, V, real, R, C, suffix)                                                          \
  INLINE void K(transposed_strip_##format##suffix)(                                                                \
      const lk_segmented *w, long band, const R *panel, const long width, const int vectors, R *tile) {            \
    const C *column = (const C *)w->column;                                                                        \
    const V *values = (const V *)w->values;                                                                        \
    R *const origin = tile - band * w->band_columns * width;                                                       \
    for (long block = 0; block < w->blocks; block++) {                                                             \
      const R *rows = panel + (long)w->block_start[block] * width;                                                 \
      const lk_segment *s = w->segments + w->first[block * w->bands + band];                                       \
      const lk_segment *const end = w->segments + w->first[block * w->bands + band + 1];                           \
      for (; s < end; s++) {                                                                                       \
        __builtin_prefetch(values + s[8].start);                                                                   \
        __builtin_prefetch(column + s[8].start);                                                                   \
        for (int u = 0; u < vectors; u++) __builtin_prefetch(rows + s[4].row * width + u * LANES_##real);          \
        VECTOR_##real x[4];                                                                                        \
        for (int u = 0; u < vectors; u++) x[u] = AT_##real(rows + s->row * width + u * LANES_##real);              \
        const V *v = values + s->start;                                                                            \
        const C *c = column + s->start, *const stop = c + s->count;                                                \
        for (; c < stop; c++, v++) {                                                                               \
          R *sums = origin + (long)*c * width;                                                                     \
          for (int u = 0; u < vectors; u++)                                                                        \
            AT_##real(sums + u * LANES_##real) += VALUE_##format(v) * x[u];                                        \
        }                                                                                                          \
      }                                                                                                            \
    }                                                                                                              \
  }

#define SEGMENTS(format, V, real, R)                                                                               \
  SEGMENT_PRODUCT(format, V, real, R, uint16_t, _u16)                                                              \
  SEGMENT_PRODUCT(format, V, real, R, uint32_t, _u32)                                                              \
  ROW_PRODUCT(format, V, real, R, uint16_t, _u16)                                                                  \
  ROW_PRODUCT(format, V, real, R, uint32_t, _u32)                                                                  \
  static void K(product_segments_##format)(                                                                        \
      const lk_segmented *w, long block, const R *panel, long width, R *tile) {                                    \
    const long n = LANES_##real;                                                                                   \
    long t = 0;                                                                                                    \
    if (w->wide) {                                                                                                 \
      BY_PANEL(format, real, _u32)                                                                                 \
    } else {                                                                                                       \
      BY_PANEL(format, real, _u16)                                                                                 \
    }                                                                                                              \
  }

#define SEGMENTS_TRANSPOSED(format, V, real, R)                                                                    \
  SEGMENT_TRANSPOSED(format, V, real, R, uint16_t, _u16)                                                           \
  SEGMENT_TRANSPOSED(format, V, real, R, uint32_t, _u32)                                                           \
  static void K(transposed_segments_##format)(                                                                     \
      const lk_segmented *w, long band, const R *panel, long width, R *tile) {                                     \
    const long n = LANES_##real;                                                                                   \
    long t = 0;                                                                                                    \
    if (w->wide) {                                                                                                 \
      for (; t + 4 * n <= width; t += 4 * n)                                                                       \
        K(transposed_strip_##format##_u32)(w, band, panel + t, width, 4, tile + t);                                \
      for (; t + 2 * n <= width; t += 2 * n)                                                                       \
        K(transposed_strip_##format##_u32)(w, band, panel + t, width, 2, tile + t);                                \
      for (; t < width; t += n) K(transposed_strip_##format##_u32)(w, band, panel + t, width, 1, tile + t);        \
    } else {                                                                                                       \
      for (; t + 4 * n <= width; t += 4 * n)                                                                       \
        K(transposed_strip_##format##_u16)(w, band, panel + t, width, 4, tile + t);                                \
      for (; t + 2 * n <= width; t += 2 * n)                                                                       \
        K(transposed_strip_##format##_u16)(w, band, panel + t, width, 2, tile + t);                                \
      for (; t < width; t += n) K(transposed_strip_##format##_u16)(w, band, panel + t, width, 1, tile + t);        \
    }                                                                                                              \
  }

SEGMENTS(f32, float, f32, float)
SEGMENTS(f64, double, f64, double)
SEGMENTS(bf16, uint16_t, f32, float)
SEGMENTS(i8, int8_t, f32, float)
SEGMENTS_TRANSPOSED(f32, float, f32, float)
SEGMENTS_TRANSPOSED(f64, double, f64, double)

#undef SEGMENTS_TRANSPOSED
#undef SEGMENTS
#undef SEGMENT_TRANSPOSED
#undef SEGMENT_PRODUCT
#undef ROW_PRODUCT
#undef BY_PANEL
#undef VALUE_f32
#undef VALUE_f64
#undef VALUE_bf16
#undef VALUE_i8
