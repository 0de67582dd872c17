// Every kernel at one level of vector instructions. table.c includes this file once for each, with LEVEL, SUFFIX and
// VECTOR_BYTES defined; none of the files included here has an include guard.

#define PASTE_(name, suffix) name##suffix
#define PASTE(name, suffix) PASTE_(name, suffix)
#define K(name) PASTE(name, SUFFIX)  // the name at this level

#include "vector.h"
#include "dense/vectors.h"
#include "dense/moments.h"
#include "network/decoder.h"
#include "select/select.h"
#include "dense/gemv.h"
#include "dense/skip_rows.h"
#include "quantized/gemv.h"
#include "bits/gemv.h"
#include "bits/decode.h"
#include "csr/gemv.h"
#include "bsr/gemv.h"
#include "dense/panel.h"
#include "bits/panel_nm.h"
#include "bits/panel.h"
#include "bsr/panel.h"
#undef STORE_SUMS
#undef LOAD_SUMS
#undef STREAMS
#undef BY_WIDTH
#undef SCALE_f32
#undef SCALE_bf16
#undef SCALE_i8
#undef ZIP_LOW
#undef ZIP_HIGH
#undef SPREAD_f32
#undef SPREAD_bf16
#undef SPREAD_i8
#undef LOAD
#include "csr/panel.h"
#include "csr/panel_transposed.h"
#include "csr/sampled.h"
#include "groups/groups.h"
#include "bsr/training.h"
#include "dense/transpose.h"
#include "csr/spgemm.h"
#include "dense/columns.h"
#include "csr/columns.h"
#include "network/sparse_convolution.h"

static const lk_table K(table) = {
    .dot_f32 = K(dot_f32),
    .axpy_f32 = K(axpy_f32),
    .scale_add_f32 = K(scale_add_f32),
    .sum_f32 = K(sum_f32),
    .max_f32 = K(max_f32),
    .argmax_f32 = K(argmax_f32),
    .f32_to_bf16 = K(f32_to_bf16),
    .bf16_to_f32 = K(bf16_to_f32),
    .f32_to_f16 = K(f32_to_f16),
    .f16_to_f32 = K(f16_to_f32),
    .split_even_odd = K(split_even_odd),
    .quantize_x64 = K(quantize_x64),
    .quantize_x32 = K(quantize_x32),
    .rmsnorm = K(rmsnorm),
    .softmax = K(softmax),
    .silu_mul = K(silu_mul),
    .rope_interleaved = K(rope_interleaved),
    .rope_halves = K(rope_halves),
    .attention_scores = K(attention_scores),
    .attention_mix = K(attention_mix),
    .accumulate_sums = K(accumulate_sums),
    .accumulate_squares = K(accumulate_squares),
    .count_keys = K(count_keys),
    .kth_largest = K(kth_largest),
    .mask_above = K(mask_above),
    .mask_largest = K(mask_largest),
    .gemv_f32 = K(gemv_f32),
    .gemv_bf16 = K(gemv_bf16),
    .gemv_f16 = K(gemv_f16),
    .gemv_i8 = K(gemv_i8),
    .gemv_i4 = K(gemv_i4),
    .gemv_q8_0 = K(gemv_q8_0),
    .gemv_q4_0 = K(gemv_q4_0),
    .gemv_q4_1 = K(gemv_q4_1),
    .decode_f32 = K(decode_f32),
    .decode_bf16 = K(decode_bf16),
    .decode_f16 = K(decode_f16),
    .decode_i8 = K(decode_i8),
    .decode_i4 = K(decode_i4),
    .decode_q8_0 = K(decode_q8_0),
    .decode_q4_0 = K(decode_q4_0),
    .decode_q4_1 = K(decode_q4_1),
    .gemv_bitmask_f32 = K(gemv_bitmask_f32),
    .gemv_bitmask_bf16 = K(gemv_bitmask_bf16),
    .gemv_bitmask_i8 = K(gemv_bitmask_i8),
    .gemv_bitmask_i4 = K(gemv_bitmask_i4),
    .decode_bitmask_f32 = K(decode_bitmask_f32),
    .decode_bitmask_bf16 = K(decode_bitmask_bf16),
    .decode_bitmask_i8 = K(decode_bitmask_i8),
    .decode_bitmask_i4 = K(decode_bitmask_i4),
    .skip_rows_f32 = K(skip_rows_f32),
    .skip_rows_bf16 = K(skip_rows_bf16),
    LEVEL_SPARSE_ENTRIES,
    LEVEL_TRAINING_ENTRIES,
    .dot_f64 = K(dot_f64),
    .axpy_f64 = K(axpy_f64),
    .weighted_squares_f64 = K(weighted_squares_f64),
    .dots_f64 = K(dots_f64),
    .sparse_dot_f64 = K(sparse_dot_f64),
    .sparse_axpy_f64 = K(sparse_axpy_f64),
    .sparse_weighted_squares_f64 = K(sparse_weighted_squares_f64),
    .sparse_dots_f64 = K(sparse_dots_f64),
};

#undef SPLAT
#undef PAIR_LOW_f32
#undef PAIR_HIGH_f32
#undef PAIR_LOW_f64
#undef PAIR_HIGH_f64
#undef FREE_f32
#undef FREE_f64
#undef AT_f32
#undef AT_f64
#undef LANES_f32
#undef LANES_f64
#undef VECTOR_f32
#undef VECTOR_f64
#undef K
#undef PASTE
#undef PASTE_
#undef LEVEL
#undef SUFFIX
#undef VECTOR_BYTES
