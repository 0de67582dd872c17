// Products that skip rows of a dense matrix.

// Four kept rows are walked together, as each is a short stream that memory answers slowly, while the next four are
// fetched: a line of each for every line read.
#define SKIP_ROWS(format, type)                                                                                       \
  static void K(skip_rows_##format)(                                                                                  \
      const type *w, long columns, const uint32_t *kept, long count, const float *h, long c0, long c1, float *y) {    \
    enum { line = 64 / sizeof(type) };                                                                                \
    long n = c1 - c0, i = 0;                                                                                          \
    for (; i + 4 <= count; i += 4) {                                                                                  \
      const type *row[4], *next[4];                                                                                   \
      float a[4];                                                                                                     \
      for (int u = 0; u < 4; u++) {                                                                                   \
        row[u] = w + (long)kept[i + u] * columns + c0;                                                                \
        next[u] = i + 4 + u < count ? w + (long)kept[i + 4 + u] * columns + c0 : row[u];                              \
        a[u] = h[kept[i + u]];                                                                                        \
      }                                                                                                               \
      long c = 0;                                                                                                     \
      for (; c + line <= n; c += line) {                                                                              \
        for (int u = 0; u < 4; u++) __builtin_prefetch(next[u] + c);                                                  \
        for (long d = c; d < c + line; d += LANES)                                                                    \
          K(store)(y + d, K(load)(y + d) + (a[0] * K(load_##format)(row[0] + d) + a[1] * K(load_##format)(row[1] + d)) \
                              + (a[2] * K(load_##format)(row[2] + d) + a[3] * K(load_##format)(row[3] + d)));         \
      }                                                                                                               \
      for (; c < n; c += LANES) {                                                                                     \
        long m = n - c < LANES ? n - c : LANES;                                                                       \
        VF sum = {0};                                                                                                 \
        for (int u = 0; u < 4; u++)                                                                                   \
          sum += a[u] * (m == LANES ? K(load_##format)(row[u] + c) : K(load_##format##_part)(row[u] + c, m));         \
        if (m == LANES) K(store)(y + c, K(load)(y + c) + sum);                                                        \
        else K(store_part)(y + c, K(load_part)(y + c, m) + sum, m);                                                   \
      }                                                                                                               \
    }                                                                                                                 \
    for (; i < count; i++) {                                                                                          \
      const type *row = w + (long)kept[i] * columns + c0;                                                             \
      float a = h[kept[i]];                                                                                           \
      long c = 0;                                                                                                     \
      for (; c + LANES <= n; c += LANES) K(store)(y + c, K(load)(y + c) + a * K(load_##format)(row + c));             \
      if (c < n)                                                                                                      \
        K(store_part)(y + c, K(load_part)(y + c, n - c) + a * K(load_##format##_part)(row + c, n - c), n - c);        \
    }                                                                                                                 \
  }

SKIP_ROWS(f32, float)
SKIP_ROWS(bf16, uint16_t)
SKIP_ROWS(f16, uint16_t)
#undef SKIP_ROWS
