// Decoding of matrices that store a bit for every entry and the values whose bit is set.

// 16 consecutive kept values as floats, by format; `unit` is the scale that applies to them.
#if LEVEL >= LK_AVX512
INLINE __m512 K(kept16_f32)(const float *kept) { return _mm512_loadu_ps(kept); }
INLINE __m512 K(kept16_bf16)(const uint16_t *kept) { return K(load_bf16)(kept); }
INLINE __m512 K(kept16_f16)(const uint16_t *kept) { return K(load_f16)(kept); }
INLINE __m512 K(kept16_i8)(const int8_t *kept) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)kept)));
}
#define SPREAD_WORD(kept16, scaled)                                                             \
  for (long first = 0; first < count; first += 16) {                                            \
    unsigned part = (unsigned)(bits >> first) & 0xFFFF;                                         \
    __mmask16 inside = (__mmask16)(count - first < 16 ? (1u << (count - first)) - 1 : 0xFFFF);  \
    __m512 spread = _mm512_maskz_expand_ps((__mmask16)part, kept16(kept));                      \
    kept += __builtin_popcount(part);                                                           \
    _mm512_mask_storeu_ps(target + first, inside, spread scaled);                               \
  }
#else
INLINE float K(kept16_f32)(const float *kept) { return *kept; }
INLINE float K(kept16_bf16)(const uint16_t *kept) { return K(bf16_value)(*kept); }
INLINE float K(kept16_f16)(const uint16_t *kept) { return K(f16_value)(*kept); }
INLINE float K(kept16_i8)(const int8_t *kept) { return *kept; }
#define SPREAD_WORD(kept16, scaled)      \
  memset(target, 0, (size_t)count * 4);  \
  for (uint64_t rest = bits; rest; rest &= rest - 1) target[__builtin_ctzll(rest)] = kept16(kept++) scaled;
#endif

#define DECODE_BITMASK(format, type, scale)                                                    \
  static void K(decode_bitmask_##format)(const lk_bitmask *w, long r0, long r1, float *out) {  \
    long n = w->columns, words = (n + 63) / 64;                                                \
    for (long r = r0; r < r1; r++) {                                                           \
      const type *kept = (const type *)w->values + K(row_start)(w, r);                         \
      for (long i = 0; i < words; i++) {                                                       \
        uint64_t bits = w->mask[r * words + i];                                                \
        long count = n - i * 64 < 64 ? n - i * 64 : 64;                                        \
        float *target = out + (r - r0) * n + i * 64;                                           \
        SPREAD_WORD(K(kept16_##format), scale)                                                 \
      }                                                                                        \
    }                                                                                          \
  }

DECODE_BITMASK(f32, float, )
DECODE_BITMASK(bf16, uint16_t, )
DECODE_BITMASK(f16, uint16_t, )
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
      K(unpack64)(packed, bytes);
      const int8_t *kept = bytes;
      SPREAD_WORD(K(kept16_i8), *scale)
      packed += (__builtin_popcountll(bits) + 1) / 2;
    }
  }
}
#undef SPREAD_WORD
