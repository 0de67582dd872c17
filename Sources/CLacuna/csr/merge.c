// Merging rows, without a branch for each entry: which of two columns comes first is as good as random, and a wrong guess costs as
// much as several entries do. An entry that one matrix alone has is added to the other's next one masked to 0.
#include "lacuna_merge.h"

#include <string.h>

// Keeps the compiler from seeing that a number is 0 or 1, of which it would make a branch.
#define OPAQUE(x) __asm__("" : "+r"(x))
#define SHORT_LOOP _Pragma("clang loop vectorize(disable) unroll(disable)")

#define MERGE(type, real, bits)                                                                                        \
  long lk_merge_sum_##type(                                                                                            \
      const lk_rows *a, const lk_rows *b, real sign, long r0, long r1, long place, long *ends, uint32_t *column,       \
      real *values) {                                                                                                  \
    const uint32_t *const ac = a->column, *const bc = b->column;                                                       \
    const real *const av = (const real *)a->values, *const bv = (const real *)b->values;                               \
    for (long r = r0; r < r1; r++) {                                                                                   \
      long i = a->start[r], j = b->start[r];                                                                           \
      const long i_end = a->start[r + 1], j_end = b->start[r + 1];                                                     \
      while (i < i_end && j < j_end) {                                                                                 \
        const uint32_t x = ac[i], y = bc[j];                                                                           \
        long left = x <= y, right = y <= x;                                                                            \
        OPAQUE(left);                                                                                                  \
        OPAQUE(right);                                                                                                 \
        bits p, q;                                                                                                     \
        real u, v;                                                                                                     \
        memcpy(&p, av + i, sizeof p);                                                                                  \
        memcpy(&q, bv + j, sizeof q);                                                                                  \
        p &= 0 - (bits)left;                                                                                           \
        q &= 0 - (bits)right;                                                                                          \
        memcpy(&u, &p, sizeof u);                                                                                      \
        memcpy(&v, &q, sizeof v);                                                                                      \
        column[place] = x < y ? x : y;                                                                                 \
        values[place++] = u + sign * v;                                                                                \
        i += left;                                                                                                     \
        j += right;                                                                                                    \
      }                                                                                                                \
      SHORT_LOOP for (; i < i_end; i++, place++) {                                                                     \
        column[place] = ac[i];                                                                                         \
        values[place] = av[i];                                                                                         \
      }                                                                                                                \
      SHORT_LOOP for (; j < j_end; j++, place++) {                                                                     \
        column[place] = bc[j];                                                                                         \
        values[place] = sign * bv[j];                                                                                  \
      }                                                                                                                \
      ends[r] = place;                                                                                                 \
    }                                                                                                                  \
    return place;                                                                                                      \
  }                                                                                                                    \
                                                                                                                       \
  long lk_merge_product_##type(                                                                                        \
      const lk_rows *a, const lk_rows *b, long r0, long r1, long place, long *ends, uint32_t *column, real *values) {  \
    const uint32_t *const ac = a->column, *const bc = b->column;                                                       \
    const real *const av = (const real *)a->values, *const bv = (const real *)b->values;                               \
    for (long r = r0; r < r1; r++) {                                                                                   \
      long i = a->start[r], j = b->start[r];                                                                           \
      const long i_end = a->start[r + 1], j_end = b->start[r + 1];                                                     \
      while (i < i_end && j < j_end) {                                                                                 \
        const uint32_t x = ac[i], y = bc[j];                                                                           \
        /* Written at once, and kept if the columns are the same. */                                                   \
        column[place] = x;                                                                                             \
        values[place] = av[i] * bv[j];                                                                                 \
        place += x == y;                                                                                               \
        i += x <= y;                                                                                                   \
        j += y <= x;                                                                                                   \
      }                                                                                                                \
      ends[r] = place;                                                                                                 \
    }                                                                                                                  \
    return place;                                                                                                      \
  }

MERGE(f32, float, uint32_t)
MERGE(f64, double, uint64_t)
