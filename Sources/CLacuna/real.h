// The kernels that exist for floats and for doubles, at one level. level.h includes this file once for each, with REAL,
// REAL_NAME, REAL_BYTES and VECTOR defined; like the files included here it has no include guard.

#define R(name) PASTE3(name, REAL_NAME, SUFFIX)  // the name for this type at this level
#define STEP (VECTOR_BYTES / REAL_BYTES)         // numbers of a vector
typedef REAL R(aligned) __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef REAL R(anywhere) __attribute__((vector_size(VECTOR_BYTES), aligned(REAL_BYTES), may_alias));
#define AT(p) (*(R(aligned) *)(p))     // a vector in memory, aligned
#define FREE(p) (*(R(anywhere) *)(p))  // and at any address that a number may have

// The lower, and the upper, halves of two vectors interleaved; four numbers from one load, and one of them in every lane.
#if VECTOR_BYTES / REAL_BYTES == 16
#define PAIR_LOW(a, b) ZIP_LOW_16(a, b)
#define PAIR_HIGH(a, b) ZIP_HIGH_16(a, b)
#elif VECTOR_BYTES / REAL_BYTES == 8
#define PAIR_LOW(a, b) ZIP_LOW_8(a, b)
#define PAIR_HIGH(a, b) ZIP_HIGH_8(a, b)
#elif VECTOR_BYTES / REAL_BYTES == 4
#define PAIR_LOW(a, b) ZIP_LOW_4(a, b)
#define PAIR_HIGH(a, b) ZIP_HIGH_4(a, b)
#else
#define PAIR_LOW(a, b) ZIP_LOW_2(a, b)
#define PAIR_HIGH(a, b) ZIP_HIGH_2(a, b)
#endif
#if REAL_BYTES == 4
#define FOUR_VALUES(format, v) const VECTOR four = K(quad_##format)(v);
#define ONE_OF_FOUR(i) SPLAT(four, i)
#else
#define FOUR_VALUES(format, v) const REAL *const four = v;
#define ONE_OF_FOUR(i) (four[i] - (VECTOR){0})
#endif

// The first n numbers of x, stored or added.
INLINE void R(put)(REAL *v, VECTOR x, long n, const int add) {
  if (n == STEP) {
    FREE(v) = add ? FREE(v) + x : x;
    return;
  }
#if REAL_BYTES == 4
  K(store_part)(v, add ? K(load_part)(v, n) + x : x, n);
#else
  REAL some[STEP];
  memcpy(some, &x, sizeof some);
  for (long i = 0; i < n; i++) v[i] = add ? v[i] + some[i] : some[i];
#endif
}

#include "csr/panel.h"
#include "csr/panel_transposed.h"
#include "csr/sampled.h"
#include "csr/spgemm.h"
#include "groups/groups.h"
#include "bsr/training.h"
#include "dense/transpose.h"

const lk_real R(lk_real) = {LK_REAL_ENTRIES(R)};

#undef FOUR_VALUES
#undef ONE_OF_FOUR
#undef PAIR_LOW
#undef PAIR_HIGH
#undef AT
#undef FREE
#undef STEP
#undef R
#undef REAL
#undef REAL_NAME
#undef REAL_BYTES
#undef VECTOR
