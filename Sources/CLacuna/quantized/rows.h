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

#define ROW_PRODUCTS(format, part, offset, minimum)                                                            \
  ADD_TILES(format, part, offset, minimum)                                                                     \
  static void K(rows_##format)(                                                                                \
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
ROW_PRODUCTS(i8, 32, 128, 0)
ROW_PRODUCTS(i4, 32, 8, 0)
#undef ROW_PRODUCTS
#undef ADD_TILES
#undef UNPACK
#undef BLOCKS_OF_32
#undef BLOCKS_OF_256
