// The kernels of groups.h for one type of number.

INLINE void G(product_groups_strip)(
    const lk_grouped *w, long block, const REAL *panel, const long width, const int vectors, REAL *tile) {
  const uint32_t *first = w->first + block * w->groups;
  const uint8_t *row = w->row + first[0];
  const REAL *v = (const REAL *)w->values + w->value_first[block * w->groups];
  const uint8_t *counts = w->counts + block * w->groups * 15;
  for (long group = 0; group < w->groups; group++, counts += 15) {
    VECTOR x[4][4];
    GROUP_ROWS(panel)
    EACH_PATTERN(PRODUCT_RUN)
  }
}

static void G(product_groups)(const lk_grouped *w, long block, const REAL *panel, long width, REAL *tile) {
#define STRIP(vectors) G(product_groups_strip)(w, block, panel + t, width, vectors, tile + t)
  BY_STRIPS(STRIP)
#undef STRIP
}

INLINE void G(transposed_groups_strip)(
    const lk_grouped *w, long from, long to, const REAL *panel, const long width, const int vectors, REAL *tile) {
  for (long block = 0; block < w->blocks; block++) {
    const REAL *rows = panel + block * LK_GROUP_ROWS * width;
    const long start = block * w->groups + from;
    const uint8_t *row = w->row + w->first[start];
    const REAL *v = (const REAL *)w->values + w->value_first[start];
    const uint8_t *counts = w->counts + start * 15;
    for (long group = from; group < to; group++, counts += 15) {
      REAL *sums = tile + 4 * (group - from) * width;
      const long used = w->columns - 4 * group < 4 ? w->columns - 4 * group : 4;
      VECTOR sum[4][4];
      for (int c = 0; c < 4; c++)
        for (int u = 0; u < vectors; u++)
          sum[c][u] = c < used ? AT(sums + c * width + u * STEP) : (VECTOR){0};
      EACH_PATTERN(TRANSPOSED_RUN)
      for (int c = 0; c < 4; c++)
        for (int u = 0; u < vectors; u++)
          if (c < used) AT(sums + c * width + u * STEP) = sum[c][u];
    }
  }
}

static void G(transposed_groups)(
    const lk_grouped *w, long from, long to, const REAL *panel, long width, REAL *tile) {
#define STRIP(vectors) G(transposed_groups_strip)(w, from, to, panel + t, width, vectors, tile + t)
  BY_STRIPS(STRIP)
#undef STRIP
}

INLINE VECTOR G(group_join)(VECTOR a, VECTOR b) { return PAIRED(a, b); }

INLINE VECTOR G(group_dot)(const VECTOR *x, const REAL *y, const int vectors) {
  VECTOR sum = x[0] * AT(y);
  for (int u = 1; u < vectors; u++) sum += x[u] * AT(y + u * STEP);
  return sum;
}

INLINE void G(sampled_groups_strip)(
    const lk_grouped *w, long block, const REAL *a, const REAL *b, const long width, const int vectors, const int add,
    REAL *values) {
  const uint32_t *first = w->first + block * w->groups;
  const uint8_t *row = w->row + first[0];
  REAL *v = values + w->value_first[block * w->groups];
  const uint8_t *counts = w->counts + block * w->groups * 15;
  const REAL *rows = a + block * LK_GROUP_ROWS * width;
  for (long group = 0; group < w->groups; group++, counts += 15) {
    VECTOR x[4][4];
    GROUP_ROWS(b)
    EACH_PATTERN(SAMPLED_RUN)
  }
}

static void G(sampled_groups)(
    const lk_grouped *w, long block, const REAL *a, const REAL *b, long width, int add, REAL *values) {
#define STRIP(vectors) G(sampled_groups_strip)(w, block, a + t, b + t, width, vectors, add || t > 0, values)
  BY_STRIPS(STRIP)
#undef STRIP
}
