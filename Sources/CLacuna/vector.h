// Vectors of VECTOR_BYTES bytes: loads, stores, reductions and conversions, in clang's vector extensions where those
// give the right instructions.

#define LANES (VECTOR_BYTES / 4)
#define VF K(vf)
#define VI K(vi)
#define VU K(vu)
#define INLINE static inline __attribute__((always_inline))

typedef float VF __attribute__((vector_size(VECTOR_BYTES)));
typedef int32_t VI __attribute__((vector_size(VECTOR_BYTES)));
typedef uint32_t VU __attribute__((vector_size(VECTOR_BYTES)));
typedef uint16_t K(vh) __attribute__((vector_size(VECTOR_BYTES / 2)));
typedef double K(vd) __attribute__((vector_size(VECTOR_BYTES)));
typedef float K(vf_half) __attribute__((vector_size(VECTOR_BYTES / 2)));
// The same in memory, at any address that their elements may have.
typedef float K(vf_memory) __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
typedef uint16_t K(vh_memory) __attribute__((vector_size(VECTOR_BYTES / 2), aligned(2), may_alias));
typedef float K(vf_half_memory) __attribute__((vector_size(VECTOR_BYTES / 2), aligned(4), may_alias));
typedef double K(vd_memory) __attribute__((vector_size(VECTOR_BYTES), aligned(8), may_alias));

// A loop over vectors that are to stay in registers: unrolled whatever the compiler's options say.
#define UNROLLED _Pragma("clang loop unroll(full)")
// A loop whose loads depend on its indices: hardware gathers are no faster than loads one by one.
#define NO_GATHER _Pragma("clang loop vectorize(disable) interleave(disable)")

INLINE VF K(load)(const float *p) { return *(const K(vf_memory) *)p; }
INLINE void K(store)(float *p, VF v) { *(K(vf_memory) *)p = v; }
INLINE VF K(splat)(float x) { return x - (VF){0}; }

// The first n < LANES entries, and zeros.
INLINE VF K(load_part)(const float *p, long n) {
#if LEVEL >= LK_AVX512
  return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#else
  float whole[LANES] = {0};
  memcpy(whole, p, (size_t)n * 4);
  return K(load)(whole);
#endif
}

INLINE void K(store_part)(float *p, VF v, long n) {
#if LEVEL >= LK_AVX512
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), v);
#else
  memcpy(p, &v, (size_t)n * 4);
#endif
}

// The lanes of `a` where `condition` is all ones, those of `b` where it is all zeros.
INLINE VF K(choose)(VI condition, VF a, VF b) { return (VF)((condition & (VI)a) | (~condition & (VI)b)); }
INLINE VF K(larger)(VF a, VF b) { return K(choose)(a > b, a, b); }
INLINE VF K(absolute)(VF a) { return (VF)((VI)a & 0x7FFFFFFF); }

INLINE float K(sum_lanes)(VF v) {
#if LEVEL >= LK_AVX512
  return _mm512_reduce_add_ps(v);
#else
  float sum = 0;
  for (int i = 0; i < LANES; i++) sum += v[i];
  return sum;
#endif
}

INLINE float K(max_lanes)(VF v) {
  float best = v[0];
  for (int i = 1; i < LANES; i++) best = v[i] > best ? v[i] : best;
  return best;
}

// MARK: Reduced precision

INLINE VF K(widen_bf16)(K(vh) v) { return (VF)(__builtin_convertvector(v, VU) << 16); }
INLINE VF K(load_bf16)(const uint16_t *p) { return K(widen_bf16)(*(const K(vh_memory) *)p); }

INLINE float K(bf16_value)(uint16_t bits) {
  uint32_t word = (uint32_t)bits << 16;
  float x;
  memcpy(&x, &word, 4);
  return x;
}

INLINE VF K(widen_f16)(K(vh) v) {
#if LEVEL >= LK_AVX512
  return _mm512_cvtph_ps((__m256i)v);
#elif LEVEL == LK_AVX2
  return _mm256_cvtph_ps((__m128i)v);
#else
  // The exponent is moved by a multiplication, which also normalises subnormal numbers; infinities and NaNs get the
  // rest of their exponent afterwards.
  VU bits = __builtin_convertvector(v, VU);
  VF magnitude = (VF)((bits & 0x7FFF) << 13) * 0x1p112f;
  VU special = (VU)(magnitude >= 65536.0f) & 0x7F800000;
  return (VF)((VU)magnitude | special | (bits & 0x8000) << 16);
#endif
}

INLINE VF K(load_f16)(const uint16_t *p) { return K(widen_f16)(*(const K(vh_memory) *)p); }

INLINE float K(f16_value)(uint16_t bits) {
#if LEVEL >= LK_AVX2
  return _cvtsh_ss(bits);
#elif defined(__aarch64__)
  __fp16 half;
  memcpy(&half, &bits, 2);
  return half;
#else
  return reference_f16_value(bits);
#endif
}

INLINE K(vh) K(load_half_words_part)(const uint16_t *p, long n) {
  uint16_t whole[LANES] = {0};
  memcpy(whole, p, (size_t)n * 2);
  return *(const K(vh_memory) *)whole;
}
INLINE VF K(load_bf16_part)(const uint16_t *p, long n) { return K(widen_bf16)(K(load_half_words_part)(p, n)); }
INLINE VF K(load_f16_part)(const uint16_t *p, long n) { return K(widen_f16)(K(load_half_words_part)(p, n)); }

#if LEVEL >= LK_AVX512
// n <= 16 bf16 scales, and zeros.
INLINE VF K(load_scales)(const uint16_t *p, long n) {
  return K(widen_bf16)((K(vh))_mm256_maskz_loadu_epi16((__mmask16)((1u << n) - 1), p));
}
#endif

// MARK: Four numbers at a time

// Four numbers, repeated in every 16 bytes of a vector: `SPLAT(q, i)` then brings one of them into every lane by a shuffle
// within 16 bytes. A broadcast from memory would be a load, and loads are what products with panels are bound by; the
// empty assembly keeps the compiler from seeing that the two are the same.
typedef float K(quad_floats) __attribute__((vector_size(16)));
typedef uint32_t K(quad_words) __attribute__((vector_size(16)));
typedef float K(quad_floats_memory) __attribute__((vector_size(16), aligned(4), may_alias));
typedef uint16_t K(quad_halves_memory) __attribute__((vector_size(8), aligned(2), may_alias));
typedef int8_t K(quad_bytes_memory) __attribute__((vector_size(4), aligned(1), may_alias));

INLINE VF K(quad)(K(quad_floats) v) {
#if VECTOR_BYTES == 64
  VF q = __builtin_shufflevector(v, v, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3);
  __asm__("" : "+v"(q));
  return q;
#elif VECTOR_BYTES == 32
  return __builtin_shufflevector(v, v, 0, 1, 2, 3, 0, 1, 2, 3);
#else
  return v;
#endif
}
INLINE VF K(quad_f32)(const float *p) { return K(quad)(*(const K(quad_floats_memory) *)p); }
INLINE VF K(quad_bf16)(const uint16_t *p) {
  return K(quad)((K(quad_floats))(__builtin_convertvector(*(const K(quad_halves_memory) *)p, K(quad_words)) << 16));
}
INLINE VF K(quad_f16)(const uint16_t *p) {
#if LEVEL >= LK_AVX2
  return K(quad)((K(quad_floats))_mm_cvtph_ps(_mm_loadl_epi64((const __m128i *)p)));
#else
  return K(quad)((K(quad_floats)){K(f16_value)(p[0]), K(f16_value)(p[1]), K(f16_value)(p[2]), K(f16_value)(p[3])});
#endif
}
INLINE VF K(quad_i8)(const int8_t *p) {
  return K(quad)(__builtin_convertvector(*(const K(quad_bytes_memory) *)p, K(quad_floats)));
}
#if VECTOR_BYTES == 64
#define SPLAT(q, i)                                                                                                \
  __builtin_shufflevector(                                                                                         \
      q, q, i, i, i, i, 4 + i, 4 + i, 4 + i, 4 + i, 8 + i, 8 + i, 8 + i, 8 + i, 12 + i, 12 + i, 12 + i, 12 + i)
#elif VECTOR_BYTES == 32
#define SPLAT(q, i) __builtin_shufflevector(q, q, i, i, i, i, 4 + i, 4 + i, 4 + i, 4 + i)
#else
#define SPLAT(q, i) __builtin_shufflevector(q, q, i, i, i, i)
#endif

// MARK: Exponential

// exp(x) to 2e-7 relative; 0 below -87, at most exp(88).
INLINE VF K(exponential)(VF x) {
  // The rounding and the two-part logarithm depend on the order of operations.
#pragma clang fp reassociate(off)
  VF bounded = K(choose)(x > 88.0f, K(splat)(88.0f), K(choose)(x < -87.0f, K(splat)(-87.0f), x));
  const float to_integer = 0x1.8p23f;
  VF shifted = bounded * 0x1.715476p+0f + to_integer;
  VF n = shifted - to_integer;
  VF r = (bounded - n * 0x1.62e4p-1f) - n * 0x1.7f7d1cp-20f;  // ln 2 in two parts, the first short enough to be exact
  VF p = 1.0f + r * (1.0f + r * (1.0f / 2 + r * (1.0f / 6 + r * (1.0f / 24 + r * (1.0f / 120 + r * (1.0f / 720))))));
  VF power = (VF)(((VI)shifted << 23) + 0x3F800000);  // the low bits of `shifted` are n
  return (VF)(~(VI)(x < -87.0f) & (VI)(p * power));
}
