// Products of CSR matrices with one vector. Included by level.h once for each level.
//
// Gathers are no faster than scalar loads on processors that have them. What bounds scalar loops is the number of loads,
// three an entry. With AVX2, eight entries take one load of values, two of columns, and eight broadcasts of inputs, which
// are blended together two by two, three times: blends run on more ports than shuffles do. The loads bound it at 0.7 cycles
// an entry; entries are asked for long before, as the two streams of values and columns otherwise fall behind that.
// Where a row ends is not foreseen; that it costs one wrong guess and not several, the last sixteen entries are read once
// more and those that have been added are masked.

#define VALUE_f32(w, r, j, c) (((const float *)(w)->values)[j])
#define VALUE_bf16(w, r, j, c) sparse_bf16(((const uint16_t *)(w)->values)[j])
#define VALUE_f16(w, r, j, c) K(f16_value)(((const uint16_t *)(w)->values)[j])
#define VALUE_i8(w, r, j, c) ((float)((const int8_t *)(w)->values)[j])
#define VALUE_i4(w, r, j, c)                         \
  (sparse_nibble((const uint8_t *)(w)->values, j) *  \
   sparse_bf16(((const uint16_t *)(w)->scales)[(r) * (((w)->columns + 63) / 64) + (c) / 64]))
#define FACTOR_f32(w, r) 1.0f
#define FACTOR_bf16(w, r) 1.0f
#define FACTOR_f16(w, r) 1.0f
#define FACTOR_i8(w, r) (((const float *)(w)->scales)[r])
#define FACTOR_i4(w, r) 1.0f

// Entries ahead of the present ones that are asked for.
enum { K(CSR_AHEAD) = 1024 };

#if LEVEL >= LK_AVX2
typedef float K(eight) __attribute__((vector_size(32)));
typedef double K(four) __attribute__((vector_size(32)));
typedef uint32_t K(eight_words) __attribute__((vector_size(32)));
typedef float K(eight_memory) __attribute__((vector_size(32), aligned(4), may_alias));
typedef double K(four_memory) __attribute__((vector_size(32), aligned(8), may_alias));
typedef uint16_t K(eight_halves) __attribute__((vector_size(16), aligned(2), may_alias));
typedef int8_t K(eight_bytes) __attribute__((vector_size(8), aligned(1), may_alias));

// The entries of x at four columns, as lanes 0...3 and again 4...7.
INLINE K(eight) K(four_inputs)(const float *x, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
  const K(eight) low = (K(eight))_mm256_blend_ps(_mm256_broadcast_ss(x + a), _mm256_broadcast_ss(x + b), 0xAA);
  const K(eight) high = (K(eight))_mm256_blend_ps(_mm256_broadcast_ss(x + c), _mm256_broadcast_ss(x + d), 0xAA);
  return (K(eight))_mm256_blend_ps((__m256)low, (__m256)high, 0xCC);
}
INLINE K(eight) K(inputs_u16)(const float *x, const uint16_t *column) {
  uint64_t a, b;
  memcpy(&a, column, 8);
  memcpy(&b, column + 4, 8);
  return (K(eight))_mm256_blend_ps(
      (__m256)K(four_inputs)(x, a & 65535, a >> 16 & 65535, a >> 32 & 65535, a >> 48),
      (__m256)K(four_inputs)(x, b & 65535, b >> 16 & 65535, b >> 32 & 65535, b >> 48), 0xF0);
}
INLINE K(eight) K(inputs_u32)(const float *x, const uint32_t *column) {
  uint64_t two[4];  // columns by twos: loads are what is short
  memcpy(two, column, 32);
  return (K(eight))_mm256_blend_ps(
      (__m256)K(four_inputs)(x, (uint32_t)two[0], two[0] >> 32, (uint32_t)two[1], two[1] >> 32),
      (__m256)K(four_inputs)(x, (uint32_t)two[2], two[2] >> 32, (uint32_t)two[3], two[3] >> 32), 0xF0);
}
INLINE K(four) K(four_doubles)(const double *x, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
  const __m256d low = _mm256_blend_pd(_mm256_broadcast_sd(x + a), _mm256_broadcast_sd(x + b), 0xA);
  const __m256d high = _mm256_blend_pd(_mm256_broadcast_sd(x + c), _mm256_broadcast_sd(x + d), 0xA);
  return (K(four))_mm256_blend_pd(low, high, 0xC);
}
// Masks of the last n of sixteen lanes begin at entry n.
static const uint32_t K(last_lanes)[32] = {[16] = ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u,
                                           ~0u,        ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u};
INLINE K(eight) K(masked)(K(eight) v, const uint32_t *mask) {
  return (K(eight))_mm256_and_ps((__m256)v, _mm256_loadu_ps((const float *)mask));
}
INLINE float K(sum_of_eight)(K(eight) v) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
#define EIGHT_f32(p) (*(const K(eight_memory) *)(p))
#define EIGHT_bf16(p) ((K(eight))(__builtin_convertvector(*(const K(eight_halves) *)(p), K(eight_words)) << 16))
#define EIGHT_f16(p) ((K(eight))_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p))))
#define EIGHT_i8(p) __builtin_convertvector(*(const K(eight_bytes) *)(p), K(eight))

// Row r, whose entries are j..<end.
#define ROW_BLENDED(format, V, C, suffix)                                                                      \
  INLINE float K(csr_row_##format##suffix)(const lk_csr *w, const float *x, long r, long j, const long end) {  \
    const C *column = (const C *)w->column;                                                                    \
    const V *values = (const V *)w->values;                                                                    \
    K(eight) s0 = {0}, s1 = {0};                                                                               \
    float sum = 0;                                                                                             \
    if (end - j >= 16) {                                                                                       \
      for (; j + 16 <= end; j += 16) {                                                                         \
        __builtin_prefetch(values + j + K(CSR_AHEAD));                                                         \
        __builtin_prefetch(column + j + K(CSR_AHEAD));                                                         \
        s0 += EIGHT_##format(values + j) * K(inputs##suffix)(x, column + j);                                   \
        s1 += EIGHT_##format(values + j + 8) * K(inputs##suffix)(x, column + j + 8);                           \
      }                                                                                                        \
      const uint32_t *left = K(last_lanes) + (end - j);                                                        \
      j = end - 16;                                                                                            \
      s0 += K(masked)(EIGHT_##format(values + j) * K(inputs##suffix)(x, column + j), left);                    \
      s1 += K(masked)(EIGHT_##format(values + j + 8) * K(inputs##suffix)(x, column + j + 8), left + 8);        \
    } else {                                                                                                   \
      if (j + 8 <= end) {                                                                                      \
        s0 += EIGHT_##format(values + j) * K(inputs##suffix)(x, column + j);                                   \
        j += 8;                                                                                                \
      }                                                                                                        \
      NO_GATHER for (; j < end; j++) sum += VALUE_##format(w, r, j, column[j]) * x[column[j]];                 \
    }                                                                                                          \
    sum += K(sum_of_eight)(s0 + s1);                                                                           \
    return sum * FACTOR_##format(w, r);                                                                        \
  }
#endif

#define ROW_SCALAR(format, C, suffix)                                                                          \
  INLINE float K(csr_row_##format##suffix)(const lk_csr *w, const float *x, long r, long j, const long end) {  \
    const C *column = (const C *)w->column;                                                                    \
    float s0 = 0, s1 = 0, s2 = 0, s3 = 0;                                                                      \
    NO_GATHER for (; j + 4 <= end; j += 4) {                                                                   \
      s0 += VALUE_##format(w, r, j, column[j]) * x[column[j]];                                                 \
      s1 += VALUE_##format(w, r, j + 1, column[j + 1]) * x[column[j + 1]];                                     \
      s2 += VALUE_##format(w, r, j + 2, column[j + 2]) * x[column[j + 2]];                                     \
      s3 += VALUE_##format(w, r, j + 3, column[j + 3]) * x[column[j + 3]];                                     \
    }                                                                                                          \
    NO_GATHER for (; j < end; j++) s0 += VALUE_##format(w, r, j, column[j]) * x[column[j]];                    \
    return ((s0 + s1) + (s2 + s3)) * FACTOR_##format(w, r);                                                    \
  }

#if LEVEL >= LK_AVX2
#define ROWS(format, V)                   \
  ROW_BLENDED(format, V, uint16_t, _u16)  \
  ROW_BLENDED(format, V, uint32_t, _u32)
#else
#define ROWS(format, V)               \
  ROW_SCALAR(format, uint16_t, _u16)  \
  ROW_SCALAR(format, uint32_t, _u32)
#endif

#define GEMV_CSR(format)                                                                                          \
  static void K(gemv_csr_##format)(const lk_csr *w, const lk_input *input, long r0, long r1, float *out) {        \
    const uint32_t *start = w->row_start;                                                                         \
    if (w->wide) {                                                                                                \
      for (long r = r0; r < r1; r++) *out++ = K(csr_row_##format##_u32)(w, input->x, r, start[r], start[r + 1]);  \
    } else {                                                                                                      \
      for (long r = r0; r < r1; r++) *out++ = K(csr_row_##format##_u16)(w, input->x, r, start[r], start[r + 1]);  \
    }                                                                                                             \
  }

ROWS(f32, float)
ROWS(bf16, uint16_t)
ROWS(f16, uint16_t)
ROWS(i8, int8_t)
ROW_SCALAR(i4, uint16_t, _u16)
ROW_SCALAR(i4, uint32_t, _u32)
GEMV_CSR(f32)
GEMV_CSR(bf16)
GEMV_CSR(f16)
GEMV_CSR(i8)
GEMV_CSR(i4)

// MARK: Decoding

// Writes bound it, which is why there are no vectors here.
#define DECODE_CSR(format)                                                             \
  static void K(decode_csr_##format)(const lk_csr *w, long r0, long r1, float *out) {  \
    const uint16_t *narrow = (const uint16_t *)w->column;                              \
    const uint32_t *wide = (const uint32_t *)w->column;                                \
    for (long r = r0; r < r1; r++, out += w->columns) {                                \
      memset(out, 0, (size_t)w->columns * sizeof(float));                              \
      for (long j = w->row_start[r]; j < (long)w->row_start[r + 1]; j++) {             \
        const long c = w->wide ? wide[j] : narrow[j];                                  \
        out[c] = VALUE_##format(w, r, j, c) * FACTOR_##format(w, r);                   \
      }                                                                                \
    }                                                                                  \
  }
DECODE_CSR(f32)
DECODE_CSR(bf16)
DECODE_CSR(f16)
DECODE_CSR(i8)
DECODE_CSR(i4)
#undef DECODE_CSR

// MARK: Matrices of either type of number, with 32-bit columns and 64-bit row starts

static void K(gemv_rows_f32)(
    const long *row_start, const uint32_t *column, const void *values, const void *x, long r0, long r1, void *out_) {
  float *out = (float *)out_;
  const lk_csr w = {.column = column, .values = values};
  for (long r = r0; r < r1; r++)
    *out++ = K(csr_row_f32_u32)(&w, (const float *)x, r, row_start[r], row_start[r + 1]);
}

static void K(gemv_rows_f64)(
    const long *row_start, const uint32_t *column, const void *values_, const void *x_, long r0, long r1,
    void *out_) {
  const double *values = (const double *)values_, *x = (const double *)x_;
  double *out = (double *)out_;
  for (long r = r0; r < r1; r++) {
    long j = row_start[r];
    const long end = row_start[r + 1];
    double sum = 0;
#if LEVEL >= LK_AVX2
    K(four) s0 = {0}, s1 = {0};
    for (; j + 8 <= end; j += 8) {
      const uint32_t *c = column + j;
      __builtin_prefetch(values + j + K(CSR_AHEAD));
      __builtin_prefetch(column + j + K(CSR_AHEAD));
      s0 += *(const K(four_memory) *)(values + j) * K(four_doubles)(x, c[0], c[1], c[2], c[3]);
      s1 += *(const K(four_memory) *)(values + j + 4) * K(four_doubles)(x, c[4], c[5], c[6], c[7]);
    }
    if (j + 4 <= end) {
      const uint32_t *c = column + j;
      s0 += *(const K(four_memory) *)(values + j) * K(four_doubles)(x, c[0], c[1], c[2], c[3]);
      j += 4;
    }
    s0 += s1;
    for (int i = 0; i < 4; i++) sum += s0[i];
#else
    double s0 = 0, s1 = 0;
    NO_GATHER for (; j + 2 <= end; j += 2) {
      s0 += values[j] * x[column[j]];
      s1 += values[j + 1] * x[column[j + 1]];
    }
    sum = s0 + s1;
#endif
    NO_GATHER for (; j < end; j++) sum += values[j] * x[column[j]];
    out[r - r0] = sum;
  }
}

#undef ROWS
#undef ROW_BLENDED
#undef ROW_SCALAR
#undef GEMV_CSR
#undef EIGHT_f32
#undef EIGHT_bf16
#undef EIGHT_f16
#undef EIGHT_i8
#undef FACTOR_f32
#undef FACTOR_bf16
#undef FACTOR_f16
#undef FACTOR_i8
#undef FACTOR_i4
#undef VALUE_f32
#undef VALUE_bf16
#undef VALUE_f16
#undef VALUE_i8
#undef VALUE_i4
