#include "../reference.h"
#include "gguf_blocks.h"

#include <math.h>

// Quantises entries first..<first + group and returns the sum of the bytes.
static int quantize_group(const float *x, long n, long first, long group, int8_t *q, float *scale) {
  float largest = 0;
  for (long c = first; c < first + group && c < n; c++) largest = fmaxf(largest, fabsf(x[c]));
  for (long c = first; c < first + group && c < n; c++)
    if (!isfinite(x[c])) {
      memset(q + first, 0, (size_t)group);
      *scale = NAN;
      return 0;
    }
  float inverse = largest < 0x1p-120f ? 0 : 127 / largest;
  *scale = largest < 0x1p-120f ? 0 : largest / 127;
  int sum = 0;
  for (long c = first; c < first + group; c++) {
    q[c] = (int8_t)(c < n ? lrintf(x[c] * inverse) : 0);
    sum += q[c];
  }
  return sum;
}

void reference_quantize_x64(const float *x, long n, int8_t *q, float *scale) {
  for (long g = 0; g * 64 < n; g++) quantize_group(x, n, g * 64, 64, q, scale + g);
}

void reference_quantize_x32(const float *x, long n, int8_t *q, float *scale, float *total) {
  for (long g = 0; g * 32 < n; g++) {
    int sum = quantize_group(x, n, g * 32, 32, q, scale + g);
    total[g] = scale[g] * (float)sum;
  }
}

// MARK: Products

static float value_i8(const lk_dense *w, long r, long c) {
  return ((const float *)w->scales)[r] * ((const int8_t *)w->values)[r * w->columns + c];
}

static float value_i4(const lk_dense *w, long r, long c) {
  long groups = (w->columns + 63) / 64;
  return sparse_bf16(((const uint16_t *)w->scales)[r * groups + c / 64]) *
         sparse_nibble((const uint8_t *)w->values + r * groups * 32, c);
}

static float value_q8_0(const lk_dense *w, long r, long c) {
  const block_q8_0 *block = (const block_q8_0 *)w->values + r * (w->columns / 32) + c / 32;
  return reference_f16_value(block->scale) * block->values[c % 32];
}

// The first half of a block's values are the low nibbles, the second half the high ones.
static int block_nibble(const uint8_t *nibbles, long c) { return c < 16 ? nibbles[c] & 15 : nibbles[c - 16] >> 4; }

static float value_q4_0(const lk_dense *w, long r, long c) {
  const block_q4_0 *block = (const block_q4_0 *)w->values + r * (w->columns / 32) + c / 32;
  return reference_f16_value(block->scale) * (float)(block_nibble(block->nibbles, c % 32) - 8);
}

static float value_q4_1(const lk_dense *w, long r, long c) {
  const block_q4_1 *block = (const block_q4_1 *)w->values + r * (w->columns / 32) + c / 32;
  return reference_f16_value(block->scale) * (float)block_nibble(block->nibbles, c % 32) +
         reference_f16_value(block->minimum);
}

static float input_q64(const lk_input *x, long c) { return x->scale64[c / 64] * x->q64[c]; }
static float input_q32(const lk_input *x, long c) { return x->scale32[c / 32] * x->q32[c]; }

#define DENSE(format, input)                                                                           \
  void reference_gemv_##format(const lk_dense *w, const lk_input *x, long r0, long r1, float *out) {   \
    for (long r = r0; r < r1; r++) {                                                                   \
      double sum = 0;                                                                                  \
      for (long c = 0; c < w->columns; c++) sum += (double)value_##format(w, r, c) * input(x, c);      \
      out[r - r0] = (float)sum;                                                                        \
    }                                                                                                  \
  }                                                                                                    \
  void reference_decode_##format(const lk_dense *w, long r0, long r1, float *out) {                    \
    for (long r = r0; r < r1; r++)                                                                     \
      for (long c = 0; c < w->columns; c++) out[(r - r0) * w->columns + c] = value_##format(w, r, c);  \
  }

DENSE(i8, input_q64)
DENSE(i4, input_q64)
DENSE(q8_0, input_q32)
DENSE(q4_0, input_q32)
DENSE(q4_1, input_q32)
