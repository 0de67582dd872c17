#if defined(__x86_64__)
#include "level_prelude.h"

// Cooper Lake, Sapphire Rapids, Zen 4 and newer.
#pragma clang attribute push(__attribute__((target("arch=x86-64-v4,no-prefer-256-bit,avx512vbmi,avx512vbmi2,avx512vnni,avx512bitalg,avx512bf16"))), apply_to = function)
#define LEVEL LK_AVX512_BF16
#define SUFFIX _avx512bf16
#define VECTOR_BYTES 64
#include "../level.h"
#pragma clang attribute pop
#endif
