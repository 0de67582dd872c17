// Scalar versions of the products with segments and of the sampled products.
#ifndef LACUNA_REFERENCE_TRAINING_H
#define LACUNA_REFERENCE_TRAINING_H

#include "lacuna_kernels.h"

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

#endif
