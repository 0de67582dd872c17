// Products of quantised matrices with several quantised vectors. As many rows of the matrix as a vector has lanes are
// unpacked together, 256 columns at a time, and turned so that four columns of each lie side by side: one instruction
// then multiplies them with four entries of an input. What unpacking takes is shared by all inputs, and sums stay
// integers for a whole part.

// Inputs whose sums are kept while the blocks of rows pass by, and inputs that are multiplied together.
enum { K(batch_inputs) = 64, K(joint_inputs) = 8 };

// sum + the products of four codes of each lane with the four bytes at q. `wide` codes use all eight bits.
INLINE VI K(dot_four)(VI sum, VI codes, const int8_t *q, const int wide) {
#if LEVEL >= LK_AVX512_VNNI
  (void)wide;
  return (VI)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)codes, _mm512_set1_epi32((int)*(const lk_any_u32 *)q));
#elif LEVEL >= LK_AVX512
  const __m512i input = _mm512_set1_epi32((int)*(const lk_any_u32 *)q), ones = _mm512_set1_epi16(1);
  const VI high = wide ? codes & (int)0x80808080 : (VI){0};
  sum += (VI)_mm512_madd_epi16(_mm512_maddubs_epi16((__m512i)(codes ^ high), input), ones);
  if (wide) sum += (VI)_mm512_madd_epi16(_mm512_maddubs_epi16((__m512i)high, input), ones);
  return sum;
#elif LEVEL == LK_AVX2
  const __m256i input = _mm256_set1_epi32((int)*(const lk_any_u32 *)q), ones = _mm256_set1_epi16(1);
  const VI high = wide ? codes & (int)0x80808080 : (VI){0};
  sum += (VI)_mm256_madd_epi16(_mm256_maddubs_epi16((__m256i)(codes ^ high), input), ones);
  if (wide) sum += (VI)_mm256_madd_epi16(_mm256_maddubs_epi16((__m256i)high, input), ones);
  return sum;
#else
  (void)wide;
  for (int i = 0; i < 4; i++) sum += (VI)((VU)codes >> 8 * i & 255) * q[i];
  return sum;
#endif
}

// Adds the products of up to 256 columns of LANES rows with `count` inputs, from group g on.
INLINE void K(add_tile)(
    const VI *tile, const VF *scales, const VF *minima, const int part, const int offset, const int minimum,
    const lk_input *x, const int count, long g, long groups, VF *sums) {
  const int8_t *q[K(joint_inputs)];
  VF sum[K(joint_inputs)];
  UNROLLED for (int t = 0; t < count; t++) {
    q[t] = x[t].q32 + 32 * g;
    sum[t] = sums[t];
  }
  for (long b = 0; b < groups * (32 / part); b++) {
    VI dot[K(joint_inputs)];
    int32_t total[K(joint_inputs)];
    UNROLLED for (int t = 0; t < count; t++) {
      const int32_t *parts = x[t].sum16 + 2 * g + b * (part / 16);
      total[t] = part == 16 ? parts[0] : parts[0] + parts[1];
      dot[t] = (VI){0} - offset * total[t];
    }
    UNROLLED for (int k = 0; k < part / 4; k++) {
      const VI codes = tile[b * (part / 4) + k];
      UNROLLED for (int t = 0; t < count; t++)
        dot[t] = K(dot_four)(dot[t], codes, q[t] + b * part + 4 * k, offset == 128);
    }
    UNROLLED for (int t = 0; t < count; t++) {
      const float factor = x[t].scale32[g + b / (32 / part)];
      sum[t] += __builtin_convertvector(dot[t], VF) * (scales[b] * factor);
      if (minimum) sum[t] += minima[b] * (factor * (float)total[t]);
    }
  }
  UNROLLED for (int t = 0; t < count; t++) sums[t] = sum[t];
}

#define ADD_TILES(format, part, offset, minimum)                                                               \
  static void K(add_tiles_##format)(                                                                           \
      const VI *tile, const VF *scales, const VF *minima, const lk_input *x, long n, long g, long groups,      \
      VF *sums) {                                                                                              \
    long t = 0;                                                                                                \
    for (; t + 8 <= n; t += 8)                                                                                 \
      K(add_tile)(tile, scales, minima, part, offset, minimum, x + t, 8, g, groups, sums + t);                 \
    for (; t + 4 <= n; t += 4)                                                                                 \
      K(add_tile)(tile, scales, minima, part, offset, minimum, x + t, 4, g, groups, sums + t);                 \
    for (; t + 2 <= n; t += 2)                                                                                 \
      K(add_tile)(tile, scales, minima, part, offset, minimum, x + t, 2, g, groups, sums + t);                 \
    if (t < n) K(add_tile)(tile, scales, minima, part, offset, minimum, x + t, 1, g, groups, sums + t);        \
  }

#define ROW_PRODUCTS(format, part, offset, minimum) ROW_PRODUCTS_AS(rows_##format, format, part, offset, minimum)
#define ROW_PRODUCTS_AS(name, format, part, offset, minimum)                                                   \
  ADD_TILES(format, part, offset, minimum)                                                                     \
  static void K(name)(                                                                                         \
      const lk_dense *w, const lk_input *x, long n, long r0, long r1, float *out, long stride) {               \
    const long groups = (w->columns + 31) / 32;                                                                \
    for (long first = 0; first < n; first += K(batch_inputs)) {                                                \
      const long inputs = n - first < K(batch_inputs) ? n - first : K(batch_inputs);                           \
      for (long r = r0; r < r1; r += LANES) {                                                                  \
        const long height = r1 - r < LANES ? r1 - r : LANES;                                                   \
        VF sums[K(batch_inputs)];                                                                              \
        memset(sums, 0, (size_t)inputs * sizeof(VF));                                                          \
        float factors[LANES * 16] = {0}, lows[LANES * 16] = {0};                                               \
        for (long g = 0; g < groups; g += 8) {                                                                 \
          const long count = groups - g < 8 ? groups - g : 8;                                                  \
          uint8_t codes[LANES * 256];                                                                          \
          VI tile[64];                                                                                         \
          VF scales[16], minima[16];                                                                           \
          /* Rows beyond the last are the last: nobody reads their sums. */                                    \
          for (long i = 0; i < LANES; i++)                                                                     \
            K(unpack_##format)(                                                                                \
                w, r + (i < height ? i : height - 1), g, count, codes + 256 * i, factors + 16 * i,             \
                lows + 16 * i);                                                                                \
          K(transpose)((const float *)codes, 64, LANES, 8 * count, (float *)tile, LANES);                      \
          K(transpose)(factors, 16, LANES, 16, (float *)scales, LANES);                                        \
          if (minimum) K(transpose)(lows, 16, LANES, 16, (float *)minima, LANES);                              \
          K(add_tiles_##format)(tile, scales, minima, x + first, inputs, g, count, sums);                      \
        }                                                                                                      \
        for (long t = 0; t < inputs; t++) {                                                                    \
          float *target = out + (first + t) * stride + (r - r0);                                               \
          if (height == LANES) K(store)(target, sums[t]);                                                      \
          else memcpy(target, &sums[t], (size_t)height * sizeof(float));                                       \
        }                                                                                                      \
      }                                                                                                        \
    }                                                                                                          \
  }
BLOCKS_OF_32(ROW_PRODUCTS)
BLOCKS_OF_256(ROW_PRODUCTS)
ROW_PRODUCTS_AS(rows_many_i8, i8, 32, 128, 0)
ROW_PRODUCTS(i4, 32, 8, 0)
#undef ROW_PRODUCTS
#undef ROW_PRODUCTS_AS
#undef ADD_TILES
#undef UNPACK
#undef BLOCKS_OF_32
#undef BLOCKS_OF_256

// Signed bytes meet few inputs without being turned: what that takes is not paid back by so few. Integers are exact, and sums
// of floats are those of gemv_i8, added in its order, so that each input gets the bits that it gets alone.

#if LEVEL >= LK_AVX2

enum { K(few_rows) = 4, K(few_inputs) = 4 };

#if LEVEL >= LK_AVX512
// The sums of the lanes of vectors [rows][inputs], row by row of an input, each added as K(sum_lanes) adds them: halves,
// halves of these, and so on, of all vectors together.
INLINE VF K(sum_tile)(const VF v[K(few_rows)][K(few_inputs)]) {
  VF quarters[K(few_rows)];
  UNROLLED for (int j = 0; j < K(few_rows); j++) {
    const VF a = _mm512_shuffle_f32x4(v[j][0], v[j][1], 0x44) + _mm512_shuffle_f32x4(v[j][0], v[j][1], 0xEE);
    const VF b = _mm512_shuffle_f32x4(v[j][2], v[j][3], 0x44) + _mm512_shuffle_f32x4(v[j][2], v[j][3], 0xEE);
    quarters[j] = _mm512_shuffle_f32x4(a, b, 0x88) + _mm512_shuffle_f32x4(a, b, 0xDD);
  }
  const VF a = _mm512_shuffle_ps(quarters[0], quarters[1], 0x44) + _mm512_shuffle_ps(quarters[0], quarters[1], 0xEE);
  const VF b = _mm512_shuffle_ps(quarters[2], quarters[3], 0x44) + _mm512_shuffle_ps(quarters[2], quarters[3], 0xEE);
  return _mm512_shuffle_ps(a, b, 0x88) + _mm512_shuffle_ps(a, b, 0xDD);
}
#endif

// The products of `height` rows with `count` inputs.
INLINE void K(tile_i8)(
    const lk_dense *w, const lk_input *x, const int count, long r, const int height, float *out, long stride) {
  const long n = w->columns, whole = n / 64;
  const int8_t *row = (const int8_t *)w->values + r * n;
  VF sums[2][K(few_rows)][K(few_inputs)];
  // gemv_i8 has a sum for even groups and one for odd ones; what is left of a row belongs to the even ones.
  for (int odd = 0; odd < 2; odd++) {
    VF sum[K(few_rows)][K(few_inputs)];
    UNROLLED for (int j = 0; j < height; j++)
      UNROLLED for (int t = 0; t < count; t++) sum[j][t] = (VF){0};
    const long groups = (whole + 1 - odd) / 2, all = groups + (odd == 0 && whole * 64 < n);
    for (long i = 0; i < all; i++) {
      // Beyond a row's end the input has zeros.
      const long g = i < groups ? 2 * i + odd : whole;
#if LEVEL >= LK_AVX512_VNNI
      // Here the input is the side without sign: 128 is added to it, and taken away as a sum of the row's bytes, which all
      // inputs share.
      __m512i codes[K(few_rows)], start[K(few_rows)];
      const __m512i zero = _mm512_setzero_si512(), high = _mm512_set1_epi8(-128);
      UNROLLED for (int j = 0; j < height; j++) {
        K(prefetch)(row + j * n + 64 * g);
        codes[j] = _mm512_loadu_si512(row + j * n + 64 * g);
        start[j] = _mm512_sub_epi32(zero, _mm512_dpbusd_epi32(zero, high, codes[j]));
      }
      UNROLLED for (int t = 0; t < count; t++) {
        const __m512i input = _mm512_xor_si512(_mm512_loadu_si512(x[t].q64 + 64 * g), high);
        const float factor = x[t].scale64[g];
        UNROLLED for (int j = 0; j < height; j++)
          sum[j][t] += _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(start[j], input, codes[j])) * factor;
      }
#else
      UNROLLED for (int t = 0; t < count; t++)
        UNROLLED for (int j = 0; j < height; j++)
          sum[j][t] += K(group_i8)(row + j * n + 64 * g, x[t].q64 + 64 * g) * x[t].scale64[g];
#endif
    }
    UNROLLED for (int j = 0; j < height; j++)
      UNROLLED for (int t = 0; t < count; t++) sums[odd][j][t] = sum[j][t];
  }
  const float *scales = (const float *)w->scales + r;
  UNROLLED for (int j = 0; j < height; j++)
    UNROLLED for (int t = 0; t < count; t++) sums[0][j][t] += sums[1][j][t];
#if LEVEL >= LK_AVX512
  if (height == K(few_rows) && count == K(few_inputs)) {
    const VF found = K(sum_tile)(sums[0]) * (VF)_mm512_broadcast_f32x4(_mm_loadu_ps(scales));
    UNROLLED for (int t = 0; t < count; t++) memcpy(out + t * stride, (const float *)&found + 4 * t, 16);
    return;
  }
#endif
  for (int j = 0; j < height; j++)
    for (int t = 0; t < count; t++) out[t * stride + j] = scales[j] * K(sum_lanes)(sums[0][j][t]);
}

INLINE void K(few_tiles_i8)(
    const lk_dense *w, const lk_input *x, long n, long r, const int height, float *out, long stride) {
  long t = 0;
  for (; t + 4 <= n; t += 4) K(tile_i8)(w, x + t, 4, r, height, out + t * stride, stride);
  if (n - t >= 2) K(tile_i8)(w, x + t, 2, r, height, out + t * stride, stride), t += 2;
  if (n - t >= 1) K(tile_i8)(w, x + t, 1, r, height, out + t * stride, stride);
}

#endif

static void K(rows_i8)(
    const lk_dense *w, const lk_input *x, long n, long r0, long r1, float *out, long stride) {
  if (n == 0 || !x->q64) {
    K(rows_many_i8)(w, x, n, r0, r1, out, stride);
    return;
  }
#if LEVEL >= LK_AVX2
  long r = r0;
  for (; r + K(few_rows) <= r1; r += K(few_rows)) K(few_tiles_i8)(w, x, n, r, K(few_rows), out + (r - r0), stride);
  for (; r < r1; r++) K(few_tiles_i8)(w, x, n, r, 1, out + (r - r0), stride);
#else
  for (long r = r0; r < r1; r++)
    for (long t = 0; t < n; t++) K(gemv_i8)(w, x + t, r, r + 1, out + t * stride + (r - r0));
#endif
}
