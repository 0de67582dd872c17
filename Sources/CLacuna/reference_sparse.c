#include "reference_sparse.h"

// MARK: CSR

static long csr_column(const lk_csr *w, long j) {
  return w->wide ? (long)((const uint32_t *)w->column)[j] : (long)((const uint16_t *)w->column)[j];
}

static float csr_f32(const lk_csr *w, long r, long j) {
  (void)r;
  return ((const float *)w->values)[j];
}

static float csr_bf16(const lk_csr *w, long r, long j) {
  (void)r;
  return sparse_bf16(((const uint16_t *)w->values)[j]);
}

static float csr_i8(const lk_csr *w, long r, long j) {
  return ((const float *)w->scales)[r] * ((const int8_t *)w->values)[j];
}

static float csr_i4(const lk_csr *w, long r, long j) {
  long group = r * ((w->columns + 63) / 64) + csr_column(w, j) / 64;
  return sparse_bf16(((const uint16_t *)w->scales)[group]) * sparse_nibble((const uint8_t *)w->values, j);
}

#define CSR(format)                                                                                              \
  void reference_gemv_csr_##format(const lk_csr *w, const lk_input *input, long r0, long r1, float *out) {       \
    for (long r = r0; r < r1; r++) {                                                                             \
      double sum = 0;                                                                                            \
      for (long j = w->row_start[r]; j < (long)w->row_start[r + 1]; j++)                                         \
        sum += (double)csr_##format(w, r, j) * input->x[csr_column(w, j)];                                       \
      out[r - r0] = (float)sum;                                                                                  \
    }                                                                                                            \
  }                                                                                                              \
  void reference_decode_csr_##format(const lk_csr *w, long r0, long r1, float *out) {                            \
    for (long r = r0; r < r1; r++, out += w->columns) {                                                          \
      memset(out, 0, (size_t)w->columns * sizeof(float));                                                        \
      for (long j = w->row_start[r]; j < (long)w->row_start[r + 1]; j++)                                         \
        out[csr_column(w, j)] = csr_##format(w, r, j);                                                           \
    }                                                                                                            \
  }

CSR(f32)
CSR(bf16)
CSR(i8)
CSR(i4)

#define CSR_ROWS(format)                                                                                         \
  void reference_product_rows_##format(const lk_csr *w, const float *panel, long r0, long r1, float *tile) {     \
    for (long r = r0; r < r1; r++, tile += 16) {                                                                 \
      double sums[16] = {0};                                                                                     \
      for (long j = w->row_start[r]; j < (long)w->row_start[r + 1]; j++)                                         \
        for (long t = 0; t < 16; t++) sums[t] += (double)csr_##format(w, r, j) * panel[csr_column(w, j) * 16 + t]; \
      for (long t = 0; t < 16; t++) tile[t] = (float)sums[t];                                                    \
    }                                                                                                            \
  }

CSR_ROWS(f32)
CSR_ROWS(bf16)
CSR_ROWS(i8)

// MARK: BSR

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

// MARK: Panels

void reference_pack_panel(const float *x, long stride, long count, long columns, long width, float *panel) {
  for (long c = 0; c < columns; c++)
    for (long t = 0; t < width; t++) panel[c * width + t] = t < count ? x[t * stride + c] : 0;
}

void reference_unpack_panel(const float *tile, long width, long rows, long count, float *y, long stride) {
  for (long t = 0; t < count; t++)
    for (long r = 0; r < rows; r++) y[t * stride + r] = tile[r * width + t];
}

static float bitmask_f32(const lk_bitmask *w, long r, long position) {
  (void)r;
  return ((const float *)w->values)[position];
}

static float bitmask_bf16(const lk_bitmask *w, long r, long position) {
  (void)r;
  return sparse_bf16(((const uint16_t *)w->values)[position]);
}

static float bitmask_i8(const lk_bitmask *w, long r, long position) {
  return ((const float *)w->scales)[r] * ((const int8_t *)w->values)[position];
}

#define PANELS(format)                                                                                           \
  void reference_panel_bitmask_##format(                                                                         \
      const lk_bitmask *w, const float *panel, long width, long r0, long r1, float *tile) {                      \
    for (long r = r0; r < r1; r++) {                                                                             \
      for (long t = 0; t < width; t++) {                                                                         \
        long position = w->row_start ? (long)w->row_start[r] : r * w->row_stride;                                \
        double sum = 0;                                                                                          \
        for (long c = 0; c < w->columns; c++)                                                                    \
          if (w->mask[r * ((w->columns + 63) / 64) + c / 64] >> c % 64 & 1)                                      \
            sum += (double)bitmask_##format(w, r, position++) * panel[c * width + t];                            \
        tile[(r - r0) * width + t] = (float)sum;                                                                 \
      }                                                                                                          \
    }                                                                                                            \
  }                                                                                                              \
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

PANELS(f32)
PANELS(bf16)
PANELS(i8)
