// Products of BSR matrices with one vector. Included by level.h once for each level.
//
// A block is read as one long vector, in pieces of LANES values: piece k covers values k LANES, ... of the block, and
// the matching entries of x are either consecutive (blocks at least as wide as a vector) or the few entries of the
// block repeated (narrower ones). As many pieces at a time as registers hold keep their sums there along the block row:
// blocks that are read in several rounds are read at strides, which memory serves badly. Blocks of other shapes are
// walked row by row.

// Pieces whose sums fit into registers beside what is loaded.
enum { K(block_pieces) = LEVEL >= LK_AVX512 ? 16 : 8 };

typedef int8_t K(block_bytes) __attribute__((vector_size(LANES), aligned(1), may_alias));
typedef float K(block_four) __attribute__((vector_size(16), aligned(4), may_alias));
typedef float K(block_eight) __attribute__((vector_size(32), aligned(4), may_alias));

#define WIDEN_f32(p) K(load)(p)
#define WIDEN_bf16(p) K(load_bf16)(p)
#define WIDEN_f16(p) K(load_f16)(p)
#define WIDEN_i8(p) __builtin_convertvector(*(const K(block_bytes) *)(p), VF)

// The entries of x that meet one piece: `narrow` is the width of a block that is narrower than a vector, else 0.
INLINE VF K(block_input)(const float *x, const int narrow) {
#if VECTOR_BYTES == 64
  if (narrow == 4) {
    K(block_four) v = *(const K(block_four) *)x;
    return __builtin_shufflevector(v, v, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3);
  }
  if (narrow == 8) {
    K(block_eight) v = *(const K(block_eight) *)x;
    return __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7);
  }
#elif VECTOR_BYTES == 32
  if (narrow == 4) {
    K(block_four) v = *(const K(block_four) *)x;
    return __builtin_shufflevector(v, v, 0, 1, 2, 3, 0, 1, 2, 3);
  }
#endif
  (void)narrow;
  return K(load)(x);
}

#define FACTOR_f32(w, r) 1.0f
#define FACTOR_bf16(w, r) 1.0f
#define FACTOR_f16(w, r) 1.0f
#define FACTOR_i8(w, r) (((const float *)(w)->scales)[r])
#define VALUE_f32(v) (v)
#define VALUE_bf16(v) K(bf16_value)(v)
#define VALUE_f16(v) K(f16_value)(v)
#define VALUE_i8(v) ((float)(v))

// The columns of block b that lie within the matrix.
INLINE long K(bsr_width)(const lk_bsr *w, long b) {
  const long left = w->columns - (long)w->block_column[b] * w->block_columns;
  return left < w->block_columns ? left : w->block_columns;
}

// Blocks of any shape, also where the last one reaches beyond the matrix: row by row.
#define GEMV_BSR_ROWS(format, T)                                                                     \
  static void K(bsr_rows_##format)(const lk_bsr *w, const float *x, long r0, long r1, float *out) {  \
    const long height = w->block_rows, width = w->block_columns;                                     \
    for (long r = r0; r < r1; r++) {                                                                 \
      const T *row = (const T *)w->values + r % height * width;                                      \
      float total = 0;                                                                               \
      for (long b = w->row_start[r / height]; b < (long)w->row_start[r / height + 1]; b++) {         \
        const T *v = row + b * height * width;                                                       \
        const float *entry = x + (long)w->block_column[b] * width;                                   \
        const long n = K(bsr_width)(w, b);                                                           \
        float sum = 0;                                                                               \
        for (long j = 0; j < n; j++) sum += VALUE_##format(v[j]) * entry[j];                         \
        total += sum;                                                                                \
      }                                                                                              \
      out[r - r0] = total * FACTOR_##format(w, r);                                                   \
    }                                                                                                \
  }
GEMV_BSR_ROWS(f32, float)
GEMV_BSR_ROWS(bf16, uint16_t)
GEMV_BSR_ROWS(f16, uint16_t)
GEMV_BSR_ROWS(i8, int8_t)
#undef GEMV_BSR_ROWS

#define GEMV_BSR(format, T)                                                                                       \
  /* Adds pieces first..<first + count of block row i to its `sums` [block rows]. */                              \
  INLINE void K(bsr_pieces_##format)(                                                                             \
      const lk_bsr *w, const float *x, long i, long first, const int count, const int narrow, float *sums) {      \
    const long width = w->block_columns, size = w->block_rows * width;                                            \
    VF sum[K(block_pieces)] = {0};                                                                                \
    for (long b = w->row_start[i]; b < (long)w->row_start[i + 1]; b++) {                                          \
      const T *v = (const T *)w->values + b * size + first * LANES;                                               \
      const float *entry = x + (long)w->block_column[b] * width;                                                  \
      for (int k = 0; k < count; k++)                                                                             \
        sum[k] += WIDEN_##format(v + k * LANES) *                                                                 \
                  K(block_input)(entry + (narrow ? 0 : (first + k) * LANES % width), narrow);                     \
    }                                                                                                             \
    for (int k = 0; k < count; k++) {                                                                             \
      const long start = (first + k) * LANES;                                                                     \
      if (narrow) {                                                                                               \
        for (int lane = 0; lane < LANES; lane++) sums[(start + lane) / narrow] += sum[k][lane];                   \
      } else {                                                                                                    \
        sums[start / width] += K(sum_lanes)(sum[k]);                                                              \
      }                                                                                                           \
    }                                                                                                             \
  }                                                                                                               \
  INLINE void K(bsr_row_##format)(const lk_bsr *w, const float *x, long i, const int narrow, float *sums) {       \
    const long pieces = w->block_rows * w->block_columns / LANES;                                                 \
    long k = 0;                                                                                                   \
    for (; k + K(block_pieces) <= pieces; k += K(block_pieces))                                                   \
      K(bsr_pieces_##format)(w, x, i, k, K(block_pieces), narrow, sums);                                          \
    for (; k + 8 <= pieces; k += 8) K(bsr_pieces_##format)(w, x, i, k, 8, narrow, sums);                          \
    for (; k + 4 <= pieces; k += 4) K(bsr_pieces_##format)(w, x, i, k, 4, narrow, sums);                          \
    for (; k + 2 <= pieces; k += 2) K(bsr_pieces_##format)(w, x, i, k, 2, narrow, sums);                          \
    for (; k < pieces; k++) K(bsr_pieces_##format)(w, x, i, k, 1, narrow, sums);                                  \
  }                                                                                                               \
  static void K(gemv_bsr_##format)(const lk_bsr *w, const lk_input *input, long r0, long r1, float *out) {        \
    const long height = w->block_rows, width = w->block_columns;                                                  \
    const int wide = width % LANES == 0;                                                                          \
    const int repeats = height * width % LANES == 0 && ((width == 4 && LANES > 4) || (width == 8 && LANES > 8));  \
    if ((!wide && !repeats) || w->columns % width != 0) {                                                         \
      K(bsr_rows_##format)(w, input->x, r0, r1, out);                                                             \
      return;                                                                                                     \
    }                                                                                                             \
    for (long i = r0 / height; i * height < r1; i++) {                                                            \
      float sums[LK_BLOCK_ROWS] = {0};                                                                            \
      if (wide) K(bsr_row_##format)(w, input->x, i, 0, sums);                                                     \
      else if (width == 4) K(bsr_row_##format)(w, input->x, i, 4, sums);                                          \
      else K(bsr_row_##format)(w, input->x, i, 8, sums);                                                          \
      for (long r = i * height > r0 ? i * height : r0; r < r1 && r < (i + 1) * height; r++)                       \
        out[r - r0] = sums[r - i * height] * FACTOR_##format(w, r);                                               \
    }                                                                                                             \
  }

GEMV_BSR(f32, float)
GEMV_BSR(bf16, uint16_t)
GEMV_BSR(f16, uint16_t)
GEMV_BSR(i8, int8_t)

// Blocks that lie within one group of 64 columns have one scale a row; both nibbles of a byte belong to the same row.
static void K(gemv_bsr_i4)(const lk_bsr *w, const lk_input *input, long r0, long r1, float *out) {
  const long height = w->block_rows, width = w->block_columns, groups = (w->columns + 63) / 64;
  if (width % 2 != 0 || 64 % width != 0 || w->columns % width != 0) {
    const long bytes = (height * width + 1) / 2;
    for (long r = r0; r < r1; r++) {
      const uint16_t *scale = (const uint16_t *)w->scales + r * groups;
      float sum = 0;
      for (long b = w->row_start[r / height]; b < (long)w->row_start[r / height + 1]; b++) {
        const long c0 = (long)w->block_column[b] * width, n = K(bsr_width)(w, b);
        const uint8_t *block = (const uint8_t *)w->values + b * bytes;
        for (long j = 0; j < n; j++)
          sum += K(bf16_value)(scale[(c0 + j) / 64]) * sparse_nibble(block, r % height * width + j) * input->x[c0 + j];
      }
      out[r - r0] = sum;
    }
    return;
  }
  for (long r = r0; r < r1; r++) {
    const uint16_t *scale = (const uint16_t *)w->scales + r * groups;
    const uint8_t *row = (const uint8_t *)w->values + r % height * width / 2;
    float sum = 0;
    for (long b = w->row_start[r / height]; b < (long)w->row_start[r / height + 1]; b++) {
      const long c0 = (long)w->block_column[b] * width;
      const uint8_t *bytes = row + b * height * width / 2;
      const float *x = input->x + c0;
      float even = 0, odd = 0;
      for (long k = 0; k < width / 2; k++) {
        even += (float)((int8_t)(bytes[k] << 4) >> 4) * x[2 * k];
        odd += (float)((int8_t)bytes[k] >> 4) * x[2 * k + 1];
      }
      sum += sparse_bf16(scale[c0 / 64]) * (even + odd);
    }
    out[r - r0] = sum;
  }
}

// MARK: Decoding

#define DECODE_BSR(format, value)                                                             \
  static void K(decode_bsr_##format)(const lk_bsr *w, long r0, long r1, float *out) {         \
    const long height = w->block_rows, width = w->block_columns, size = height * width;       \
    const long groups = (w->columns + 63) / 64;                                               \
    (void)size, (void)groups;                                                                 \
    for (long r = r0; r < r1; r++, out += w->columns) {                                       \
      const long inside = r % height * width;                                                 \
      memset(out, 0, (size_t)w->columns * sizeof(float));                                     \
      for (long b = w->row_start[r / height]; b < (long)w->row_start[r / height + 1]; b++) {  \
        const long c0 = (long)w->block_column[b] * width, n = K(bsr_width)(w, b);             \
        for (long j = 0; j < n; j++) out[c0 + j] = (value);                                   \
      }                                                                                       \
    }                                                                                         \
  }
DECODE_BSR(f32, ((const float *)w->values)[b * size + inside + j])
DECODE_BSR(bf16, K(bf16_value)(((const uint16_t *)w->values)[b * size + inside + j]))
DECODE_BSR(f16, K(f16_value)(((const uint16_t *)w->values)[b * size + inside + j]))
DECODE_BSR(i8, FACTOR_i8(w, r) * (float)((const int8_t *)w->values)[b * size + inside + j])
DECODE_BSR(
    i4, K(bf16_value)(((const uint16_t *)w->scales)[r * groups + (c0 + j) / 64]) *
            sparse_nibble((const uint8_t *)w->values + b * ((size + 1) / 2), inside + j))
#undef DECODE_BSR

#undef GEMV_BSR
#undef FACTOR_f32
#undef FACTOR_bf16
#undef FACTOR_f16
#undef FACTOR_i8
#undef WIDEN_f32
#undef WIDEN_bf16
#undef WIDEN_f16
#undef WIDEN_i8
#undef VALUE_f32
#undef VALUE_bf16
#undef VALUE_f16
#undef VALUE_i8
