#include "../reference.h"

#include <math.h>

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

static float csr_f16(const lk_csr *w, long r, long j) {
  (void)r;
  return reference_f16_value(((const uint16_t *)w->values)[j]);
}

static float csr_i8(const lk_csr *w, long r, long j) {
  return ((const float *)w->scales)[r] * ((const int8_t *)w->values)[j];
}

static float csr_i4(const lk_csr *w, long r, long j) {
  long group = r * ((w->columns + 63) / 64) + csr_column(w, j) / 64;
  return sparse_bf16(((const uint16_t *)w->scales)[group]) * sparse_nibble((const uint8_t *)w->values, j);
}

#define CSR(format)                                                                                         \
  void reference_gemv_csr_##format(const lk_csr *w, const lk_input *input, long r0, long r1, float *out) {  \
    for (long r = r0; r < r1; r++) {                                                                        \
      double sum = 0;                                                                                       \
      for (long j = w->row_start[r]; j < (long)w->row_start[r + 1]; j++)                                    \
        sum += (double)csr_##format(w, r, j) * input->x[csr_column(w, j)];                                  \
      out[r - r0] = (float)sum;                                                                             \
    }                                                                                                       \
  }                                                                                                         \
  void reference_decode_csr_##format(const lk_csr *w, long r0, long r1, float *out) {                       \
    for (long r = r0; r < r1; r++, out += w->columns) {                                                     \
      memset(out, 0, (size_t)w->columns * sizeof(float));                                                   \
      for (long j = w->row_start[r]; j < (long)w->row_start[r + 1]; j++)                                    \
        out[csr_column(w, j)] = csr_##format(w, r, j);                                                      \
    }                                                                                                       \
  }

CSR(f32)
CSR(bf16)
CSR(f16)
CSR(i8)
CSR(i4)

#define CSR_ROWS(format)                                                                                            \
  void reference_product_rows_##format(const lk_csr *w, const float *panel, long r0, long r1, float *tile) {        \
    for (long r = r0; r < r1; r++, tile += 16) {                                                                    \
      double sums[16] = {0};                                                                                        \
      for (long j = w->row_start[r]; j < (long)w->row_start[r + 1]; j++)                                            \
        for (long t = 0; t < 16; t++) sums[t] += (double)csr_##format(w, r, j) * panel[csr_column(w, j) * 16 + t];  \
      for (long t = 0; t < 16; t++) tile[t] = (float)sums[t];                                                       \
    }                                                                                                               \
  }

CSR_ROWS(f32)
CSR_ROWS(bf16)
CSR_ROWS(f16)
CSR_ROWS(i8)

// MARK: Segments

#define VALUE_f32(p, j) (((const float *)(p))[j])
#define VALUE_f64(p, j) (((const double *)(p))[j])
#define VALUE_i8(p, j) (((const int8_t *)(p))[j])
#define VALUE_f16(p, j) reference_f16_value(((const uint16_t *)(p))[j])
#define VALUE_bf16(p, j) sparse_bf16(((const uint16_t *)(p))[j])

static long segmented_column(const lk_segmented *w, long j) {
  return w->wide ? (long)((const uint32_t *)w->column)[j] : (long)((const uint16_t *)w->column)[j];
}

// Sums in double precision within a segment.
#define PRODUCT(format, R)                                                                          \
  void reference_product_segments_##format(                                                         \
      const lk_segmented *w, long block, const void *panel_, long width, void *tile_) {             \
    const R *panel = (const R *)panel_;                                                             \
    R *tile = (R *)tile_;                                                                           \
    for (uint32_t i = w->first[block * w->bands]; i < w->first[(block + 1) * w->bands]; i++) {      \
      const lk_segment s = w->segments[i];                                                          \
      for (long t = 0; t < width; t++) {                                                            \
        double sum = tile[s.row * width + t];                                                       \
        for (long i0 = w->block_entry[block] + s.start, j = i0; j < i0 + s.count; j++)              \
          sum += (double)VALUE_##format(w->values, j) * panel[segmented_column(w, j) * width + t];  \
        tile[s.row * width + t] = (R)sum;                                                           \
      }                                                                                             \
    }                                                                                               \
  }

PRODUCT(f32, float)
PRODUCT(f64, double)
PRODUCT(bf16, float)
PRODUCT(f16, float)
PRODUCT(i8, float)

#define TRANSPOSED(format, R)                                                                                     \
  void reference_transposed_segments_##format(                                                                    \
      const lk_segmented *w, long band, const void *panel_, long width, void *tile_) {                            \
    const R *panel = (const R *)panel_;                                                                           \
    R *tile = (R *)tile_;                                                                                         \
    for (long block = 0; block < w->blocks; block++)                                                              \
      for (uint32_t i = w->first[block * w->bands + band]; i < w->first[block * w->bands + band + 1]; i++) {      \
        const lk_segment s = w->segments[i];                                                                      \
        const R *x = panel + ((long)w->block_start[block] + s.row) * width;                                       \
        for (long i0 = w->block_entry[block] + s.start, j = i0; j < i0 + s.count; j++) {                          \
          R *sums = tile + (segmented_column(w, j) - band * w->band_columns) * width;                             \
          for (long t = 0; t < width; t++) sums[t] = (R)(sums[t] + (double)VALUE_##format(w->values, j) * x[t]);  \
        }                                                                                                         \
      }                                                                                                           \
  }

TRANSPOSED(f32, float)
TRANSPOSED(f64, double)

#define SAMPLED(real, R)                                                                                       \
  void reference_gemv_rows_##real(                                                                             \
      const long *row_start, const uint32_t *column, const void *values, const void *x, long r0, long r1,      \
      void *out) {                                                                                             \
    for (long r = r0; r < r1; r++) {                                                                           \
      double sum = 0;                                                                                          \
      for (long j = row_start[r]; j < row_start[r + 1]; j++)                                                   \
        sum += (double)((const R *)values)[j] * ((const R *)x)[column[j]];                                     \
      ((R *)out)[r - r0] = (R)sum;                                                                             \
    }                                                                                                          \
  }                                                                                                            \
  void reference_sampled_##real(                                                                               \
      const long *row_start, const uint32_t *column, long r0, long r1, const void *a_, const void *b_,         \
      long width, int add, void *values_) {                                                                    \
    const R *a = (const R *)a_, *b = (const R *)b_;                                                            \
    R *values = (R *)values_;                                                                                  \
    for (long r = r0; r < r1; r++)                                                                             \
      for (long j = row_start[r]; j < row_start[r + 1]; j++) {                                                 \
        double sum = add ? values[j] : 0;                                                                      \
        for (long t = 0; t < width; t++) sum += (double)a[r * width + t] * b[column[j] * width + t];           \
        values[j] = (R)sum;                                                                                    \
      }                                                                                                        \
  }                                                                                                            \
  void reference_sampled_segments_##real(                                                                      \
      const lk_segmented *w, long block, const void *a, const void *b_, long width, int add, void *values_) {  \
    const R *b = (const R *)b_;                                                                                \
    R *values = (R *)values_;                                                                                  \
    for (uint32_t i = w->first[block * w->bands]; i < w->first[(block + 1) * w->bands]; i++) {                 \
      const lk_segment s = w->segments[i];                                                                     \
      const R *x = (const R *)a + ((long)w->block_start[block] + s.row) * width;                               \
      for (long i0 = w->block_entry[block] + s.start, j = i0; j < i0 + s.count; j++) {                         \
        double sum = add ? values[j] : 0;                                                                      \
        for (long t = 0; t < width; t++) sum += (double)x[t] * b[segmented_column(w, j) * width + t];          \
        values[j] = (R)sum;                                                                                    \
      }                                                                                                        \
    }                                                                                                          \
  }

SAMPLED(f32, float)
SAMPLED(f64, double)

// MARK: Products of two sparse matrices

// For each column, whether any term falls on it, and its sum: no accumulator at all.
static int has_column(const lk_spgemm *m, long k, uint32_t column, long *at) {
  for (long j = m->b_start[k]; j < m->b_start[k + 1]; j++)
    if (m->b_column[j] == column) {
      *at = j;
      return 1;
    }
  return 0;
}

void reference_spgemm_count(
    const lk_spgemm *m, const uint64_t *operations, long r0, long r1, const lk_spgemm_work *work, uint32_t *counts) {
  (void)operations;
  (void)work;
  for (long r = r0; r < r1; r++) {
    counts[r] = 0;
    for (uint32_t c = 0; c < m->columns; c++) {
      long at, i = m->a_start[r];
      while (i < m->a_start[r + 1] && !has_column(m, m->a_column[i], c, &at)) i++;
      counts[r] += i < m->a_start[r + 1];
    }
  }
}

void reference_spgemm_pattern(
    const lk_spgemm *m, const uint64_t *operations, long r0, long r1, const lk_spgemm_work *work, const long *c_start,
    uint32_t *c_column) {
  (void)operations;
  (void)work;
  for (long r = r0; r < r1; r++) {
    long n = c_start[r];
    for (uint32_t c = 0; c < m->columns; c++) {
      long at, i = m->a_start[r];
      while (i < m->a_start[r + 1] && !has_column(m, m->a_column[i], c, &at)) i++;
      if (i < m->a_start[r + 1]) c_column[n++] = c;
    }
  }
}

#define SPGEMM(name, R, zero, TIMES, PLUS)                                                               \
  void reference_spgemm_##name(                                                                          \
      const lk_spgemm *m, const void *a_, const void *b_, const uint64_t *operations, long r0, long r1,  \
      const lk_spgemm_work *work, const long *c_start, uint32_t *c_column, void *c_) {                   \
    const R *a = (const R *)a_, *b = (const R *)b_;                                                      \
    R *c = (R *)c_;                                                                                      \
    (void)operations;                                                                                    \
    (void)work;                                                                                          \
    for (long r = r0; r < r1; r++) {                                                                     \
      long n = c_start[r];                                                                               \
      for (uint32_t column = 0; column < m->columns; column++) {                                         \
        int found = 0;                                                                                   \
        R sum = zero;                                                                                    \
        for (long at, i = m->a_start[r]; i < m->a_start[r + 1]; i++)                                     \
          if (has_column(m, m->a_column[i], column, &at)) {                                              \
            const R term = TIMES(a[i], b[at]);                                                           \
            sum = PLUS(sum, term);                                                                       \
            found = 1;                                                                                   \
          }                                                                                              \
        if (found) {                                                                                     \
          c_column[n] = column;                                                                          \
          c[n++] = sum;                                                                                  \
        }                                                                                                \
      }                                                                                                  \
    }                                                                                                    \
  }

#define TIMES_NUMBERS(x, y) ((x) * (y))
#define PLUS_NUMBERS(x, y) ((x) + (y))
#define SMALLER(x, y) ((y) < (x) ? (y) : (x))

SPGEMM(f32, float, 0, TIMES_NUMBERS, PLUS_NUMBERS)
SPGEMM(f64, double, 0, TIMES_NUMBERS, PLUS_NUMBERS)
SPGEMM(min_plus_f32, float, INFINITY, PLUS_NUMBERS, SMALLER)
SPGEMM(min_plus_f64, double, INFINITY, PLUS_NUMBERS, SMALLER)

// MARK: Columns in double precision

double reference_sparse_dot_f64(const double *values, const uint32_t *rows, long count, const double *v) {
  double sum = 0;
  for (long i = 0; i < count; i++) sum += values[i] * v[rows[i]];
  return sum;
}

void reference_sparse_axpy_f64(double a, const double *values, const uint32_t *rows, long count, double *y) {
  for (long i = 0; i < count; i++) y[rows[i]] += a * values[i];
}

double reference_sparse_weighted_squares_f64(
    const double *values, const uint32_t *rows, long count, const double *w) {
  double sum = 0;
  for (long i = 0; i < count; i++) sum += w[rows[i]] * values[i] * values[i];
  return sum;
}

void reference_sparse_dots_f64(
    const double *values, const uint32_t *rows, const uint64_t *start, const uint32_t *columns, long count,
    const double *v, double *out) {
  for (long k = 0; k < count; k++) {
    long j = columns ? (long)columns[k] : k;
    out[k] = reference_sparse_dot_f64(values + start[j], rows + start[j], (long)(start[j + 1] - start[j]), v);
  }
}
