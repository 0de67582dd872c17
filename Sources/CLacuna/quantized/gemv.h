// Products of dense quantised matrices with one quantised vector, and their decoding.
//
// Within a group (64 columns, or the 32 of a GGUF block) bytes are multiplied and added as integers, exactly; each
// group's sum becomes a float and is weighted by the scales of both sides.

// 64 signed bytes from 32 bytes of nibbles.
INLINE void K(unpack64)(const uint8_t *w, int8_t *bytes) {
  for (int i = 0; i < 32; i++) {
    bytes[2 * i] = (int8_t)((w[i] & 15) ^ 8) - 8;
    bytes[2 * i + 1] = (int8_t)((w[i] >> 4) ^ 8) - 8;
  }
}

#if LEVEL >= LK_AVX2

INLINE float K(sum8)(__m256 v) {
  __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  half = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

INLINE __m256i K(load32)(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }

// Sums of four neighbouring products u x of 32 bytes, u unsigned. Exact while |u x| of neighbours adds to < 2^15.
INLINE __m256i K(multiply_unsigned)(__m256i u, __m256i x) {
#if LEVEL >= LK_AVX512_VNNI
  return _mm256_dpbusd_epi32(_mm256_setzero_si256(), u, x);
#else
  return _mm256_madd_epi16(_mm256_maddubs_epi16(u, x), _mm256_set1_epi16(1));
#endif
}

// The same for signed bytes w; x is not -128.
INLINE __m256i K(multiply_signed)(__m256i w, __m256i x) {
  return K(multiply_unsigned)(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
}

// 32 nibbles as bytes 0...15, in order; as they are stored (interleaved) or as GGUF's blocks have them.
INLINE __m256i K(unpack_pairs)(const uint8_t *p) {
  __m256i wide = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p));
  return _mm256_and_si256(_mm256_or_si256(wide, _mm256_slli_epi16(wide, 4)), _mm256_set1_epi8(15));
}

INLINE __m256i K(unpack_halves)(const uint8_t *p) {
  __m128i both = _mm_loadu_si128((const __m128i *)p);
  __m256i spread = _mm256_inserti128_si256(_mm256_castsi128_si256(both), _mm_srli_epi16(both, 4), 1);
  return _mm256_and_si256(spread, _mm256_set1_epi8(15));
}

#if LEVEL >= LK_AVX512_VNNI
// The multiplying instruction takes bytes w without sign, so it is given w + bias, and sums that start from
// -bias Σ q, lane by lane.
INLINE __m512i K(bias_sums)(int bias, __m512i q) {
  __m512i zero = _mm512_setzero_si512();
  return _mm512_sub_epi32(zero, _mm512_dpbusd_epi32(zero, _mm512_set1_epi8((char)bias), q));
}

// 64 signed nibbles as bytes, 8 added to each.
INLINE __m512i K(unpack_biased)(const uint8_t *p) {
  // Byte i of 8 takes the 8 bits that begin at bit 4 i.
  __m512i starts = _mm512_set1_epi64(0x1C1814100C080400);
  __m512i bytes = _mm512_multishift_epi64_epi8(starts, _mm512_cvtepu32_epi64(K(load32)(p)));
  return _mm512_xor_si512(_mm512_and_si512(bytes, _mm512_set1_epi8(15)), _mm512_set1_epi8(8));
}
#endif

// The sums of one group of 64 columns of signed bytes.
INLINE VF K(group_i8)(const int8_t *w, const int8_t *q) {
#if LEVEL >= LK_AVX512_VNNI
  __m512i input = _mm512_loadu_si512(q);
  __m512i shifted = _mm512_xor_si512(_mm512_loadu_si512(w), _mm512_set1_epi8(-128));
  return _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(K(bias_sums)(128, input), shifted, input));
#else
  __m256i sum = _mm256_add_epi32(K(multiply_signed)(K(load32)(w), K(load32)(q)),
                                 K(multiply_signed)(K(load32)(w + 32), K(load32)(q + 32)));
#if LEVEL == LK_AVX512
  return _mm512_zextps256_ps512(_mm256_cvtepi32_ps(sum));
#else
  return _mm256_cvtepi32_ps(sum);
#endif
#endif
}

// The sums of one group of 64 columns of nibbles.
INLINE VF K(group_i4)(const uint8_t *w, const int8_t *q) {
#if LEVEL >= LK_AVX512_VNNI
  __m512i input = _mm512_loadu_si512(q);
  return _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(K(bias_sums)(8, input), K(unpack_biased)(w), input));
#else
  __m256i eight = _mm256_set1_epi8(8);
  __m256i sum = _mm256_setzero_si256();
  for (int u = 0; u < 2; u++) {
    __m256i input = K(load32)(q + 32 * u), shifted = _mm256_xor_si256(K(unpack_pairs)(w + 16 * u), eight);
    __m256i products = _mm256_sub_epi16(_mm256_maddubs_epi16(shifted, input), _mm256_maddubs_epi16(eight, input));
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(products, _mm256_set1_epi16(1)));
  }
#if LEVEL == LK_AVX512
  return _mm512_zextps256_ps512(_mm256_cvtepi32_ps(sum));
#else
  return _mm256_cvtepi32_ps(sum);
#endif
#endif
}

INLINE void K(prefetch)(const void *p) { __builtin_prefetch((const char *)p + 4096); }

static void K(gemv_i8)(const lk_dense *w, const lk_input *x, long r0, long r1, float *out) {
  long n = w->columns, whole = n / 64;
  for (long r = r0; r < r1; r++) {
    const int8_t *row = (const int8_t *)w->values + r * n;
    VF sum[2] = {0};
    long g = 0;
    for (; g + 2 <= whole; g += 2)
      for (int u = 0; u < 2; u++) {
        K(prefetch)(row + (g + u) * 64);
        sum[u] += K(group_i8)(row + (g + u) * 64, x->q64 + (g + u) * 64) * x->scale64[g + u];
      }
    for (; g * 64 < n; g++) {
      int8_t last[64] = {0};
      const int8_t *group = row + g * 64;
      if (g == whole) group = memcpy(last, group, (size_t)(n - g * 64));
      sum[0] += K(group_i8)(group, x->q64 + g * 64) * x->scale64[g];
    }
    out[r - r0] = ((const float *)w->scales)[r] * K(sum_lanes)(sum[0] + sum[1]);
  }
}

static void K(gemv_i4)(const lk_dense *w, const lk_input *x, long r0, long r1, float *out) {
  long groups = (w->columns + 63) / 64;
  for (long r = r0; r < r1; r++) {
    const uint8_t *row = (const uint8_t *)w->values + r * groups * 32;
    const uint16_t *scales = (const uint16_t *)w->scales + r * groups;
    VF sum[2] = {0};
    long g = 0;
    for (; g + 2 <= groups; g += 2) {
      K(prefetch)(row + g * 32);
      for (int u = 0; u < 2; u++)
        sum[u] += K(group_i4)(row + (g + u) * 32, x->q64 + (g + u) * 64) *
                  (K(bf16_value)(scales[g + u]) * x->scale64[g + u]);
    }
    if (g < groups)
      sum[0] += K(group_i4)(row + g * 32, x->q64 + g * 64) *
                (K(bf16_value)(scales[g]) * x->scale64[g]);
    out[r - r0] = K(sum_lanes)(sum[0] + sum[1]);
  }
}

// The f16 at p in every lane.
INLINE __m256 K(splat_f16)(const void *p) {
  int16_t bits;
  memcpy(&bits, p, 2);
  return _mm256_cvtph_ps(_mm_set1_epi16(bits));
}

// The scale and the minimum of a block in the lowest lanes (of q4_0: the scale, and something).
INLINE __m128 K(block_scales)(const void *p) { return _mm_cvtph_ps(_mm_loadu_si32(p)); }

static void K(gemv_q8_0)(const lk_dense *w, const lk_input *x, long r0, long r1, float *out) {
  long blocks = w->columns / 32;
  for (long r = r0; r < r1; r++) {
    const block_q8_0 *row = (const block_q8_0 *)w->values + r * blocks;
    __m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (long b = 0; b < blocks; b += 2) {
      K(prefetch)(row + b);
      for (int u = 0; u < 2 && b + u < blocks; u++) {
        const block_q8_0 *block = row + b + u;
        __m256i products = K(multiply_signed)(K(load32)(block->values), K(load32)(x->q32 + (b + u) * 32));
        sum[u] += _mm256_cvtepi32_ps(products) * (K(splat_f16)(&block->scale) * x->scale32[b + u]);
      }
    }
    out[r - r0] = K(sum8)(sum[0] + sum[1]);
  }
}

static void K(gemv_q4_0)(const lk_dense *w, const lk_input *x, long r0, long r1, float *out) {
  long blocks = w->columns / 32;
  for (long r = r0; r < r1; r++) {
    const block_q4_0 *row = (const block_q4_0 *)w->values + r * blocks;
    __m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    __m128 totals = _mm_setzero_ps();  // Σ scale Σ x: what the 8 taken from each nibble adds up to
    for (long b = 0; b < blocks; b += 2) {
      K(prefetch)(row + b);
      for (int u = 0; u < 2 && b + u < blocks; u++) {
        const block_q4_0 *block = row + b + u;
        __m256i products = K(multiply_unsigned)(K(unpack_halves)(block->nibbles), K(load32)(x->q32 + (b + u) * 32));
        __m256 scale = K(splat_f16)(&block->scale);
        sum[u] += _mm256_cvtepi32_ps(products) * (scale * x->scale32[b + u]);
        totals += _mm256_castps256_ps128(scale) * x->total32[b + u];
      }
    }
    out[r - r0] = K(sum8)(sum[0] + sum[1]) - 8 * _mm_cvtss_f32(totals);
  }
}

static void K(gemv_q4_1)(const lk_dense *w, const lk_input *x, long r0, long r1, float *out) {
  long blocks = w->columns / 32;
  for (long r = r0; r < r1; r++) {
    const block_q4_1 *row = (const block_q4_1 *)w->values + r * blocks;
    __m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    __m128 totals = _mm_setzero_ps();  // lane 1: Σ minimum Σ x
    for (long b = 0; b < blocks; b += 2) {
      K(prefetch)(row + b);
      for (int u = 0; u < 2 && b + u < blocks; u++) {
        const block_q4_1 *block = row + b + u;
        __m256i products = K(multiply_unsigned)(K(unpack_halves)(block->nibbles), K(load32)(x->q32 + (b + u) * 32));
        __m128 scales = K(block_scales)(block);
        sum[u] += _mm256_cvtepi32_ps(products) * (_mm256_broadcastss_ps(scales) * x->scale32[b + u]);
        totals += scales * x->total32[b + u];
      }
    }
    out[r - r0] = K(sum8)(sum[0] + sum[1]) + totals[1];
  }
}

#else  // portable: plain loops, which clang turns into multiply-add instructions of SSE2 or NEON

INLINE int K(dot_bytes)(const int8_t *w, const int8_t *q, long n) {
  int sum = 0;
  for (long c = 0; c < n; c++) sum += w[c] * q[c];
  return sum;
}

static void K(gemv_i8)(const lk_dense *w, const lk_input *x, long r0, long r1, float *out) {
  long n = w->columns;
  for (long r = r0; r < r1; r++) {
    const int8_t *row = (const int8_t *)w->values + r * n;
    float sum = 0;
    long c = 0;
    for (; c + 64 <= n; c += 64) sum += x->scale64[c / 64] * (float)K(dot_bytes)(row + c, x->q64 + c, 64);
    if (c < n) sum += x->scale64[c / 64] * (float)K(dot_bytes)(row + c, x->q64 + c, n - c);
    out[r - r0] = ((const float *)w->scales)[r] * sum;
  }
}

static void K(gemv_i4)(const lk_dense *w, const lk_input *x, long r0, long r1, float *out) {
  long groups = (w->columns + 63) / 64;
  for (long r = r0; r < r1; r++) {
    float sum = 0;
    for (long g = 0; g < groups; g++) {
      int8_t bytes[64];
      K(unpack64)((const uint8_t *)w->values + (r * groups + g) * 32, bytes);
      float scale = K(bf16_value)(((const uint16_t *)w->scales)[r * groups + g]);
      sum += scale * x->scale64[g] * (float)K(dot_bytes)(bytes, x->q64 + g * 64, 64);
    }
    out[r - r0] = sum;
  }
}

static void K(gemv_q8_0)(const lk_dense *w, const lk_input *x, long r0, long r1, float *out) {
  long blocks = w->columns / 32;
  for (long r = r0; r < r1; r++) {
    const block_q8_0 *row = (const block_q8_0 *)w->values + r * blocks;
    float sum = 0;
    for (long b = 0; b < blocks; b++)
      sum += K(f16_value)(row[b].scale) * x->scale32[b] * (float)K(dot_bytes)(row[b].values, x->q32 + b * 32, 32);
    out[r - r0] = sum;
  }
}

INLINE int K(dot_block_nibbles)(const uint8_t *nibbles, const int8_t *q) {
  int sum = 0;
  for (int i = 0; i < 16; i++) sum += (nibbles[i] & 15) * q[i] + (nibbles[i] >> 4) * q[i + 16];
  return sum;
}

static void K(gemv_q4_0)(const lk_dense *w, const lk_input *x, long r0, long r1, float *out) {
  long blocks = w->columns / 32;
  for (long r = r0; r < r1; r++) {
    const block_q4_0 *row = (const block_q4_0 *)w->values + r * blocks;
    float sum = 0;
    for (long b = 0; b < blocks; b++) {
      float products = (float)K(dot_block_nibbles)(row[b].nibbles, x->q32 + b * 32);
      sum += K(f16_value)(row[b].scale) * (x->scale32[b] * products - 8 * x->total32[b]);
    }
    out[r - r0] = sum;
  }
}

static void K(gemv_q4_1)(const lk_dense *w, const lk_input *x, long r0, long r1, float *out) {
  long blocks = w->columns / 32;
  for (long r = r0; r < r1; r++) {
    const block_q4_1 *row = (const block_q4_1 *)w->values + r * blocks;
    float sum = 0;
    for (long b = 0; b < blocks; b++) {
      float products = (float)K(dot_block_nibbles)(row[b].nibbles, x->q32 + b * 32);
      sum += K(f16_value)(row[b].scale) * (x->scale32[b] * products) + K(f16_value)(row[b].minimum) * x->total32[b];
    }
    out[r - r0] = sum;
  }
}

#endif

// MARK: Decoding: plain loops, as clang vectorises them

static void K(decode_i8)(const lk_dense *w, long r0, long r1, float *out) {
  for (long r = r0; r < r1; r++, out += w->columns) {
    const int8_t *row = (const int8_t *)w->values + r * w->columns;
    float scale = ((const float *)w->scales)[r];
    for (long c = 0; c < w->columns; c++) out[c] = scale * row[c];
  }
}

static void K(decode_i4)(const lk_dense *w, long r0, long r1, float *out) {
  long n = w->columns, groups = (n + 63) / 64;
  for (long r = r0; r < r1; r++, out += n) {
    for (long g = 0; g < groups; g++) {
      const uint8_t *packed = (const uint8_t *)w->values + (r * groups + g) * 32;
      float scale = K(bf16_value)(((const uint16_t *)w->scales)[r * groups + g]);
      float values[64];
      for (int i = 0; i < 32; i++) {
        values[2 * i] = scale * (float)(((packed[i] & 15) ^ 8) - 8);
        values[2 * i + 1] = scale * (float)(((packed[i] >> 4) ^ 8) - 8);
      }
      memcpy(out + g * 64, values, (size_t)(n - g * 64 < 64 ? n - g * 64 : 64) * 4);
    }
  }
}

static void K(decode_q8_0)(const lk_dense *w, long r0, long r1, float *out) {
  const block_q8_0 *blocks = w->values;
  for (long b = r0 * (w->columns / 32); b < r1 * (w->columns / 32); b++, out += 32) {
    float scale = K(f16_value)(blocks[b].scale);
    for (int i = 0; i < 32; i++) out[i] = scale * blocks[b].values[i];
  }
}

static void K(decode_q4_0)(const lk_dense *w, long r0, long r1, float *out) {
  const block_q4_0 *blocks = w->values;
  for (long b = r0 * (w->columns / 32); b < r1 * (w->columns / 32); b++, out += 32) {
    float scale = K(f16_value)(blocks[b].scale);
    for (int i = 0; i < 16; i++) {
      out[i] = scale * (float)((blocks[b].nibbles[i] & 15) - 8);
      out[i + 16] = scale * (float)((blocks[b].nibbles[i] >> 4) - 8);
    }
  }
}

static void K(decode_q4_1)(const lk_dense *w, long r0, long r1, float *out) {
  const block_q4_1 *blocks = w->values;
  for (long b = r0 * (w->columns / 32); b < r1 * (w->columns / 32); b++, out += 32) {
    float scale = K(f16_value)(blocks[b].scale), minimum = K(f16_value)(blocks[b].minimum);
    for (int i = 0; i < 16; i++) {
      out[i] = scale * (float)(blocks[b].nibbles[i] & 15) + minimum;
      out[i + 16] = scale * (float)(blocks[b].nibbles[i] >> 4) + minimum;
    }
  }
}
