// Scalar versions of every kernel, for tests and for tables that have no vector version of one. Each is defined in the folder
// of its layout.
#ifndef LACUNA_REFERENCE_H
#define LACUNA_REFERENCE_H

#include "lacuna_kernels.h"

#include <string.h>

typedef uint32_t lk_any_u32 __attribute__((aligned(1)));
typedef uint64_t lk_any_u64 __attribute__((aligned(1)));

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
void reference_scale_add_f32(float a, const float *x, float b, float *y, long n);
float reference_sum_f32(const float *x, long n);
float reference_max_f32(const float *x, long n);
long reference_argmax_f32(const float *x, long n);
void reference_f32_to_bf16(const float *x, uint16_t *out, long n);
void reference_bf16_to_f32(const uint16_t *x, float *out, long n);
void reference_f32_to_f16(const float *x, uint16_t *out, long n);
void reference_f16_to_f32(const uint16_t *x, float *out, long n);
void reference_split_even_odd(const float *x, long n, float *split);
void reference_quantize_x64(const float *x, long n, int8_t *q, float *scale);
void reference_quantize_x32(const float *x, long n, int8_t *q, float *scale, float *total);
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
    reference_gemv_q8_0, reference_gemv_q4_0, reference_gemv_q4_1;
lk_decode_dense reference_decode_f32, reference_decode_bf16, reference_decode_f16, reference_decode_i8,
    reference_decode_i4, reference_decode_q8_0, reference_decode_q4_0, reference_decode_q4_1;
lk_gemv_bitmask reference_gemv_bitmask_f32, reference_gemv_bitmask_bf16, reference_gemv_bitmask_i8,
    reference_gemv_bitmask_i4;
lk_decode_bitmask reference_decode_bitmask_f32, reference_decode_bitmask_bf16, reference_decode_bitmask_i8,
    reference_decode_bitmask_i4;
void reference_skip_rows_f32(
    const float *w, long columns, const uint32_t *kept, long count, const float *h, long c0, long c1, float *y);
void reference_skip_rows_bf16(
    const uint16_t *w, long columns, const uint32_t *kept, long count, const float *h, long c0, long c1, float *y);

// MARK: CSR, BSR and panels

lk_gemv_csr reference_gemv_csr_f32, reference_gemv_csr_bf16, reference_gemv_csr_i8, reference_gemv_csr_i4;
lk_decode_csr reference_decode_csr_f32, reference_decode_csr_bf16, reference_decode_csr_i8, reference_decode_csr_i4;
lk_gemv_bsr reference_gemv_bsr_f32, reference_gemv_bsr_bf16, reference_gemv_bsr_i8, reference_gemv_bsr_i4;
lk_decode_bsr reference_decode_bsr_f32, reference_decode_bsr_bf16, reference_decode_bsr_i8, reference_decode_bsr_i4;
lk_panel_bitmask reference_panel_bitmask_f32, reference_panel_bitmask_bf16, reference_panel_bitmask_i8;
lk_panel_bsr reference_panel_bsr_f32, reference_panel_bsr_bf16, reference_panel_bsr_i8;
lk_product_rows reference_product_rows_f32, reference_product_rows_bf16, reference_product_rows_i8;
void reference_pack_panel(const float *x, long stride, long count, long columns, long width, float *panel);
void reference_unpack_panel(const float *tile, long width, long rows, long count, float *y, long stride);

// MARK: Products with many vectors, products of sparse matrices, convolutions

lk_segments_f32 reference_product_segments_f32, reference_product_segments_bf16, reference_product_segments_i8,
    reference_transposed_segments_f32;
lk_segments_f64 reference_product_segments_f64, reference_transposed_segments_f64;
lk_sampled_f32 reference_sampled_f32;
lk_sampled_segments_f32 reference_sampled_segments_f32;
lk_sampled_segments_f64 reference_sampled_segments_f64;
lk_sampled_f64 reference_sampled_f64;
lk_pointwise_f32 reference_pointwise_f32;
lk_pad_plane_f32 reference_pad_plane_f32;
lk_direct_f32 reference_direct_f32;
lk_spgemm_count reference_spgemm_count;
lk_spgemm_f32 reference_spgemm_f32, reference_spgemm_min_plus_f32;
lk_spgemm_f64 reference_spgemm_f64, reference_spgemm_min_plus_f64;
lk_spgemm_u8 reference_spgemm_boolean;
lk_gemv_csr_f64 reference_gemv_csr_f64;
lk_groups_f32 reference_product_groups_f32;
lk_groups_f64 reference_product_groups_f64;
lk_groups_transposed_f32 reference_transposed_groups_f32;
lk_groups_transposed_f64 reference_transposed_groups_f64;
lk_groups_sampled_f32 reference_sampled_groups_f32;
lk_groups_sampled_f64 reference_sampled_groups_f64;
lk_blocks_f32 reference_product_blocks_f32, reference_transposed_blocks_f32;
lk_sampled_blocks_f32 reference_sampled_blocks_f32;
void reference_transpose_add_f32(
    const float *source, long source_stride, long m, long n, float alpha, float beta, float *target,
    long target_stride);
void reference_transpose_add_f64(
    const double *source, long source_stride, long m, long n, double alpha, double beta, double *target,
    long target_stride);
void reference_combine_f32(float alpha, const float *x, float beta, float *y, long n);
void reference_combine_f64(double alpha, const double *x, double beta, double *y, long n);

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

// MARK: Parts of tables

// The part of a table of scalar functions that belongs to this file.
#define REFERENCE_SPARSE_ENTRIES                                                                               \
  .gemv_csr_f32 = reference_gemv_csr_f32, .gemv_csr_bf16 = reference_gemv_csr_bf16,                            \
  .gemv_csr_i8 = reference_gemv_csr_i8, .gemv_csr_i4 = reference_gemv_csr_i4,                                  \
  .decode_csr_f32 = reference_decode_csr_f32, .decode_csr_bf16 = reference_decode_csr_bf16,                    \
  .decode_csr_i8 = reference_decode_csr_i8, .decode_csr_i4 = reference_decode_csr_i4,                          \
  .gemv_bsr_f32 = reference_gemv_bsr_f32, .gemv_bsr_bf16 = reference_gemv_bsr_bf16,                            \
  .gemv_bsr_i8 = reference_gemv_bsr_i8, .gemv_bsr_i4 = reference_gemv_bsr_i4,                                  \
  .decode_bsr_f32 = reference_decode_bsr_f32, .decode_bsr_bf16 = reference_decode_bsr_bf16,                    \
  .decode_bsr_i8 = reference_decode_bsr_i8, .decode_bsr_i4 = reference_decode_bsr_i4,                          \
  .pack_panel = reference_pack_panel, .unpack_panel = reference_unpack_panel,                                  \
  .panel_bitmask_f32 = reference_panel_bitmask_f32, .panel_bitmask_bf16 = reference_panel_bitmask_bf16,        \
  .panel_bitmask_i8 = reference_panel_bitmask_i8,                                                              \
  .panel_bsr_f32 = reference_panel_bsr_f32, .panel_bsr_bf16 = reference_panel_bsr_bf16,                        \
  .panel_bsr_i8 = reference_panel_bsr_i8, .product_rows_f32 = reference_product_rows_f32,                      \
  .product_rows_bf16 = reference_product_rows_bf16, .product_rows_i8 = reference_product_rows_i8

// The same part of a level's table. Decoding is bound by its writes, so every level shares the scalar one.
#define LEVEL_SPARSE_ENTRIES                                                                                   \
  .gemv_csr_f32 = K(gemv_csr_f32), .gemv_csr_bf16 = K(gemv_csr_bf16), .gemv_csr_i8 = K(gemv_csr_i8),           \
  .gemv_csr_i4 = K(gemv_csr_i4), .decode_csr_f32 = reference_decode_csr_f32,                                   \
  .decode_csr_bf16 = reference_decode_csr_bf16, .decode_csr_i8 = reference_decode_csr_i8,                      \
  .decode_csr_i4 = reference_decode_csr_i4, .gemv_bsr_f32 = K(gemv_bsr_f32),                                   \
  .gemv_bsr_bf16 = K(gemv_bsr_bf16), .gemv_bsr_i8 = K(gemv_bsr_i8), .gemv_bsr_i4 = K(gemv_bsr_i4),              \
  .decode_bsr_f32 = reference_decode_bsr_f32, .decode_bsr_bf16 = reference_decode_bsr_bf16,                    \
  .decode_bsr_i8 = reference_decode_bsr_i8, .decode_bsr_i4 = reference_decode_bsr_i4,                          \
  .pack_panel = K(pack_panel), .unpack_panel = K(unpack_panel), .panel_bitmask_f32 = K(panel_bitmask_f32),     \
  .panel_bitmask_bf16 = K(panel_bitmask_bf16), .panel_bitmask_i8 = K(panel_bitmask_i8),                        \
  .panel_bsr_f32 = K(panel_bsr_f32), .panel_bsr_bf16 = K(panel_bsr_bf16), .panel_bsr_i8 = K(panel_bsr_i8),  \
  .product_rows_f32 = K(product_rows_f32), .product_rows_bf16 = K(product_rows_bf16),                          \
  .product_rows_i8 = K(product_rows_i8)

#define TRAINING_ENTRIES(N)                                                                                    \
  .pointwise_f32 = N(pointwise_f32), .pad_plane_f32 = N(pad_plane_f32), .direct_f32 = N(direct_f32),           \
  .spgemm_count = N(spgemm_count), .spgemm_f32 = N(spgemm_f32), .spgemm_min_plus_f32 = N(spgemm_min_plus_f32), \
  .spgemm_f64 = N(spgemm_f64), .spgemm_min_plus_f64 = N(spgemm_min_plus_f64),                                  \
  .spgemm_boolean = N(spgemm_boolean),                                                                         \
  .gemv_csr_f64 = N(gemv_csr_f64), .product_segments_i8 = N(product_segments_i8),                              \
  .product_segments_f32 = N(product_segments_f32), .product_segments_bf16 = N(product_segments_bf16),          \
  .product_segments_f64 = N(product_segments_f64), .transposed_segments_f32 = N(transposed_segments_f32),      \
  .transposed_segments_f64 = N(transposed_segments_f64), .sampled_f32 = N(sampled_f32),  \
  .sampled_segments_f32 = N(sampled_segments_f32), .sampled_segments_f64 = N(sampled_segments_f64),                      \
  .sampled_f64 = N(sampled_f64), .product_blocks_f32 = N(product_blocks_f32),                                  \
  .transposed_blocks_f32 = N(transposed_blocks_f32), .sampled_blocks_f32 = N(sampled_blocks_f32),              \
  .product_groups_f32 = N(product_groups_f32), .product_groups_f64 = N(product_groups_f64),                    \
  .transposed_groups_f32 = N(transposed_groups_f32), .transposed_groups_f64 = N(transposed_groups_f64),        \
  .sampled_groups_f32 = N(sampled_groups_f32), .sampled_groups_f64 = N(sampled_groups_f64),                    \
  .transpose_add_f32 = N(transpose_add_f32),                                                                   \
  .transpose_add_f64 = N(transpose_add_f64), .combine_f32 = N(combine_f32), .combine_f64 = N(combine_f64)

// The parts of a table of scalar functions and of a level's table that belong to this file.
#define REFERENCE_NAME(name) reference_##name
#define REFERENCE_TRAINING_ENTRIES TRAINING_ENTRIES(REFERENCE_NAME)
#define LEVEL_TRAINING_ENTRIES TRAINING_ENTRIES(K)

#define REFERENCE_COLUMNS_ENTRIES                                                                            \
  .dot_f64 = reference_dot_f64, .axpy_f64 = reference_axpy_f64,                                              \
  .weighted_squares_f64 = reference_weighted_squares_f64, .dots_f64 = reference_dots_f64,                    \
  .sparse_dot_f64 = reference_sparse_dot_f64, .sparse_axpy_f64 = reference_sparse_axpy_f64,                  \
  .sparse_weighted_squares_f64 = reference_sparse_weighted_squares_f64,                                      \
  .sparse_dots_f64 = reference_sparse_dots_f64

#endif
