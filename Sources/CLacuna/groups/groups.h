// Products with masks of middling density (N:M patterns above all) and panels of many vectors. Included by real.h once
// for each type.
//
// At a half of the entries a loop over them is bound by its loads: every multiplication fetches a panel row of its own.
// Here the columns are taken four at a time, whose panel rows (or whose sums, in the transposed product) stay in
// registers while a block of rows passes by. Which of the four a row keeps is one of fifteen patterns, and within a block
// the rows come sorted by it: the code of each pattern names its registers, and no branch depends on the data but the
// fifteen that end the runs. A kept entry then costs its multiplications alone.

// Calls `body(pattern, columns kept)` for the pattern of each run.
#define EACH_PATTERN(body)                                                                                        \
  body(1, 1) body(2, 1) body(3, 2) body(4, 1) body(5, 2) body(6, 2) body(7, 3) body(8, 1) body(9, 2) body(10, 2)  \
  body(11, 3) body(12, 2) body(13, 3) body(14, 3) body(15, 4)

// The place of column c of the group among those that the pattern keeps.
#define PLACE(pattern, c) ((pattern & 1 && c > 0) + (pattern & 2 && c > 1) + (pattern & 4 && c > 2))

// The column of place q among those that the pattern keeps.
#define COLUMN(pattern, q)  \
  (pattern & 1 && q == 0 ? 0 : pattern & 2 && PLACE(pattern, 1) == q ? 1 : pattern & 4 && PLACE(pattern, 2) == q ? 2 : 3)

#define PRODUCT_RUN(pattern, kept)                                                               \
  for (long n = counts[pattern - 1]; n > 0; n--, row++, v += kept) {                             \
    REAL *sums = tile + (long)*row * width;                                                      \
    VECTOR value[kept], sum[4];                                                                  \
    UNROLLED for (int q = 0; q < kept; q++) value[q] = v[q] - (VECTOR){0};                       \
    UNROLLED for (int u = 0; u < vectors; u++) sum[u] = AT(sums + u * STEP);                     \
    UNROLLED for (int q = 0; q < kept; q++)                                                      \
      UNROLLED for (int u = 0; u < vectors; u++) sum[u] += value[q] * x[COLUMN(pattern, q)][u];  \
    UNROLLED for (int u = 0; u < vectors; u++) AT(sums + u * STEP) = sum[u];                     \
  }

#define TRANSPOSED_RUN(pattern, kept)                                                      \
  for (long n = counts[pattern - 1]; n > 0; n--, row++, v += kept) {                       \
    const REAL *y = rows + (long)*row * width;                                             \
    UNROLLED for (int u = 0; u < vectors; u++) {                                           \
      VECTOR value = AT(y + u * STEP);                                                     \
      UNROLLED for (int q = 0; q < kept; q++) sum[COLUMN(pattern, q)][u] += v[q] * value;  \
    }                                                                                      \
  }

// Inner products, a vector of results at a time, in the order they are stored in: those of STEP / kept rows (three to a
// row leave a lane unused), or of one. Lanes beyond the last row of a run take rows of what follows in the list, which are
// in the block as well; what they give is not stored.
#define SAMPLED_RUN(pattern, kept)                                                           \
  for (long n = counts[pattern - 1]; n > 0;) {                                               \
    const long together = kept > STEP ? 1 : STEP / kept, now = n < together ? n : together;  \
    if (kept > STEP) {                                                                       \
      UNROLLED for (int i = 0; i < kept; i++) {                                              \
        VECTOR part = DOT(pattern, kept, i);                                                 \
        REAL sum = 0;                                                                        \
        UNROLLED for (int j = 0; j < STEP; j++) sum += part[j];                              \
        v[i] = add ? v[i] + sum : sum;                                                       \
      }                                                                                      \
    } else {                                                                                 \
      R(put)(v, DOTS(pattern, kept), now * kept, add);                                       \
    }                                                                                        \
    v += now * kept;                                                                         \
    row += now;                                                                              \
    n -= now;                                                                                \
  }

// The products of lane i, to be summed over the lanes of the vector.
#define DOT(pattern, kept, i) R(group_dot)(x[COLUMN(pattern, ((i) % kept))], rows + (long)row[(i) / kept] * width, vectors)
// Depth first, so that few vectors wait: sums of halves, of quarters, and so on, as csr/sampled.h has them.
#define JOIN(a, b) R(group_join)(a, b)
#define DOTS_2(p, k, i, h) JOIN(DOT(p, k, i), DOT(p, k, (i) + h))
#define DOTS_4(p, k, i, h) JOIN(DOTS_2(p, k, i, 2 * h), DOTS_2(p, k, (i) + h, 2 * h))
#define DOTS_8(p, k, i, h) JOIN(DOTS_4(p, k, i, 2 * h), DOTS_4(p, k, (i) + h, 2 * h))
#define DOTS_16(p, k, i, h) JOIN(DOTS_8(p, k, i, 2 * h), DOTS_8(p, k, (i) + h, 2 * h))

// The panel rows of a group; those beyond the last column are those of the last, and not used.
#define GROUP_ROWS(panel)                                                                        \
  UNROLLED for (int c = 0; c < 4; c++) {                                                         \
    const long column = 4 * group + c < w->columns ? 4 * group + c : w->columns - 1;             \
    UNROLLED for (int u = 0; u < vectors; u++) x[c][u] = AT(panel + column * width + u * STEP);  \
  }

// Vectors of a panel row that are worked on together: four groups of registers of them, and what else is needed.
#if VECTOR_BYTES == 64 || defined(__aarch64__)
#define GROUP_VECTORS 4
#else
#define GROUP_VECTORS 2
#endif

#define BY_STRIPS(call)                                                                      \
  long t = 0;                                                                                \
  for (; t + GROUP_VECTORS * STEP <= width; t += GROUP_VECTORS * STEP) call(GROUP_VECTORS);  \
  for (; t < width; t += STEP) call(1);

#if VECTOR_BYTES / REAL_BYTES == 16
#define DOTS(pattern, kept) DOTS_16(pattern, kept, 0, 1)
#elif VECTOR_BYTES / REAL_BYTES == 8
#define DOTS(pattern, kept) DOTS_8(pattern, kept, 0, 1)
#elif VECTOR_BYTES / REAL_BYTES == 4
#define DOTS(pattern, kept) DOTS_4(pattern, kept, 0, 1)
#else
#define DOTS(pattern, kept) DOTS_2(pattern, kept, 0, 1)
#endif

INLINE void R(product_groups_strip)(
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

static void R(product_groups)(const lk_grouped *w, long block, const void *panel_, long width, void *tile_) {
  const REAL *panel = (const REAL *)panel_;
  REAL *tile = (REAL *)tile_;
#define STRIP(vectors) R(product_groups_strip)(w, block, panel + t, width, vectors, tile + t)
  BY_STRIPS(STRIP)
#undef STRIP
}

INLINE void R(transposed_groups_strip)(
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
      UNROLLED for (int c = 0; c < 4; c++)
        UNROLLED for (int u = 0; u < vectors; u++)
          sum[c][u] = c < used ? AT(sums + c * width + u * STEP) : (VECTOR){0};
      EACH_PATTERN(TRANSPOSED_RUN)
      UNROLLED for (int c = 0; c < 4; c++)
        UNROLLED for (int u = 0; u < vectors; u++)
          if (c < used) AT(sums + c * width + u * STEP) = sum[c][u];
    }
  }
}

static void R(transposed_groups)(
    const lk_grouped *w, long from, long to, const void *panel_, long width, void *tile_) {
  const REAL *panel = (const REAL *)panel_;
  REAL *tile = (REAL *)tile_;
#define STRIP(vectors) R(transposed_groups_strip)(w, from, to, panel + t, width, vectors, tile + t)
  BY_STRIPS(STRIP)
#undef STRIP
}

INLINE VECTOR R(group_join)(VECTOR a, VECTOR b) { return PAIR_LOW(a, b) + PAIR_HIGH(a, b); }

INLINE VECTOR R(group_dot)(const VECTOR *x, const REAL *y, const int vectors) {
  VECTOR sum = x[0] * AT(y);
  UNROLLED for (int u = 1; u < vectors; u++) sum += x[u] * AT(y + u * STEP);
  return sum;
}

INLINE void R(sampled_groups_strip)(
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

static void R(sampled_groups)(
    const lk_grouped *w, long block, const void *a_, const void *b_, long width, int add, void *values_) {
  const REAL *a = (const REAL *)a_, *b = (const REAL *)b_;
  REAL *values = (REAL *)values_;
#define STRIP(vectors) R(sampled_groups_strip)(w, block, a + t, b + t, width, vectors, add || t > 0, values)
  BY_STRIPS(STRIP)
#undef STRIP
}

#undef DOTS
#undef BY_STRIPS
#undef GROUP_VECTORS
#undef GROUP_ROWS
#undef DOT
#undef JOIN
#undef DOTS_2
#undef DOTS_4
#undef DOTS_8
#undef DOTS_16
#undef COLUMN
#undef SAMPLED_RUN
#undef TRANSPOSED_RUN
#undef PRODUCT_RUN
#undef PLACE
#undef EACH_PATTERN
