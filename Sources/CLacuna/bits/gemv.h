// Products of matrices that store a bit for every entry and the values whose bit is set.
//
// The values of a mask word are loaded together and spread to the positions of the set bits, zeros between them; then
// the product goes as if the row were dense. Loads reach beyond the word's values, into those of later words.
//
// An input that is infinite or not a number must not reach the sums of rows that do not keep its column, although 0 times
// it is not a number: products are masked where that costs nothing; elsewhere the input is looked through once, and rows
// are masked (`masked`) if there is such an entry. Integer kernels, whose scales an infinite entry spoils, then multiply
// the floats.

// Where row r's values begin, in values (i4: bytes).
INLINE long K(row_start)(const lk_bitmask *w, long r) {
  return w->row_start ? (long)w->row_start[r] : r * w->row_stride;
}

// As all_finite.
INLINE int K(all_finite_bf16)(const uint16_t *x, long n) {
  int any = 0;
  for (long i = 0; i < n; i++) any |= (x[i] & 0x7F80) == 0x7F80;
  return !any;
}

// Products of integers with an input that is not finite.
static void K(gemv_bitmask_i8_floats)(const lk_bitmask *w, const float *x, long r0, long r1, float *out) {
  const long words = (w->columns + 63) / 64;
  for (long r = r0; r < r1; r++) {
    const int8_t *kept = (const int8_t *)w->values + K(row_start)(w, r);
    float sum = 0;
    for (long i = 0; i < words; i++)
      for (uint64_t bits = w->mask[r * words + i]; bits; bits &= bits - 1)
        sum += (float)*kept++ * x[i * 64 + __builtin_ctzll(bits)];
    out[r - r0] = ((const float *)w->scales)[r] * sum;
  }
}
static void K(gemv_bitmask_i4_floats)(const lk_bitmask *w, const float *x, long r0, long r1, float *out) {
  const long words = (w->columns + 63) / 64;
  for (long r = r0; r < r1; r++) {
    const uint8_t *kept = (const uint8_t *)w->values + K(row_start)(w, r);
    float total = 0;
    for (long i = 0; i < words; i++) {
      long position = 0;
      float sum = 0;
      for (uint64_t bits = w->mask[r * words + i]; bits; bits &= bits - 1)
        sum += sparse_nibble(kept, position++) * x[i * 64 + __builtin_ctzll(bits)];
      kept += (position + 1) / 2;
      total += K(bf16_value)(((const uint16_t *)w->scales)[r * words + i]) * sum;
    }
    out[r - r0] = total;
  }
}

#if LEVEL >= LK_AVX2 || defined(__aarch64__)

// How many rows a call of the `_rows` functions walks together: they share the loads of the input, which otherwise
// cost more than those of the weights.
enum { K(together) = 3 };

enum { K(distance) = 3072 };  // how far ahead values are asked for, in bytes

// Asks for the values of the four words, or so, that lie `distance` ahead, and once in eight words for their masks.
INLINE void K(fetch_bytes)(const void *kept, const uint64_t *mask, long word, int lines) {
  for (int i = 0; i < lines; i++) __builtin_prefetch((const char *)kept + K(distance) + 64 * i);
  if (word % 8 == 0) __builtin_prefetch((const char *)mask + 1024);
}

// Where the values and the bits of each of the rows begin.
#define START_ROWS(T, M)                                        \
  const T *kept[K(together)];                                   \
  const M *mask[K(together)];                                   \
  UNROLLED for (int j = 0; j < count; j++) {                    \
    kept[j] = (const T *)w->values + K(row_start)(w, rows[j]);  \
    mask[j] = (const M *)(w->mask + rows[j] * words);           \
  }

// A product by groups of rows. The rows of a group come from the three thirds of the range, so that weights arrive in
// three long streams; four, a power of two apart as a rule, compete for the same cache lines.
#define ROW_GROUPS(rows_of, ...)                                                      \
  {                                                                                   \
    const long part = (r1 - r0) / K(together);                                        \
    for (long i = 0; i < part; i++) {                                                 \
      long rows[K(together)];                                                         \
      float results[K(together)];                                                     \
      UNROLLED for (int j = 0; j < K(together); j++) rows[j] = r0 + j * part + i;     \
      rows_of(w, x, rows, K(together), results, ##__VA_ARGS__);                       \
      UNROLLED for (int j = 0; j < K(together); j++) out[j * part + i] = results[j];  \
    }                                                                                 \
    for (long r = r0 + K(together) * part; r < r1; r++)                               \
      rows_of(w, x, &r, 1, out + (r - r0), ##__VA_ARGS__);                            \
  }
#define BY_ROW_GROUPS(name)                                                                  \
  static void K(name)(const lk_bitmask *w, const lk_input *x, long r0, long r1, float *out)  \
    ROW_GROUPS(K(name##_rows))
// Of a function that masks if told to, where `finite` is 0.
#define BY_ROW_GROUPS_MASKED(name, finite)                                                     \
  static __attribute__((noinline)) void K(name##_masked)(                                      \
      const lk_bitmask *w, const lk_input *x, long r0, long r1, float *out)                    \
    ROW_GROUPS(K(name##_rows), 1)                                                              \
  static void K(name)(const lk_bitmask *w, const lk_input *x, long r0, long r1, float *out) {  \
    if (!(finite)) {                                                                           \
      K(name##_masked)(w, x, r0, r1, out);                                                     \
      return;                                                                                  \
    }                                                                                          \
    ROW_GROUPS(K(name##_rows), 0)                                                              \
  }
#define BY_ROW_GROUPS_INTEGER(name)                                                            \
  static void K(name)(const lk_bitmask *w, const lk_input *x, long r0, long r1, float *out) {  \
    if (K(all_finite)(x->x, w->columns)) ROW_GROUPS(K(name##_rows))                            \
    else K(name##_floats)(w, x->x, r0, r1, out);                                               \
  }

#endif

#if LEVEL >= LK_AVX512

// Values spread to the positions of a mask's set bits, zeros between: a load, and an expanding instruction whose source
// is its destination. Compilers would choose forms several times slower: with a memory operand, or into another
// register, on whose old content the instruction then waits. A mask that comes straight from memory saves a transfer
// between register files.
#define SPREAD(name, type, mask_type, load, move, expand)                             \
  INLINE __m512i K(name)(const type *kept, const mask_type *mask, __mmask64 *bits) {  \
    __m512i v = load(kept);                                                           \
    __mmask64 k;                                                                      \
    __asm__(move " %1, %0" : "=Yk"(k) : "m"(*mask));                                  \
    __asm__(expand " %0, %0%{%1%}%{z%}" : "+v"(v) : "Yk"(k));                         \
    *bits = k;                                                                        \
    return v;                                                                         \
  }
INLINE __m512i K(load_halves)(const uint16_t *kept) { return _mm512_castps_si512(K(load_f16)(kept)); }
SPREAD(spread_f32, float, uint16_t, _mm512_loadu_si512, "kmovw", "vexpandps")
SPREAD(spread_f16, uint16_t, uint16_t, K(load_halves), "kmovw", "vexpandps")
#if LEVEL >= LK_AVX512_VNNI
SPREAD(spread_bf16, uint16_t, uint32_t, _mm512_loadu_si512, "kmovd", "vpexpandw")
SPREAD(spread_i8, int8_t, uint64_t, _mm512_loadu_si512, "kmovq", "vpexpandb")

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

#define BITMASK_SINGLE(format, type)                                                                    \
  INLINE void K(gemv_bitmask_##format##_rows)(                                                          \
      const lk_bitmask *w, const lk_input *input, const long *rows, const int count, float *results) {  \
    long words = (w->columns + 63) / 64;                                                                \
    const float *x = input->x;                                                                          \
    START_ROWS(type, uint16_t)                                                                          \
    __m512 sum[K(together)][2] = {0};                                                                   \
    for (long i = 0; i < words * 4; i += 2) {                                                           \
      __m512 first = _mm512_loadu_ps(x + i * 16), second = _mm512_loadu_ps(x + i * 16 + 16);            \
      UNROLLED for (int j = 0; j < count; j++) {                                                        \
        __builtin_prefetch((const char *)kept[j] + K(distance));                                        \
        __mmask64 left, right;                                                                          \
        __m512 low = (__m512)K(spread_##format)(kept[j], mask[j] + i, &left);                           \
        kept[j] += __builtin_popcount(mask[j][i]);                                                      \
        __m512 high = (__m512)K(spread_##format)(kept[j], mask[j] + i + 1, &right);                     \
        kept[j] += __builtin_popcount(mask[j][i + 1]);                                                  \
        sum[j][0] = _mm512_mask3_fmadd_ps(low, first, sum[j][0], (__mmask16)left);                      \
        sum[j][1] = _mm512_mask3_fmadd_ps(high, second, sum[j][1], (__mmask16)right);                   \
      }                                                                                                 \
    }                                                                                                   \
    UNROLLED for (int j = 0; j < count; j++) results[j] = _mm512_reduce_add_ps(sum[j][0] + sum[j][1]);  \
  }                                                                                                     \
  BY_ROW_GROUPS(gemv_bitmask_##format)
BITMASK_SINGLE(f32, float)
BITMASK_SINGLE(f16, uint16_t)
#undef BITMASK_SINGLE

#endif

#if LEVEL >= LK_AVX512_BF16

INLINE void K(gemv_bitmask_bf16_rows)(
    const lk_bitmask *w, const lk_input *input, const long *rows, const int count, float *results,
    const int masked) {
  long words = (w->columns + 63) / 64;
  const uint16_t *x = input->bf16;
  START_ROWS(uint16_t, uint64_t)
  __m512 sum[K(together)][2] = {0};
  for (long i = 0; i < words; i++) {
    const __m512i first = _mm512_loadu_si512(x + i * 64), second = _mm512_loadu_si512(x + i * 64 + 32);
    UNROLLED for (int j = 0; j < count; j++) {
      __builtin_prefetch((const char *)kept[j] + K(distance));
      const uint32_t *half = (const uint32_t *)(mask[j] + i);
      // Both counts come from one load: loads, of which those of values cross cache lines, are what there are most of.
      uint64_t bits = mask[j][i];
      const uint16_t *upper = kept[j] + __builtin_popcount((uint32_t)bits);
      __mmask64 left, right;
      const __m512bh low = (__m512bh)K(spread_bf16)(kept[j], half, &left);
      const __m512bh high = (__m512bh)K(spread_bf16)(upper, half + 1, &right);
      const __m512i in_low = masked ? _mm512_maskz_mov_epi16((__mmask32)left, first) : first;
      const __m512i in_high = masked ? _mm512_maskz_mov_epi16((__mmask32)right, second) : second;
      sum[j][0] = _mm512_dpbf16_ps(sum[j][0], low, (__m512bh)in_low);
      sum[j][1] = _mm512_dpbf16_ps(sum[j][1], high, (__m512bh)in_high);
      kept[j] += __builtin_popcountll(bits);
    }
  }
  UNROLLED for (int j = 0; j < count; j++) results[j] = _mm512_reduce_add_ps(sum[j][0] + sum[j][1]);
}
BY_ROW_GROUPS_MASKED(gemv_bitmask_bf16, K(all_finite_bf16)(x->bf16, w->columns))

#elif LEVEL >= LK_AVX512_VNNI

INLINE void K(gemv_bitmask_bf16_rows)(
    const lk_bitmask *w, const lk_input *input, const long *rows, const int count, float *results,
    const int masked) {
  long words = (w->columns + 63) / 64;
  __m512i upper = _mm512_set1_epi32((int)0xFFFF0000u);
  const float *x = input->split;
  START_ROWS(uint16_t, uint32_t)
  __m512 sum[K(together)][2] = {0};
  // A pair of bf16 in 32 bits: the even column below, the odd one above. `split` has the inputs in that order.
  for (long i = 0; i < words * 2; i += 2) {
    __m512 in[4];
    UNROLLED for (int u = 0; u < 4; u++) in[u] = _mm512_loadu_ps(x + i * 32 + u * 16);
    UNROLLED for (int j = 0; j < count; j++) {
      __builtin_prefetch((const char *)kept[j] + K(distance));
      UNROLLED for (int u = 0; u < 2; u++) {
        __mmask64 bits;
        __m512i pairs = K(spread_bf16)(kept[j], mask[j] + i + u, &bits);
        kept[j] += __builtin_popcount(mask[j][i + u]);
        const __m512 even = _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
        const __m512 odd = _mm512_castsi512_ps(_mm512_and_si512(pairs, upper));
        if (masked) {
          const uint32_t word = mask[j][i + u];
          sum[j][0] = _mm512_mask3_fmadd_ps(even, in[2 * u], sum[j][0], (__mmask16)_pext_u32(word, 0x55555555));
          sum[j][1] = _mm512_mask3_fmadd_ps(odd, in[2 * u + 1], sum[j][1], (__mmask16)_pext_u32(word, 0xAAAAAAAA));
        } else {
          sum[j][0] += even * in[2 * u];
          sum[j][1] += odd * in[2 * u + 1];
        }
      }
    }
  }
  UNROLLED for (int j = 0; j < count; j++) results[j] = _mm512_reduce_add_ps(sum[j][0] + sum[j][1]);
}
BY_ROW_GROUPS_MASKED(gemv_bitmask_bf16, K(all_finite)(x->rounded, w->columns))

#endif

#if LEVEL >= LK_AVX512_VNNI

INLINE void K(gemv_bitmask_i8_rows)(
    const lk_bitmask *w, const lk_input *input, const long *rows, const int count, float *results) {
  long words = (w->columns + 63) / 64;
  const int8_t *x = input->q64;
  const float *scale = input->scale64;
  START_ROWS(int8_t, uint64_t)
  __m512 sum[K(together)] = {0};
  for (long i = 0; i < words; i++) {
    if (i % 4 == 0)
      UNROLLED for (int j = 0; j < count; j++) K(fetch_bytes)(kept[j], mask[j] + i, i, 3);
    __m512i q = _mm512_loadu_si512(x + i * 64), start = K(bias_sums)(128, q);
    UNROLLED for (int j = 0; j < count; j++) {
      __mmask64 bits;
      __m512i spread = K(spread_i8)(kept[j], mask[j] + i, &bits);
      kept[j] += __builtin_popcountll(mask[j][i]);
      __m512i shifted = _mm512_xor_si512(spread, _mm512_set1_epi8(-128));
      sum[j] += _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(start, shifted, q)) * scale[i];
    }
  }
  UNROLLED for (int j = 0; j < count; j++)
    results[j] = ((const float *)w->scales)[rows[j]] * _mm512_reduce_add_ps(sum[j]);
}
BY_ROW_GROUPS_INTEGER(gemv_bitmask_i8)

INLINE void K(gemv_bitmask_i4_rows)(
    const lk_bitmask *w, const lk_input *input, const long *rows, const int count, float *results) {
  long words = (w->columns + 63) / 64;
  const int8_t *x = input->q64;
  START_ROWS(uint8_t, uint64_t)
  const uint16_t *scales[K(together)];
  UNROLLED for (int j = 0; j < count; j++) scales[j] = (const uint16_t *)w->scales + rows[j] * words;
  __m512 sum[K(together)] = {0};
  for (long first = 0; first < words; first += 16) {
    UNROLLED for (int j = 0; j < count; j++) __builtin_prefetch(scales[j] + first + 128);
    // The scales of 16 groups at once.
    long last = first + 16 < words ? first + 16 : words;
    float scale[K(together)][16];
    long n = last - first;
    UNROLLED for (int j = 0; j < count; j++)
      K(store)(scale[j], K(load_scales)(scales[j] + first, n) * K(load_part)(input->scale64 + first, n));
    for (long i = first; i < last; i++) {
      if (i % 4 == 0)
        UNROLLED for (int j = 0; j < count; j++) K(fetch_bytes)(kept[j], mask[j] + i, i, 2);
      __m512i q = _mm512_loadu_si512(x + i * 64), start = K(bias_sums)(8, q);
      UNROLLED for (int j = 0; j < count; j++) {
        __m512i spread = K(spread_nibbles)(kept[j], mask[j] + i);
        kept[j] += (__builtin_popcountll(mask[j][i]) + 1) / 2;
        sum[j] += _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(start, spread, q)) * scale[j][i - first];
      }
    }
  }
  UNROLLED for (int j = 0; j < count; j++) results[j] = _mm512_reduce_add_ps(sum[j]);
}
BY_ROW_GROUPS_INTEGER(gemv_bitmask_i4)

#endif

#if (LEVEL >= LK_AVX2 && LEVEL < LK_AVX512_VNNI) || defined(__aarch64__)

// Without expanding instructions, values are spread eight columns at a time by byte shuffles whose indices are looked up
// by the bits of the mask. Loops over rows and eights are unrolled by force: pointers and sums that stay in memory cost
// as much as all the rest. (Places of all eights at once, by one multiplication, were no faster than counting on.)

#if LEVEL >= LK_AVX2
enum { K(parts) = 1 };  // vectors that eight floats fill
typedef __m256 K(part_f32);

INLINE int K(count8)(unsigned bits) { return __builtin_popcount(bits); }

INLINE void K(spread8_f32)(const float *kept, unsigned mask, K(part_f32) * out) {
  // Sign-extended, the index of an absent entry is negative, which blendv takes for zero.
  __m256i index = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)spread_bytes[mask]));
  __m256 spread = _mm256_permutevar8x32_ps(_mm256_loadu_ps(kept), index);
  out[0] = _mm256_blendv_ps(spread, _mm256_setzero_ps(), _mm256_castsi256_ps(index));
}

INLINE void K(spread8_bf16)(const uint16_t *kept, unsigned mask, K(part_f32) * out) {
  __m128i spread = _mm_shuffle_epi8(
      _mm_loadu_si128((const __m128i *)kept), _mm_loadu_si128((const __m128i *)spread_words[mask]));
  out[0] = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(spread), 16));
}

INLINE void K(spread8_f16)(const uint16_t *kept, unsigned mask, K(part_f32) * out) {
  out[0] = _mm256_cvtph_ps(_mm_shuffle_epi8(
      _mm_loadu_si128((const __m128i *)kept), _mm_loadu_si128((const __m128i *)spread_words[mask])));
}

INLINE K(part_f32) K(load_eighth)(const float *p) { return _mm256_loadu_ps(p); }
INLINE float K(sum_part)(K(part_f32) sum) { return K(sum8)(sum); }

#else
enum { K(parts) = 2 };
typedef float32x4_t K(part_f32);

// To count in a vector register would take the bits there and back.
INLINE int K(count8)(unsigned bits) { return spread_counts[bits]; }

INLINE void K(spread8_f32)(const float *kept, unsigned mask, K(part_f32) * out) {
  // Indices beyond the table of bytes give zeros.
  const float *upper = kept + K(count8)(mask & 15);
  out[0] = vreinterpretq_f32_u8(vqtbl1q_u8(vld1q_u8((const uint8_t *)kept), vld1q_u8(spread_floats[mask & 15])));
  out[1] = vreinterpretq_f32_u8(vqtbl1q_u8(vld1q_u8((const uint8_t *)upper), vld1q_u8(spread_floats[mask >> 4])));
}

INLINE void K(spread8_bf16)(const uint16_t *kept, unsigned mask, K(part_f32) * out) {
  uint16x8_t spread =
      vreinterpretq_u16_u8(vqtbl1q_u8(vld1q_u8((const uint8_t *)kept), vld1q_u8(spread_words[mask])));
  out[0] = vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(spread), 16));
  out[1] = vreinterpretq_f32_u32(vshll_high_n_u16(spread, 16));
}

INLINE void K(spread8_f16)(const uint16_t *kept, unsigned mask, K(part_f32) * out) {
  float16x8_t spread =
      vreinterpretq_f16_u8(vqtbl1q_u8(vld1q_u8((const uint8_t *)kept), vld1q_u8(spread_words[mask])));
  out[0] = vcvt_f32_f16(vget_low_f16(spread));
  out[1] = vcvt_high_f32_f16(spread);
}

INLINE K(part_f32) K(load_eighth)(const float *p) { return vld1q_f32(p); }
INLINE float K(sum_part)(K(part_f32) sum) { return vaddvq_f32(sum); }
#endif

// The entries of x whose bit is set, and zeros.
INLINE K(part_f32) K(keep_eighth)(K(part_f32) x, unsigned bits) {
  uint32_t entries[8 / K(parts)];
  memcpy(entries, &x, sizeof entries);
  for (int i = 0; i < 8 / K(parts); i++) entries[i] &= -(bits >> i & 1);
  memcpy(&x, entries, sizeof entries);
  return x;
}

#define BITMASK_FLOAT(format, type, input_form)                                                        \
  INLINE void K(gemv_bitmask_##format##_rows)(                                                         \
      const lk_bitmask *w, const lk_input *input, const long *rows, const int count, float *results,   \
      const int masked) {                                                                              \
    long words = (w->columns + 63) / 64;                                                               \
    START_ROWS(type, uint8_t)                                                                          \
    K(part_f32) sum[K(together)][2] = {0};                                                             \
    for (long i = 0; i < words * 8; i += 8) {                                                          \
      UNROLLED for (int j = 0; j < count; j++)                                                         \
        __builtin_prefetch((const char *)kept[j] + K(distance));                                       \
      UNROLLED for (int u = 0; u < 8; u++) {                                                           \
        K(part_f32) in[K(parts)], spread[K(parts)];                                                    \
        UNROLLED for (int v = 0; v < K(parts); v++)                                                    \
          in[v] = K(load_eighth)(input->input_form + (i + u) * 8 + v * (8 / K(parts)));                \
        UNROLLED for (int j = 0; j < count; j++) {                                                     \
          unsigned bits = mask[j][i + u];                                                              \
          K(spread8_##format)(kept[j], bits, spread);                                                  \
          kept[j] += K(count8)(bits);                                                                  \
          UNROLLED for (int v = 0; v < K(parts); v++) {                                                \
            const K(part_f32) x = masked ? K(keep_eighth)(in[v], bits >> v * (8 / K(parts))) : in[v];  \
            sum[j][(u + v) & 1] += spread[v] * x;                                                      \
          }                                                                                            \
        }                                                                                              \
      }                                                                                                \
    }                                                                                                  \
    UNROLLED for (int j = 0; j < count; j++) results[j] = K(sum_part)(sum[j][0] + sum[j][1]);          \
  }                                                                                                    \
  BY_ROW_GROUPS_MASKED(gemv_bitmask_##format, K(all_finite)(x->input_form, w->columns))

#if LEVEL < LK_AVX512
BITMASK_FLOAT(f32, float, x)
BITMASK_FLOAT(f16, uint16_t, x)
#endif
BITMASK_FLOAT(bf16, uint16_t, rounded)
#undef BITMASK_FLOAT

// Bytes and nibbles of one group of 64 columns, spread; `place` is where the next ones are, and moves on.
#if LEVEL >= LK_AVX2
typedef __m256i K(part_bytes);
enum { K(byte_parts) = 2 };

INLINE K(part_bytes) K(spread_part_i8)(const int8_t *kept, const uint8_t *mask, long *place) {
  __m128i eight[4];
  UNROLLED for (int u = 0; u < 4; u++) {
    eight[u] = _mm_shuffle_epi8(
        _mm_loadl_epi64((const __m128i *)(kept + *place)), _mm_loadl_epi64((const __m128i *)spread_bytes[mask[u]]));
    *place += K(count8)(mask[u]);
  }
  return _mm256_set_m128i(_mm_unpacklo_epi64(eight[2], eight[3]), _mm_unpacklo_epi64(eight[0], eight[1]));
}

INLINE K(part_bytes) K(spread_part_i4)(const uint8_t *kept, const uint8_t *mask, long *place) {
  uint64_t eight[4];
  UNROLLED for (int u = 0; u < 4; u++) {
    uint64_t nibbles, places;
    memcpy(&nibbles, kept + *place / 2, 8);
    memcpy(&places, spread_nibbles[mask[u]], 8);
    eight[u] = _pdep_u64(nibbles >> 4 * (*place & 1), places);
    *place += K(count8)(mask[u]);
  }
  __m256i bytes = _mm256_set_epi64x((long long)eight[3], (long long)eight[2], (long long)eight[1], (long long)eight[0]);
  return _mm256_sub_epi8(_mm256_xor_si256(bytes, _mm256_set1_epi8(8)), _mm256_set1_epi8(8));
}

INLINE K(part_f32) K(group_products)(const K(part_bytes) * w, const int8_t *q) {
  return _mm256_cvtepi32_ps(_mm256_add_epi32(
      K(multiply_signed)(w[0], K(load32)(q)), K(multiply_signed)(w[1], K(load32)(q + 32))));
}

#else
typedef int8x16_t K(part_bytes);
enum { K(byte_parts) = 4 };

INLINE K(part_bytes) K(spread_part_i8)(const int8_t *kept, const uint8_t *mask, long *place) {
  int8x8_t eight[2];
  UNROLLED for (int u = 0; u < 2; u++) {
    eight[u] = vtbl1_s8(vld1_s8(kept + *place), vld1_s8((const int8_t *)spread_bytes[mask[u]]));
    *place += K(count8)(mask[u]);
  }
  return vcombine_s8(eight[0], eight[1]);
}

INLINE K(part_bytes) K(spread_part_i4)(const uint8_t *kept, const uint8_t *mask, long *place) {
  uint8x8_t eight[2];
  UNROLLED for (int u = 0; u < 2; u++) {
    uint8x8_t pairs = vld1_u8(kept + *place / 2), low = vand_u8(pairs, vdup_n_u8(15)), high = vshr_n_u8(pairs, 4);
    uint8x16_t nibbles = vcombine_u8(vzip1_u8(low, high), vzip2_u8(low, high));
    eight[u] = vqtbl1_u8(nibbles, vadd_u8(vld1_u8(spread_bytes[mask[u]]), vdup_n_u8(*place & 1)));
    *place += K(count8)(mask[u]);
  }
  uint8x16_t bytes = veorq_u8(vcombine_u8(eight[0], eight[1]), vdupq_n_u8(8));
  return vreinterpretq_s8_u8(vsubq_u8(bytes, vdupq_n_u8(8)));
}

INLINE K(part_f32) K(group_products)(const K(part_bytes) * w, const int8_t *q) {
  int32x4_t sum = vdupq_n_s32(0);
  for (int p = 0; p < 4; p++) {
    int8x16_t in = vld1q_s8(q + 16 * p);
    sum = vpadalq_s16(sum, vmull_s8(vget_low_s8(w[p]), vget_low_s8(in)));
    sum = vpadalq_s16(sum, vmull_high_s8(w[p], in));
  }
  return vcvtq_f32_s32(sum);
}
#endif

#define BITMASK_BYTES(format, type, bytes_of, word_scale, row_scale)                                         \
  INLINE void K(gemv_bitmask_##format##_rows)(                                                               \
      const lk_bitmask *w, const lk_input *input, const long *rows, const int count, float *results) {       \
    long words = (w->columns + 63) / 64;                                                                     \
    START_ROWS(type, uint8_t)                                                                                \
    K(part_f32) sum[K(together)][2] = {0};                                                                   \
    for (long i = 0; i < words; i++)                                                                         \
      UNROLLED for (int j = 0; j < count; j++) {                                                             \
        K(part_bytes) spread[K(byte_parts)];                                                                 \
        long place = 0;                                                                                      \
        if (i % 2 == 0) __builtin_prefetch((const char *)kept[j] + K(distance));                             \
        UNROLLED for (int p = 0; p < K(byte_parts); p++)                                                     \
          spread[p] = K(spread_part_##format)(kept[j], mask[j] + 8 * i + 8 / K(byte_parts) * p, &place);     \
        sum[j][i & 1] += K(group_products)(spread, input->q64 + i * 64) * (word_scale);                      \
        kept[j] += bytes_of(place);                                                                          \
      }                                                                                                      \
    UNROLLED for (int j = 0; j < count; j++) results[j] = (row_scale) * K(sum_part)(sum[j][0] + sum[j][1]);  \
  }                                                                                                          \
  BY_ROW_GROUPS_INTEGER(gemv_bitmask_##format)

#define OF_BYTES(n) (n)
#define OF_NIBBLES(n) ((n) + 1) / 2
BITMASK_BYTES(i8, int8_t, OF_BYTES, input->scale64[i], ((const float *)w->scales)[rows[j]])
BITMASK_BYTES(
    i4, uint8_t, OF_NIBBLES,
    K(bf16_value)(((const uint16_t *)w->scales)[rows[j] * words + i]) * input->scale64[i], 1)
#undef BITMASK_BYTES
#undef OF_BYTES
#undef OF_NIBBLES

#elif LEVEL < LK_AVX2  // one kept value after the other, in two alternating sums

#define BITMASK_FLOAT(format, type, value, input_form)                                                              \
  static void K(gemv_bitmask_##format)(const lk_bitmask *w, const lk_input *input, long r0, long r1, float *out) {  \
    long words = (w->columns + 63) / 64;                                                                            \
    for (long r = r0; r < r1; r++) {                                                                                \
      const type *kept = (const type *)w->values + K(row_start)(w, r);                                              \
      float even = 0, odd = 0;                                                                                      \
      for (long i = 0; i < words; i++) {                                                                            \
        const float *x = input->input_form + i * 64;                                                                \
        uint64_t bits = w->mask[r * words + i];                                                                     \
        while (bits) {                                                                                              \
          even += value(*kept++) * x[__builtin_ctzll(bits)];                                                        \
          bits &= bits - 1;                                                                                         \
          if (!bits) break;                                                                                         \
          odd += value(*kept++) * x[__builtin_ctzll(bits)];                                                         \
          bits &= bits - 1;                                                                                         \
        }                                                                                                           \
      }                                                                                                             \
      out[r - r0] = even + odd;                                                                                     \
    }                                                                                                               \
  }

BITMASK_FLOAT(f32, float, , x)
BITMASK_FLOAT(f16, uint16_t, K(f16_value), x)
BITMASK_FLOAT(bf16, uint16_t, K(bf16_value), rounded)
#undef BITMASK_FLOAT

static void K(gemv_bitmask_i8)(const lk_bitmask *w, const lk_input *x, long r0, long r1, float *out) {
  if (!K(all_finite)(x->x, w->columns)) {
    K(gemv_bitmask_i8_floats)(w, x->x, r0, r1, out);
    return;
  }
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
  if (!K(all_finite)(x->x, w->columns)) {
    K(gemv_bitmask_i4_floats)(w, x->x, r0, r1, out);
    return;
  }
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

#undef START_ROWS
#undef ROW_GROUPS
#undef BY_ROW_GROUPS
#undef BY_ROW_GROUPS_MASKED
#undef BY_ROW_GROUPS_INTEGER
