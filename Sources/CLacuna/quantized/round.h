// Rounding of up to 64 entries to nibbles with one scale. Every level does the same operations in the same order, sixteen sums beside
// each other, so that a file does not depend on the processor that wrote it.

#pragma clang fp contract(off) reassociate(off)

typedef float K(v16) __attribute__((vector_size(64)));
typedef int32_t K(v16i) __attribute__((vector_size(64)));
typedef int8_t K(v16c) __attribute__((vector_size(16), aligned(1)));

// Vectors go by address: portable code would pass them in memory anyway, and the compiler warns of it.

// Codes -8...7 as floats. Adding a number whose last bit counts 1, and subtracting it, rounds to the nearest integer, ties to even.
INLINE void K(nibble_codes)(const K(v16) *x, float inverse, K(v16) *codes) {
  const K(v16) zero = {0};
  const K(v16) units = zero + 12582912.0f;
  *codes = __builtin_elementwise_max(__builtin_elementwise_min(*x * inverse, zero + 7.0f), zero - 8.0f) + units - units;
}

INLINE float K(sum16)(const K(v16) *v) {
  float part[16];
  memcpy(part, v, sizeof part);
  for (int width = 8; width > 0; width /= 2)
    for (int i = 0; i < width; i++) part[i] += part[i + width];
  return part[0];
}

INLINE float K(nibble_error)(const K(v16) *x, int parts, float scale) {
  K(v16) sum = {0}, codes;
  for (int i = 0; i < parts; i++) {
    K(nibble_codes)(x + i, 1 / scale, &codes);
    const K(v16) difference = x[i] - codes * scale;
    sum += difference * difference;
  }
  return K(sum16)(&sum);
}

INLINE int K(are_multiples)(const K(v16) *x, int parts, float scale) {
  K(v16i) differs = {0};
  K(v16) codes;
  for (int i = 0; i < parts; i++) {
    K(nibble_codes)(x + i, 1 / scale, &codes);
    differs |= x[i] != codes * scale;
  }
  return __builtin_reduce_or(differs) == 0;
}

INLINE float K(as_bf16)(float x) {
  uint16_t bits;
  reference_f32_to_bf16(&x, &bits, 1);
  return K(bf16_value)(bits);
}

static float K(nibble_scale)(const K(v16) *x, int parts) {
  K(v16) magnitudes = {0};
  for (int i = 0; i < parts; i++) magnitudes = __builtin_elementwise_max(magnitudes, __builtin_elementwise_abs(x[i]));
  const float largest = __builtin_reduce_max(magnitudes);
  float extreme = 0;
  for (int i = 0; i < 16 * parts; i++)
    if (fabsf(((const float *)x)[i]) == largest) {
      extreme = ((const float *)x)[i];
      break;
    }
  // Scales below the normal numbers are too coarse to count in.
  if (K(as_bf16)(largest / 8) < 0x1p-126f || !isfinite(largest)) return 0;
  for (int code = 8; code > 0; code--) {
    const float scale = K(as_bf16)(code == 8 ? extreme / -8 : largest / (float)code);
    if (K(are_multiples)(x, parts, scale)) return scale;
  }
  const float candidates[6] = {extreme / -8, extreme / -8.7f, extreme / -9.5f, largest / 7, largest / 7.7f, largest / 8.5f};
  float best = 0, least = INFINITY;
  for (int i = 0; i < 7; i++) {
    float scale;
    if (i < 6) {
      scale = candidates[i];
    } else {
      // The least squares scale for the codes of the best so far.
      if (best == 0) break;
      K(v16) dot = {0}, square = {0};
      for (int j = 0; j < parts; j++) {
        K(v16) codes;
        K(nibble_codes)(x + j, 1 / best, &codes);
        dot += x[j] * codes;
        square += codes * codes;
      }
      const float squares = K(sum16)(&square);
      if (squares == 0) break;
      scale = K(sum16)(&dot) / squares;
    }
    scale = K(as_bf16)(scale);
    if (fabsf(scale) < 0x1p-126f || !isfinite(scale)) continue;
    const float error = K(nibble_error)(x, parts, scale);
    if (error < least) {
      least = error;
      best = scale;
    }
  }
  return best;
}

static uint16_t K(round_i4)(const float *x, long n, int8_t *codes) {
  K(v16) padded[4] = {{0}};
  memcpy(padded, x, (size_t)n * sizeof *x);
  const int parts = (int)((n + 15) / 16);
  const float scale = K(nibble_scale)(padded, parts);
  if (codes) {
    int8_t all[64] = {0};
    if (scale != 0)
      for (int i = 0; i < parts; i++) {
        K(v16) rounded;
        K(nibble_codes)(padded + i, 1 / scale, &rounded);
        *(K(v16c) *)(all + 16 * i) = __builtin_convertvector(rounded, K(v16c));
      }
    memcpy(codes, all, (size_t)n);
  }
  uint16_t bits;
  reference_f32_to_bf16(&scale, &bits, 1);
  return bits;
}

#pragma clang fp contract(fast) reassociate(on)
