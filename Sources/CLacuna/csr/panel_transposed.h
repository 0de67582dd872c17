// Products of CSR matrices in segments, transposed. Included by real.h once for each type, after csr/panel.h.
//
// W's own rows are read in the order they are stored in, and what a column has gathered stays in the first-level cache:
// every entry adds to a row of the tile, so that one store a vector is the bound. Around it, four values and four columns
// come from one load each, and no factor is read from memory again because something was stored (values might lie in the
// tile, for all that the compiler knows). Every line that a segment will need is asked for, those of its columns as well.

#define PREFETCH_SCATTER(V, C)                                     \
  {                                                                \
    const V *const ahead = values + s[8].start;                    \
    const C *const columns_ahead = column + s[8].start;            \
    for (long e = 0; e < s[8].count; e += 64 / (long)sizeof(V)) {  \
      __builtin_prefetch(ahead + e);                               \
      __builtin_prefetch(columns_ahead + e);                       \
    }                                                              \
    __builtin_prefetch(ahead + s[8].count);                        \
    __builtin_prefetch(columns_ahead + s[8].count);                \
  }

// One entry: `value` times the row of the panel, added to the sums of `column`.
#define SCATTER_ENTRY(value, column)                                                  \
  {                                                                                   \
    REAL *const sums = origin + (long)(column) * width;                               \
    const VECTOR factor = (value);                                                    \
    UNROLLED for (int u = 0; u < vectors; u++) AT(sums + u * STEP) += factor * x[u];  \
  }

// tile[c - first column of the band] += Σ_row W[row, c] panel[row] for the columns of one band.
#define SEGMENT_TRANSPOSED(C, suffix)                                                                          \
  INLINE void R(transposed_strip##suffix)(                                                                     \
      const lk_segmented *w, long band, const REAL *panel, const long width, const int vectors, REAL *tile) {  \
    REAL *const origin = tile - band * w->band_columns * width;                                                \
    for (long block = 0; block < w->blocks; block++) {                                                         \
      const C *column = (const C *)w->column + w->block_entry[block];                                          \
      const REAL *values = (const REAL *)w->values + w->block_entry[block];                                    \
      const REAL *rows = panel + (long)w->block_start[block] * width;                                          \
      const lk_segment *s = w->segments + w->first[block * w->bands + band];                                   \
      const lk_segment *const end = w->segments + w->first[block * w->bands + band + 1];                       \
      for (; s < end; s++) {                                                                                   \
        PREFETCH_SCATTER(REAL, C)                                                                              \
        UNROLLED for (int u = 0; u < vectors; u++) __builtin_prefetch(rows + s[4].row * width + u * STEP);     \
        VECTOR x[4];                                                                                           \
        UNROLLED for (int u = 0; u < vectors; u++) x[u] = AT(rows + s->row * width + u * STEP);                \
        const REAL *v = values + s->start;                                                                     \
        const C *c = column + s->start, *const stop = c + s->count;                                            \
        for (; c + 4 <= stop; c += 4, v += 4) {                                                                \
          FOUR_VALUES(f32, v)                                                                                  \
          const K(four_columns) columns = K(four_columns##suffix)(c);                                          \
          SCATTER_ENTRY(ONE_OF_FOUR(0), columns.a)                                                             \
          SCATTER_ENTRY(ONE_OF_FOUR(1), columns.b)                                                             \
          SCATTER_ENTRY(ONE_OF_FOUR(2), columns.c)                                                             \
          SCATTER_ENTRY(ONE_OF_FOUR(3), columns.d)                                                             \
        }                                                                                                      \
        for (; c < stop; c++, v++) SCATTER_ENTRY(*v - (VECTOR){0}, *c)                                         \
      }                                                                                                        \
    }                                                                                                          \
  }
SEGMENT_TRANSPOSED(uint16_t, _u16)
SEGMENT_TRANSPOSED(uint32_t, _u32)

static void R(transposed_segments)(const lk_segmented *w, long band, const void *panel_, long width, void *tile_) {
  const REAL *panel = (const REAL *)panel_;
  REAL *tile = (REAL *)tile_;
  long t = 0;
#define TRANSPOSED_STRIPS(suffix)                                         \
  for (; t + 4 * STEP <= width; t += 4 * STEP)                            \
    R(transposed_strip##suffix)(w, band, panel + t, width, 4, tile + t);  \
  for (; t + 2 * STEP <= width; t += 2 * STEP)                            \
    R(transposed_strip##suffix)(w, band, panel + t, width, 2, tile + t);  \
  for (; t < width; t += STEP) R(transposed_strip##suffix)(w, band, panel + t, width, 1, tile + t);
  if (w->wide) {
    TRANSPOSED_STRIPS(_u32)
  } else {
    TRANSPOSED_STRIPS(_u16)
  }
}

#undef TRANSPOSED_STRIPS
#undef SEGMENT_TRANSPOSED
#undef SCATTER_ENTRY
#undef PREFETCH_SCATTER
