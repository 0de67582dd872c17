// Every kernel of training for one element type T and one level. training.c includes this file with T, IS_FLOAT and
// SUFFIX defined; none of the files included here has an include guard.
#define K(name) PASTE(name, SUFFIX)

#include "elementwise.h"
#include "rows.h"
#include "masked.h"
#include "normalization.h"
#include "images.h"
#include "optimizers.h"

static const lk_training K(training) = {
    .unary = K(unary),
    .unary_backward = K(unary_backward),
    .binary = K(binary),
    .divide_backward = K(divide_backward),
    .affine = K(affine),
    .swiglu = K(swiglu),
    .swiglu_backward = K(swiglu_backward),
    .clamp_mask = K(clamp_mask),
    .sum = K(sum),
    .sum_of_squares = K(sum_of_squares),
    .add_row = K(add_row),
    .multiply_row = K(multiply_row),
    .multiply_column = K(multiply_column),
    .broadcast_column = K(broadcast_column),
    .column_sums = K(column_sums),
    .column_dots = K(column_dots),
    .row_sums = K(row_sums),
    .row_dots = K(row_dots),
    .softmax = K(softmax),
    .softmax_backward = K(softmax_backward),
    .log_softmax = K(log_softmax),
    .log_softmax_backward = K(log_softmax_backward),
    .masked_softmax = K(masked_softmax),
    .cross_entropy = K(cross_entropy),
    .cross_entropy_backward = K(cross_entropy_backward),
    .divergence = K(divergence),
    .layer_norm = K(layer_norm),
    .layer_norm_backward = K(layer_norm_backward),
    .layer_norm_gain = K(layer_norm_gain),
    .rms_norm = K(rms_norm),
    .rms_norm_backward = K(rms_norm_backward),
    .rms_norm_gain = K(rms_norm_gain),
    .channel_moments = K(channel_moments),
    .channel_affine = K(channel_affine),
    .channel_dots = K(channel_dots),
    .channel_backward = K(channel_backward),
    .gather_rows = K(gather_rows),
    .scatter_add_rows = K(scatter_add_rows),
    .permute = K(permute),
    .unpermute = K(unpermute),
    .rotate = K(rotate),
    .keep_along_rows = K(keep_along_rows),
    .keep_along_columns = K(keep_along_columns),
    .scale_masked = K(scale_masked),
    .scatter_add = K(scatter_add),
    .gather = K(gather),
    .unfold = K(unfold),
    .fold_add = K(fold_add),
    .depthwise = K(depthwise),
    .depthwise_input = K(depthwise_input),
    .depthwise_kernel = K(depthwise_kernel),
    .max_pool = K(max_pool),
    .max_pool_backward = K(max_pool_backward),
    .average_pool = K(average_pool),
    .average_pool_backward = K(average_pool_backward),
    .sgd = K(sgd),
    .adam = K(adam),
    .adagrad = K(adagrad),
    .average = K(average),
};

#undef K
#undef SUFFIX
