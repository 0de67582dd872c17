#include "../reference.h"

// The value in row r (of the matrix), column j of block b.
static float bsr_f32(const lk_bsr *w, long r, long b, long j) {
  return ((const float *)w->values)[(b * w->block_rows + r % w->block_rows) * w->block_columns + j];
}

static float bsr_bf16(const lk_bsr *w, long r, long b, long j) {
  return sparse_bf16(((const uint16_t *)w->values)[(b * w->block_rows + r % w->block_rows) * w->block_columns + j]);
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

#define BSR(format)                                                                                              \
  void reference_gemv_bsr_##format(const lk_bsr *w, const lk_input *input, long r0, long r1, float *out) {       \
    for (long r = r0; r < r1; r++) {                                                                             \
      double sum = 0;                                                                                            \
      for (long b = w->row_start[r / w->block_rows]; b < (long)w->row_start[r / w->block_rows + 1]; b++)         \
        for (long j = 0; j < bsr_width(w, b); j++)                                                               \
          sum += (double)bsr_##format(w, r, b, j) * input->x[(long)w->block_column[b] * w->block_columns + j];   \
      out[r - r0] = (float)sum;                                                                                  \
    }                                                                                                            \
  }                                                                                                              \
  void reference_decode_bsr_##format(const lk_bsr *w, long r0, long r1, float *out) {                            \
    for (long r = r0; r < r1; r++, out += w->columns) {                                                          \
      memset(out, 0, (size_t)w->columns * sizeof(float));                                                        \
      for (long b = w->row_start[r / w->block_rows]; b < (long)w->row_start[r / w->block_rows + 1]; b++)         \
        for (long j = 0; j < bsr_width(w, b); j++)                                                               \
          out[(long)w->block_column[b] * w->block_columns + j] = bsr_##format(w, r, b, j);                       \
    }                                                                                                            \
  }

BSR(f32)
BSR(bf16)
BSR(i8)
BSR(i4)

#define PANEL(format)                                                            \
  void reference_panel_bsr_##format(                                                                             \
      const lk_bsr *w, const float *panel, long width, long r0, long r1, float *tile) {                          \
    for (long r = r0; r < r1; r++) {                                                                             \
      for (long t = 0; t < width; t++) {                                                                         \
        double sum = 0;                                                                                          \
        for (long b = w->row_start[r / w->block_rows]; b < (long)w->row_start[r / w->block_rows + 1]; b++)       \
          for (long j = 0; j < bsr_width(w, b); j++)                                                             \
            sum += (double)bsr_##format(w, r, b, j) *                                                            \
                   panel[((long)w->block_column[b] * w->block_columns + j) * width + t];                         \
        tile[(r - r0) * width + t] = (float)sum;                                                                 \
      }                                                                                                          \
    }                                                                                                            \
  }

PANEL(f32)
PANEL(bf16)
PANEL(i8)

// MARK: Training

// Calls `body` for every stored entry (r, c) of block rows first..<last that lies within the matrix; `at` is its index.
#define EACH_ENTRY(w, rows, first, last, body)                                                                 \
  for (long i = first; i < last; i++)                                                                          \
    for (long b = (w)->row_start[i]; b < (long)(w)->row_start[i + 1]; b++)                                     \
      for (long k = 0; k < (w)->block_rows; k++)                                                               \
        for (long j = 0; j < (w)->block_columns; j++) {                                                        \
          const long r = i * (w)->block_rows + k, c = (long)(w)->block_column[b] * (w)->block_columns + j;     \
          const long at = (b * (w)->block_rows + k) * (w)->block_columns + j;                                  \
          if (r < (rows) && c < (w)->columns) body                                                             \
        }

void reference_product_blocks_f32(
    const lk_bsr *w, long rows, long first, long last, const float *panel, long width, float *tile) {
  const float *values = (const float *)w->values;
  EACH_ENTRY(w, rows, first, last, {
    float *sums = tile + (r - first * w->block_rows) * width;
    for (long t = 0; t < width; t++) sums[t] = (float)(sums[t] + (double)values[at] * panel[c * width + t]);
  })
}

void reference_transposed_blocks_f32(
    const lk_bsr *w, long rows, long first, long last, const float *panel, long width, float *tile) {
  const float *values = (const float *)w->values;
  EACH_ENTRY(w, rows, 0, (rows + w->block_rows - 1) / w->block_rows, {
    float *sums = tile + (c - first * w->block_columns) * width;
    if ((long)w->block_column[b] >= first && (long)w->block_column[b] < last)
      for (long t = 0; t < width; t++) sums[t] = (float)(sums[t] + (double)values[at] * panel[r * width + t]);
  })
}

void reference_sampled_blocks_f32(
    const lk_bsr *w, long rows, long first, long last, const float *a, const float *b_panel, long width, int add,
    float *values) {
  EACH_ENTRY(w, rows, first, last, {
    double sum = add ? values[at] : 0;
    for (long t = 0; t < width; t++) sum += (double)a[r * width + t] * b_panel[c * width + t];
    values[at] = (float)sum;
  })
}
