// Compiles the kernels once for each level of vector instructions, and chooses among them.
//
// The kernels are written once, with vectors of VECTOR_BYTES bytes; what one level does better by instructions of its
// own is in `#if LEVEL >= ...`. A misspelt feature in a target attribute makes the compiler drop the whole attribute
// with only a warning, hence the pragma.
#pragma clang diagnostic error "-Wignored-attributes"
#pragma clang fp contract(fast) reassociate(on)

#include "lacuna_kernels.h"

#include "entries.h"
#include "quantized/gguf_blocks.h"
#include "reference.h"
#include "bits/spread.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

// The lower, and the upper, halves of two vectors interleaved, by the number of their elements.
#define ZIP_LOW_2(a, b) __builtin_shufflevector(a, b, 0, 2)
#define ZIP_HIGH_2(a, b) __builtin_shufflevector(a, b, 1, 3)
#define ZIP_LOW_4(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define ZIP_HIGH_4(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#define ZIP_LOW_8(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define ZIP_HIGH_8(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#define ZIP_LOW_16(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define ZIP_HIGH_16(a, b) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)

#define LEVEL LK_PORTABLE
#define SUFFIX _portable
#define VECTOR_BYTES 16
#include "level.h"

#if defined(__x86_64__)

#pragma clang attribute push(__attribute__((target("arch=x86-64-v3"))), apply_to = function)
#define LEVEL LK_AVX2
#define SUFFIX _avx2
#define VECTOR_BYTES 32
#include "level.h"
#pragma clang attribute pop

// Without no-prefer-256-bit, clang splits 64-byte vectors into halves.
#pragma clang attribute push(__attribute__((target("arch=x86-64-v4,no-prefer-256-bit"))), apply_to = function)
#define LEVEL LK_AVX512
#define SUFFIX _avx512
#define VECTOR_BYTES 64
#include "level.h"
#pragma clang attribute pop

#define ICE_LAKE "arch=x86-64-v4,no-prefer-256-bit,avx512vbmi,avx512vbmi2,avx512vnni,avx512bitalg"
#pragma clang attribute push(__attribute__((target(ICE_LAKE))), apply_to = function)
#define LEVEL LK_AVX512_VNNI
#define SUFFIX _avx512vnni
#define VECTOR_BYTES 64
#include "level.h"
#pragma clang attribute pop

#pragma clang attribute push(__attribute__((target(ICE_LAKE ",avx512bf16"))), apply_to = function)
#define LEVEL LK_AVX512_BF16
#define SUFFIX _avx512bf16
#define VECTOR_BYTES 64
#include "level.h"
#pragma clang attribute pop

#endif

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

#define LEVEL_TABLES(suffix) {&table##suffix, {&real_f32##suffix, &real_f64##suffix}}
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
