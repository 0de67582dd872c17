#include "../reference.h"
#include "code_group_rows.h"
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

static float as_bf16(float x) {
  uint16_t bits;
  reference_f32_to_bf16(&x, &bits, 1);
  reference_bf16_to_f32(&bits, &x, 1);
  return x;
}

static float nibble(float x, float scale) {
  const float inverse = 1 / scale;
  return rintf(fmaxf(-8, fminf(7, x * inverse)));
}

// Sixteen sums beside each other, then halves onto halves: the order that every level keeps to.
static float sum_in_order(const float *terms, long n) {
  float sums[16] = {0};
  for (long i = 0; i < n; i++) sums[i % 16] += terms[i];
  for (int width = 8; width > 0; width /= 2)
    for (int i = 0; i < width; i++) sums[i] += sums[i + width];
  return sums[0];
}

uint16_t reference_round_i4(const float *x, long n, int8_t *codes) {
#pragma STDC FP_CONTRACT OFF
  float extreme = 0, best = 0, least = INFINITY;
  for (long i = 0; i < n; i++)
    if (fabsf(x[i]) > fabsf(extreme)) extreme = x[i];
  const int counts = as_bf16(fabsf(extreme) / 8) >= 0x1p-126f && isfinite(extreme);
  int exact = 0;
  for (int code = 8; counts && !exact && code > 0; code--) {
    best = as_bf16(code == 8 ? extreme / -8 : fabsf(extreme) / (float)code);
    exact = 1;
    for (long i = 0; i < n; i++) exact &= x[i] == best * nibble(x[i], best);
  }
  if (!exact) best = 0;
  const float divisors[6] = {-8, -8.7f, -9.5f, 7, 7.7f, 8.5f};
  for (int candidate = 0; counts && !exact && candidate < 7; candidate++) {
    float scale, terms[64], squares[64];
    if (candidate < 6) {
      scale = (candidate < 3 ? extreme : fabsf(extreme)) / divisors[candidate];
    } else {
      for (long i = 0; i < n; i++) {
        const float code = best == 0 ? 0 : nibble(x[i], best);
        terms[i] = x[i] * code;
        squares[i] = code * code;
      }
      const float square = sum_in_order(squares, n);
      if (square == 0) break;
      scale = sum_in_order(terms, n) / square;
    }
    scale = as_bf16(scale);
    if (fabsf(scale) < 0x1p-126f || !isfinite(scale)) continue;
    for (long i = 0; i < n; i++) {
      const float difference = x[i] - nibble(x[i], scale) * scale;
      terms[i] = difference * difference;
    }
    const float error = sum_in_order(terms, n);
    if (error < least) {
      least = error;
      best = scale;
    }
  }
  for (long i = 0; codes && i < n; i++) codes[i] = best == 0 ? 0 : (int8_t)nibble(x[i], best);
  uint16_t bits;
  reference_f32_to_bf16(&best, &bits, 1);
  return bits;
}

void reference_sums_x16(const int8_t *q, long n, int32_t *sums) {
  for (long part = 0; part < (n + 31) / 32 * 2; part++) {
    sums[part] = 0;
    for (long c = 16 * part; c < 16 * part + 16; c++) sums[part] += q[c];
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

static float value_q5_0(const lk_dense *w, long r, long c) {
  const block_q5_0 *block = (const block_q5_0 *)w->values + r * (w->columns / 32) + c / 32;
  int code = block_nibble(block->nibbles, c % 32) + (block->high >> c % 32 & 1 ? 16 : 0);
  return reference_f16_value(block->scale) * (float)(code - 16);
}

static float value_q5_1(const lk_dense *w, long r, long c) {
  const block_q5_1 *block = (const block_q5_1 *)w->values + r * (w->columns / 32) + c / 32;
  int code = block_nibble(block->nibbles, c % 32) + (block->high >> c % 32 & 1 ? 16 : 0);
  return reference_f16_value(block->scale) * (float)code + reference_f16_value(block->minimum);
}

// Two bits of value i of 256.
static int block_crumb(const uint8_t *crumbs, int i) { return crumbs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3; }
static int block_bit(const uint8_t *high, int i) { return high[i % 32] >> i / 32 & 1; }
static int pair_nibble(const uint8_t *nibbles, int i) {
  return nibbles[i / 64 * 32 + i % 32] >> (i % 64 < 32 ? 0 : 4) & 15;
}
// The six-bit scale, and the minimum, of part j of 8.
static int part_scale(const uint8_t *parts, int j) {
  return j < 4 ? parts[j] & 63 : (parts[j + 4] & 15) + (parts[j - 4] >> 6) * 16;
}
static int part_minimum(const uint8_t *parts, int j) {
  return j < 4 ? parts[j + 4] & 63 : (parts[j + 4] >> 4) + (parts[j] >> 6) * 16;
}

static float value_q2_k(const lk_dense *w, long r, long c) {
  const block_q2_k *block = (const block_q2_k *)w->values + r * (w->columns / 256) + c / 256;
  int i = (int)(c % 256), part = block->parts[i / 16];
  return reference_f16_value(block->scale) * (float)(part & 15) * (float)block_crumb(block->crumbs, i) -
         reference_f16_value(block->minimum) * (float)(part >> 4);
}

static float value_q3_k(const lk_dense *w, long r, long c) {
  const block_q3_k *block = (const block_q3_k *)w->values + r * (w->columns / 256) + c / 256;
  int i = (int)(c % 256), j = i / 16;
  int scale = (block->parts[j % 8] >> (j < 8 ? 0 : 4) & 15) + (block->parts[8 + j % 4] >> 2 * (j / 4) & 3) * 16 - 32;
  int code = block_crumb(block->crumbs, i) - (block_bit(block->high, i) ? 0 : 4);
  return reference_f16_value(block->scale) * (float)scale * (float)code;
}

static float value_q4_k(const lk_dense *w, long r, long c) {
  const block_q4_k *block = (const block_q4_k *)w->values + r * (w->columns / 256) + c / 256;
  int i = (int)(c % 256);
  return reference_f16_value(block->scale) * (float)part_scale(block->parts, i / 32) *
             (float)pair_nibble(block->nibbles, i) -
         reference_f16_value(block->minimum) * (float)part_minimum(block->parts, i / 32);
}

static float value_q5_k(const lk_dense *w, long r, long c) {
  const block_q5_k *block = (const block_q5_k *)w->values + r * (w->columns / 256) + c / 256;
  int i = (int)(c % 256);
  return reference_f16_value(block->scale) * (float)part_scale(block->parts, i / 32) *
             (float)(pair_nibble(block->nibbles, i) + 16 * block_bit(block->high, i)) -
         reference_f16_value(block->minimum) * (float)part_minimum(block->parts, i / 32);
}

static float value_q6_k(const lk_dense *w, long r, long c) {
  const block_q6_k *block = (const block_q6_k *)w->values + r * (w->columns / 256) + c / 256;
  int i = (int)(c % 256), half = i / 128, j = i % 128;
  int nibble = block->nibbles[64 * half + j % 64] >> (j < 64 ? 0 : 4) & 15;
  return reference_f16_value(block->scale) * (float)block->parts[i / 16] *
         (float)(nibble + 16 * block_crumb(block->crumbs, i) - 32);
}

static float input_q64(const lk_input *x, long c) { return x->scale64[c / 64] * x->q64[c]; }
static float input_q32(const lk_input *x, long c) { return x->scale32[c / 32] * x->q32[c]; }

REFERENCE_DENSE(i8, input_q64)
REFERENCE_DENSE(i4, input_q64)

// Bytes meet those of groups of 64 where they are given.
static float input_bytes(const lk_input *x, long c) { return x->q64 ? input_q64(x, c) : input_q32(x, c); }

#define ROWS(format, input)                                                                                       \
  void reference_rows_##format(                                                                                   \
      const lk_dense *w, const lk_input *x, long n, long r0, long r1, float *out, long stride) {                  \
    for (long t = 0; t < n; t++)                                                                                  \
      for (long r = r0; r < r1; r++) {                                                                            \
        double sum = 0;                                                                                           \
        for (long c = 0; c < w->columns; c++) sum += (double)value_##format(w, r, c) * input(x + t, c);           \
        out[t * stride + r - r0] = (float)sum;                                                                    \
      }                                                                                                           \
  }

ROWS(i8, input_bytes)
ROWS(i4, input_q32)

#define BLOCKS(format) REFERENCE_DENSE(format, input_q32) ROWS(format, input_q32)
BLOCKS(q4_0)
BLOCKS(q4_1)
BLOCKS(q5_0)
BLOCKS(q5_1)
BLOCKS(q8_0)
BLOCKS(q2_k)
BLOCKS(q3_k)
BLOCKS(q4_k)
BLOCKS(q5_k)
BLOCKS(q6_k)

// The value of row r at the j-th column of its k-th group.
static float code_group_value(const lk_code_groups *w, long r, long k, long j) {
  const code_group_row row = code_group_row_of(w, r);
  const long place = k * w->group + j;
  const uint8_t byte = row.codes[place / 16 * 8 + place % 8];
  const int code = place % 16 < 8 ? byte & 15 : byte >> 4;
  return reference_f16_value(code_group_word(row.scales, k)) * (float)(code - code_group_zero(row.zeros, k));
}

void reference_gemv_code_groups(const lk_code_groups *w, const lk_input *input, long r0, long r1, float *out) {
  for (long r = r0; r < r1; r++) {
    double sum = 0;
    for (long k = 0; k < w->kept; k++) {
      const float *x = input->x + (long)code_group_word(code_group_row_of(w, r).groups, k) * w->group;
      for (long j = 0; j < w->group; j++) sum += (double)code_group_value(w, r, k, j) * x[j];
    }
    out[r - r0] = (float)sum;
  }
}

void reference_decode_code_groups(const lk_code_groups *w, long r0, long r1, float *out) {
  for (long r = r0; r < r1; r++, out += w->columns) {
    memset(out, 0, (size_t)w->columns * sizeof(float));
    for (long k = 0; k < w->kept; k++) {
      const long first = (long)code_group_word(code_group_row_of(w, r).groups, k) * w->group;
      for (long j = 0; j < w->group; j++) out[first + j] = code_group_value(w, r, k, j);
    }
  }
}
