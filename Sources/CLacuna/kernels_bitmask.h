// Products of matrices that store a bit for every entry and the values whose bit is set; and their decoding.
//
// The values of a mask word are loaded together and spread to the positions of the set bits, zeros between them; then
// the product goes as if the row were dense. Loads reach beyond the word's values, into those of later words.

// Where row r's values begin, in values (i4: bytes).
INLINE long K(row_start)(const lk_bitmask *w, long r) {
  return w->row_start ? (long)w->row_start[r] : r * w->row_stride;
}

INLINE void K(prefetch_kept)(const void *values, const uint64_t *mask) {
  __builtin_prefetch((const char *)values + 1536);
  __builtin_prefetch((const char *)mask + 512);
}

#if LEVEL >= LK_AVX512

// Values spread to the positions of a mask's set bits, zeros between: a load, and an expanding instruction whose source
// is its destination. Compilers would choose forms several times slower: with a memory operand, or into another
// register, on whose old content the instruction then waits. A mask that comes straight from memory saves a transfer
// between register files.
#define SPREAD(name, type, mask_type, move, expand)                                               \
  INLINE __m512i K(name)(const type *kept, const mask_type *mask) {                               \
    __m512i v = _mm512_loadu_si512(kept);                                                         \
    __mmask64 k;                                                                                  \
    __asm__(move " %1, %0" : "=Yk"(k) : "m"(*mask));                                              \
    __asm__(expand " %0, %0%{%1%}%{z%}" : "+v"(v) : "Yk"(k));                                     \
    return v;                                                                                     \
  }
SPREAD(spread_f32, float, uint16_t, "kmovw", "vexpandps")
#if LEVEL >= LK_AVX512_VNNI
SPREAD(spread_bf16, uint16_t, uint32_t, "kmovd", "vpexpandw")
SPREAD(spread_i8, int8_t, uint64_t, "kmovq", "vpexpandb")

// Nibbles with their bias of 8, which absent entries get as well.
INLINE __m512i K(spread_nibbles)(const uint8_t *kept, const uint64_t *mask) {
  __m512i v = K(unpack_biased)(kept), spread = _mm512_set1_epi8(8);
  __mmask64 k;
  __asm__("kmovq %1, %0" : "=Yk"(k) : "m"(*mask));
  __asm__("vpexpandb %1, %0%{%2%}" : "+v"(spread) : "v"(v), "Yk"(k));
  return spread;
}
#endif
#undef SPREAD

// How many rows a call of the `_rows` functions walks together: they share the loads of the input, which otherwise
// cost more than those of the weights.
enum { K(together) = 3 };

enum { K(distance) = 3072 };  // how far ahead values are asked for, in bytes

// Asks for the values of the four words, or so, that lie `distance` ahead, and once in eight words for their masks.
INLINE void K(fetch_bytes)(const void *kept, const uint64_t *mask, long word, int lines) {
  for (int i = 0; i < lines; i++) __builtin_prefetch((const char *)kept + K(distance) + 64 * i);
  if (word % 8 == 0) __builtin_prefetch((const char *)mask + 1024);
}

// A product by groups of rows. The rows of a group come from the three thirds of the range, so that weights arrive in
// three long streams; four, a power of two apart as a rule, compete for the same cache lines.
#define BY_ROW_GROUPS(name)                                                                           \
  static void K(name)(const lk_bitmask *w, const lk_input *x, long r0, long r1, float *out) {         \
    long part = (r1 - r0) / K(together);                                                              \
    for (long i = 0; i < part; i++) {                                                                 \
      long rows[K(together)];                                                                         \
      float results[K(together)];                                                                     \
      for (int j = 0; j < K(together); j++) rows[j] = r0 + j * part + i;                              \
      K(name##_rows)(w, x, rows, K(together), results);                                               \
      for (int j = 0; j < K(together); j++) out[j * part + i] = results[j];                           \
    }                                                                                                 \
    for (long r = r0 + K(together) * part; r < r1; r++) K(name##_rows)(w, x, &r, 1, out + (r - r0));  \
  }

INLINE void K(gemv_bitmask_f32_rows)(
    const lk_bitmask *w, const lk_input *input, const long *rows, const int count, float *results) {
  long words = (w->columns + 63) / 64;
  const float *x = input->x, *kept[K(together)];
  const uint16_t *mask[K(together)];
  __m512 sum[K(together)][2] = {0};
  for (int j = 0; j < count; j++) {
    kept[j] = (const float *)w->values + K(row_start)(w, rows[j]);
    mask[j] = (const uint16_t *)(w->mask + rows[j] * words);
  }
  for (long i = 0; i < words * 4; i += 2) {
    __m512 first = _mm512_loadu_ps(x + i * 16), second = _mm512_loadu_ps(x + i * 16 + 16);
    for (int j = 0; j < count; j++) {
      __builtin_prefetch((const char *)kept[j] + K(distance));
      __m512 low = (__m512)K(spread_f32)(kept[j], mask[j] + i);
      kept[j] += __builtin_popcount(mask[j][i]);
      __m512 high = (__m512)K(spread_f32)(kept[j], mask[j] + i + 1);
      kept[j] += __builtin_popcount(mask[j][i + 1]);
      sum[j][0] += low * first;
      sum[j][1] += high * second;
    }
  }
  for (int j = 0; j < count; j++) results[j] = _mm512_reduce_add_ps(sum[j][0] + sum[j][1]);
}
BY_ROW_GROUPS(gemv_bitmask_f32)

#elif LEVEL == LK_AVX2

static void K(gemv_bitmask_f32)(const lk_bitmask *w, const lk_input *input, long r0, long r1, float *out) {
  long words = (w->columns + 63) / 64;
  for (long r = r0; r < r1; r++) {
    const float *kept = (const float *)w->values + K(row_start)(w, r);
    const uint64_t *mask = w->mask + r * words;
    __m256 sum[4] = {0};
    for (long i = 0; i < words; i++) {
      uint64_t bits = mask[i];
      K(prefetch_kept)(kept, mask + i);
      for (int u = 0; u < 8; u++) {
        unsigned part = (unsigned)(bits >> 8 * u) & 255;
        // Sign-extended, the index of an absent entry is negative, which blendv takes for zero.
        __m256i index = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)spread_bytes[part]));
        __m256 spread = _mm256_permutevar8x32_ps(_mm256_loadu_ps(kept), index);
        spread = _mm256_blendv_ps(spread, _mm256_setzero_ps(), _mm256_castsi256_ps(index));
        kept += __builtin_popcount(part);
        sum[u & 3] += spread * _mm256_loadu_ps(input->x + i * 64 + u * 8);
      }
    }
    out[r - r0] = K(sum8)((sum[0] + sum[1]) + (sum[2] + sum[3]));
  }
}

#endif

#if LEVEL >= LK_AVX512_BF16

INLINE void K(gemv_bitmask_bf16_rows)(
    const lk_bitmask *w, const lk_input *input, const long *rows, const int count, float *results) {
  long words = (w->columns + 63) / 64;
  const uint16_t *x = input->bf16, *kept[K(together)];
  const uint64_t *mask[K(together)];
  __m512 sum[K(together)][2] = {0};
  for (int j = 0; j < count; j++) {
    kept[j] = (const uint16_t *)w->values + K(row_start)(w, rows[j]);
    mask[j] = w->mask + rows[j] * words;
  }
  for (long i = 0; i < words; i++) {
    __m512bh first = (__m512bh)_mm512_loadu_si512(x + i * 64), second = (__m512bh)_mm512_loadu_si512(x + i * 64 + 32);
    for (int j = 0; j < count; j++) {
      __builtin_prefetch((const char *)kept[j] + K(distance));
      const uint32_t *half = (const uint32_t *)(mask[j] + i);
      // Both counts come from one load: loads, of which those of values cross cache lines, are what there are most of.
      uint64_t bits = mask[j][i];
      const uint16_t *upper = kept[j] + __builtin_popcount((uint32_t)bits);
      sum[j][0] = _mm512_dpbf16_ps(sum[j][0], (__m512bh)K(spread_bf16)(kept[j], half), first);
      sum[j][1] = _mm512_dpbf16_ps(sum[j][1], (__m512bh)K(spread_bf16)(upper, half + 1), second);
      kept[j] += __builtin_popcountll(bits);
    }
  }
  for (int j = 0; j < count; j++) results[j] = _mm512_reduce_add_ps(sum[j][0] + sum[j][1]);
}
BY_ROW_GROUPS(gemv_bitmask_bf16)

#elif LEVEL >= LK_AVX512_VNNI

INLINE void K(gemv_bitmask_bf16_rows)(
    const lk_bitmask *w, const lk_input *input, const long *rows, const int count, float *results) {
  long words = (w->columns + 63) / 64;
  __m512i upper = _mm512_set1_epi32((int)0xFFFF0000u);
  const float *x = input->split;
  const uint16_t *kept[K(together)];
  const uint32_t *mask[K(together)];
  __m512 sum[K(together)][2] = {0};
  for (int j = 0; j < count; j++) {
    kept[j] = (const uint16_t *)w->values + K(row_start)(w, rows[j]);
    mask[j] = (const uint32_t *)(w->mask + rows[j] * words);
  }
  // A pair of bf16 in 32 bits: the even column below, the odd one above. `split` has the inputs in that order.
  for (long i = 0; i < words * 2; i += 2) {
    __m512 in[4];
    for (int u = 0; u < 4; u++) in[u] = _mm512_loadu_ps(x + i * 32 + u * 16);
    for (int j = 0; j < count; j++) {
      __builtin_prefetch((const char *)kept[j] + K(distance));
      for (int u = 0; u < 2; u++) {
        __m512i pairs = K(spread_bf16)(kept[j], mask[j] + i + u);
        kept[j] += __builtin_popcount(mask[j][i + u]);
        sum[j][0] += _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)) * in[2 * u];
        sum[j][1] += _mm512_castsi512_ps(_mm512_and_si512(pairs, upper)) * in[2 * u + 1];
      }
    }
  }
  for (int j = 0; j < count; j++) results[j] = _mm512_reduce_add_ps(sum[j][0] + sum[j][1]);
}
BY_ROW_GROUPS(gemv_bitmask_bf16)

#endif

#if LEVEL >= LK_AVX512_VNNI

INLINE void K(gemv_bitmask_i8_rows)(
    const lk_bitmask *w, const lk_input *input, const long *rows, const int count, float *results) {
  long words = (w->columns + 63) / 64;
  const int8_t *x = input->q64, *kept[K(together)];
  const float *scale = input->scale64;
  const uint64_t *mask[K(together)];
  __m512 sum[K(together)] = {0};
  for (int j = 0; j < count; j++) {
    kept[j] = (const int8_t *)w->values + K(row_start)(w, rows[j]);
    mask[j] = w->mask + rows[j] * words;
  }
  for (long i = 0; i < words; i++) {
    if (i % 4 == 0)
      for (int j = 0; j < count; j++) K(fetch_bytes)(kept[j], mask[j] + i, i, 3);
    __m512i q = _mm512_loadu_si512(x + i * 64), start = K(bias_sums)(128, q);
    for (int j = 0; j < count; j++) {
      __m512i spread = K(spread_i8)(kept[j], mask[j] + i);
      kept[j] += __builtin_popcountll(mask[j][i]);
      __m512i shifted = _mm512_xor_si512(spread, _mm512_set1_epi8(-128));
      sum[j] += _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(start, shifted, q)) * scale[i];
    }
  }
  for (int j = 0; j < count; j++)
    results[j] = ((const float *)w->scales)[rows[j]] * _mm512_reduce_add_ps(sum[j]);
}
BY_ROW_GROUPS(gemv_bitmask_i8)

INLINE void K(gemv_bitmask_i4_rows)(
    const lk_bitmask *w, const lk_input *input, const long *rows, const int count, float *results) {
  long words = (w->columns + 63) / 64;
  const int8_t *x = input->q64;
  const uint8_t *kept[K(together)];
  const uint16_t *scales[K(together)];
  const uint64_t *mask[K(together)];
  __m512 sum[K(together)] = {0};
  for (int j = 0; j < count; j++) {
    kept[j] = (const uint8_t *)w->values + K(row_start)(w, rows[j]);
    scales[j] = (const uint16_t *)w->scales + rows[j] * words;
    mask[j] = w->mask + rows[j] * words;
  }
  for (long first = 0; first < words; first += 16) {
    for (int j = 0; j < count; j++) __builtin_prefetch(scales[j] + first + 128);
    // The scales of 16 groups at once.
    long last = first + 16 < words ? first + 16 : words;
    float scale[K(together)][16];
    long n = last - first;
    for (int j = 0; j < count; j++)
      K(store)(scale[j], K(load_scales)(scales[j] + first, n) * K(load_part)(input->scale64 + first, n));
    for (long i = first; i < last; i++) {
      if (i % 4 == 0)
        for (int j = 0; j < count; j++) K(fetch_bytes)(kept[j], mask[j] + i, i, 2);
      __m512i q = _mm512_loadu_si512(x + i * 64), start = K(bias_sums)(8, q);
      for (int j = 0; j < count; j++) {
        __m512i spread = K(spread_nibbles)(kept[j], mask[j] + i);
        kept[j] += (__builtin_popcountll(mask[j][i]) + 1) / 2;
        sum[j] += _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(start, spread, q)) * scale[j][i - first];
      }
    }
  }
  for (int j = 0; j < count; j++) results[j] = _mm512_reduce_add_ps(sum[j]);
}
BY_ROW_GROUPS(gemv_bitmask_i4)

#elif LEVEL >= LK_AVX2

static void K(gemv_bitmask_bf16)(const lk_bitmask *w, const lk_input *input, long r0, long r1, float *out) {
  long words = (w->columns + 63) / 64;
  for (long r = r0; r < r1; r++) {
    const uint16_t *kept = (const uint16_t *)w->values + K(row_start)(w, r);
    const uint64_t *mask = w->mask + r * words;
    __m256 sum[4] = {0};
    for (long i = 0; i < words; i++) {
      uint64_t bits = mask[i];
      K(prefetch_kept)(kept, mask + i);
      for (int u = 0; u < 8; u++) {
        unsigned part = (unsigned)(bits >> 8 * u) & 255;
        __m128i spread = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)kept),
                                          _mm_loadu_si128((const __m128i *)spread_words[part]));
        kept += __builtin_popcount(part);
        __m256i wide = _mm256_slli_epi32(_mm256_cvtepu16_epi32(spread), 16);
        sum[u & 3] += _mm256_castsi256_ps(wide) * _mm256_loadu_ps(input->rounded + i * 64 + u * 8);
      }
    }
    out[r - r0] = K(sum8)((sum[0] + sum[1]) + (sum[2] + sum[3]));
  }
}

// The 8 bytes at `kept`, spread by 8 bits of a mask.
INLINE __m128i K(spread8)(const void *kept, unsigned mask) {
  return _mm_shuffle_epi8(_mm_loadl_epi64((const __m128i *)kept), _mm_loadl_epi64((const __m128i *)spread_bytes[mask]));
}

// 32 bits' worth; moves `kept` on.
INLINE __m256i K(spread32)(const int8_t **kept, uint32_t mask) {
  __m128i part[4];
  for (int u = 0; u < 4; u++) {
    part[u] = K(spread8)(*kept, mask >> 8 * u & 255);
    *kept += __builtin_popcount(mask >> 8 * u & 255);
  }
  return _mm256_set_m128i(_mm_unpacklo_epi64(part[2], part[3]), _mm_unpacklo_epi64(part[0], part[1]));
}

// Sums of products of the bytes that `mask` spreads with 64 bytes of input.
INLINE __m256 K(group_bitmask)(const int8_t *kept, uint64_t mask, const int8_t *q) {
  __m256i low = K(spread32)(&kept, (uint32_t)mask), high = K(spread32)(&kept, (uint32_t)(mask >> 32));
  return _mm256_cvtepi32_ps(
      _mm256_add_epi32(K(multiply_signed)(low, K(load32)(q)), K(multiply_signed)(high, K(load32)(q + 32))));
}

static void K(gemv_bitmask_i8)(const lk_bitmask *w, const lk_input *x, long r0, long r1, float *out) {
  long words = (w->columns + 63) / 64;
  for (long r = r0; r < r1; r++) {
    const int8_t *kept = (const int8_t *)w->values + K(row_start)(w, r);
    const uint64_t *mask = w->mask + r * words;
    __m256 sum = _mm256_setzero_ps();
    for (long i = 0; i < words; i++) {
      K(prefetch_kept)(kept, mask + i);
      sum += K(group_bitmask)(kept, mask[i], x->q64 + i * 64) * x->scale64[i];
      kept += __builtin_popcountll(mask[i]);
    }
    out[r - r0] = ((const float *)w->scales)[r] * K(sum8)(sum);
  }
}

static void K(gemv_bitmask_i4)(const lk_bitmask *w, const lk_input *x, long r0, long r1, float *out) {
  long words = (w->columns + 63) / 64;
  __m256i eight = _mm256_set1_epi8(8);
  for (long r = r0; r < r1; r++) {
    const uint8_t *kept = (const uint8_t *)w->values + K(row_start)(w, r);
    const uint64_t *mask = w->mask + r * words;
    const uint16_t *scales = (const uint16_t *)w->scales + r * words;
    __m256 sum = _mm256_setzero_ps();
    for (long i = 0; i < words; i++) {
      K(prefetch_kept)(kept, mask + i);
      int8_t bytes[64 + 8];
      for (int u = 0; u < 2; u++) {
        __m256i unsigned_nibbles = _mm256_xor_si256(K(unpack_pairs)(kept + 16 * u), eight);
        _mm256_storeu_si256((__m256i *)(bytes + 32 * u), _mm256_sub_epi8(unsigned_nibbles, eight));
      }
      sum += K(group_bitmask)(bytes, mask[i], x->q64 + i * 64) * (K(bf16_value)(scales[i]) * x->scale64[i]);
      kept += (__builtin_popcountll(mask[i]) + 1) / 2;
    }
    out[r - r0] = K(sum8)(sum);
  }
}

#else  // portable: one kept value after the other, in two alternating sums

#define BITMASK_FLOAT(format, type, value, input_form)                                                                         \
  static void K(gemv_bitmask_##format)(const lk_bitmask *w, const lk_input *input, long r0, long r1, float *out) { \
    long words = (w->columns + 63) / 64;                                                                           \
    for (long r = r0; r < r1; r++) {                                                                               \
      const type *kept = (const type *)w->values + K(row_start)(w, r);                                             \
      float even = 0, odd = 0;                                                                                     \
      for (long i = 0; i < words; i++) {                                                                           \
        const float *x = input->input_form + i * 64;                                                               \
        uint64_t bits = w->mask[r * words + i];                                                                    \
        while (bits) {                                                                                             \
          even += value(*kept++) * x[__builtin_ctzll(bits)];                                                       \
          bits &= bits - 1;                                                                                        \
          if (!bits) break;                                                                                        \
          odd += value(*kept++) * x[__builtin_ctzll(bits)];                                                        \
          bits &= bits - 1;                                                                                        \
        }                                                                                                          \
      }                                                                                                            \
      out[r - r0] = even + odd;                                                                                    \
    }                                                                                                              \
  }

BITMASK_FLOAT(f32, float, , x)
BITMASK_FLOAT(bf16, uint16_t, K(bf16_value), rounded)
#undef BITMASK_FLOAT

static void K(gemv_bitmask_i8)(const lk_bitmask *w, const lk_input *x, long r0, long r1, float *out) {
  long words = (w->columns + 63) / 64;
  for (long r = r0; r < r1; r++) {
    const int8_t *kept = (const int8_t *)w->values + K(row_start)(w, r);
    float sum = 0;
    for (long i = 0; i < words; i++) {
      int products = 0;
      for (uint64_t bits = w->mask[r * words + i]; bits; bits &= bits - 1)
        products += *kept++ * x->q64[i * 64 + __builtin_ctzll(bits)];
      sum += x->scale64[i] * (float)products;
    }
    out[r - r0] = ((const float *)w->scales)[r] * sum;
  }
}

static void K(gemv_bitmask_i4)(const lk_bitmask *w, const lk_input *x, long r0, long r1, float *out) {
  long words = (w->columns + 63) / 64;
  for (long r = r0; r < r1; r++) {
    const uint8_t *kept = (const uint8_t *)w->values + K(row_start)(w, r);
    float sum = 0;
    for (long i = 0; i < words; i++) {
      int8_t bytes[64];
      K(unpack64)(kept, bytes);
      int products = 0, position = 0;
      for (uint64_t bits = w->mask[r * words + i]; bits; bits &= bits - 1)
        products += bytes[position++] * x->q64[i * 64 + __builtin_ctzll(bits)];
      kept += (position + 1) / 2;
      sum += K(bf16_value)(((const uint16_t *)w->scales)[r * words + i]) * x->scale64[i] * (float)products;
    }
    out[r - r0] = sum;
  }
}

#endif

// MARK: Decoding

// 16 consecutive kept values as floats, by format; `unit` is the scale that applies to them.
#if LEVEL >= LK_AVX512
INLINE __m512 K(kept16_f32)(const float *kept) { return _mm512_loadu_ps(kept); }
INLINE __m512 K(kept16_bf16)(const uint16_t *kept) { return K(load_bf16)(kept); }
INLINE __m512 K(kept16_i8)(const int8_t *kept) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)kept)));
}
#define SPREAD_WORD(kept16, scaled)                                                                           \
  for (long first = 0; first < count; first += 16) {                                                          \
    unsigned part = (unsigned)(bits >> first) & 0xFFFF;                                                       \
    __mmask16 inside = (__mmask16)(count - first < 16 ? (1u << (count - first)) - 1 : 0xFFFF);                \
    __m512 spread = _mm512_maskz_expand_ps((__mmask16)part, kept16(kept));                                    \
    kept += __builtin_popcount(part);                                                                         \
    _mm512_mask_storeu_ps(target + first, inside, spread scaled);                                             \
  }
#else
INLINE float K(kept16_f32)(const float *kept) { return *kept; }
INLINE float K(kept16_bf16)(const uint16_t *kept) { return K(bf16_value)(*kept); }
INLINE float K(kept16_i8)(const int8_t *kept) { return *kept; }
#define SPREAD_WORD(kept16, scaled)                                                                           \
  memset(target, 0, (size_t)count * 4);                                                                       \
  for (uint64_t rest = bits; rest; rest &= rest - 1) target[__builtin_ctzll(rest)] = kept16(kept++) scaled;
#endif

#define DECODE_BITMASK(format, type, scale)                                                             \
  static void K(decode_bitmask_##format)(const lk_bitmask *w, long r0, long r1, float *out) {           \
    long n = w->columns, words = (n + 63) / 64;                                                         \
    for (long r = r0; r < r1; r++) {                                                                    \
      const type *kept = (const type *)w->values + K(row_start)(w, r);                                  \
      for (long i = 0; i < words; i++) {                                                                \
        uint64_t bits = w->mask[r * words + i];                                                         \
        long count = n - i * 64 < 64 ? n - i * 64 : 64;                                                 \
        float *target = out + (r - r0) * n + i * 64;                                                    \
        SPREAD_WORD(K(kept16_##format), scale)                                                          \
      }                                                                                                 \
    }                                                                                                   \
  }

DECODE_BITMASK(f32, float, )
DECODE_BITMASK(bf16, uint16_t, )
DECODE_BITMASK(i8, int8_t, *((const float *)w->scales)[r])
#undef DECODE_BITMASK

static void K(decode_bitmask_i4)(const lk_bitmask *w, long r0, long r1, float *out) {
  long n = w->columns, words = (n + 63) / 64;
  for (long r = r0; r < r1; r++) {
    const uint8_t *packed = (const uint8_t *)w->values + K(row_start)(w, r);
    for (long i = 0; i < words; i++) {
      uint64_t bits = w->mask[r * words + i];
      long count = n - i * 64 < 64 ? n - i * 64 : 64;
      float *target = out + (r - r0) * n + i * 64;
      float scale = K(bf16_value)(((const uint16_t *)w->scales)[r * words + i]);
      int8_t bytes[64 + 16];
      for (int j = 0; j < 32; j++) {
        bytes[2 * j] = (int8_t)(((packed[j] & 15) ^ 8) - 8);
        bytes[2 * j + 1] = (int8_t)(((packed[j] >> 4) ^ 8) - 8);
      }
      const int8_t *kept = bytes;
      SPREAD_WORD(K(kept16_i8), *scale)
      packed += (__builtin_popcountll(bits) + 1) / 2;
    }
  }
}
#undef SPREAD_WORD
#undef BY_ROW_GROUPS
