// Products with masks of middling density (N:M patterns above all) and panels of many vectors. Included by level.h once
// for each level, after csr/sampled.h.
//
// At a half of the entries a loop over them is bound by its loads: every multiplication fetches a panel row of its own.
// Here the columns are taken four at a time, whose panel rows (or whose sums, in the transposed product) stay in
// registers while a block of rows passes by. Which of the four a row keeps is one of fifteen patterns, and within a block
// the rows come sorted by it: the code of each pattern names its registers, and no branch depends on the data but the
// fifteen that end the runs. A kept entry then costs its multiplications alone.

// Calls `body(pattern, columns kept)` for the pattern of each run.
#define EACH_PATTERN(body)                                                                                         \
  body(1, 1) body(2, 1) body(3, 2) body(4, 1) body(5, 2) body(6, 2) body(7, 3) body(8, 1) body(9, 2) body(10, 2)   \
  body(11, 3) body(12, 2) body(13, 3) body(14, 3) body(15, 4)

// The place of column c of the group among those that the pattern keeps.
#define PLACE(pattern, c) ((pattern & 1 && c > 0) + (pattern & 2 && c > 1) + (pattern & 4 && c > 2))

// The column of place q among those that the pattern keeps.
#define COLUMN(pattern, q)                                                                                         \
  (pattern & 1 && q == 0 ? 0 : pattern & 2 && PLACE(pattern, 1) == q ? 1 : pattern & 4 && PLACE(pattern, 2) == q ? 2 : 3)

#define PRODUCT_RUN(pattern, kept)                                                                                 \
  for (long n = counts[pattern - 1]; n > 0; n--, row++, v += kept) {                                               \
    REAL *sums = tile + (long)*row * width;                                                                        \
    VECTOR value[kept], sum[4];                                                                                    \
    for (int q = 0; q < kept; q++) value[q] = v[q] - (VECTOR){0};                                                  \
    for (int u = 0; u < vectors; u++) sum[u] = AT(sums + u * STEP);                                                \
    for (int q = 0; q < kept; q++)                                                                                 \
      for (int u = 0; u < vectors; u++) sum[u] += value[q] * x[COLUMN(pattern, q)][u];                             \
    for (int u = 0; u < vectors; u++) AT(sums + u * STEP) = sum[u];                                                \
  }

#define TRANSPOSED_RUN(pattern, kept)                                                                              \
  for (long n = counts[pattern - 1]; n > 0; n--, row++, v += kept) {                                               \
    const REAL *y = rows + (long)*row * width;                                                                     \
    for (int u = 0; u < vectors; u++) {                                                                            \
      VECTOR value = AT(y + u * STEP);                                                                             \
      for (int q = 0; q < kept; q++) sum[COLUMN(pattern, q)][u] += v[q] * value;                                   \
    }                                                                                                              \
  }

// Inner products, a vector of results at a time, in the order they are stored in: those of STEP / kept rows (three to a
// row leave a lane unused), or of one. Lanes beyond the last row of a run take rows of what follows in the list, which are
// in the block as well; what they give is not stored.
#define SAMPLED_RUN(pattern, kept)                                                                                 \
  for (long n = counts[pattern - 1]; n > 0;) {                                                                     \
    const long together = kept > STEP ? 1 : STEP / kept, now = n < together ? n : together;                        \
    if (kept > STEP) {                                                                                             \
      for (int i = 0; i < kept; i++) {                                                                             \
        VECTOR part = DOT(pattern, kept, i);                                                                       \
        REAL sum = 0;                                                                                              \
        for (int j = 0; j < STEP; j++) sum += part[j];                                                             \
        v[i] = add ? v[i] + sum : sum;                                                                             \
      }                                                                                                            \
    } else {                                                                                                       \
      G(put)(v, DOTS(pattern, kept), now * kept, add);                                                             \
    }                                                                                                              \
    v += now * kept;                                                                                               \
    row += now;                                                                                                    \
    n -= now;                                                                                                      \
  }

// The products of lane i, to be summed over the lanes of the vector.
#define DOT(pattern, kept, i) G(group_dot)(x[COLUMN(pattern, ((i) % kept))], rows + (long)row[(i) / kept] * width, vectors)
// Depth first, so that few vectors wait: sums of halves, of quarters, and so on, as csr/sampled.h has them.
#define JOIN(a, b) G(group_join)(a, b)
#define DOTS_2(p, k, i, h) JOIN(DOT(p, k, i), DOT(p, k, (i) + h))
#define DOTS_4(p, k, i, h) JOIN(DOTS_2(p, k, i, 2 * h), DOTS_2(p, k, (i) + h, 2 * h))
#define DOTS_8(p, k, i, h) JOIN(DOTS_4(p, k, i, 2 * h), DOTS_4(p, k, (i) + h, 2 * h))
#define DOTS_16(p, k, i, h) JOIN(DOTS_8(p, k, i, 2 * h), DOTS_8(p, k, (i) + h, 2 * h))

// The panel rows of a group; those beyond the last column are those of the last, and not used.
#define GROUP_ROWS(panel)                                                                                          \
  for (int c = 0; c < 4; c++) {                                                                                    \
    const long column = 4 * group + c < w->columns ? 4 * group + c : w->columns - 1;                               \
    for (int u = 0; u < vectors; u++) x[c][u] = AT(panel + column * width + u * STEP);                             \
  }

// Vectors of a panel row that are worked on together: four groups of registers of them, and what else is needed.
#if VECTOR_BYTES == 64 || defined(__aarch64__)
#define GROUP_VECTORS 4
#else
#define GROUP_VECTORS 2
#endif

#define BY_STRIPS(call)                                                                                            \
  long t = 0;                                                                                                      \
  for (; t + GROUP_VECTORS * STEP <= width; t += GROUP_VECTORS * STEP) call(GROUP_VECTORS);                        \
  for (; t < width; t += STEP) call(1);

#define REAL float
#define VECTOR VF
#define STEP LANES
#define AT(p) AT_f32(p)
#define G(name) K(name##_f32)
#define PAIRED(a, b) (PAIR_LOW_f32(a, b) + PAIR_HIGH_f32(a, b))
#if VECTOR_BYTES == 64
#define DOTS(pattern, kept) DOTS_16(pattern, kept, 0, 1)
#elif VECTOR_BYTES == 32
#define DOTS(pattern, kept) DOTS_8(pattern, kept, 0, 1)
#else
#define DOTS(pattern, kept) DOTS_4(pattern, kept, 0, 1)
#endif
#include "groups_body.h"
#undef REAL
#undef VECTOR
#undef STEP
#undef AT
#undef G
#undef PAIRED
#undef DOTS

#define REAL double
#define VECTOR K(vd)
#define STEP (LANES / 2)
#define AT(p) AT_f64(p)
#define G(name) K(name##_f64)
#define PAIRED(a, b) (PAIR_LOW_f64(a, b) + PAIR_HIGH_f64(a, b))
#if VECTOR_BYTES == 64
#define DOTS(pattern, kept) DOTS_8(pattern, kept, 0, 1)
#elif VECTOR_BYTES == 32
#define DOTS(pattern, kept) DOTS_4(pattern, kept, 0, 1)
#else
#define DOTS(pattern, kept) DOTS_2(pattern, kept, 0, 1)
#endif
#include "groups_body.h"
#undef REAL
#undef VECTOR
#undef STEP
#undef AT
#undef G
#undef PAIRED
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
