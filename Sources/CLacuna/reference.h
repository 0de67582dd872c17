// Scalar versions of every kernel, for tests and for tables that have no vector version of one.
#ifndef LACUNA_REFERENCE_H
#define LACUNA_REFERENCE_H

#include "lacuna_kernels.h"

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

#endif
