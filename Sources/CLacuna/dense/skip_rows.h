// Products that skip rows of a dense matrix.

// A kept row is a short stream that ends before the processor has learned to follow it, so all of it is asked for, a fixed
// number of lines ahead across kept rows: into the second cache, as the first one keeps track of too few lines that are under
// way to draw the memory's bandwidth. One row comes after another: lines of several rows by turns are slower, however far
// ahead they are asked for.
enum { K(lines_ahead) = 128 };

#define SKIP_ROWS(format, type)                                                                                       \
  /* The place of the line that is asked for next: a kept row, and a column in it. */                                 \
  typedef struct {                                                                                                    \
    const type *row;                                                                                                  \
    long i, c;                                                                                                        \
  } K(ahead_##format);                                                                                                \
  INLINE void K(ask_##format)(                                                                                        \
      K(ahead_##format) *a, const type *w, long columns, const uint32_t *kept, long count, long n) {                  \
    __builtin_prefetch(a->row + a->c, 0, 2);                                                                          \
    a->c += 64 / (long)sizeof(type);                                                                                  \
    if (a->c < n) return;                                                                                             \
    a->c = 0;                                                                                                         \
    if (++a->i < count) a->row = w + (long)kept[a->i] * columns;                                                      \
  }                                                                                                                   \
  static void K(skip_rows_##format)(                                                                                  \
      const type *w, long columns, const uint32_t *kept, long count, const float *h, long c0, long c1, float *y) {    \
    enum { line = 64 / sizeof(type) };                                                                                \
    const long n = c1 - c0;                                                                                           \
    if (count <= 0 || n <= 0) return;                                                                                 \
    w += c0;                                                                                                          \
    K(ahead_##format) ahead = {w + (long)kept[0] * columns, 0, 0};                                                    \
    for (long l = 0; l < K(lines_ahead) && ahead.i < count; l++) K(ask_##format)(&ahead, w, columns, kept, count, n); \
    for (long i = 0; i < count; i++) {                                                                                \
      const type *row = w + (long)kept[i] * columns;                                                                  \
      const float a = h[kept[i]];                                                                                     \
      long c = 0;                                                                                                     \
      for (; c + line <= n; c += line) {                                                                              \
        K(ask_##format)(&ahead, w, columns, kept, count, n);                                                          \
        for (long d = c; d < c + line; d += LANES) K(store)(y + d, K(load)(y + d) + a * K(load_##format)(row + d));   \
      }                                                                                                               \
      if (c < n) K(ask_##format)(&ahead, w, columns, kept, count, n);                                                 \
      for (; c + LANES <= n; c += LANES) K(store)(y + c, K(load)(y + c) + a * K(load_##format)(row + c));             \
      if (c < n)                                                                                                      \
        K(store_part)(y + c, K(load_part)(y + c, n - c) + a * K(load_##format##_part)(row + c, n - c), n - c);        \
    }                                                                                                                 \
  }

SKIP_ROWS(f32, float)
SKIP_ROWS(bf16, uint16_t)
SKIP_ROWS(f16, uint16_t)
#undef SKIP_ROWS
