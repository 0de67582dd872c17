// Products of quantised blocks with one quantised vector, and their decoding, from what unpack.h makes of them. The codes
// of a part are multiplied and added as integers, exactly; a part's sum becomes a float and is weighted by both scales.

// MARK: Blocks of 32 columns, whose codes need not leave the registers

#if LEVEL >= LK_AVX2

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

// Of nibbles, with a fifth bit or without, less an offset (what it adds up to is Σ scale Σ x) ...
#define GEMV_OFFSET(format, codes_of, offset)                                                                  \
  static void K(gemv_##format)(const lk_dense *w, const lk_input *x, long r0, long r1, float *out) {           \
    long blocks = w->columns / 32;                                                                             \
    for (long r = r0; r < r1; r++) {                                                                           \
      const block_##format *row = (const block_##format *)w->values + r * blocks;                              \
      __m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};                                              \
      __m128 totals = _mm_setzero_ps();                                                                        \
      for (long b = 0; b < blocks; b += 2) {                                                                   \
        K(prefetch)(row + b);                                                                                  \
        for (int u = 0; u < 2 && b + u < blocks; u++) {                                                        \
          const block_##format *block = row + b + u;                                                           \
          __m256i products = K(multiply_unsigned)(codes_of(block), K(load32)(x->q32 + (b + u) * 32));          \
          __m256 scale = K(splat_f16)(&block->scale);                                                          \
          sum[u] += _mm256_cvtepi32_ps(products) * (scale * x->scale32[b + u]);                                \
          totals += _mm256_castps256_ps128(scale) * x->total32[b + u];                                         \
        }                                                                                                      \
      }                                                                                                        \
      out[r - r0] = K(sum8)(sum[0] + sum[1]) - offset * _mm_cvtss_f32(totals);                                 \
    }                                                                                                          \
  }
// ... or with a minimum: lane 1 of the totals is Σ minimum Σ x.
#define GEMV_MINIMUM(format, codes_of)                                                                         \
  static void K(gemv_##format)(const lk_dense *w, const lk_input *x, long r0, long r1, float *out) {           \
    long blocks = w->columns / 32;                                                                             \
    for (long r = r0; r < r1; r++) {                                                                           \
      const block_##format *row = (const block_##format *)w->values + r * blocks;                              \
      __m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};                                              \
      __m128 totals = _mm_setzero_ps();                                                                        \
      for (long b = 0; b < blocks; b += 2) {                                                                   \
        K(prefetch)(row + b);                                                                                  \
        for (int u = 0; u < 2 && b + u < blocks; u++) {                                                        \
          const block_##format *block = row + b + u;                                                           \
          __m256i products = K(multiply_unsigned)(codes_of(block), K(load32)(x->q32 + (b + u) * 32));          \
          __m128 scales = K(block_scales)(block);                                                              \
          sum[u] += _mm256_cvtepi32_ps(products) * (_mm256_broadcastss_ps(scales) * x->scale32[b + u]);        \
          totals += scales * x->total32[b + u];                                                                \
        }                                                                                                      \
      }                                                                                                        \
      out[r - r0] = K(sum8)(sum[0] + sum[1]) + totals[1];                                                      \
    }                                                                                                          \
  }
#define FOUR_BITS(block) K(unpack_halves)((block)->nibbles)
#define FIVE_BITS(block) _mm256_or_si256(K(unpack_halves)((block)->nibbles), K(fifth_bits)((block)->high))
GEMV_OFFSET(q4_0, FOUR_BITS, 8)
GEMV_OFFSET(q5_0, FIVE_BITS, 16)
GEMV_MINIMUM(q4_1, FOUR_BITS)
GEMV_MINIMUM(q5_1, FIVE_BITS)
#undef GEMV_OFFSET
#undef GEMV_MINIMUM
#undef FOUR_BITS
#undef FIVE_BITS

#endif

// MARK: Blocks of 256 columns, and all blocks in plain loops

// Sums that a row's blocks are added to.
typedef struct K(block_sums) {
#if LEVEL >= LK_AVX512_VNNI
  __m512 products[2];
  __m512 rest;
#elif LEVEL >= LK_AVX2
  __m256 products[2];
  __m256 rest[2];
#else
  float products;
#endif
} K(block_sums);

// Adds the product of `groups` groups of 32 columns from group g on. Of what is beyond them only the codes and the input
// are read.
INLINE void K(add_block)(
    const uint8_t *codes, const float *scales, const float *minima, const int part, const int offset, const int minimum,
    const lk_input *x, long g, long groups, K(block_sums) *sums) {
  const int8_t *q = x->q32 + 32 * g;
#if LEVEL >= LK_AVX512_VNNI
  const __mmask16 inside = (__mmask16)((1u << (part == 32 ? groups : 2 * groups)) - 1);
  // Lane i belongs to part i.
  __m512 weight = _mm512_maskz_loadu_ps(inside, scales), factor, total;
  if (part == 32) {
    factor = _mm512_maskz_loadu_ps(inside, x->scale32 + g);
    total = _mm512_maskz_loadu_ps(inside, x->total32 + g);
  } else {
    const __m512i pairs = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    factor = _mm512_permutexvar_ps(pairs, _mm512_maskz_loadu_ps((__mmask16)((1u << groups) - 1), x->scale32 + g));
    total = _mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(inside, x->sum16 + 2 * g)) * factor;
  }
  __m512 rest = offset ? weight * (float)-offset : _mm512_setzero_ps();
  if (minimum) rest = rest + _mm512_maskz_loadu_ps(inside, minima);
  sums->rest = rest * total + sums->rest;
  weight = weight * factor;
  UNROLLED for (int k = 0; k < 4; k++) {
    if (2 * k >= groups) break;
    // The part that each lane's four products belong to.
    const __m512i place = part == 32 ? _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1)
                                     : _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    const __m512i lanes = _mm512_add_epi32(_mm512_set1_epi32(64 / part * k), place);
    __m512i dot = _mm512_dpbusd_epi32(
        _mm512_setzero_si512(), _mm512_loadu_si512(codes + 64 * k), _mm512_loadu_si512(q + 64 * k));
    sums->products[k & 1] += _mm512_cvtepi32_ps(dot) * _mm512_permutexvar_ps(lanes, weight);
  }
#elif LEVEL >= LK_AVX2
  float weight[16];
  const int parts = 32 / part;
  for (long b = 0; b < groups; b++)
    for (int j = 0; j < parts; j++) weight[parts * b + j] = scales[parts * b + j] * x->scale32[g + b];
  for (long b = 0; b < groups; b++) {
    const __m256i u = K(load32)(codes + 32 * b), input = K(load32)(q + 32 * b);
    __m256i dot = K(multiply_unsigned)(u, input);
    // What the offset takes away, as an integer too.
    if (offset) dot = _mm256_sub_epi32(dot, K(multiply_unsigned)(_mm256_set1_epi8((char)offset), input));
    const __m256 factor =
        part == 32 ? _mm256_set1_ps(weight[b])
                   : _mm256_set_m128(_mm_set1_ps(weight[2 * b + 1]), _mm_set1_ps(weight[2 * b]));
    sums->products[b & 1] += _mm256_cvtepi32_ps(dot) * factor;
  }
  if (minimum)
    for (long b = 0; b < groups; b++)
      for (int j = 0; j < parts; j++)
        sums->rest[b & 1][j] += minima[parts * b + j] *
                                (part == 32 ? x->total32[g + b]
                                            : x->scale32[g + b] * (float)x->sum16[2 * (g + b) + j]);
#else
  const int parts = 32 / part;
  for (long b = 0; b < groups * parts; b++) {
    int dot = 0, total = 0;
    for (int i = 0; i < part; i++) dot += codes[part * b + i] * q[part * b + i];
    for (int i = 0; i < part; i++) total += q[part * b + i];
    float sum = scales[b] * (float)(dot - offset * total);
    if (minimum) sum += minima[b] * (float)total;
    sums->products += x->scale32[g + b / parts] * sum;
  }
#endif
}

INLINE float K(block_total)(const K(block_sums) *sums) {
#if LEVEL >= LK_AVX512_VNNI
  return _mm512_reduce_add_ps((sums->products[0] + sums->products[1]) + sums->rest);
#elif LEVEL >= LK_AVX2
  return K(sum8)((sums->products[0] + sums->products[1]) + (sums->rest[0] + sums->rest[1]));
#else
  return sums->products;
#endif
}

#define BLOCK_GEMV(format, part, offset, minimum)                                                              \
  static void K(gemv_##format)(const lk_dense *w, const lk_input *x, long r0, long r1, float *out) {           \
    const long groups = w->columns / 32;                                                                       \
    for (long r = r0; r < r1; r++) {                                                                           \
      K(block_sums) sums = {0};                                                                                \
      for (long g = 0; g < groups; g += 8) {                                                                   \
        uint8_t codes[256];                                                                                    \
        float scales[16], minima[16];                                                                          \
        const long count = groups - g < 8 ? groups - g : 8;                                                    \
        if (count == 8) {                                                                                      \
          K(unpack_##format)(w, r, g, 8, codes, scales, minima);                                               \
          K(add_block)(codes, scales, minima, part, offset, minimum, x, g, 8, &sums);                          \
        } else {                                                                                               \
          memset(codes, 0, sizeof codes);                                                                      \
          K(unpack_##format)(w, r, g, count, codes, scales, minima);                                           \
          K(add_block)(codes, scales, minima, part, offset, minimum, x, g, count, &sums);                      \
        }                                                                                                      \
      }                                                                                                        \
      out[r - r0] = K(block_total)(&sums);                                                                     \
    }                                                                                                          \
  }
#if LEVEL < LK_AVX2
BLOCKS_OF_32(BLOCK_GEMV)
#endif
BLOCKS_OF_256(BLOCK_GEMV)
#undef BLOCK_GEMV

#define BLOCK_DECODE(format, part, offset, minimum)                                                            \
  static void K(decode_##format)(const lk_dense *w, long r0, long r1, float *out) {                            \
    _Pragma("clang fp contract(off)")                                                                          \
    const long groups = w->columns / 32;                                                                       \
    for (long r = r0; r < r1; r++)                                                                             \
      for (long g = 0; g < groups; g += 8) {                                                                   \
        uint8_t codes[256];                                                                                    \
        float scales[16], minima[16];                                                                          \
        const long count = groups - g < 8 ? groups - g : 8;                                                    \
        K(unpack_##format)(w, r, g, count, codes, scales, minima);                                             \
        for (long b = 0; b < count * (32 / part); b++, out += part)                                            \
          for (int i = 0; i < part; i++) {                                                                     \
            const float value = scales[b] * (float)(codes[b * part + i] - offset);                             \
            out[i] = minimum ? value + minima[b] : value;                                                      \
          }                                                                                                    \
      }                                                                                                        \
  }
BLOCKS_OF_32(BLOCK_DECODE)
BLOCKS_OF_256(BLOCK_DECODE)
#undef BLOCK_DECODE
