// Vector arithmetic, conversions, and the layers of a decoder between its matrix products.

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

static void K(scale_add_f32)(float a, const float *x, float b, float *y, long n) {
  long i = 0;
  for (; i + LANES <= n; i += LANES) K(store)(y + i, a * K(load)(x + i) + b * K(load)(y + i));
  if (i < n) K(store_part)(y + i, a * K(load_part)(x + i, n - i) + b * K(load_part)(y + i, n - i), n - i);
}

static float K(sum_f32)(const float *x, long n) {
  VF sum[4] = {0};
  long i = 0;
  for (; i + 4 * LANES <= n; i += 4 * LANES)
    for (int u = 0; u < 4; u++) sum[u] += K(load)(x + i + u * LANES);
  for (; i + LANES <= n; i += LANES) sum[0] += K(load)(x + i);
  if (i < n) sum[1] += K(load_part)(x + i, n - i);
  return K(sum_lanes)((sum[0] + sum[1]) + (sum[2] + sum[3]));
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
  VF largest_lanes = {0};
  for (long i = 0; i < group; i += LANES) largest_lanes = K(larger)(K(absolute)(K(load)(x + i)), largest_lanes);
  float largest = K(max_lanes)(largest_lanes);
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

// MARK: Layers of a decoder

static void K(rmsnorm)(const float *x, const float *weight, float epsilon, long n, float *out) {
  float scale = 1 / sqrtf(K(sum_of_squares)(x, n) / (float)n + epsilon);
  long i = 0;
  for (; i + LANES <= n; i += LANES) K(store)(out + i, K(load)(x + i) * scale * K(load)(weight + i));
  for (; i < n; i++) out[i] = x[i] * scale * weight[i];
}

static void K(softmax)(float *x, long n) {
  VF largest = K(splat)(K(max_f32)(x, n));
  VF sum = {0};
  long i = 0;
  for (; i + LANES <= n; i += LANES) {
    VF e = K(exponential)(K(load)(x + i) - largest);
    K(store)(x + i, e);
    sum += e;
  }
  float total = K(sum_lanes)(sum);
  if (i < n) {
    VF e = K(exponential)(K(load_part)(x + i, n - i) - largest);
    K(store_part)(x + i, e, n - i);
    for (long j = i; j < n; j++) total += x[j];
  }
  float inverse = 1 / total;
  for (i = 0; i + LANES <= n; i += LANES) K(store)(x + i, K(load)(x + i) * inverse);
  for (; i < n; i++) x[i] *= inverse;
}

INLINE VF K(silu)(VF x) { return x / (1.0f + K(exponential)(-x)); }

static void K(silu_mul)(const float *gate, const float *up, float *out, long n) {
  long i = 0;
  for (; i + LANES <= n; i += LANES) K(store)(out + i, K(silu)(K(load)(gate + i)) * K(load)(up + i));
  if (i < n)
    K(store_part)(out + i, K(silu)(K(load_part)(gate + i, n - i)) * K(load_part)(up + i, n - i), n - i);
}

// Two plain loops that clang vectorises well by itself.
static void K(rope_interleaved)(float *x, const float *cosines, const float *sines, long pairs) {
  for (long i = 0; i < pairs; i++) {
    float first = x[2 * i], second = x[2 * i + 1];
    x[2 * i] = first * cosines[i] - second * sines[i];
    x[2 * i + 1] = first * sines[i] + second * cosines[i];
  }
}

static void K(rope_halves)(float *x, const float *cosines, const float *sines, long pairs) {
  for (long i = 0; i < pairs; i++) {
    float first = x[i], second = x[i + pairs];
    x[i] = first * cosines[i] - second * sines[i];
    x[i + pairs] = first * sines[i] + second * cosines[i];
  }
}

static void K(attention_scores)(
    const float *query, const float *keys, long stride, long count, long dimensions, float scale, float *scores) {
  long t = 0;
  for (; t + 4 <= count; t += 4) {  // four keys share the loads of the query
    const float *k = keys + t * stride;
    VF sum[4] = {0};
    long d = 0;
    for (; d + LANES <= dimensions; d += LANES)
      for (int u = 0; u < 4; u++) sum[u] += K(load)(query + d) * K(load)(k + u * stride + d);
    if (d < dimensions)
      for (int u = 0; u < 4; u++)
        sum[u] += K(load_part)(query + d, dimensions - d) * K(load_part)(k + u * stride + d, dimensions - d);
    for (int u = 0; u < 4; u++) scores[t + u] = scale * K(sum_lanes)(sum[u]);
  }
  for (; t < count; t++) scores[t] = scale * K(dot_f32)(query, keys + t * stride, dimensions);
}

static void K(attention_mix)(
    const float *weights, const float *values, long stride, long count, long dimensions, float *out) {
  long d = 0;
  for (; d + 4 * LANES <= dimensions; d += 4 * LANES) {
    VF sum[4] = {0};
    for (long t = 0; t < count; t++)
      for (int u = 0; u < 4; u++) sum[u] += weights[t] * K(load)(values + t * stride + d + u * LANES);
    for (int u = 0; u < 4; u++) K(store)(out + d + u * LANES, sum[u]);
  }
  for (; d < dimensions; d += LANES) {
    long n = dimensions - d < LANES ? dimensions - d : LANES;
    VF sum = {0};
    if (n == LANES)
      for (long t = 0; t < count; t++) sum += weights[t] * K(load)(values + t * stride + d);
    else
      for (long t = 0; t < count; t++) sum += weights[t] * K(load_part)(values + t * stride + d, n);
    if (n == LANES) K(store)(out + d, sum);
    else K(store_part)(out + d, sum, n);
  }
}

// MARK: Calibration

static void K(accumulate_sums)(const float *x, long count, long columns, long stride, double *sums) {
  for (long i = 0; i < count; i++) {
    const float *row = x + i * stride;
    long c = 0;
    for (; c + LANES / 2 <= columns; c += LANES / 2)
      *(K(vd_memory) *)(sums + c) += __builtin_convertvector(*(const K(vf_half_memory) *)(row + c), K(vd));
    for (; c < columns; c++) sums[c] += row[c];
  }
}

static void K(accumulate_squares)(const float *x, long count, long columns, long stride, double *sums) {
  for (long i = 0; i < count; i++) {
    const float *row = x + i * stride;
    long c = 0;
    for (; c + LANES / 2 <= columns; c += LANES / 2) {
      K(vd) v = __builtin_convertvector(*(const K(vf_half_memory) *)(row + c), K(vd));
      *(K(vd_memory) *)(sums + c) += v * v;
    }
    for (; c < columns; c++) sums[c] += (double)row[c] * row[c];
  }
}
