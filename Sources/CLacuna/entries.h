// Every entry of the tables: N(name) is the function of that name at some level, or the scalar one.
#ifndef LACUNA_ENTRIES_H
#define LACUNA_ENTRIES_H

#define LK_TABLE_ENTRIES(N)                                                                                       \
  .axpy_f32 = N(axpy_f32), .argmax_f32 = N(argmax_f32), .all_finite = N(all_finite),                              \
  .f32_to_bf16 = N(f32_to_bf16), .bf16_to_f32 = N(bf16_to_f32), .f32_to_f16 = N(f32_to_f16),                      \
  .f16_to_f32 = N(f16_to_f32), .split_even_odd = N(split_even_odd), .quantize_x64 = N(quantize_x64),              \
  .quantize_x32 = N(quantize_x32), .round_i4 = N(round_i4), .rmsnorm = N(rmsnorm), .softmax = N(softmax), .silu_mul = N(silu_mul),         \
  .rope_interleaved = N(rope_interleaved), .rope_halves = N(rope_halves),                                         \
  .attention_scores = N(attention_scores), .attention_mix = N(attention_mix),                                     \
  .accumulate_sums = N(accumulate_sums), .accumulate_squares = N(accumulate_squares),                             \
  .count_keys = N(count_keys), .kth_largest = N(kth_largest), .mask_above = N(mask_above),                        \
  .mask_largest = N(mask_largest), .sums_x16 = N(sums_x16), .gemv_f32 = N(gemv_f32), .gemv_bf16 = N(gemv_bf16),   \
  .gemv_f16 = N(gemv_f16), .gemv_i8 = N(gemv_i8), .gemv_i4 = N(gemv_i4), .gemv_q4_0 = N(gemv_q4_0),               \
  .gemv_q4_1 = N(gemv_q4_1), .gemv_q5_0 = N(gemv_q5_0), .gemv_q5_1 = N(gemv_q5_1), .gemv_q8_0 = N(gemv_q8_0),     \
  .gemv_q2_k = N(gemv_q2_k), .gemv_q3_k = N(gemv_q3_k), .gemv_q4_k = N(gemv_q4_k), .gemv_q5_k = N(gemv_q5_k),     \
  .gemv_q6_k = N(gemv_q6_k), .decode_f32 = N(decode_f32), .decode_bf16 = N(decode_bf16),                          \
  .decode_f16 = N(decode_f16), .decode_i8 = N(decode_i8), .decode_i4 = N(decode_i4),                              \
  .decode_q4_0 = N(decode_q4_0), .decode_q4_1 = N(decode_q4_1), .decode_q5_0 = N(decode_q5_0),                    \
  .decode_q5_1 = N(decode_q5_1), .decode_q8_0 = N(decode_q8_0), .decode_q2_k = N(decode_q2_k),                    \
  .decode_q3_k = N(decode_q3_k), .decode_q4_k = N(decode_q4_k), .decode_q5_k = N(decode_q5_k),                    \
  .decode_q6_k = N(decode_q6_k), .rows_i8 = N(rows_i8), .rows_i4 = N(rows_i4), .rows_q4_0 = N(rows_q4_0),         \
  .rows_q4_1 = N(rows_q4_1), .rows_q5_0 = N(rows_q5_0), .rows_q5_1 = N(rows_q5_1), .rows_q8_0 = N(rows_q8_0),     \
  .rows_q2_k = N(rows_q2_k), .rows_q3_k = N(rows_q3_k), .rows_q4_k = N(rows_q4_k), .rows_q5_k = N(rows_q5_k),     \
  .rows_q6_k = N(rows_q6_k), .product_bf16 = N(product_bf16), .gemv_bitmask_f32 = N(gemv_bitmask_f32),                                             \
  .gemv_bitmask_bf16 = N(gemv_bitmask_bf16), .gemv_bitmask_f16 = N(gemv_bitmask_f16),                             \
  .gemv_bitmask_i8 = N(gemv_bitmask_i8), .gemv_bitmask_i4 = N(gemv_bitmask_i4),                                   \
  .decode_bitmask_f32 = N(decode_bitmask_f32), .decode_bitmask_bf16 = N(decode_bitmask_bf16),                     \
  .decode_bitmask_f16 = N(decode_bitmask_f16), .decode_bitmask_i8 = N(decode_bitmask_i8),                         \
  .decode_bitmask_i4 = N(decode_bitmask_i4), .skip_rows_f32 = N(skip_rows_f32),                                   \
  .skip_rows_bf16 = N(skip_rows_bf16), .skip_rows_f16 = N(skip_rows_f16), .gemv_csr_f32 = N(gemv_csr_f32),        \
  .gemv_csr_bf16 = N(gemv_csr_bf16), .gemv_csr_f16 = N(gemv_csr_f16), .gemv_csr_i8 = N(gemv_csr_i8),              \
  .gemv_csr_i4 = N(gemv_csr_i4), .decode_csr_f32 = N(decode_csr_f32), .decode_csr_bf16 = N(decode_csr_bf16),      \
  .decode_csr_f16 = N(decode_csr_f16), .decode_csr_i8 = N(decode_csr_i8), .decode_csr_i4 = N(decode_csr_i4),      \
  .gemv_bsr_f32 = N(gemv_bsr_f32), .gemv_bsr_bf16 = N(gemv_bsr_bf16), .gemv_bsr_f16 = N(gemv_bsr_f16),            \
  .gemv_bsr_i8 = N(gemv_bsr_i8), .gemv_bsr_i4 = N(gemv_bsr_i4), .decode_bsr_f32 = N(decode_bsr_f32),              \
  .decode_bsr_bf16 = N(decode_bsr_bf16), .decode_bsr_f16 = N(decode_bsr_f16),                                     \
  .decode_bsr_i8 = N(decode_bsr_i8), .decode_bsr_i4 = N(decode_bsr_i4),                                           \
  .gemv_code_groups = N(gemv_code_groups), .decode_code_groups = N(decode_code_groups),                           \
  .pack_panel = N(pack_panel),                                                                                    \
  .unpack_panel = N(unpack_panel), .panel_bitmask_f32 = N(panel_bitmask_f32),                                     \
  .panel_bitmask_bf16 = N(panel_bitmask_bf16), .panel_bitmask_f16 = N(panel_bitmask_f16),                         \
  .panel_bitmask_i8 = N(panel_bitmask_i8), .panel_bsr_f32 = N(panel_bsr_f32),                                     \
  .panel_bsr_bf16 = N(panel_bsr_bf16), .panel_bsr_f16 = N(panel_bsr_f16), .panel_bsr_i8 = N(panel_bsr_i8),        \
  .product_rows_f32 = N(product_rows_f32), .product_rows_bf16 = N(product_rows_bf16),                             \
  .product_rows_f16 = N(product_rows_f16), .product_rows_i8 = N(product_rows_i8),                                 \
  .product_segments_bf16 = N(product_segments_bf16), .product_segments_f16 = N(product_segments_f16),             \
  .product_segments_i8 = N(product_segments_i8), .spgemm_count = N(spgemm_count),                                 \
  .spgemm_pattern = N(spgemm_pattern), .pointwise_f32 = N(pointwise_f32), .pad_plane_f32 = N(pad_plane_f32),      \
  .direct_f32 = N(direct_f32), .dot_f64 = N(dot_f64), .axpy_f64 = N(axpy_f64),                                    \
  .weighted_squares_f64 = N(weighted_squares_f64), .dots_f64 = N(dots_f64),                                       \
  .sparse_dot_f64 = N(sparse_dot_f64), .sparse_axpy_f64 = N(sparse_axpy_f64),                                     \
  .sparse_weighted_squares_f64 = N(sparse_weighted_squares_f64), .sparse_dots_f64 = N(sparse_dots_f64)

#define LK_REAL_ENTRIES(N)                                                                                        \
  .gemv_rows = N(gemv_rows), .product_segments = N(product_segments),                                             \
  .transposed_segments = N(transposed_segments), .sampled = N(sampled), .sampled_segments = N(sampled_segments),  \
  .product_groups = N(product_groups), .transposed_groups = N(transposed_groups),                                 \
  .sampled_groups = N(sampled_groups), .product_blocks = N(product_blocks),                                       \
  .transposed_blocks = N(transposed_blocks), .sampled_blocks = N(sampled_blocks), .spgemm = N(spgemm),            \
  .spgemm_min_plus = N(spgemm_min_plus), .transpose_add = N(transpose_add), .combine = N(combine)

#endif
