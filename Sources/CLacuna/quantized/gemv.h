// Products of Lacuna's own dense quantised matrices with one quantised vector, and their decoding.
//
// Within a group of 64 columns bytes are multiplied and added as integers, exactly; each group's sum becomes a float and
// is weighted by the scales of both sides. Blocks of GGUF files are in blocks.h.

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

#if LEVEL < LK_AVX512_VNNI
// The sums of one group of 64 columns of nibbles.
INLINE VF K(group_i4)(const uint8_t *w, const int8_t *q) {
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
}
#endif

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

#if LEVEL >= LK_AVX512_VNNI

// Nibbles leave memory waiting for arithmetic: rows walked together share the loads of the input and the sums of its
// bias, and the scales of 16 groups are multiplied at once. The rows come from the thirds of the range, as those of
// bitmasks do.
enum { K(nibble_rows) = 3 };

INLINE void K(gemv_i4_rows)(
    const lk_dense *w, const lk_input *x, const long *rows, const int count, float *results) {
  const long groups = (w->columns + 63) / 64;
  const uint8_t *row[K(nibble_rows)];
  const uint16_t *scales[K(nibble_rows)];
  UNROLLED for (int j = 0; j < count; j++) {
    row[j] = (const uint8_t *)w->values + rows[j] * groups * 32;
    scales[j] = (const uint16_t *)w->scales + rows[j] * groups;
  }
  VF sum[K(nibble_rows)] = {0};
  for (long first = 0; first < groups; first += 16) {
    const long n = groups - first < 16 ? groups - first : 16;
    float scale[K(nibble_rows)][16];
    UNROLLED for (int j = 0; j < count; j++) {
      __builtin_prefetch(scales[j] + first + 128);
      K(store)(scale[j], K(load_scales)(scales[j] + first, n) * K(load_part)(x->scale64 + first, n));
    }
    for (long g = 0; g < n; g++) {
      const __m512i q = _mm512_loadu_si512(x->q64 + (first + g) * 64), start = K(bias_sums)(8, q);
      UNROLLED for (int j = 0; j < count; j++) {
        const uint8_t *nibbles = row[j] + (first + g) * 32;
        __builtin_prefetch(nibbles + 4096);
        sum[j] += _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(start, K(unpack_biased)(nibbles), q)) * scale[j][g];
      }
    }
  }
  UNROLLED for (int j = 0; j < count; j++) results[j] = _mm512_reduce_add_ps(sum[j]);
}

static void K(gemv_i4)(const lk_dense *w, const lk_input *x, long r0, long r1, float *out) {
  const long part = (r1 - r0) / K(nibble_rows);
  for (long i = 0; i < part; i++) {
    long rows[K(nibble_rows)];
    float results[K(nibble_rows)];
    UNROLLED for (int j = 0; j < K(nibble_rows); j++) rows[j] = r0 + j * part + i;
    K(gemv_i4_rows)(w, x, rows, K(nibble_rows), results);
    UNROLLED for (int j = 0; j < K(nibble_rows); j++) out[j * part + i] = results[j];
  }
  for (long r = r0 + K(nibble_rows) * part; r < r1; r++) K(gemv_i4_rows)(w, x, &r, 1, out + (r - r0));
}

#else

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

#endif

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
