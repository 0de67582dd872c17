#include "cbenchmark.h"

// Eight independent vector sums, so that loads never wait for additions.
#define DEFINE_SUM(NAME, BYTES)                                                                   \
  static uint64_t NAME(const uint64_t *words, long count) {                                       \
    typedef uint64_t vector __attribute__((vector_size(BYTES), aligned(8)));                      \
    enum { lanes = BYTES / 8, step = 8 * lanes };                                                 \
    vector sums[8] = {0};                                                                         \
    long i = 0;                                                                                   \
    for (; i + step <= count; i += step)                                                          \
      for (int u = 0; u < 8; u++) sums[u] += *(const vector *)(words + i + u * lanes);            \
    uint64_t total = 0;                                                                           \
    for (; i < count; i++) total += words[i];                                                     \
    for (int u = 0; u < 8; u++)                                                                   \
      for (int l = 0; l < lanes; l++) total += sums[u][l];                                        \
    return total;                                                                                 \
  }

DEFINE_SUM(sum_base, 16)

#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
DEFINE_SUM(sum_avx2, 32)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("arch=x86-64-v4,no-prefer-256-bit"))), apply_to = function)
DEFINE_SUM(sum_avx512, 64)
#pragma clang attribute pop
#endif

uint64_t lb_sum(const uint64_t *words, long count) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("x86-64-v4")) return sum_avx512(words, count);
  if (__builtin_cpu_supports("avx2")) return sum_avx2(words, count);
#endif
  return sum_base(words, count);
}
