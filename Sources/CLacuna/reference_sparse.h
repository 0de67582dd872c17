// Scalar versions of the CSR, BSR and panel kernels.
#ifndef LACUNA_REFERENCE_SPARSE_H
#define LACUNA_REFERENCE_SPARSE_H

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

lk_gemv_csr reference_gemv_csr_f32, reference_gemv_csr_bf16, reference_gemv_csr_i8, reference_gemv_csr_i4;
lk_decode_csr reference_decode_csr_f32, reference_decode_csr_bf16, reference_decode_csr_i8, reference_decode_csr_i4;
lk_gemv_bsr reference_gemv_bsr_f32, reference_gemv_bsr_bf16, reference_gemv_bsr_i8, reference_gemv_bsr_i4;
lk_decode_bsr reference_decode_bsr_f32, reference_decode_bsr_bf16, reference_decode_bsr_i8, reference_decode_bsr_i4;
lk_panel_bitmask reference_panel_bitmask_f32, reference_panel_bitmask_bf16, reference_panel_bitmask_i8;
lk_panel_bsr reference_panel_bsr_f32, reference_panel_bsr_bf16, reference_panel_bsr_i8;
lk_product_rows reference_product_rows_f32, reference_product_rows_bf16, reference_product_rows_i8;
void reference_pack_panel(const float *x, long stride, long count, long columns, long width, float *panel);
void reference_unpack_panel(const float *tile, long width, long rows, long count, float *y, long stride);

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

#endif
