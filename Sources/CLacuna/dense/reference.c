#include "../reference.h"

#include <math.h>

// MARK: Numbers

static float from_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

static uint32_t to_bits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return bits;
}

uint16_t reference_bf16(float x) {
  uint32_t bits = to_bits(x);
  if (x != x) return (uint16_t)(bits >> 16 | 0x40);
  return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

float reference_f16_value(uint16_t half) {
  int exponent = half >> 10 & 31, fraction = half & 0x3FF;
  float magnitude = exponent == 0 ? ldexpf((float)fraction, -24)
                    : exponent == 31 ? (fraction ? from_bits(0x7F800000u | (uint32_t)fraction << 13) : INFINITY)
                                     : ldexpf((float)(fraction + 1024), exponent - 25);
  return half & 0x8000 ? -magnitude : magnitude;
}

uint16_t reference_f16(float x) {
  uint16_t sign = (uint16_t)(to_bits(x) >> 16 & 0x8000);
  float magnitude = fabsf(x);
  if (x != x) return sign | 0x7E00 | (uint16_t)(to_bits(x) >> 13 & 0x3FF);
  if (magnitude >= 65520) return sign | 0x7C00;  // halfway between the largest number and the next power of two
  if (magnitude < 0x1p-14f) return sign | (uint16_t)lrint((double)magnitude * 0x1p24);
  int exponent;
  double fraction = frexp(magnitude, &exponent);  // in [0.5, 1)
  long steps = lrint(fraction * 2048);            // 1024...2048: carries into the exponent by addition
  return sign | (uint16_t)((exponent + 13) * 1024 + steps);
}

// MARK: Vectors

float reference_dot_f32(const float *a, const float *b, long n) {
  double sum = 0;
  for (long i = 0; i < n; i++) sum += (double)a[i] * b[i];
  return (float)sum;
}

void reference_axpy_f32(float a, const float *x, float *y, long n) {
  for (long i = 0; i < n; i++) y[i] += a * x[i];
}

float reference_max_f32(const float *x, long n) {
  float best = -INFINITY;
  for (long i = 0; i < n; i++)
    if (x[i] > best) best = x[i];
  return best;
}

long reference_argmax_f32(const float *x, long n) {
  long best = -1;
  for (long i = 0; i < n; i++)
    if (x[i] == x[i] && (best < 0 || x[i] > x[best])) best = i;
  return best;
}

int reference_all_finite(const float *x, long n) {
  for (long i = 0; i < n; i++)
    if (!isfinite(x[i])) return 0;
  return 1;
}

// MARK: Conversions

void reference_f32_to_bf16(const float *x, uint16_t *out, long n) {
  for (long i = 0; i < n; i++) out[i] = reference_bf16(x[i]);
}

void reference_bf16_to_f32(const uint16_t *x, float *out, long n) {
  for (long i = 0; i < n; i++) out[i] = sparse_bf16(x[i]);
}

void reference_f32_to_f16(const float *x, uint16_t *out, long n) {
  for (long i = 0; i < n; i++) out[i] = reference_f16(x[i]);
}

void reference_f16_to_f32(const uint16_t *x, float *out, long n) {
  for (long i = 0; i < n; i++) out[i] = reference_f16_value(x[i]);
}

void reference_split_even_odd(const float *x, long n, float *split) {
  long padded = (n + 63) / 64 * 64;
  for (long c = 0; c < padded; c++) split[c / 32 * 32 + c % 2 * 16 + c % 32 / 2] = c < n ? x[c] : 0;
}

// MARK: Columns in double precision

double reference_dot_f64(const double *a, const double *b, long n) {
  double sum = 0;
  for (long i = 0; i < n; i++) sum += a[i] * b[i];
  return sum;
}

void reference_axpy_f64(double a, const double *x, double *y, long n) {
  for (long i = 0; i < n; i++) y[i] += a * x[i];
}

double reference_weighted_squares_f64(const double *x, const double *w, long n) {
  double sum = 0;
  for (long i = 0; i < n; i++) sum += w[i] * x[i] * x[i];
  return sum;
}

void reference_dots_f64(
    const double *x, long stride, const uint32_t *columns, long count, const double *v, long n, double *out) {
  for (long k = 0; k < count; k++) out[k] = reference_dot_f64(x + (columns ? (long)columns[k] : k) * stride, v, n);
}

// MARK: Calibration

void reference_accumulate_sums(const float *x, long count, long columns, long stride, double *sums) {
  for (long i = 0; i < count; i++)
    for (long c = 0; c < columns; c++) sums[c] += x[i * stride + c];
}

void reference_accumulate_squares(const float *x, long count, long columns, long stride, double *sums) {
  for (long i = 0; i < count; i++)
    for (long c = 0; c < columns; c++) sums[c] += (double)x[i * stride + c] * x[i * stride + c];
}

// MARK: Products with dense matrices

static float value_f32(const lk_dense *w, long r, long c) { return ((const float *)w->values)[r * w->columns + c]; }

static float value_bf16(const lk_dense *w, long r, long c) {
  return sparse_bf16(((const uint16_t *)w->values)[r * w->columns + c]);
}

static float value_f16(const lk_dense *w, long r, long c) {
  return reference_f16_value(((const uint16_t *)w->values)[r * w->columns + c]);
}

static float input_x(const lk_input *x, long c) { return x->x[c]; }
static float input_bf16(const lk_input *x, long c) { return sparse_bf16(x->bf16[c]); }

REFERENCE_DENSE(f32, input_x)
REFERENCE_DENSE(bf16, input_bf16)
REFERENCE_DENSE(f16, input_x)

// MARK: Products that skip rows

void reference_skip_rows_f32(
    const float *w, long columns, const uint32_t *kept, long count, const float *h, long c0, long c1, float *y) {
  for (long c = c0; c < c1; c++) {
    double sum = 0;
    for (long i = 0; i < count; i++) sum += (double)h[kept[i]] * w[(long)kept[i] * columns + c];
    y[c - c0] += (float)sum;
  }
}

void reference_skip_rows_bf16(
    const uint16_t *w, long columns, const uint32_t *kept, long count, const float *h, long c0, long c1, float *y) {
  for (long c = c0; c < c1; c++) {
    double sum = 0;
    for (long i = 0; i < count; i++) sum += (double)h[kept[i]] * sparse_bf16(w[(long)kept[i] * columns + c]);
    y[c - c0] += (float)sum;
  }
}

void reference_skip_rows_f16(
    const uint16_t *w, long columns, const uint32_t *kept, long count, const float *h, long c0, long c1, float *y) {
  for (long c = c0; c < c1; c++) {
    double sum = 0;
    for (long i = 0; i < count; i++) sum += (double)h[kept[i]] * reference_f16_value(w[(long)kept[i] * columns + c]);
    y[c - c0] += (float)sum;
  }
}

// MARK: Panels

void reference_pack_panel(const float *x, long stride, long count, long columns, long width, float *panel) {
  for (long c = 0; c < columns; c++)
    for (long t = 0; t < width; t++) panel[c * width + t] = t < count ? x[t * stride + c] : 0;
}

void reference_unpack_panel(const float *tile, long width, long rows, long count, float *y, long stride) {
  for (long t = 0; t < count; t++)
    for (long r = 0; r < rows; r++) y[t * stride + r] = tile[r * width + t];
}

// MARK: Transposes

#define TRANSPOSE(real, R)                                                                               \
  void reference_transpose_add_##real(                                                                   \
      const void *source_, long source_stride, long m, long n, double alpha, double beta, void *target,  \
      long target_stride) {                                                                              \
    const R *source = (const R *)source_;                                                                \
    for (long i = 0; i < m; i++)                                                                         \
      for (long j = 0; j < n; j++) {                                                                     \
        R *p = (R *)target + j * target_stride + i;                                                      \
        *p = (R)alpha * source[i * source_stride + j] + (beta == 0 ? 0 : (R)beta * *p);                  \
      }                                                                                                  \
  }                                                                                                      \
  void reference_combine_##real(double alpha, const void *x_, double beta, void *y_, long n) {           \
    const R *x = (const R *)x_;                                                                          \
    R *y = (R *)y_;                                                                                      \
    for (long i = 0; i < n; i++) y[i] = (R)alpha * x[i] + (beta == 0 ? 0 : (R)beta * y[i]);              \
  }

TRANSPOSE(f32, float)
TRANSPOSE(f64, double)

// MARK: Products of two matrices

void reference_product_bf16(const lk_product *g, void *space) {
  (void)space;
  for (long i = 0; i < g->m; i++)
    for (long j = 0; j < g->n; j++) {
      double sum = 0;
      for (long p = 0; p < g->k; p++) {
        const float a = g->a_transposed ? g->a[p * g->a_stride + i] : g->a[i * g->a_stride + p];
        const long place = g->b_transposed ? j * g->b_stride + p : p * g->b_stride + j;
        const uint16_t b = g->b_bf16 ? ((const uint16_t *)g->b)[place] : reference_bf16(((const float *)g->b)[place]);
        sum += (double)sparse_bf16(reference_bf16(a)) * sparse_bf16(b);
      }
      float *c = g->c + i * g->c_stride + j;
      *c = (float)(g->beta == 0 ? sum : sum + (double)g->beta * *c);
    }
}
