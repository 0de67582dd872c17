#include "reference.h"

#include "blocks.h"
#include "reference_columns.h"
#include "reference_sparse.h"
#include "reference_training.h"

#include <math.h>
#include <string.h>

// MARK: Numbers

static float from_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

static uint32_t to_bits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return bits;
}

static float bf16_value(uint16_t x) { return from_bits((uint32_t)x << 16); }

uint16_t reference_bf16(float x) {
  uint32_t bits = to_bits(x);
  if (x != x) return (uint16_t)(bits >> 16 | 0x40);
  return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

float reference_f16_value(uint16_t half) {
  int exponent = half >> 10 & 31, fraction = half & 0x3FF;
  float magnitude = exponent == 0 ? ldexpf((float)fraction, -24)
                    : exponent == 31 ? (fraction ? from_bits(0x7F800000u | (uint32_t)fraction << 13) : INFINITY)
                                     : ldexpf((float)(fraction + 1024), exponent - 25);
  return half & 0x8000 ? -magnitude : magnitude;
}

uint16_t reference_f16(float x) {
  uint16_t sign = (uint16_t)(to_bits(x) >> 16 & 0x8000);
  float magnitude = fabsf(x);
  if (x != x) return sign | 0x7E00 | (uint16_t)(to_bits(x) >> 13 & 0x3FF);
  if (magnitude >= 65520) return sign | 0x7C00;  // halfway between the largest number and the next power of two
  if (magnitude < 0x1p-14f) return sign | (uint16_t)lrint((double)magnitude * 0x1p24);
  int exponent;
  double fraction = frexp(magnitude, &exponent);  // in [0.5, 1)
  long steps = lrint(fraction * 2048);            // 1024...2048: carries into the exponent by addition
  return sign | (uint16_t)((exponent + 13) * 1024 + steps);
}

// MARK: Vectors

float reference_dot_f32(const float *a, const float *b, long n) {
  double sum = 0;
  for (long i = 0; i < n; i++) sum += (double)a[i] * b[i];
  return (float)sum;
}

void reference_axpy_f32(float a, const float *x, float *y, long n) {
  for (long i = 0; i < n; i++) y[i] += a * x[i];
}

void reference_scale_add_f32(float a, const float *x, float b, float *y, long n) {
  for (long i = 0; i < n; i++) y[i] = a * x[i] + b * y[i];
}

float reference_sum_f32(const float *x, long n) {
  double sum = 0;
  for (long i = 0; i < n; i++) sum += x[i];
  return (float)sum;
}

float reference_max_f32(const float *x, long n) {
  float best = -INFINITY;
  for (long i = 0; i < n; i++)
    if (x[i] > best) best = x[i];
  return best;
}

long reference_argmax_f32(const float *x, long n) {
  long best = -1;
  for (long i = 0; i < n; i++)
    if (x[i] == x[i] && (best < 0 || x[i] > x[best])) best = i;
  return best;
}

// MARK: Conversions

void reference_f32_to_bf16(const float *x, uint16_t *out, long n) {
  for (long i = 0; i < n; i++) out[i] = reference_bf16(x[i]);
}

void reference_bf16_to_f32(const uint16_t *x, float *out, long n) {
  for (long i = 0; i < n; i++) out[i] = bf16_value(x[i]);
}

void reference_f32_to_f16(const float *x, uint16_t *out, long n) {
  for (long i = 0; i < n; i++) out[i] = reference_f16(x[i]);
}

void reference_f16_to_f32(const uint16_t *x, float *out, long n) {
  for (long i = 0; i < n; i++) out[i] = reference_f16_value(x[i]);
}

void reference_split_even_odd(const float *x, long n, float *split) {
  long padded = (n + 63) / 64 * 64;
  for (long c = 0; c < padded; c++) split[c / 32 * 32 + c % 2 * 16 + c % 32 / 2] = c < n ? x[c] : 0;
}

// Quantises entries first..<first + group and returns the sum of the bytes.
static int quantize_group(const float *x, long n, long first, long group, int8_t *q, float *scale) {
  float largest = 0;
  for (long c = first; c < first + group && c < n; c++) largest = fmaxf(largest, fabsf(x[c]));
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

// MARK: Layers of a decoder

void reference_rmsnorm(const float *x, const float *weight, float epsilon, long n, float *out) {
  double squares = 0;
  for (long i = 0; i < n; i++) squares += (double)x[i] * x[i];
  float scale = (float)(1 / sqrt(squares / (double)n + epsilon));
  for (long i = 0; i < n; i++) out[i] = x[i] * scale * weight[i];
}

void reference_softmax(float *x, long n) {
  float largest = reference_max_f32(x, n);
  double sum = 0;
  for (long i = 0; i < n; i++) sum += exp((double)x[i] - largest);
  for (long i = 0; i < n; i++) x[i] = (float)(exp((double)x[i] - largest) / sum);
}

void reference_silu_mul(const float *gate, const float *up, float *out, long n) {
  for (long i = 0; i < n; i++) out[i] = (float)(gate[i] / (1 + exp(-(double)gate[i])) * up[i]);
}

static void rotate(float *a, float *b, float cosine, float sine) {
  float first = *a, second = *b;
  *a = first * cosine - second * sine;
  *b = first * sine + second * cosine;
}

void reference_rope_interleaved(float *x, const float *cosines, const float *sines, long pairs) {
  for (long i = 0; i < pairs; i++) rotate(x + 2 * i, x + 2 * i + 1, cosines[i], sines[i]);
}

void reference_rope_halves(float *x, const float *cosines, const float *sines, long pairs) {
  for (long i = 0; i < pairs; i++) rotate(x + i, x + i + pairs, cosines[i], sines[i]);
}

void reference_attention_scores(
    const float *query, const float *keys, long stride, long count, long dimensions, float scale, float *scores) {
  for (long t = 0; t < count; t++) scores[t] = scale * reference_dot_f32(query, keys + t * stride, dimensions);
}

void reference_attention_mix(
    const float *weights, const float *values, long stride, long count, long dimensions, float *out) {
  for (long d = 0; d < dimensions; d++) {
    double sum = 0;
    for (long t = 0; t < count; t++) sum += (double)weights[t] * values[t * stride + d];
    out[d] = (float)sum;
  }
}

// MARK: Calibration

void reference_accumulate_sums(const float *x, long count, long columns, long stride, double *sums) {
  for (long i = 0; i < count; i++)
    for (long c = 0; c < columns; c++) sums[c] += x[i * stride + c];
}

void reference_accumulate_squares(const float *x, long count, long columns, long stride, double *sums) {
  for (long i = 0; i < count; i++)
    for (long c = 0; c < columns; c++) sums[c] += (double)x[i * stride + c] * x[i * stride + c];
}

// MARK: Selection

void reference_count_keys(const float *x, long n, int shift, uint32_t prefix, uint64_t *counts) {
  int bits = shift == 0 ? 10 : 11;
  for (long i = 0; i < n; i++) {
    uint64_t key = lk_key(x[i]);
    if (key >> (shift + bits) == (uint64_t)prefix >> (shift + bits)) counts[key >> shift & ((1u << bits) - 1)]++;
  }
}

float reference_kth_largest(const float *x, long n, long k, long *greater, long *equal) {
  // The largest key that at least k keys reach, one bit at a time.
  uint32_t key = 0;
  for (int bit = 31; bit >= 0; bit--) {
    uint32_t candidate = key | 1u << bit;
    long reached = 0;
    for (long i = 0; i < n; i++) reached += lk_key(x[i]) >= candidate;
    if (reached >= k) key = candidate;
  }
  *greater = *equal = 0;
  for (long i = 0; i < n; i++) {
    *greater += lk_key(x[i]) > key;
    *equal += lk_key(x[i]) == key;
  }
  return lk_key_value(key);
}

long reference_mask_above(const float *x, long n, float threshold, long skipped, uint64_t *words) {
  memset(words, 0, (size_t)((n + 63) / 64) * 8);
  long equal = 0;
  for (long i = 0; i < n; i++) {
    int same = lk_key(x[i]) == lk_key(threshold);
    if (lk_key(x[i]) > lk_key(threshold) || (same && equal >= skipped)) words[i / 64] |= (uint64_t)1 << i % 64;
    equal += same;
  }
  return equal;
}

void reference_mask_largest(const float *x, long n, long k, uint64_t *words) {
  memset(words, 0, (size_t)((n + 63) / 64) * 8);
  if (k <= 0) return;
  long greater, equal;
  float threshold = reference_kth_largest(x, n, k, &greater, &equal);
  reference_mask_above(x, n, threshold, equal - (k - greater), words);
}

// MARK: Products with dense matrices

// Signed value of nibble i of packed nibbles.
static int nibble(const uint8_t *packed, long i) {
  int value = packed[i / 2] >> (i % 2 * 4) & 15;
  return value < 8 ? value : value - 16;
}

static float value_f32(const lk_dense *w, long r, long c) { return ((const float *)w->values)[r * w->columns + c]; }

static float value_bf16(const lk_dense *w, long r, long c) {
  return bf16_value(((const uint16_t *)w->values)[r * w->columns + c]);
}

static float value_f16(const lk_dense *w, long r, long c) {
  return reference_f16_value(((const uint16_t *)w->values)[r * w->columns + c]);
}

static float value_i8(const lk_dense *w, long r, long c) {
  return ((const float *)w->scales)[r] * ((const int8_t *)w->values)[r * w->columns + c];
}

static float value_i4(const lk_dense *w, long r, long c) {
  long groups = (w->columns + 63) / 64;
  return bf16_value(((const uint16_t *)w->scales)[r * groups + c / 64]) *
         (float)nibble((const uint8_t *)w->values + r * groups * 32, c);
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

static float input_x(const lk_input *x, long c) { return x->x[c]; }
static float input_bf16(const lk_input *x, long c) { return bf16_value(x->bf16[c]); }
static float input_q64(const lk_input *x, long c) { return x->scale64[c / 64] * x->q64[c]; }
static float input_q32(const lk_input *x, long c) { return x->scale32[c / 32] * x->q32[c]; }

#define DENSE(format, input)                                                                            \
  void reference_gemv_##format(const lk_dense *w, const lk_input *x, long r0, long r1, float *out) {    \
    for (long r = r0; r < r1; r++) {                                                                    \
      double sum = 0;                                                                                   \
      for (long c = 0; c < w->columns; c++) sum += (double)value_##format(w, r, c) * input(x, c);       \
      out[r - r0] = (float)sum;                                                                         \
    }                                                                                                   \
  }                                                                                                     \
  void reference_decode_##format(const lk_dense *w, long r0, long r1, float *out) {                     \
    for (long r = r0; r < r1; r++)                                                                      \
      for (long c = 0; c < w->columns; c++) out[(r - r0) * w->columns + c] = value_##format(w, r, c);   \
  }

DENSE(f32, input_x)
DENSE(bf16, input_bf16)
DENSE(f16, input_x)
DENSE(i8, input_q64)
DENSE(i4, input_q64)
DENSE(q8_0, input_q32)
DENSE(q4_0, input_q32)
DENSE(q4_1, input_q32)

// MARK: Products with bitmask matrices

// The stored value at `position` (in values; i4: in nibbles) of row r, column c.
static float kept_f32(const lk_bitmask *w, long position, long r, long c) {
  (void)r, (void)c;
  return ((const float *)w->values)[position];
}

static float kept_bf16(const lk_bitmask *w, long position, long r, long c) {
  (void)r, (void)c;
  return bf16_value(((const uint16_t *)w->values)[position]);
}

static float kept_i8(const lk_bitmask *w, long position, long r, long c) {
  (void)c;
  return ((const float *)w->scales)[r] * ((const int8_t *)w->values)[position];
}

static float kept_i4(const lk_bitmask *w, long position, long r, long c) {
  long groups = (w->columns + 63) / 64;
  return bf16_value(((const uint16_t *)w->scales)[r * groups + c / 64]) *
         (float)nibble((const uint8_t *)w->values, position);
}

// Writes row r of a bitmask matrix; `per_byte` is 2 for nibbles, whose positions start anew, on a byte, at each word.
static void spread_row(
    const lk_bitmask *w, long r, long per_byte, float (*kept)(const lk_bitmask *, long, long, long), float *out) {
  long words = (w->columns + 63) / 64;
  long position = (w->row_start ? (long)w->row_start[r] : r * w->row_stride) * per_byte;
  for (long c = 0; c < w->columns; c++) {
    if (c % 64 == 0) position = (position + per_byte - 1) / per_byte * per_byte;
    out[c] = w->mask[r * words + c / 64] >> c % 64 & 1 ? kept(w, position++, r, c) : 0;
  }
}

// A row at a time would need a buffer, so the product walks the row as `spread_row` does.
static float multiply_row(
    const lk_bitmask *w, long r, long per_byte, float (*kept)(const lk_bitmask *, long, long, long),
    const lk_input *x, float (*input)(const lk_input *, long)) {
  long words = (w->columns + 63) / 64;
  long position = (w->row_start ? (long)w->row_start[r] : r * w->row_stride) * per_byte;
  double sum = 0;
  for (long c = 0; c < w->columns; c++) {
    if (c % 64 == 0) position = (position + per_byte - 1) / per_byte * per_byte;
    if (w->mask[r * words + c / 64] >> c % 64 & 1) sum += (double)kept(w, position++, r, c) * input(x, c);
  }
  return (float)sum;
}

#define BITMASK(format, per_byte, input)                                                                          \
  void reference_gemv_bitmask_##format(const lk_bitmask *w, const lk_input *x, long r0, long r1, float *out) {    \
    for (long r = r0; r < r1; r++) out[r - r0] = multiply_row(w, r, per_byte, kept_##format, x, input);           \
  }                                                                                                               \
  void reference_decode_bitmask_##format(const lk_bitmask *w, long r0, long r1, float *out) {                     \
    for (long r = r0; r < r1; r++) spread_row(w, r, per_byte, kept_##format, out + (r - r0) * w->columns);        \
  }

BITMASK(f32, 1, input_x)
BITMASK(bf16, 1, input_bf16)
BITMASK(i8, 1, input_q64)
BITMASK(i4, 2, input_q64)

// MARK: Products that skip rows

void reference_skip_rows_f32(
    const float *w, long columns, const uint32_t *kept, long count, const float *h, long c0, long c1, float *y) {
  for (long c = c0; c < c1; c++) {
    double sum = 0;
    for (long i = 0; i < count; i++) sum += (double)h[kept[i]] * w[(long)kept[i] * columns + c];
    y[c - c0] += (float)sum;
  }
}

void reference_skip_rows_bf16(
    const uint16_t *w, long columns, const uint32_t *kept, long count, const float *h, long c0, long c1, float *y) {
  for (long c = c0; c < c1; c++) {
    double sum = 0;
    for (long i = 0; i < count; i++) sum += (double)h[kept[i]] * bf16_value(w[(long)kept[i] * columns + c]);
    y[c - c0] += (float)sum;
  }
}

// MARK: The table

static const lk_table table = {
    .dot_f32 = reference_dot_f32,
    .axpy_f32 = reference_axpy_f32,
    .scale_add_f32 = reference_scale_add_f32,
    .sum_f32 = reference_sum_f32,
    .max_f32 = reference_max_f32,
    .argmax_f32 = reference_argmax_f32,
    .f32_to_bf16 = reference_f32_to_bf16,
    .bf16_to_f32 = reference_bf16_to_f32,
    .f32_to_f16 = reference_f32_to_f16,
    .f16_to_f32 = reference_f16_to_f32,
    .split_even_odd = reference_split_even_odd,
    .quantize_x64 = reference_quantize_x64,
    .quantize_x32 = reference_quantize_x32,
    .rmsnorm = reference_rmsnorm,
    .softmax = reference_softmax,
    .silu_mul = reference_silu_mul,
    .rope_interleaved = reference_rope_interleaved,
    .rope_halves = reference_rope_halves,
    .attention_scores = reference_attention_scores,
    .attention_mix = reference_attention_mix,
    .accumulate_sums = reference_accumulate_sums,
    .accumulate_squares = reference_accumulate_squares,
    .count_keys = reference_count_keys,
    .kth_largest = reference_kth_largest,
    .mask_above = reference_mask_above,
    .mask_largest = reference_mask_largest,
    .gemv_f32 = reference_gemv_f32,
    .gemv_bf16 = reference_gemv_bf16,
    .gemv_f16 = reference_gemv_f16,
    .gemv_i8 = reference_gemv_i8,
    .gemv_i4 = reference_gemv_i4,
    .gemv_q8_0 = reference_gemv_q8_0,
    .gemv_q4_0 = reference_gemv_q4_0,
    .gemv_q4_1 = reference_gemv_q4_1,
    .decode_f32 = reference_decode_f32,
    .decode_bf16 = reference_decode_bf16,
    .decode_f16 = reference_decode_f16,
    .decode_i8 = reference_decode_i8,
    .decode_i4 = reference_decode_i4,
    .decode_q8_0 = reference_decode_q8_0,
    .decode_q4_0 = reference_decode_q4_0,
    .decode_q4_1 = reference_decode_q4_1,
    .gemv_bitmask_f32 = reference_gemv_bitmask_f32,
    .gemv_bitmask_bf16 = reference_gemv_bitmask_bf16,
    .gemv_bitmask_i8 = reference_gemv_bitmask_i8,
    .gemv_bitmask_i4 = reference_gemv_bitmask_i4,
    .decode_bitmask_f32 = reference_decode_bitmask_f32,
    .decode_bitmask_bf16 = reference_decode_bitmask_bf16,
    .decode_bitmask_i8 = reference_decode_bitmask_i8,
    .decode_bitmask_i4 = reference_decode_bitmask_i4,
    .skip_rows_f32 = reference_skip_rows_f32,
    .skip_rows_bf16 = reference_skip_rows_bf16,
    REFERENCE_SPARSE_ENTRIES,
    REFERENCE_TRAINING_ENTRIES,
    REFERENCE_COLUMNS_ENTRIES,
};

const lk_table *lk_reference(void) { return &table; }
