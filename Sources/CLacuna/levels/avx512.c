#if defined(__x86_64__)
#include "level_prelude.h"

// Without no-prefer-256-bit, clang splits 64-byte vectors into halves.
#pragma clang attribute push(__attribute__((target("arch=x86-64-v4,no-prefer-256-bit"))), apply_to = function)
#define LEVEL LK_AVX512
#define SUFFIX _avx512
#define VECTOR_BYTES 64
#include "../level.h"
#pragma clang attribute pop
#endif
