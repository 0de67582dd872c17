// Compiles the kernels once for each level of vector instructions, and chooses among them.
//
// The kernels are written once, with vectors of VECTOR_BYTES bytes; what one level does better by instructions of its
// own is in `#if LEVEL >= ...`. A misspelt feature in a target attribute makes the compiler drop the whole attribute
// with only a warning, hence the pragma.
#pragma clang diagnostic error "-Wignored-attributes"
#pragma clang fp contract(fast) reassociate(on)

#include "lacuna_kernels.h"

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

const lk_table *lk_level(int level) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  int v3 = __builtin_cpu_supports("x86-64-v3") != 0;
  int v4 = v3 && __builtin_cpu_supports("x86-64-v4");
  int ice_lake = v4 && __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2") &&
                 __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bitalg");
  if (level == LK_AVX2 && v3) return &table_avx2;
  if (level == LK_AVX512 && v4) return &table_avx512;
  if (level == LK_AVX512_VNNI && ice_lake) return &table_avx512vnni;
  if (level == LK_AVX512_BF16 && ice_lake && __builtin_cpu_supports("avx512bf16")) return &table_avx512bf16;
#endif
  return level == LK_PORTABLE ? &table_portable : 0;
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
