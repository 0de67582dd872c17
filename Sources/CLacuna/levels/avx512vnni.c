#if defined(__x86_64__)
#include "level_prelude.h"

// Ice Lake and newer.
#pragma clang attribute push(__attribute__((target("arch=x86-64-v4,no-prefer-256-bit,avx512vbmi,avx512vbmi2,avx512vnni,avx512bitalg"))), apply_to = function)
#define LEVEL LK_AVX512_VNNI
#define SUFFIX _avx512vnni
#define VECTOR_BYTES 64
#include "../level.h"
#pragma clang attribute pop
#endif
