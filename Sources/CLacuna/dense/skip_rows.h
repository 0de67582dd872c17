// Products that skip rows of a dense matrix.

// A kept row is a short stream that ends before the processor has learned to follow it, so all of it is asked for: into the
// second cache some rows before its turn, as the first one keeps track of too few lines that are under way to draw the
// memory's bandwidth, and into the first one a row before. Rows take turns: lines of several rows by turns are slower than
// one row after another, however far ahead they are asked for.
enum { K(rows_ahead) = 8 };

#define SKIP_ROWS(format, type)                                                                                       \
  static void K(skip_rows_##format)(                                                                                  \
      const type *w, long columns, const uint32_t *kept, long count, const float *h, long c0, long c1, float *y) {    \
    enum { line = 64 / sizeof(type) };                                                                                \
    const long n = c1 - c0;                                                                                           \
    w += c0;                                                                                                          \
    for (long i = 1; i < count && i < K(rows_ahead); i++)                                                             \
      for (long c = 0; c < n; c += line) __builtin_prefetch(w + (long)kept[i] * columns + c, 0, 2);                   \
    for (long i = 0; i < count; i++) {                                                                                \
      const type *row = w + (long)kept[i] * columns;                                                                  \
      const type *next = i + 1 < count ? w + (long)kept[i + 1] * columns : row;                                       \
      const type *later = i + K(rows_ahead) < count ? w + (long)kept[i + K(rows_ahead)] * columns : row;              \
      const float a = h[kept[i]];                                                                                     \
      long c = 0;                                                                                                     \
      for (; c + line <= n; c += line) {                                                                              \
        __builtin_prefetch(later + c, 0, 2);                                                                          \
        __builtin_prefetch(next + c);                                                                                 \
        for (long d = c; d < c + line; d += LANES) K(store)(y + d, K(load)(y + d) + a * K(load_##format)(row + d));   \
      }                                                                                                               \
      for (; c + LANES <= n; c += LANES) K(store)(y + c, K(load)(y + c) + a * K(load_##format)(row + c));             \
      if (c < n)                                                                                                      \
        K(store_part)(y + c, K(load_part)(y + c, n - c) + a * K(load_##format##_part)(row + c, n - c), n - c);        \
    }                                                                                                                 \
  }

SKIP_ROWS(f32, float)
SKIP_ROWS(bf16, uint16_t)
SKIP_ROWS(f16, uint16_t)
#undef SKIP_ROWS
