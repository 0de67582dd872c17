#if defined(__x86_64__)
#include "level_prelude.h"

#pragma clang attribute push(__attribute__((target("arch=x86-64-v3"))), apply_to = function)
#define LEVEL LK_AVX2
#define SUFFIX _avx2
#define VECTOR_BYTES 32
#include "../level.h"
#pragma clang attribute pop
#endif
