// Chooses among the levels of vector instructions that the kernels are compiled for (`levels/`).
#include "lacuna_kernels.h"
#include "levels/levels.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Whether this processor has the instructions of a level.
static int has_level(int level) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const int v3 = __builtin_cpu_supports("x86-64-v3") != 0;
  const int v4 = v3 && __builtin_cpu_supports("x86-64-v4");
  const int ice_lake = v4 && __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2") &&
                       __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bitalg");
  if (level == LK_AVX2) return v3;
  if (level == LK_AVX512) return v4;
  if (level == LK_AVX512_VNNI) return ice_lake;
  if (level == LK_AVX512_BF16) return ice_lake && __builtin_cpu_supports("avx512bf16");
#endif
  return level == LK_PORTABLE;
}

#define LEVEL_TABLES(suffix) {&lk_table##suffix, {&lk_real_f32##suffix, &lk_real_f64##suffix}}
static const struct {
  const lk_table *table;
  const lk_real *real[LK_REALS];
} levels[LK_LEVELS] = {
    [LK_PORTABLE] = LEVEL_TABLES(_portable),
#if defined(__x86_64__)
    [LK_AVX2] = LEVEL_TABLES(_avx2),
    [LK_AVX512] = LEVEL_TABLES(_avx512),
    [LK_AVX512_VNNI] = LEVEL_TABLES(_avx512vnni),
    [LK_AVX512_BF16] = LEVEL_TABLES(_avx512bf16),
#endif
};

const lk_table *lk_level(int level) { return has_level(level) ? levels[level].table : 0; }

const lk_real *lk_real_level(int level, int type) {
  return has_level(level) && type >= 0 && type < LK_REALS ? levels[level].real[type] : 0;
}

static const char *const names[LK_LEVELS] = {"portable", "avx2", "avx512", "avx512vnni", "avx512bf16"};

const char *lk_level_name(int level) { return level >= 0 && level < LK_LEVELS ? names[level] : 0; }

int lk_best_level(void) {
  static atomic_int chosen = -1;
  int level = atomic_load_explicit(&chosen, memory_order_relaxed);
  if (level >= 0) return level;
  int limit = LK_LEVELS - 1;
  const char *wish = getenv("LACUNA_SIMD");
  if (wish && *wish) {
    for (limit = 0; limit < LK_LEVELS && strcmp(wish, names[limit]) != 0;) limit++;
    if (limit == LK_LEVELS) {
      fprintf(stderr, "LACUNA_SIMD=%s is none of portable, avx2, avx512, avx512vnni, avx512bf16: ignored\n", wish);
      limit = LK_LEVELS - 1;
    } else if (!lk_level(limit)) {
      fprintf(stderr, "LACUNA_SIMD=%s: this processor lacks the instructions; using the next lower level\n", wish);
    }
  }
  for (level = limit; !lk_level(level);) level--;
  atomic_store_explicit(&chosen, level, memory_order_relaxed);
  return level;
}

const lk_table *lk_best(void) { return lk_level(lk_best_level()); }
const lk_real *lk_real_best(int type) { return lk_real_level(lk_best_level(), type); }
