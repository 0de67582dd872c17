// Compiles the kernels of training for f32 at each level of vector instructions, and once for f64.
//
// They are plain loops that clang vectorises by itself; what it cannot, the exponential, is written without branches.
#pragma clang diagnostic error "-Wignored-attributes"
#pragma clang fp contract(fast) reassociate(on)

#include "lacuna_kernels.h"
#include "lacuna_training.h"

#include <math.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define PASTE_(name, suffix) name##suffix
#define PASTE(name, suffix) PASTE_(name, suffix)
#define INLINE static inline __attribute__((always_inline))

#define T float
#define IS_FLOAT 1
#define SUFFIX _f32_portable
#include "training_level.h"

#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("arch=x86-64-v3"))), apply_to = function)
#define SUFFIX _f32_avx2
#include "training_level.h"
#pragma clang attribute pop

#pragma clang attribute push(__attribute__((target("arch=x86-64-v4,no-prefer-256-bit"))), apply_to = function)
#define SUFFIX _f32_avx512
#include "training_level.h"
#pragma clang attribute pop
#endif
#undef T
#undef IS_FLOAT

#define T double
#define IS_FLOAT 0
#define SUFFIX _f64
#include "training_level.h"

const lk_training *lk_training_f32_level(int level) {
  if (!lk_level(level)) return 0;
#if defined(__x86_64__)
  if (level >= LK_AVX512) return &training_f32_avx512;
  if (level == LK_AVX2) return &training_f32_avx2;
#endif
  return &training_f32_portable;
}

const lk_training *lk_training_f32(void) { return lk_training_f32_level(lk_best_level()); }
const lk_training *lk_training_f64(void) { return &training_f64; }
