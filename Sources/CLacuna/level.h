// Every kernel at one level of vector instructions. table.c includes this file once for each, with LEVEL, SUFFIX and
// VECTOR_BYTES defined; none of the files included here has an include guard.

#define PASTE_(name, suffix) name##suffix
#define PASTE(name, suffix) PASTE_(name, suffix)
#define K(name) PASTE(name, SUFFIX)  // the name at this level

#include "kernels_csr.h"
#include "kernels_bsr.h"
#include "kernels_spmm.h"

static const lk_table K(table) = {
    .dot_f32 = reference_dot_f32,
    .axpy_f32 = reference_axpy_f32,
    .scale_add_f32 = reference_scale_add_f32,
    .sum_f32 = reference_sum_f32,
    .max_f32 = reference_max_f32,
    .argmax_f32 = reference_argmax_f32,
    .f32_to_bf16 = reference_f32_to_bf16,
    .bf16_to_f32 = reference_bf16_to_f32,
    .f32_to_f16 = reference_f32_to_f16,
    .f16_to_f32 = reference_f16_to_f32,
    .split_even_odd = reference_split_even_odd,
    .quantize_x64 = reference_quantize_x64,
    .quantize_x32 = reference_quantize_x32,
    .rmsnorm = reference_rmsnorm,
    .softmax = reference_softmax,
    .silu_mul = reference_silu_mul,
    .rope_interleaved = reference_rope_interleaved,
    .rope_halves = reference_rope_halves,
    .attention_scores = reference_attention_scores,
    .attention_mix = reference_attention_mix,
    .accumulate_sums = reference_accumulate_sums,
    .accumulate_squares = reference_accumulate_squares,
    .count_keys = reference_count_keys,
    .kth_largest = reference_kth_largest,
    .mask_above = reference_mask_above,
    .mask_largest = reference_mask_largest,
    .gemv_f32 = reference_gemv_f32,
    .gemv_bf16 = reference_gemv_bf16,
    .gemv_f16 = reference_gemv_f16,
    .gemv_i8 = reference_gemv_i8,
    .gemv_i4 = reference_gemv_i4,
    .gemv_q8_0 = reference_gemv_q8_0,
    .gemv_q4_0 = reference_gemv_q4_0,
    .gemv_q4_1 = reference_gemv_q4_1,
    .decode_f32 = reference_decode_f32,
    .decode_bf16 = reference_decode_bf16,
    .decode_f16 = reference_decode_f16,
    .decode_i8 = reference_decode_i8,
    .decode_i4 = reference_decode_i4,
    .decode_q8_0 = reference_decode_q8_0,
    .decode_q4_0 = reference_decode_q4_0,
    .decode_q4_1 = reference_decode_q4_1,
    .gemv_bitmask_f32 = reference_gemv_bitmask_f32,
    .gemv_bitmask_bf16 = reference_gemv_bitmask_bf16,
    .gemv_bitmask_i8 = reference_gemv_bitmask_i8,
    .gemv_bitmask_i4 = reference_gemv_bitmask_i4,
    .decode_bitmask_f32 = reference_decode_bitmask_f32,
    .decode_bitmask_bf16 = reference_decode_bitmask_bf16,
    .decode_bitmask_i8 = reference_decode_bitmask_i8,
    .decode_bitmask_i4 = reference_decode_bitmask_i4,
    .skip_rows_f32 = reference_skip_rows_f32,
    .skip_rows_bf16 = reference_skip_rows_bf16,
    LEVEL_SPARSE_ENTRIES,
};

#undef K
#undef PASTE
#undef PASTE_
#undef LEVEL
#undef SUFFIX
#undef VECTOR_BYTES
