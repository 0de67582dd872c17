#include "../reference.h"

// The value in row r (of the matrix), column j of block b.
static float bsr_f32(const lk_bsr *w, long r, long b, long j) {
  return ((const float *)w->values)[(b * w->block_rows + r % w->block_rows) * w->block_columns + j];
}

static float bsr_bf16(const lk_bsr *w, long r, long b, long j) {
  return sparse_bf16(((const uint16_t *)w->values)[(b * w->block_rows + r % w->block_rows) * w->block_columns + j]);
}

static float bsr_f16(const lk_bsr *w, long r, long b, long j) {
  return reference_f16_value(
      ((const uint16_t *)w->values)[(b * w->block_rows + r % w->block_rows) * w->block_columns + j]);
}

static float bsr_i8(const lk_bsr *w, long r, long b, long j) {
  return ((const float *)w->scales)[r] *
         ((const int8_t *)w->values)[(b * w->block_rows + r % w->block_rows) * w->block_columns + j];
}

static float bsr_i4(const lk_bsr *w, long r, long b, long j) {
  long bytes = (w->block_rows * w->block_columns + 1) / 2;
  long group = r * ((w->columns + 63) / 64) + ((long)w->block_column[b] * w->block_columns + j) / 64;
  return sparse_bf16(((const uint16_t *)w->scales)[group]) *
         sparse_nibble((const uint8_t *)w->values + b * bytes, r % w->block_rows * w->block_columns + j);
}

static long bsr_width(const lk_bsr *w, long b) {
  long left = w->columns - (long)w->block_column[b] * w->block_columns;
  return left < w->block_columns ? left : w->block_columns;
}

#define BSR(format)                                                                                             \
  void reference_gemv_bsr_##format(const lk_bsr *w, const lk_input *input, long r0, long r1, float *out) {      \
    for (long r = r0; r < r1; r++) {                                                                            \
      double sum = 0;                                                                                           \
      for (long b = w->row_start[r / w->block_rows]; b < (long)w->row_start[r / w->block_rows + 1]; b++)        \
        for (long j = 0; j < bsr_width(w, b); j++)                                                              \
          sum += (double)bsr_##format(w, r, b, j) * input->x[(long)w->block_column[b] * w->block_columns + j];  \
      out[r - r0] = (float)sum;                                                                                 \
    }                                                                                                           \
  }                                                                                                             \
  void reference_decode_bsr_##format(const lk_bsr *w, long r0, long r1, float *out) {                           \
    for (long r = r0; r < r1; r++, out += w->columns) {                                                         \
      memset(out, 0, (size_t)w->columns * sizeof(float));                                                       \
      for (long b = w->row_start[r / w->block_rows]; b < (long)w->row_start[r / w->block_rows + 1]; b++)        \
        for (long j = 0; j < bsr_width(w, b); j++)                                                              \
          out[(long)w->block_column[b] * w->block_columns + j] = bsr_##format(w, r, b, j);                      \
    }                                                                                                           \
  }

BSR(f32)
BSR(bf16)
BSR(f16)
BSR(i8)
BSR(i4)

#define PANEL(format)                                                                                       \
  void reference_panel_bsr_##format(                                                                        \
      const lk_bsr *w, const float *panel, long width, long r0, long r1, float *tile) {                     \
    for (long r = r0; r < r1; r++) {                                                                        \
      for (long t = 0; t < width; t++) {                                                                    \
        double sum = 0;                                                                                     \
        for (long b = w->row_start[r / w->block_rows]; b < (long)w->row_start[r / w->block_rows + 1]; b++)  \
          for (long j = 0; j < bsr_width(w, b); j++)                                                        \
            sum += (double)bsr_##format(w, r, b, j) *                                                       \
                   panel[((long)w->block_column[b] * w->block_columns + j) * width + t];                    \
        tile[(r - r0) * width + t] = (float)sum;                                                            \
      }                                                                                                     \
    }                                                                                                       \
  }

PANEL(f32)
PANEL(bf16)
PANEL(f16)
PANEL(i8)

// MARK: Training

// Calls `body` for every stored entry (r, c) of block rows first..<last that lies within the matrix; `at` is its index.
#define EACH_ENTRY(w, first, last, body)                                                                    \
  for (long i = first; i < last; i++)                                                                       \
    for (long k = (w)->row_start[i]; k < (w)->row_start[i + 1]; k++)                                        \
      for (long y = 0; y < (w)->block_rows; y++)                                                            \
        for (long x = 0; x < (w)->block_columns; x++) {                                                     \
          const long r = i * (w)->block_rows + y, c = (long)(w)->block_column[k] * (w)->block_columns + x;  \
          const long at = (k * (w)->block_rows + y) * (w)->block_columns + x;                               \
          if (r < (w)->rows && c < (w)->columns) body                                                       \
        }

#define BLOCKS(real, R)                                                                              \
  void reference_product_blocks_##real(                                                              \
      const lk_blocks *w, long first, long last, const void *panel, long width, void *tile) {        \
    const R *values = (const R *)w->values;                                                          \
    EACH_ENTRY(w, first, last, {                                                                     \
      R *sums = (R *)tile + (r - first * w->block_rows) * width;                                     \
      for (long t = 0; t < width; t++)                                                               \
        sums[t] = (R)(sums[t] + (double)values[at] * ((const R *)panel)[c * width + t]);             \
    })                                                                                               \
  }                                                                                                  \
  void reference_transposed_blocks_##real(                                                           \
      const lk_blocks *w, long first, long last, const void *panel, long width, void *tile) {        \
    const R *values = (const R *)w->values;                                                          \
    EACH_ENTRY(w, 0, (w->rows + w->block_rows - 1) / w->block_rows, {                                \
      R *sums = (R *)tile + (c - first * w->block_columns) * width;                                  \
      if ((long)w->block_column[k] >= first && (long)w->block_column[k] < last)                      \
        for (long t = 0; t < width; t++)                                                             \
          sums[t] = (R)(sums[t] + (double)values[at] * ((const R *)panel)[r * width + t]);           \
    })                                                                                               \
  }                                                                                                  \
  void reference_sampled_blocks_##real(                                                              \
      const lk_blocks *w, long first, long last, const void *a, const void *b, long width, int add,  \
      void *values) {                                                                                \
    R *v = (R *)values;                                                                              \
    EACH_ENTRY(w, first, last, {                                                                     \
      double sum = add ? v[at] : 0;                                                                  \
      for (long t = 0; t < width; t++)                                                               \
        sum += (double)((const R *)a)[r * width + t] * ((const R *)b)[c * width + t];                \
      v[at] = (R)sum;                                                                                \
    })                                                                                               \
  }

BLOCKS(f32, float)
BLOCKS(f64, double)
