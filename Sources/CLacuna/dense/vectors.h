// Vector arithmetic, conversions, and the forms of an input vector.

static float K(dot_f32)(const float *a, const float *b, long n) {
  VF sum[4] = {0};
  long i = 0;
  for (; i + 4 * LANES <= n; i += 4 * LANES)
    for (int u = 0; u < 4; u++) sum[u] += K(load)(a + i + u * LANES) * K(load)(b + i + u * LANES);
  for (; i + LANES <= n; i += LANES) sum[0] += K(load)(a + i) * K(load)(b + i);
  if (i < n) sum[1] += K(load_part)(a + i, n - i) * K(load_part)(b + i, n - i);
  return K(sum_lanes)((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

static void K(axpy_f32)(float a, const float *x, float *y, long n) {
  long i = 0;
  for (; i + LANES <= n; i += LANES) K(store)(y + i, K(load)(y + i) + a * K(load)(x + i));
  if (i < n) K(store_part)(y + i, K(load_part)(y + i, n - i) + a * K(load_part)(x + i, n - i), n - i);
}

static float K(sum_of_squares)(const float *x, long n) {
  VF sum[4] = {0};
  long i = 0;
  for (; i + 4 * LANES <= n; i += 4 * LANES)
    for (int u = 0; u < 4; u++) sum[u] += K(load)(x + i + u * LANES) * K(load)(x + i + u * LANES);
  for (; i + LANES <= n; i += LANES) sum[0] += K(load)(x + i) * K(load)(x + i);
  if (i < n) sum[1] += K(load_part)(x + i, n - i) * K(load_part)(x + i, n - i);
  return K(sum_lanes)((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

static float K(max_f32)(const float *x, long n) {
  VF best[2] = {K(splat)(-INFINITY), K(splat)(-INFINITY)};
  long i = 0;
  for (; i + 2 * LANES <= n; i += 2 * LANES)
    for (int u = 0; u < 2; u++) best[u] = K(larger)(K(load)(x + i + u * LANES), best[u]);
  float result = K(max_lanes)(K(larger)(best[0], best[1]));
  for (; i < n; i++) result = x[i] > result ? x[i] : result;
  return result;
}

static long K(argmax_f32)(const float *x, long n) {
  float best = K(max_f32)(x, n);
  for (long i = 0; i < n; i++)
    if (x[i] == best) return i;
  return -1;
}

// The exponents of what is infinite or not a number are all ones.
static inline int K(all_finite)(const float *x, long n) {
  VI worst = {0};
  long i = 0;
  for (; i + LANES <= n; i += LANES) worst |= (VI)(((VU)K(load)(x + i) & 0x7F800000) == 0x7F800000);
  if (i < n) worst |= (VI)(((VU)K(load_part)(x + i, n - i) & 0x7F800000) == 0x7F800000);
  int any = 0;
  for (int u = 0; u < LANES; u++) any |= worst[u];
  return !any;
}

// MARK: Conversions

static void K(f32_to_bf16)(const float *x, uint16_t *out, long n) {
  long i = 0;
  for (; i + LANES <= n; i += LANES) {
    VF v = K(load)(x + i);
    VU bits = (VU)v, rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16, quiet = bits >> 16 | 0x40;
    VU nan = (VU)(v != v);
    *(K(vh_memory) *)(out + i) = __builtin_convertvector((nan & quiet) | (~nan & rounded), K(vh));
  }
  for (; i < n; i++) out[i] = reference_bf16(x[i]);
}

static void K(bf16_to_f32)(const uint16_t *x, float *out, long n) {
  long i = 0;
  for (; i + LANES <= n; i += LANES) K(store)(out + i, K(load_bf16)(x + i));
  for (; i < n; i++) out[i] = K(bf16_value)(x[i]);
}

static void K(f32_to_f16)(const float *x, uint16_t *out, long n) {
  long i = 0;
#if LEVEL >= LK_AVX512
  for (; i + LANES <= n; i += LANES)
    _mm256_storeu_si256((__m256i *)(out + i), _mm512_cvtps_ph(K(load)(x + i), _MM_FROUND_TO_NEAREST_INT));
#elif LEVEL == LK_AVX2
  for (; i + LANES <= n; i += LANES)
    _mm_storeu_si128((__m128i *)(out + i), _mm256_cvtps_ph(K(load)(x + i), _MM_FROUND_TO_NEAREST_INT));
#endif
  for (; i < n; i++) out[i] = reference_f16(x[i]);
}

static void K(f16_to_f32)(const uint16_t *x, float *out, long n) {
  long i = 0;
  for (; i + LANES <= n; i += LANES) K(store)(out + i, K(load_f16)(x + i));
  if (i < n) K(store_part)(out + i, K(load_f16_part)(x + i, n - i), n - i);
}

// MARK: Forms of an input vector

static void K(split_even_odd)(const float *x, long n, float *split) {
  for (long c = 0; c < n; c += 64) {
    for (long i = c; i < c + 64; i += 32)
      for (long j = 0; j < 16; j++) {
        split[i + j] = i + 2 * j < n ? x[i + 2 * j] : 0;
        split[i + 16 + j] = i + 2 * j + 1 < n ? x[i + 2 * j + 1] : 0;
      }
  }
}

// Quantises the whole group at x, and returns the sum of the bytes.
INLINE int K(quantize_group)(const float *x, long group, int8_t *q, float *scale) {
#pragma clang fp reassociate(off)
  // Magnitudes are in the order of their bits, infinity and what is not a number above all others.
  VI most = {0};
  for (long i = 0; i < group; i += LANES) most = __builtin_elementwise_max((VI)K(absolute)(K(load)(x + i)), most);
  const int32_t bits = __builtin_reduce_max(most);
  float largest;
  memcpy(&largest, &bits, 4);
  if (bits >= 0x7F800000) {
    memset(q, 0, (size_t)group);
    *scale = NAN;
    return 0;
  }
  float inverse = largest < 0x1p-120f ? 0 : 127 / largest;
  *scale = largest < 0x1p-120f ? 0 : largest / 127;
  VI sum = {0};
  for (long i = 0; i < group; i += LANES) {
    // Adding 1.5 * 2^23 leaves the rounded integer in the low bits.
    VI rounded = (VI)(K(load)(x + i) * inverse + 0x1.8p23f) - 0x4B400000;
    sum += rounded;
    for (int j = 0; j < LANES; j++) q[i + j] = (int8_t)rounded[j];
  }
  int total = 0;
  for (int j = 0; j < LANES; j++) total += sum[j];
  return total;
}

INLINE int K(quantize_part)(const float *x, long n, long group, int8_t *q, float *scale) {
  if (n >= group) return K(quantize_group)(x, group, q, scale);
  float whole[64] = {0};
  memcpy(whole, x, (size_t)n * 4);
  return K(quantize_group)(whole, group, q, scale);
}

static void K(quantize_x64)(const float *x, long n, int8_t *q, float *scale) {
  for (long c = 0; c < n; c += 64) K(quantize_part)(x + c, n - c, 64, q + c, scale + c / 64);
}

static void K(quantize_x32)(const float *x, long n, int8_t *q, float *scale, float *total) {
  for (long c = 0; c < n; c += 32) {
    int sum = K(quantize_part)(x + c, n - c, 32, q + c, scale + c / 32);
    total[c / 32] = scale[c / 32] * (float)sum;
  }
}

static void K(sums_x16)(const int8_t *q, long n, int32_t *sums) {
  for (long c = 0; c < n; c += 32)
    for (long half = 0; half < 32; half += 16) {
      int32_t sum = 0;
      for (long i = 0; i < 16; i++) sum += q[c + half + i];
      sums[(c + half) / 16] = sum;
    }
}
