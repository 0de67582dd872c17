// Products of CSR matrices in segments, transposed. Included by level.h once for each level, after csr/panel.h.
//
// W's own rows are read in the order they are stored in, and what a column has gathered stays in the first-level cache:
// every entry adds to a row of the tile, so that one store a vector is the bound. Around it, four values and four columns
// come from one load each, and no factor is read from memory again because something was stored (values might lie in the
// tile, for all that the compiler knows). Every line that a segment will need is asked for, those of its columns as well.

#define PREFETCH_SCATTER(V, C)                                                                                     \
  {                                                                                                                \
    const V *const ahead = values + s[8].start;                                                                    \
    const C *const columns_ahead = column + s[8].start;                                                            \
    for (long e = 0; e < s[8].count; e += 64 / (long)sizeof(V)) {                                                  \
      __builtin_prefetch(ahead + e);                                                                               \
      __builtin_prefetch(columns_ahead + e);                                                                       \
    }                                                                                                              \
    __builtin_prefetch(ahead + s[8].count);                                                                        \
    __builtin_prefetch(columns_ahead + s[8].count);                                                                \
  }

// One entry: `value` times the row of the panel, added to the sums of `column`.
#define SCATTER_ENTRY(real, R, value, column)                                                                      \
  {                                                                                                                \
    R *const sums = origin + (long)(column) * width;                                                               \
    const VECTOR_##real factor = (value);                                                                          \
    for (int u = 0; u < vectors; u++) AT_##real(sums + u * LANES_##real) += factor * x[u];                         \
  }

// Four values from one load, and the one that all lanes multiply by.
#define FOUR_VALUES_f32(v) K(quad_f32)(v)
#define FOUR_VALUES_f64(v) (v)
#define ONE_OF_FOUR_f32(four, i) SPLAT(four, i)
#define ONE_OF_FOUR_f64(four, i) ((four)[i] - (K(vd)){0})

// tile[c - first column of the band] += Σ_row W[row, c] panel[row] for the columns of one band.
#define SEGMENT_TRANSPOSED(real, R, FOUR, C, suffix)                                                               \
  INLINE void K(transposed_strip_##real##suffix)(                                                                  \
      const lk_segmented *w, long band, const R *panel, const long width, const int vectors, R *tile) {            \
    const C *column = (const C *)w->column;                                                                        \
    const R *values = (const R *)w->values;                                                                        \
    R *const origin = tile - band * w->band_columns * width;                                                       \
    for (long block = 0; block < w->blocks; block++) {                                                             \
      const R *rows = panel + (long)w->block_start[block] * width;                                                 \
      const lk_segment *s = w->segments + w->first[block * w->bands + band];                                       \
      const lk_segment *const end = w->segments + w->first[block * w->bands + band + 1];                           \
      for (; s < end; s++) {                                                                                       \
        PREFETCH_SCATTER(R, C)                                                                                     \
        for (int u = 0; u < vectors; u++) __builtin_prefetch(rows + s[4].row * width + u * LANES_##real);          \
        VECTOR_##real x[4];                                                                                        \
        for (int u = 0; u < vectors; u++) x[u] = AT_##real(rows + s->row * width + u * LANES_##real);              \
        const R *v = values + s->start;                                                                            \
        const C *c = column + s->start, *const stop = c + s->count;                                                \
        for (; c + 4 <= stop; c += 4, v += 4) {                                                                    \
          const FOUR four = FOUR_VALUES_##real(v);                                                                 \
          const K(four_columns) columns = K(four_columns##suffix)(c);                                              \
          SCATTER_ENTRY(real, R, ONE_OF_FOUR_##real(four, 0), columns.a)                                           \
          SCATTER_ENTRY(real, R, ONE_OF_FOUR_##real(four, 1), columns.b)                                           \
          SCATTER_ENTRY(real, R, ONE_OF_FOUR_##real(four, 2), columns.c)                                           \
          SCATTER_ENTRY(real, R, ONE_OF_FOUR_##real(four, 3), columns.d)                                           \
        }                                                                                                          \
        for (; c < stop; c++, v++) SCATTER_ENTRY(real, R, *v - (VECTOR_##real){0}, *c)                             \
      }                                                                                                            \
    }                                                                                                              \
  }

#define TRANSPOSED_STRIPS(real, suffix)                                                                            \
  for (; t + 4 * n <= width; t += 4 * n)                                                                           \
    K(transposed_strip_##real##suffix)(w, band, panel + t, width, 4, tile + t);                                    \
  for (; t + 2 * n <= width; t += 2 * n)                                                                           \
    K(transposed_strip_##real##suffix)(w, band, panel + t, width, 2, tile + t);                                    \
  for (; t < width; t += n) K(transposed_strip_##real##suffix)(w, band, panel + t, width, 1, tile + t);

#define SEGMENTS_TRANSPOSED(real, R, FOUR)                                                                         \
  SEGMENT_TRANSPOSED(real, R, FOUR, uint16_t, _u16)                                                                \
  SEGMENT_TRANSPOSED(real, R, FOUR, uint32_t, _u32)                                                                \
  static void K(transposed_segments_##real)(                                                                       \
      const lk_segmented *w, long band, const R *panel, long width, R *tile) {                                     \
    const long n = LANES_##real;                                                                                   \
    long t = 0;                                                                                                    \
    if (w->wide) {                                                                                                 \
      TRANSPOSED_STRIPS(real, _u32)                                                                                \
    } else {                                                                                                       \
      TRANSPOSED_STRIPS(real, _u16)                                                                                \
    }                                                                                                              \
  }

SEGMENTS_TRANSPOSED(f32, float, VF)
SEGMENTS_TRANSPOSED(f64, double, double *)

#undef SEGMENTS_TRANSPOSED
#undef TRANSPOSED_STRIPS
#undef SEGMENT_TRANSPOSED
#undef FOUR_VALUES_f32
#undef FOUR_VALUES_f64
#undef ONE_OF_FOUR_f32
#undef ONE_OF_FOUR_f64
#undef SCATTER_ENTRY
#undef PREFETCH_SCATTER
