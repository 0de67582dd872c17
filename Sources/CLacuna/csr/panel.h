// Products of CSR matrices, cut into segments, with panels of many vectors. Included by real.h once for each type.
//
// A panel that is walked whole misses the first-level cache at nearly every entry; walked in bands of columns it hits,
// but then a row has only a few entries in a band, and the branch that ends the loop over them is mispredicted at almost
// every row, which costs as much as the entries. So the entries of a row within a band are a *segment*, and the segments
// of a band and a block of rows are visited in the order of their lengths: the loop count changes a handful of times.
// What a row has gathered waits in the second-level cache, of which blocks of rows take a part.

// The value at p, as something that multiplies a vector.
#define VALUE_f32(p) (*(p))
#define VALUE_f64(p) (*(p))
#define VALUE_i8(p) ((float)*(p))
#define VALUE_f16(p) K(f16_value)(*(p))
#define VALUE_bf16(p) ((VF)(((VU){0} + *(const lk_any_u32 *)(p)) << 16))

// One entry: `value` times the panel row of `column`, added to the sums of stream `i`.
#define SEGMENT_ENTRY(i, value, column)                                                                            \
  {                                                                                                                \
    const REAL *entry = panel + (long)(column) * width;                                                            \
    const VECTOR factor = (value);                                                                                 \
    UNROLLED for (int u = 0; u < vectors; u++) sum[(i) % streams * vectors + u] += factor * AT(entry + u * STEP);  \
  }

// Entries four at a time, their values and columns from one load each: a product with a panel is bound by its loads.
#define FOUR_ENTRIES(format, suffix)                             \
  {                                                              \
    FOUR_VALUES(format, v)                                       \
    const K(four_columns) columns = K(four_columns##suffix)(c);  \
    SEGMENT_ENTRY(0, ONE_OF_FOUR(0), columns.a)                  \
    SEGMENT_ENTRY(1, ONE_OF_FOUR(1), columns.b)                  \
    SEGMENT_ENTRY(2, ONE_OF_FOUR(2), columns.c)                  \
    SEGMENT_ENTRY(3, ONE_OF_FOUR(3), columns.d)                  \
  }
// The up to three entries that are left.
#define LAST_ENTRIES(format)                                     \
  if ((stop - c) & 2) {                                          \
    SEGMENT_ENTRY(0, VALUE_##format(v) - (VECTOR){0}, c[0])      \
    SEGMENT_ENTRY(1, VALUE_##format(v + 1) - (VECTOR){0}, c[1])  \
    c += 2;                                                      \
    v += 2;                                                      \
  }                                                              \
  if ((stop - c) & 1) SEGMENT_ENTRY(0, VALUE_##format(v) - (VECTOR){0}, c[0])

#if REAL_BYTES == 4
typedef struct K(four_columns) {
  uint64_t a, b, c, d;
} K(four_columns);
INLINE K(four_columns) K(four_columns_u16)(const uint16_t *c) {
  uint64_t w;
  memcpy(&w, c, 8);
  __asm__("" : "+r"(w));
  return (K(four_columns)){w & 65535, w >> 16 & 65535, w >> 32 & 65535, w >> 48};
}
INLINE K(four_columns) K(four_columns_u32)(const uint32_t *c) {
  uint64_t low, high;
  memcpy(&low, c, 8);
  memcpy(&high, c + 2, 8);
  __asm__("" : "+r"(low), "+r"(high));
  return (K(four_columns)){low & 0xFFFFFFFF, low >> 32, high & 0xFFFFFFFF, high >> 32};
}
#endif

// Asks for every line of a segment some segments ahead: rows in the order of their lengths are beyond what the processor
// guesses by itself. (Segments of the next block count from another entry; what is asked for then is not used.)
#define PREFETCH_SEGMENT(V)                                                                     \
  {                                                                                             \
    const V *const ahead = values + s[8].start;                                                 \
    for (long e = 0; e < s[8].count; e += 64 / (long)sizeof(V)) __builtin_prefetch(ahead + e);  \
    __builtin_prefetch(ahead + s[8].count);                                                     \
    __builtin_prefetch(column + s[8].start);                                                    \
    __builtin_prefetch(column + s[8].start + s[8].count);                                       \
  }

// tile[row] += Σ_c W[row, c] panel[c] for the rows of one block and `vectors` vectors of every panel row. `streams`
// entries at a time have sums of their own, so that one addition need not wait for that of the entry before. What the next
// rows need is asked for: their sums wait in the second-level cache, their values beyond it.
#define SEGMENT_PRODUCT(format, V, C, suffix)                                                                \
  INLINE void K(product_strip_##format##suffix)(                                                             \
      const lk_segmented *w, long block, const REAL *panel, const long width, const int vectors,             \
      const int streams, REAL *tile) {                                                                       \
    const C *column = (const C *)w->column + w->block_entry[block];                                          \
    const V *values = (const V *)w->values + w->block_entry[block];                                          \
    const lk_segment *s = w->segments + w->first[block * w->bands];                                          \
    const lk_segment *const end = w->segments + w->first[(block + 1) * w->bands];                            \
    for (; s < end; s++) {                                                                                   \
      PREFETCH_SEGMENT(V)                                                                                    \
      UNROLLED for (int u = 0; u < vectors; u++) __builtin_prefetch(tile + s[2].row * width + u * STEP, 1);  \
      REAL *sums = tile + s->row * width;                                                                    \
      VECTOR sum[8];                                                                                         \
      UNROLLED for (int u = 0; u < vectors; u++) sum[u] = AT(sums + u * STEP);                               \
      UNROLLED for (int u = vectors; u < vectors * streams; u++) sum[u] = (VECTOR){0};                       \
      const V *v = values + s->start;                                                                        \
      const C *c = column + s->start, *const stop = c + s->count;                                            \
      for (; c + 4 <= stop; c += 4, v += 4) FOUR_ENTRIES(format, suffix)                                     \
      LAST_ENTRIES(format)                                                                                   \
      UNROLLED for (int u = 0; u < vectors; u++) {                                                           \
        UNROLLED for (int i = 1; i < streams; i++) sum[u] += sum[i * vectors + u];                           \
        AT(sums + u * STEP) = sum[u];                                                                        \
      }                                                                                                      \
    }                                                                                                        \
  }

// The usual widths are known to the compiler.
#define BY_PANEL(format, suffix)                                                                              \
  if (width == n) {                                                                                           \
    K(product_strip_##format##suffix)(w, block, panel, n, 1, 4, tile);                                        \
  } else if (width == 2 * n) {                                                                                \
    K(product_strip_##format##suffix)(w, block, panel, 2 * n, 2, 4, tile);                                    \
  } else if (width == 4 * n) {                                                                                \
    K(product_strip_##format##suffix)(w, block, panel, 4 * n, 4, 2, tile);                                    \
  } else {                                                                                                    \
    for (; t + 4 * n <= width; t += 4 * n)                                                                    \
      K(product_strip_##format##suffix)(w, block, panel + t, width, 4, 2, tile + t);                          \
    for (; t + 2 * n <= width; t += 2 * n)                                                                    \
      K(product_strip_##format##suffix)(w, block, panel + t, width, 2, 4, tile + t);                          \
    for (; t < width; t += n) K(product_strip_##format##suffix)(w, block, panel + t, width, 1, 4, tile + t);  \
  }

#define SEGMENTS(format, V)                                                              \
  SEGMENT_PRODUCT(format, V, uint16_t, _u16)                                             \
  SEGMENT_PRODUCT(format, V, uint32_t, _u32)                                             \
  static void K(product_segments_##format)(                                              \
      const lk_segmented *w, long block, const void *panel_, long width, void *tile_) {  \
    const REAL *panel = (const REAL *)panel_;                                            \
    REAL *tile = (REAL *)tile_;                                                          \
    const long n = STEP;                                                                 \
    long t = 0;                                                                          \
    if (w->wide) {                                                                       \
      BY_PANEL(format, _u32)                                                             \
    } else {                                                                             \
      BY_PANEL(format, _u16)                                                             \
    }                                                                                    \
  }

#if REAL_BYTES == 8
SEGMENTS(f64, double)
#else
SEGMENTS(f32, float)
SEGMENTS(bf16, uint16_t)
SEGMENTS(f16, uint16_t)
SEGMENTS(i8, int8_t)

// tile[r - r0] = Σ_c W[r, c] panel[c] for panels of 16 vectors. A panel that the second-level cache holds is best walked
// whole: rows are long, and values and columns are streams that can be asked for far ahead, wherever they come from.
enum { K(ROWS_AHEAD) = 512 };
#define ROW_PRODUCT(format, V, C, suffix)                                                                             \
  INLINE void K(product_rows_##format##suffix)(                                                                       \
      const lk_csr *w, const float *panel, long r0, long r1, float *tile) {                                           \
    enum { width = 16, vectors = 64 / VECTOR_BYTES, streams = vectors < 4 ? 4 : 2 };                                  \
    for (long r = r0; r < r1; r++, tile += width) {                                                                   \
      const V *v = (const V *)w->values + w->row_start[r];                                                            \
      const C *c = (const C *)w->column + w->row_start[r], *const stop = (const C *)w->column + w->row_start[r + 1];  \
      VF sum[vectors * streams];                                                                                      \
      UNROLLED for (int u = 0; u < vectors * streams; u++) sum[u] = (VF){0};                                          \
      for (; c + 4 <= stop; c += 4, v += 4) {                                                                         \
        __builtin_prefetch(v + K(ROWS_AHEAD));                                                                        \
        __builtin_prefetch(c + K(ROWS_AHEAD));                                                                        \
        FOUR_ENTRIES(format, suffix)                                                                                  \
      }                                                                                                               \
      LAST_ENTRIES(format)                                                                                            \
      UNROLLED for (int u = 0; u < vectors; u++) {                                                                    \
        UNROLLED for (int i = 1; i < streams; i++) sum[u] += sum[i * vectors + u];                                    \
        AT(tile + u * LANES) = sum[u] * ROW_SCALE_##format;                                                           \
      }                                                                                                               \
    }                                                                                                                 \
  }
#define ROW_SCALE_f32 1
#define ROW_SCALE_bf16 1
#define ROW_SCALE_f16 1
#define ROW_SCALE_i8 ((const float *)w->scales)[r]
#define ROW_PRODUCTS(format, V)                                                                               \
  ROW_PRODUCT(format, V, uint16_t, _u16)                                                                      \
  ROW_PRODUCT(format, V, uint32_t, _u32)                                                                      \
  static void K(product_rows_##format)(const lk_csr *w, const float *panel, long r0, long r1, float *tile) {  \
    if (w->wide) {                                                                                            \
      K(product_rows_##format##_u32)(w, panel, r0, r1, tile);                                                 \
    } else {                                                                                                  \
      K(product_rows_##format##_u16)(w, panel, r0, r1, tile);                                                 \
    }                                                                                                         \
  }
ROW_PRODUCTS(f32, float)
ROW_PRODUCTS(bf16, uint16_t)
ROW_PRODUCTS(f16, uint16_t)
ROW_PRODUCTS(i8, int8_t)
#undef ROW_PRODUCT
#undef ROW_PRODUCTS
#undef ROW_SCALE_f32
#undef ROW_SCALE_bf16
#undef ROW_SCALE_f16
#undef ROW_SCALE_i8
#endif

#undef SEGMENTS
#undef SEGMENT_PRODUCT
#undef SEGMENT_ENTRY
#undef FOUR_ENTRIES
#undef LAST_ENTRIES
#undef BY_PANEL
#undef VALUE_f32
#undef VALUE_f64
#undef VALUE_f16
#undef VALUE_bf16
#undef VALUE_i8
