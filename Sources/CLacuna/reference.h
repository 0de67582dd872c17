// Scalar versions of every kernel, which tests compare the others with. Each is defined in the folder of its layout.
#ifndef LACUNA_REFERENCE_H
#define LACUNA_REFERENCE_H

#include "lacuna_kernels.h"

#include <string.h>

typedef uint32_t lk_any_u32 __attribute__((aligned(1), may_alias));
typedef uint64_t lk_any_u64 __attribute__((aligned(1), may_alias));

static inline float sparse_bf16(uint16_t x) {
  uint32_t bits = (uint32_t)x << 16;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

// Nibble `position` of a stream, -8...7.
static inline float sparse_nibble(const uint8_t *bytes, long position) {
  int nibble = bytes[position / 2] >> (position % 2 * 4) & 15;
  return (float)((nibble ^ 8) - 8);
}

float reference_f16_value(uint16_t half);
uint16_t reference_f16(float x);
uint16_t reference_bf16(float x);

float reference_dot_f32(const float *a, const float *b, long n);
void reference_axpy_f32(float a, const float *x, float *y, long n);
float reference_max_f32(const float *x, long n);
long reference_argmax_f32(const float *x, long n);
int reference_all_finite(const float *x, long n);
void reference_f32_to_bf16(const float *x, uint16_t *out, long n);
void reference_bf16_to_f32(const uint16_t *x, float *out, long n);
void reference_f32_to_f16(const float *x, uint16_t *out, long n);
void reference_f16_to_f32(const uint16_t *x, float *out, long n);
void reference_split_even_odd(const float *x, long n, float *split);
void reference_quantize_x64(const float *x, long n, int8_t *q, float *scale);
void reference_quantize_x32(const float *x, long n, int8_t *q, float *scale, float *total);
uint16_t reference_round_i4(const float *x, long n, int8_t *codes);
void reference_sums_x16(const int8_t *q, long n, int32_t *sums);
void reference_rmsnorm(const float *x, const float *weight, float epsilon, long n, float *out);
void reference_softmax(float *x, long n);
void reference_silu_mul(const float *gate, const float *up, float *out, long n);
void reference_rope_interleaved(float *x, const float *cosines, const float *sines, long pairs);
void reference_rope_halves(float *x, const float *cosines, const float *sines, long pairs);
void reference_attention_scores(
    const float *query, const float *keys, long stride, long count, long dimensions, float scale, float *scores);
void reference_attention_mix(
    const float *weights, const float *values, long stride, long count, long dimensions, float *out);
void reference_accumulate_sums(const float *x, long count, long columns, long stride, double *sums);
void reference_accumulate_squares(const float *x, long count, long columns, long stride, double *sums);
void reference_count_keys(const float *x, long n, int shift, uint32_t prefix, uint64_t *counts);
float reference_kth_largest(const float *x, long n, long k, long *greater, long *equal);
long reference_mask_above(const float *x, long n, float threshold, long skipped, uint64_t *words);
void reference_mask_largest(const float *x, long n, long k, uint64_t *words);

lk_gemv_dense reference_gemv_f32, reference_gemv_bf16, reference_gemv_f16, reference_gemv_i8, reference_gemv_i4,
    reference_gemv_q4_0, reference_gemv_q4_1, reference_gemv_q5_0, reference_gemv_q5_1, reference_gemv_q8_0,
    reference_gemv_q2_k, reference_gemv_q3_k, reference_gemv_q4_k, reference_gemv_q5_k, reference_gemv_q6_k;
lk_decode_dense reference_decode_f32, reference_decode_bf16, reference_decode_f16, reference_decode_i8,
    reference_decode_i4, reference_decode_q4_0, reference_decode_q4_1, reference_decode_q5_0,
    reference_decode_q5_1, reference_decode_q8_0, reference_decode_q2_k, reference_decode_q3_k,
    reference_decode_q4_k, reference_decode_q5_k, reference_decode_q6_k;
lk_rows_dense reference_rows_i8, reference_rows_i4, reference_rows_q4_0, reference_rows_q4_1,
    reference_rows_q5_0, reference_rows_q5_1, reference_rows_q8_0, reference_rows_q2_k, reference_rows_q3_k,
    reference_rows_q4_k, reference_rows_q5_k, reference_rows_q6_k;
lk_gemv_bitmask reference_gemv_bitmask_f32, reference_gemv_bitmask_bf16, reference_gemv_bitmask_f16,
    reference_gemv_bitmask_i8, reference_gemv_bitmask_i4;
lk_decode_bitmask reference_decode_bitmask_f32, reference_decode_bitmask_bf16, reference_decode_bitmask_f16,
    reference_decode_bitmask_i8, reference_decode_bitmask_i4;
void reference_skip_rows_f32(
    const float *w, long columns, const uint32_t *kept, long count, const float *h, long c0, long c1, float *y);
void reference_skip_rows_bf16(
    const uint16_t *w, long columns, const uint32_t *kept, long count, const float *h, long c0, long c1, float *y);
void reference_skip_rows_f16(
    const uint16_t *w, long columns, const uint32_t *kept, long count, const float *h, long c0, long c1, float *y);

// MARK: CSR, BSR and panels

lk_gemv_csr reference_gemv_csr_f32, reference_gemv_csr_bf16, reference_gemv_csr_f16, reference_gemv_csr_i8,
    reference_gemv_csr_i4;
lk_decode_csr reference_decode_csr_f32, reference_decode_csr_bf16, reference_decode_csr_f16, reference_decode_csr_i8,
    reference_decode_csr_i4;
lk_gemv_bsr reference_gemv_bsr_f32, reference_gemv_bsr_bf16, reference_gemv_bsr_f16, reference_gemv_bsr_i8,
    reference_gemv_bsr_i4;
lk_decode_bsr reference_decode_bsr_f32, reference_decode_bsr_bf16, reference_decode_bsr_f16, reference_decode_bsr_i8,
    reference_decode_bsr_i4;
lk_gemv_code_groups reference_gemv_code_groups;
lk_decode_code_groups reference_decode_code_groups;
lk_panel_bitmask reference_panel_bitmask_f32, reference_panel_bitmask_bf16, reference_panel_bitmask_f16,
    reference_panel_bitmask_i8;
lk_panel_bsr reference_panel_bsr_f32, reference_panel_bsr_bf16, reference_panel_bsr_f16, reference_panel_bsr_i8;
void reference_product_bf16(const lk_product *g, void *space);
lk_product_rows reference_product_rows_f32, reference_product_rows_bf16, reference_product_rows_f16,
    reference_product_rows_i8;
void reference_pack_panel(const float *x, long stride, long count, long columns, long width, float *panel);
void reference_unpack_panel(const float *tile, long width, long rows, long count, float *y, long stride);

// MARK: Segments, products of sparse matrices, convolutions

lk_product_segments reference_product_segments_bf16, reference_product_segments_f16, reference_product_segments_i8;
lk_spgemm_count reference_spgemm_count;
lk_spgemm_pattern reference_spgemm_pattern;
lk_pointwise_f32 reference_pointwise_f32;
lk_pad_plane_f32 reference_pad_plane_f32;
lk_direct_f32 reference_direct_f32;

// MARK: Floats and doubles

#define REFERENCE_REAL(type)                                                                                        \
  void reference_gemv_rows_##type(                                                                                  \
      const long *row_start, const uint32_t *column, const void *values, const void *x, long r0, long r1,           \
      void *out);                                                                                                   \
  lk_product_segments reference_product_segments_##type, reference_transposed_segments_##type;                      \
  void reference_sampled_##type(                                                                                    \
      const long *row_start, const uint32_t *column, long r0, long r1, const void *a, const void *b, long width,    \
      int add, void *values);                                                                                       \
  void reference_sampled_segments_##type(                                                                           \
      const lk_segmented *w, long block, const void *a, const void *b, long width, int add, void *values);          \
  void reference_product_groups_##type(                                                                             \
      const lk_grouped *w, long block, const void *panel, long width, void *tile);                                  \
  void reference_transposed_groups_##type(                                                                          \
      const lk_grouped *w, long from, long to, const void *panel, long width, void *tile);                          \
  void reference_sampled_groups_##type(                                                                             \
      const lk_grouped *w, long block, const void *a, const void *b, long width, int add, void *values);            \
  void reference_product_blocks_##type(                                                                             \
      const lk_blocks *w, long first, long last, const void *panel, long width, void *tile);                        \
  void reference_transposed_blocks_##type(                                                                          \
      const lk_blocks *w, long first, long last, const void *panel, long width, void *tile);                        \
  void reference_sampled_blocks_##type(                                                                             \
      const lk_blocks *w, long first, long last, const void *a, const void *b, long width, int add, void *values);  \
  lk_spgemm_values reference_spgemm_##type, reference_spgemm_min_plus_##type;                                       \
  void reference_transpose_add_##type(                                                                              \
      const void *source, long source_stride, long m, long n, double alpha, double beta, void *target,              \
      long target_stride);                                                                                          \
  void reference_combine_##type(double alpha, const void *x, double beta, void *y, long n);
REFERENCE_REAL(f32)
REFERENCE_REAL(f64)
#undef REFERENCE_REAL

// MARK: Columns in double precision

double reference_dot_f64(const double *a, const double *b, long n);
void reference_axpy_f64(double a, const double *x, double *y, long n);
double reference_weighted_squares_f64(const double *x, const double *w, long n);
void reference_dots_f64(
    const double *x, long stride, const uint32_t *columns, long count, const double *v, long n, double *out);
double reference_sparse_dot_f64(const double *values, const uint32_t *rows, long count, const double *v);
void reference_sparse_axpy_f64(double a, const double *values, const uint32_t *rows, long count, double *y);
double reference_sparse_weighted_squares_f64(
    const double *values, const uint32_t *rows, long count, const double *w);
void reference_sparse_dots_f64(
    const double *values, const uint32_t *rows, const uint64_t *start, const uint32_t *columns, long count,
    const double *v, double *out);

// MARK: Dense matrices of any format

// The product and the decoding, from `value_FORMAT(w, r, c)`, an entry of the matrix, and `input(x, c)`, one of the vector.
#define REFERENCE_DENSE(format, input)                                                                 \
  void reference_gemv_##format(const lk_dense *w, const lk_input *x, long r0, long r1, float *out) {   \
    for (long r = r0; r < r1; r++) {                                                                   \
      double sum = 0;                                                                                  \
      for (long c = 0; c < w->columns; c++) sum += (double)value_##format(w, r, c) * input(x, c);      \
      out[r - r0] = (float)sum;                                                                        \
    }                                                                                                  \
  }                                                                                                    \
  void reference_decode_##format(const lk_dense *w, long r0, long r1, float *out) {                    \
    for (long r = r0; r < r1; r++)                                                                     \
      for (long c = 0; c < w->columns; c++) out[(r - r0) * w->columns + c] = value_##format(w, r, c);  \
  }

#endif
