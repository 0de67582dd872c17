// Products of CSR matrices with one vector. Included by level.h once for each level.
//
// Scalar loads: gathers are no faster on processors that have them, and four sums hide the latency of the additions.

#define NO_GATHER _Pragma("clang loop vectorize(disable) interleave(disable)")

#define VALUE_f32(w, r, j, c) (((const float *)(w)->values)[j])
#define VALUE_bf16(w, r, j, c) sparse_bf16(((const uint16_t *)(w)->values)[j])
#define VALUE_i8(w, r, j, c) ((float)((const int8_t *)(w)->values)[j])
#define VALUE_i4(w, r, j, c)                                                                               \
  (sparse_nibble((const uint8_t *)(w)->values, j) *                                                        \
   sparse_bf16(((const uint16_t *)(w)->scales)[(r) * (((w)->columns + 63) / 64) + (c) / 64]))
#define FACTOR_f32(w, r) 1.0f
#define FACTOR_bf16(w, r) 1.0f
#define FACTOR_i8(w, r) (((const float *)(w)->scales)[r])
#define FACTOR_i4(w, r) 1.0f

#define GEMV_CSR_ROWS(format, C)                                                                           \
  const C *column = (const C *)w->column;                                                                  \
  for (long r = r0; r < r1; r++) {                                                                         \
    long j = w->row_start[r], end = w->row_start[r + 1];                                                   \
    float s0 = 0, s1 = 0, s2 = 0, s3 = 0;                                                                  \
    NO_GATHER for (; j + 4 <= end; j += 4) {                                                               \
      s0 += VALUE_##format(w, r, j, column[j]) * x[column[j]];                                             \
      s1 += VALUE_##format(w, r, j + 1, column[j + 1]) * x[column[j + 1]];                                 \
      s2 += VALUE_##format(w, r, j + 2, column[j + 2]) * x[column[j + 2]];                                 \
      s3 += VALUE_##format(w, r, j + 3, column[j + 3]) * x[column[j + 3]];                                 \
    }                                                                                                      \
    NO_GATHER for (; j < end; j++) s0 += VALUE_##format(w, r, j, column[j]) * x[column[j]];                \
    out[r - r0] = ((s0 + s1) + (s2 + s3)) * FACTOR_##format(w, r);                                         \
  }

#define GEMV_CSR(format)                                                                                   \
  static void K(gemv_csr_##format)(const lk_csr *w, const lk_input *input, long r0, long r1, float *out) { \
    const float *x = input->x;                                                                             \
    if (w->wide) {                                                                                         \
      GEMV_CSR_ROWS(format, uint32_t)                                                                      \
    } else {                                                                                               \
      GEMV_CSR_ROWS(format, uint16_t)                                                                      \
    }                                                                                                      \
  }

GEMV_CSR(f32)
GEMV_CSR(bf16)
GEMV_CSR(i8)
GEMV_CSR(i4)

#undef GEMV_CSR
#undef GEMV_CSR_ROWS
#undef FACTOR_f32
#undef FACTOR_bf16
#undef FACTOR_i8
#undef FACTOR_i4
#undef VALUE_f32
#undef VALUE_bf16
#undef VALUE_i8
#undef VALUE_i4
#undef NO_GATHER
