#include "reference_training.h"

#include "reference_sparse.h"

#include <math.h>

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
  void reference_sampled_segments_##real(                                                                      \
      const lk_segmented *w, long block, const R *a, const R *b, long width, int add, R *values) {             \
    for (uint32_t i = w->first[block * w->bands]; i < w->first[(block + 1) * w->bands]; i++) {                 \
      const lk_segment s = w->segments[i];                                                                     \
      const R *x = a + ((long)w->block_start[block] + s.row) * width;                                          \
      for (long j = s.start; j < (long)s.start + s.count; j++) {                                               \
        double sum = add ? values[j] : 0;                                                                      \
        for (long t = 0; t < width; t++) sum += (double)x[t] * b[segmented_column(w, j) * width + t];          \
        values[j] = (R)sum;                                                                                    \
      }                                                                                                        \
    }                                                                                                          \
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

// For each column, whether any term falls on it, and its sum: no accumulator at all.
static int has_column(const lk_spgemm *m, long k, uint32_t column, long *at) {
  for (long j = m->b_start[k]; j < (long)m->b_start[k + 1]; j++)
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
      while (i < (long)m->a_start[r + 1] && !has_column(m, m->a_column[i], c, &at)) i++;
      counts[r] += i < (long)m->a_start[r + 1];
    }
  }
}

#define SPGEMM(name, R, zero, TIMES, PLUS)                                                                     \
  void reference_spgemm_##name(                                                                                \
      const lk_spgemm *m, const R *a, const R *b, const uint64_t *operations, long r0, long r1,                \
      const lk_spgemm_work *work, const uint32_t *c_start, uint32_t *c_column, R *c) {                         \
    (void)operations;                                                                                          \
    (void)work;                                                                                                \
    for (long r = r0; r < r1; r++) {                                                                           \
      long n = c_start[r];                                                                                     \
      for (uint32_t column = 0; column < m->columns; column++) {                                               \
        int found = 0;                                                                                         \
        R sum = zero;                                                                                          \
        for (long at, i = m->a_start[r]; i < (long)m->a_start[r + 1]; i++)                                     \
          if (has_column(m, m->a_column[i], column, &at)) {                                                    \
            const R term = TIMES(a[i], b[at]);                                                                 \
            sum = PLUS(sum, term);                                                                             \
            found = 1;                                                                                         \
          }                                                                                                    \
        if (found) {                                                                                           \
          c_column[n] = column;                                                                                \
          c[n++] = sum;                                                                                        \
        }                                                                                                      \
      }                                                                                                        \
    }                                                                                                          \
  }

#define TIMES_NUMBERS(x, y) ((x) * (y))
#define PLUS_NUMBERS(x, y) ((x) + (y))
#define SMALLER(x, y) ((y) < (x) ? (y) : (x))
#define BOTH(x, y) ((uint8_t)((x) & (y)))
#define EITHER(x, y) ((uint8_t)((x) | (y)))

SPGEMM(f32, float, 0, TIMES_NUMBERS, PLUS_NUMBERS)
SPGEMM(f64, double, 0, TIMES_NUMBERS, PLUS_NUMBERS)
SPGEMM(min_plus_f32, float, INFINITY, PLUS_NUMBERS, SMALLER)
SPGEMM(min_plus_f64, double, INFINITY, PLUS_NUMBERS, SMALLER)
SPGEMM(boolean, uint8_t, 0, BOTH, EITHER)

// MARK: Convolutions

static float clamped(double x, float low, float high) {
  const float y = (float)x;
  return y < low ? low : y > high ? high : y;
}

void reference_pointwise_f32(
    const lk_pointwise *w, long g0, long g1, const float *x, long stride, long p0, long p1, float *y) {
  for (long o = g0 * w->group; o < g1 * w->group && o < w->outputs; o++)
    for (long p = p0; p < p1; p++) {
      double sum = w->bias[o];
      for (long j = w->group_start[o / w->group]; j < (long)w->group_start[o / w->group + 1]; j++)
        sum += (double)w->values[j * w->group + o % w->group] * x[w->channel[j] * stride + p];
      y[o * stride + p] = clamped(sum, w->low, w->high);
    }
}

void reference_pad_plane_f32(
    const float *plane, long height, long width, long border, long step, long pitch, float *out) {
  const long rows = height + 2 * border;
  for (long i = 0; i < step * rows * pitch; i++) out[i] = 0;
  for (long r = 0; r < height; r++)
    for (long c = 0; c < width; c++)
      out[((c + border) % step * rows + r + border) * pitch + (c + border) / step] = plane[r * width + c];
}

void reference_direct_f32(const lk_direct *w, const float *padded, long o0, long o1, float *y) {
  const long rows = w->height + 2 * w->border, k = w->kernel;
  for (long o = o0; o < o1; o++)
    for (long oy = 0; oy < w->out_height; oy++)
      for (long ox = 0; ox < w->out_width; ox++) {
        double sum = w->bias[o];
        for (long i = 0; i < w->inputs; i++)
          for (long ky = 0; ky < k; ky++)
            for (long kx = 0; kx < k; kx++) {
              const long c = ox * w->step + kx;
              const long at = ((i * w->step + c % w->step) * rows + oy * w->step + ky) * w->pitch + c / w->step;
              sum += (double)w->weights[((o * w->inputs + i) * k + ky) * k + kx] * padded[at];
            }
        y[o * w->out_stride + oy * w->out_width + ox] = clamped(sum, w->low, w->high);
      }
}

// MARK: Groups of four columns

// Calls for every value of a part: its place, its row in the block, its column.
#define EACH_GROUPED(w, block, group, statement)                                                               \
  do {                                                                                                         \
    const long part = (block) * (w)->groups + (group);                                                         \
    const uint8_t *at = (w)->row + (w)->first[part];                                                           \
    long place = (w)->value_first[part];                                                                       \
    for (int pattern = 1; pattern < 16; pattern++)                                                             \
      for (int i = 0; i < (w)->counts[part * 15 + pattern - 1]; i++, at++)                                     \
        for (int c = 0; c < 4; c++)                                                                            \
          if (pattern >> c & 1) {                                                                              \
            const long row = *at, column = 4 * (group) + c;                                                    \
            statement;                                                                                         \
            place++;                                                                                           \
          }                                                                                                    \
  } while (0)

#define GROUPED(real, R)                                                                                       \
  void reference_product_groups_##real(                                                                        \
      const lk_grouped *w, long block, const R *panel, long width, R *tile) {                                  \
    const R *values = w->values;                                                                               \
    for (long group = 0; group < w->groups; group++)                                                           \
      EACH_GROUPED(w, block, group, for (long t = 0; t < width; t++) tile[row * width + t] +=                  \
                                    values[place] * panel[column * width + t]);                                \
  }                                                                                                            \
  void reference_transposed_groups_##real(                                                                     \
      const lk_grouped *w, long from, long to, const R *panel, long width, R *tile) {                          \
    const R *values = w->values;                                                                               \
    for (long block = 0; block < w->blocks; block++)                                                           \
      for (long group = from; group < to; group++)                                                             \
        EACH_GROUPED(w, block, group, for (long t = 0; t < width; t++) tile[(column - 4 * from) * width + t] +=\
                                      values[place] * panel[(block * LK_GROUP_ROWS + row) * width + t]);       \
  }                                                                                                            \
  void reference_sampled_groups_##real(                                                                        \
      const lk_grouped *w, long block, const R *a, const R *b, long width, int add, R *values) {               \
    for (long group = 0; group < w->groups; group++)                                                           \
      EACH_GROUPED(w, block, group, double sum = 0;                                                            \
                   for (long t = 0; t < width; t++) sum +=                                                     \
                   (double)a[(block * LK_GROUP_ROWS + row) * width + t] * b[column * width + t];               \
                   values[place] = (R)((add ? values[place] : 0) + sum));                                      \
  }

GROUPED(f32, float)
GROUPED(f64, double)
