#include "../reference.h"

// The stored value at `position` (in values; i4: in nibbles) of row r, column c.
static float kept_f32(const lk_bitmask *w, long position, long r, long c) {
  (void)r, (void)c;
  return ((const float *)w->values)[position];
}

static float kept_bf16(const lk_bitmask *w, long position, long r, long c) {
  (void)r, (void)c;
  return sparse_bf16(((const uint16_t *)w->values)[position]);
}

static float kept_f16(const lk_bitmask *w, long position, long r, long c) {
  (void)r, (void)c;
  return reference_f16_value(((const uint16_t *)w->values)[position]);
}

static float kept_i8(const lk_bitmask *w, long position, long r, long c) {
  (void)c;
  return ((const float *)w->scales)[r] * ((const int8_t *)w->values)[position];
}

static float kept_i4(const lk_bitmask *w, long position, long r, long c) {
  long groups = (w->columns + 63) / 64;
  return sparse_bf16(((const uint16_t *)w->scales)[r * groups + c / 64]) *
         sparse_nibble((const uint8_t *)w->values, position);
}

// Writes row r of a bitmask matrix; `per_byte` is 2 for nibbles, whose positions start anew, on a byte, at each word.
static void spread_row(
    const lk_bitmask *w, long r, long per_byte, float (*kept)(const lk_bitmask *, long, long, long), float *out) {
  long words = (w->columns + 63) / 64;
  long position = (w->row_start ? (long)w->row_start[r] : r * w->row_stride) * per_byte;
  for (long c = 0; c < w->columns; c++) {
    if (c % 64 == 0) position = (position + per_byte - 1) / per_byte * per_byte;
    out[c] = w->mask[r * words + c / 64] >> c % 64 & 1 ? kept(w, position++, r, c) : 0;
  }
}

// A row at a time would need a buffer, so the product walks the row as `spread_row` does.
static float multiply_row(
    const lk_bitmask *w, long r, long per_byte, float (*kept)(const lk_bitmask *, long, long, long),
    const lk_input *x, float (*input)(const lk_input *, long)) {
  long words = (w->columns + 63) / 64;
  long position = (w->row_start ? (long)w->row_start[r] : r * w->row_stride) * per_byte;
  double sum = 0;
  for (long c = 0; c < w->columns; c++) {
    if (c % 64 == 0) position = (position + per_byte - 1) / per_byte * per_byte;
    if (w->mask[r * words + c / 64] >> c % 64 & 1) sum += (double)kept(w, position++, r, c) * input(x, c);
  }
  return (float)sum;
}

#define BITMASK(format, per_byte, input)                                                                        \
  void reference_gemv_bitmask_##format(const lk_bitmask *w, const lk_input *x, long r0, long r1, float *out) {  \
    for (long r = r0; r < r1; r++) out[r - r0] = multiply_row(w, r, per_byte, kept_##format, x, input);         \
  }                                                                                                             \
  void reference_decode_bitmask_##format(const lk_bitmask *w, long r0, long r1, float *out) {                   \
    for (long r = r0; r < r1; r++) spread_row(w, r, per_byte, kept_##format, out + (r - r0) * w->columns);      \
  }

// Groups of bytes with an entry that is not finite have no scale: then the floats are multiplied.
static float input_x(const lk_input *x, long c) { return x->x[c]; }
static float input_bf16(const lk_input *x, long c) { return sparse_bf16(x->bf16[c]); }
static float input_q64(const lk_input *x, long c) { return x->scale64[c / 64] * x->q64[c]; }

BITMASK(f32, 1, input_x)
BITMASK(bf16, 1, input_bf16)
BITMASK(f16, 1, input_x)
BITMASK(i8, 1, reference_all_finite(x->x, w->columns) ? input_q64 : input_x)
BITMASK(i4, 2, reference_all_finite(x->x, w->columns) ? input_q64 : input_x)

// MARK: Panels

static float bitmask_f32(const lk_bitmask *w, long r, long position) {
  (void)r;
  return ((const float *)w->values)[position];
}

static float bitmask_bf16(const lk_bitmask *w, long r, long position) {
  (void)r;
  return sparse_bf16(((const uint16_t *)w->values)[position]);
}

static float bitmask_f16(const lk_bitmask *w, long r, long position) {
  (void)r;
  return reference_f16_value(((const uint16_t *)w->values)[position]);
}

static float bitmask_i8(const lk_bitmask *w, long r, long position) {
  return ((const float *)w->scales)[r] * ((const int8_t *)w->values)[position];
}

#define PANEL(format)                                                                        \
  void reference_panel_bitmask_##format(                                                     \
      const lk_bitmask *w, const float *panel, long width, long r0, long r1, float *tile) {  \
    for (long r = r0; r < r1; r++) {                                                         \
      for (long t = 0; t < width; t++) {                                                     \
        long position = w->row_start ? (long)w->row_start[r] : r * w->row_stride;            \
        double sum = 0;                                                                      \
        for (long c = 0; c < w->columns; c++)                                                \
          if (w->mask[r * ((w->columns + 63) / 64) + c / 64] >> c % 64 & 1)                  \
            sum += (double)bitmask_##format(w, r, position++) * panel[c * width + t];        \
        tile[(r - r0) * width + t] = (float)sum;                                             \
      }                                                                                      \
    }                                                                                        \
  }

PANEL(f32)
PANEL(bf16)
PANEL(f16)
PANEL(i8)
