// What the kernels of every level are compiled with. Each level is a file of its own here, so that they are compiled side by side.
//
// The kernels are written once, with vectors of VECTOR_BYTES bytes; what one level does better by instructions of its
// own is in `#if LEVEL >= ...`. A misspelt feature in a target attribute makes the compiler drop the whole attribute
// with only a warning, hence the pragma.
#pragma clang diagnostic error "-Wignored-attributes"
#pragma clang fp contract(fast) reassociate(on)

#include "lacuna_kernels.h"

#include "../bits/spread.h"
#include "../entries.h"
#include "../quantized/code_group_rows.h"
#include "../quantized/gguf_blocks.h"
#include "../reference.h"
#include "levels.h"

#include <math.h>
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
