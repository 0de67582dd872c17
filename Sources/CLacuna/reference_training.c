#include "reference_training.h"

#include "reference_sparse.h"

#define VALUE_f32(p, j) (((const float *)(p))[j])
#define VALUE_f64(p, j) (((const double *)(p))[j])
#define VALUE_i8(p, j) (((const int8_t *)(p))[j])
#define VALUE_bf16(p, j) sparse_bf16(((const uint16_t *)(p))[j])

static long segmented_column(const lk_segmented *w, long j) {
  return w->wide ? (long)((const uint32_t *)w->column)[j] : (long)((const uint16_t *)w->column)[j];
}

// Sums in double precision within a segment.
#define PRODUCT(format, R)                                                                                     \
  void reference_product_segments_##format(                                                                    \
      const lk_segmented *w, long block, const R *panel, long width, R *tile) {                                \
    for (uint32_t i = w->first[block * w->bands]; i < w->first[(block + 1) * w->bands]; i++) {                 \
      const lk_segment s = w->segments[i];                                                                     \
      for (long t = 0; t < width; t++) {                                                                       \
        double sum = tile[s.row * width + t];                                                                  \
        for (long j = s.start; j < (long)s.start + s.count; j++)                                               \
          sum += (double)VALUE_##format(w->values, j) * panel[segmented_column(w, j) * width + t];             \
        tile[s.row * width + t] = (R)sum;                                                                      \
      }                                                                                                        \
    }                                                                                                          \
  }

PRODUCT(f32, float)
PRODUCT(f64, double)
PRODUCT(bf16, float)
PRODUCT(i8, float)

void reference_gemv_csr_f64(
    const uint32_t *row_start, const uint32_t *column, const double *values, const double *x, long r0, long r1,
    double *out) {
  for (long r = r0; r < r1; r++) {
    double sum = 0;
    for (long j = row_start[r]; j < (long)row_start[r + 1]; j++) sum += values[j] * x[column[j]];
    out[r - r0] = sum;
  }
}

#define TRANSPOSED(format, R)                                                                                  \
  void reference_transposed_segments_##format(                                                                 \
      const lk_segmented *w, long band, const R *panel, long width, R *tile) {                                 \
    for (long block = 0; block < w->blocks; block++)                                                           \
      for (uint32_t i = w->first[block * w->bands + band]; i < w->first[block * w->bands + band + 1]; i++) {   \
        const lk_segment s = w->segments[i];                                                                   \
        const R *x = panel + ((long)w->block_start[block] + s.row) * width;                                    \
        for (long j = s.start; j < (long)s.start + s.count; j++) {                                             \
          R *sums = tile + (segmented_column(w, j) - band * w->band_columns) * width;                          \
          for (long t = 0; t < width; t++) sums[t] = (R)(sums[t] + (double)VALUE_##format(w->values, j) * x[t]); \
        }                                                                                                      \
      }                                                                                                        \
  }

TRANSPOSED(f32, float)
TRANSPOSED(f64, double)

#define OTHERS(real, R)                                                                                        \
  void reference_sampled_##real(                                                                               \
      const uint32_t *row_start, const uint32_t *column, long r0, long r1, const R *a, const R *b, long width, \
      int add, R *values) {                                                                                    \
    for (long r = r0; r < r1; r++)                                                                             \
      for (long j = row_start[r]; j < (long)row_start[r + 1]; j++) {                                           \
        double sum = add ? values[j] : 0;                                                                      \
        for (long t = 0; t < width; t++) sum += (double)a[r * width + t] * b[column[j] * width + t];           \
        values[j] = (R)sum;                                                                                    \
      }                                                                                                        \
  }                                                                                                            \
  void reference_transpose_add_##real(                                                                         \
      const R *source, long source_stride, long m, long n, R alpha, R beta, R *target, long target_stride) {   \
    for (long i = 0; i < m; i++)                                                                               \
      for (long j = 0; j < n; j++) {                                                                           \
        R *p = target + j * target_stride + i;                                                                 \
        *p = alpha * source[i * source_stride + j] + (beta == 0 ? 0 : beta * *p);                              \
      }                                                                                                        \
  }                                                                                                            \
  void reference_combine_##real(R alpha, const R *x, R beta, R *y, long n) {                                   \
    for (long i = 0; i < n; i++) y[i] = alpha * x[i] + (beta == 0 ? 0 : beta * y[i]);                          \
  }

OTHERS(f32, float)
OTHERS(f64, double)

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
