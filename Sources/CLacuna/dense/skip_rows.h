// Products that skip rows of a dense matrix.

// A kept row is a short stream that ends before the processor has learned to follow it, so all of it is asked for: into the
// second cache, as the first one keeps track of too few lines that are under way to draw the memory's bandwidth. One row
// comes after another: lines of several rows by turns are slower, however far ahead they are asked for. How far ahead, and
// whether the first cache is asked as well shortly before, was measured for each type.
enum { K(lines_ahead) = 128, K(rows_ahead) = 8 };

// y[c0...c1] += a w[c0...c1] of a row; ASK is done for every line of it.
#define ADD_ROW(format, ASK)                                                                                          \
  long c = 0;                                                                                                         \
  for (; c + line <= n; c += line) {                                                                                  \
    ASK;                                                                                                              \
    for (long d = c; d < c + line; d += LANES) K(store)(y + d, K(load)(y + d) + a * K(load_##format)(row + d));       \
  }                                                                                                                   \
  if (c < n) ASK;                                                                                                     \
  for (; c + LANES <= n; c += LANES) K(store)(y + c, K(load)(y + c) + a * K(load_##format)(row + c));                 \
  if (c < n)                                                                                                          \
    K(store_part)(y + c, K(load_part)(y + c, n - c) + a * K(load_##format##_part)(row + c, n - c), n - c);

// The place of the line that is asked for next: a kept row, and a column in it.
typedef struct {
  const float *row;
  long i, c;
} K(ahead);

INLINE void K(ask_ahead)(K(ahead) *a, const float *w, long columns, const uint32_t *kept, long count, long n) {
  __builtin_prefetch(a->row + a->c, 0, 2);
  a->c += 16;
  if (a->c < n) return;
  a->c = 0;
  if (++a->i < count) a->row = w + (long)kept[a->i] * columns;
}

// Floats need no arithmetic to be read: what is asked for is a fixed number of lines ahead, across rows.
static void K(skip_rows_f32)(
    const float *w, long columns, const uint32_t *kept, long count, const float *h, long c0, long c1, float *y) {
  enum { line = 16 };
  const long n = c1 - c0;
  if (count <= 0 || n <= 0) return;
  w += c0;
  K(ahead) ahead = {w + (long)kept[0] * columns, 0, 0};
  for (long l = 0; l < K(lines_ahead) && ahead.i < count; l++) K(ask_ahead)(&ahead, w, columns, kept, count, n);
  for (long i = 0; i < count; i++) {
    const float *row = w + (long)kept[i] * columns;
    const float a = h[kept[i]];
    ADD_ROW(f32, K(ask_ahead)(&ahead, w, columns, kept, count, n))
  }
}

// Half as many bytes and twice the work: whole rows ahead, and the next one into the first cache.
#define SKIP_ROWS(format)                                                                                             \
  static void K(skip_rows_##format)(                                                                                  \
      const uint16_t *w, long columns, const uint32_t *kept, long count, const float *h, long c0, long c1,            \
      float *y) {                                                                                                     \
    enum { line = 32 };                                                                                               \
    const long n = c1 - c0;                                                                                           \
    w += c0;                                                                                                          \
    for (long i = 1; i < count && i < K(rows_ahead); i++)                                                             \
      for (long c = 0; c < n; c += line) __builtin_prefetch(w + (long)kept[i] * columns + c, 0, 2);                   \
    for (long i = 0; i < count; i++) {                                                                                \
      const uint16_t *row = w + (long)kept[i] * columns;                                                              \
      const uint16_t *next = i + 1 < count ? w + (long)kept[i + 1] * columns : row;                                   \
      const uint16_t *later = i + K(rows_ahead) < count ? w + (long)kept[i + K(rows_ahead)] * columns : row;          \
      const float a = h[kept[i]];                                                                                     \
      ADD_ROW(format, (__builtin_prefetch(later + c, 0, 2), __builtin_prefetch(next + c)))                            \
    }                                                                                                                 \
  }

SKIP_ROWS(bf16)
SKIP_ROWS(f16)
#undef SKIP_ROWS
#undef ADD_ROW
