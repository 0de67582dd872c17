// The arithmetic that Lacuna spends its time in, as tables of functions: one table for each level of vector
// instructions, and one of plain scalar loops that the others are tested against.
//
// Every kernel is serial; callers cut the work into ranges of rows. Kernels neither allocate nor keep state.
//
// What callers guarantee:
// - pointers need only the alignment of their elements (blocks of GGUF files not even that);
// - arrays of weights, masks and values have 64 readable bytes beyond their end;
// - input vectors have zeros after their last entry, up to a multiple of 64 entries.
//
// Types: bf16 and f16 travel as uint16_t. "i8" are signed bytes with one f32 scale a row. "i4" are signed nibbles
// (two's complement, the earlier value in the low half of a byte) with one bf16 scale for every 64 columns of a row.
#ifndef LACUNA_KERNELS_H
#define LACUNA_KERNELS_H

#include "lacuna_real.h"

#include <stdint.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "The kernels read bits, nibbles and files in little-endian order."
#endif

// MARK: Operands

// An input vector in every form that some kernel reads; forms that no kernel of the call reads may be null.
typedef struct lk_input {
  const float *x;          // the entries
  const uint16_t *bf16;    // the entries as bf16
  const float *rounded;    // the same as floats
  const float *split;      // of every 32 of these the 16 even ones, then the 16 odd ones (`split_even_odd`)
  const int8_t *q64;       // signed bytes with one scale for every 64 entries (`quantize_x64`)
  const float *scale64;
  const int8_t *q32;       // the same in groups of 32 (`quantize_x32`)
  const float *scale32;
  const float *total32;    // scale times the sum of the bytes of every group
  const int32_t *sum16;    // the sums of every 16 of these bytes (`sums_x16`)
} lk_input;

// A matrix of which every entry is stored, rows one after the other:
//   f32, bf16, f16       `columns` values a row
//   i8                   `columns` bytes a row; scales: float [rows]
//   i4                   32 bytes for every 64 columns begun; scales: bf16 [rows, columns / 64 rounded up]
//   q4_0, q4_1, q5_0, q5_1, q8_0        the blocks of a GGUF file, 32 columns each; scales are part of the blocks
//   q2_k, q3_k, q4_k, q5_k, q6_k        the same, 256 columns each
typedef struct lk_dense {
  const void *values;
  const void *scales;
  long columns;
} lk_dense;

// A matrix that stores one bit for every entry, and the entries whose bit is set, in order.
typedef struct lk_bitmask {
  const uint64_t *mask;       // [rows, columns / 64 rounded up]; bit c % 64 of word c / 64 is column c
  const void *values;         // f32, bf16, f16, i8: one after the other; i4: the nibbles of each mask word start a new byte
  const void *scales;         // i8: float [rows]; i4: bf16 [rows, columns / 64 rounded up]
  const uint32_t *row_start;  // where each row begins in `values`, in values (i4: bytes); rows + 1 entries; or null:
  long row_stride;            // every row holds this many values (i4: bytes), as in N:M patterns
  long columns;
  long word_values;           // every mask word of 64 columns has this many bits set, a multiple of 4, and rows have equally
                              // many values (row_start is null); 0 where that is not so
} lk_bitmask;

// A matrix that stores the column of every kept value. Columns ascend within a row.
typedef struct lk_csr {
  const uint32_t *row_start;  // where each row begins, in values; rows + 1 entries
  const void *column;         // uint16_t, or uint32_t if `wide`
  const void *values;         // f32, bf16, f16, i8: one after the other; i4: nibbles, without gaps
  const void *scales;         // i8: float [rows]; i4: bf16 [rows, columns / 64 rounded up]
  long columns;
  long wide;
} lk_csr;

// A matrix that stores dense blocks, row-major inside, and the block column of each. The last block row and the last
// block column may reach beyond the matrix; what is stored there is 0.
typedef struct lk_bsr {
  const uint32_t *row_start;     // where each block row begins, in blocks; block rows + 1 entries
  const uint32_t *block_column;  // ascending within a block row
  const void *values;            // f32, bf16, f16, i8: one after the other; i4: the nibbles of each block start a new byte
  const void *scales;            // i8: float [rows]; i4: bf16 [rows, columns / 64 rounded up]
  long columns;
  long block_rows, block_columns;  // 1...LK_BLOCK_ROWS rows
} lk_bsr;

enum { LK_BLOCK_ROWS = 256 };

// A matrix of which every row stores `kept` groups of `group` consecutive columns (a multiple of 16 that divides
// `columns`) as codes of 4 bits: value = scale * (code - zero). A row takes `row_bytes` bytes: the codes, the scales
// (f16), the groups (uint16_t, ascending), the zeros (4 bits each), one for each kept group, and nothing is aligned. Of 16
// codes, byte i has code i in its low and code i + 8 in its high half.
typedef struct lk_code_groups {
  const uint8_t *rows;
  long columns, group, kept, row_bytes;
} lk_code_groups;

// out[i] = Σ_c W[r0 + i, c] x[c] for rows r0..<r1.
typedef void lk_gemv_dense(const lk_dense *w, const lk_input *x, long r0, long r1, float *out);
// out[t * stride + i] = Σ_c W[r0 + i, c] x[t][c] for rows r0..<r1 and n inputs.
typedef void lk_rows_dense(
    const lk_dense *w, const lk_input *x, long n, long r0, long r1, float *out, long stride);
typedef void lk_gemv_bitmask(const lk_bitmask *w, const lk_input *x, long r0, long r1, float *out);
typedef void lk_gemv_csr(const lk_csr *w, const lk_input *x, long r0, long r1, float *out);
typedef void lk_gemv_bsr(const lk_bsr *w, const lk_input *x, long r0, long r1, float *out);
typedef void lk_gemv_code_groups(const lk_code_groups *w, const lk_input *x, long r0, long r1, float *out);

// Rows r0..<r1 as floats, `columns` apart.
typedef void lk_decode_dense(const lk_dense *w, long r0, long r1, float *out);
typedef void lk_decode_bitmask(const lk_bitmask *w, long r0, long r1, float *out);
typedef void lk_decode_csr(const lk_csr *w, long r0, long r1, float *out);
typedef void lk_decode_bsr(const lk_bsr *w, long r0, long r1, float *out);
typedef void lk_decode_code_groups(const lk_code_groups *w, long r0, long r1, float *out);

// Many vectors at once. A panel holds `width` of them (16, 32 or 64), entry by entry: panel[c * width + t] is entry c
// of vector t. tile[(r - r0) * width + t] = Σ_c W[r, c] panel[c * width + t] for rows r0..<r1. Panels and tiles are
// aligned to 64 bytes.
typedef void lk_panel_bitmask(const lk_bitmask *w, const float *panel, long width, long r0, long r1, float *tile);
typedef void lk_panel_bsr(const lk_bsr *w, const float *panel, long width, long r0, long r1, float *tile);
// Panels of 16 vectors only: wider ones are for CSR matrices in segments.
typedef void lk_product_rows(const lk_csr *w, const float *panel, long r0, long r1, float *tile);

// C = op(A) op(B) + beta C, row-major, rows `stride` entries apart: op(A) [m, k], op(B) [k, n], k > 0. Floats of A and B are rounded
// to bf16, to nearest, ties to even; sums are floats. With beta 0 what was in C does not matter.
typedef struct lk_product {
  const float *a;
  const void *b;  // floats, or bf16
  float *c;
  long a_stride, b_stride, c_stride;
  int a_transposed, b_transposed, b_bf16;
  float beta;
  long m, n, k;
} lk_product;

// What a product packs at a time, and the bytes that takes, in panels of 16 words and of 32 at most.
enum { LK_PRODUCT_PANELS = 32, LK_PRODUCT_PAIRS = 160, LK_PRODUCT_SPACE = LK_PRODUCT_PANELS * LK_PRODUCT_PAIRS * (16 + 32) * 4 };

// MARK: Convolutions, images stored channel by channel

// A 1 × 1 convolution: a matrix of which `group` (1, 2, 4, 8 or 16) consecutive output channels share their input
// channels. y[o, p] = min(max(bias[o] + Σ_i W[o, i] x[i, p], low), high).
typedef struct lk_pointwise {
  const uint32_t *group_start;  // [groups + 1], in channels
  const uint32_t *channel;      // the input channels of each group, ascending
  const float *values;          // [channels of all groups, group]; 0 for outputs beyond the last
  const float *bias;            // [outputs]
  long outputs, group;
  float low, high;
} lk_pointwise;

// Groups g0..<g1 and pixels p0..<p1, multiples of 16, of planes `stride` floats apart, aligned to 64 bytes.
typedef void lk_pointwise_f32(
    const lk_pointwise *w, long g0, long g1, const float *x, long stride, long p0, long p1, float *y);

// A dense kernel × kernel convolution that moves by `step`, over `inputs` planes that `pad_plane` has padded to 2 `border`
// more rows and columns. Rows of padded planes are `pitch` floats apart, which leaves room for 16 beyond what is needed.
typedef struct lk_direct {
  const float *weights;  // [outputs, inputs, kernel, kernel]
  const float *bias;     // [outputs]
  long inputs, height, width, kernel, step, border, pitch;
  long out_height, out_width, out_stride;  // planes of the output have 15 floats beyond the last pixel
  float low, high;
} lk_direct;

// Output channels o0..<o1.
typedef void lk_direct_f32(const lk_direct *w, const float *padded, long o0, long o1, float *y);
// `top` and `left`, at most `border`, of the added rows and columns lie before the plane, the others behind it.
typedef void lk_pad_plane_f32(
    const float *plane, long height, long width, long border, long top, long left, long step, long pitch, float *out);

// Numbers in ascending order have keys in ascending order: as floats are ordered, with -0 equal to 0, NaNs of positive
// sign after infinity and of negative sign before -infinity.
static inline uint32_t lk_key(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  return bits == 0x80000000u ? 0x80000000u : bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
static inline float lk_key_value(uint32_t key) {
  uint32_t bits = key & 0x80000000u ? key & 0x7FFFFFFFu : ~key;
  float x;
  __builtin_memcpy(&x, &bits, 4);
  return x;
}

// MARK: The table

typedef struct lk_table {
  // Vectors
  void (*axpy_f32)(float a, const float *x, float *y, long n);                  // y += a x
  long (*argmax_f32)(const float *x, long n);   // the first of equals; -1 if no entry is a number

  int (*all_finite)(const float *x, long n);    // 1 if no entry is infinite or not a number

  // Conversions, rounding to nearest, ties to even; NaN stays NaN
  void (*f32_to_bf16)(const float *x, uint16_t *out, long n);
  void (*bf16_to_f32)(const uint16_t *x, float *out, long n);
  void (*f32_to_f16)(const float *x, uint16_t *out, long n);
  void (*f16_to_f32)(const uint16_t *x, float *out, long n);

  // Forms of an input vector of n entries; the outputs are written up to the next multiple of 64 entries (32 for
  // quantize_x32). A group's scale is its largest magnitude / 127; a group of magnitudes below 2^-120 becomes zeros. A group
  // with an entry that is not finite becomes zeros with a scale that is not a number.
  void (*split_even_odd)(const float *x, long n, float *split);
  void (*quantize_x64)(const float *x, long n, int8_t *q, float *scale);
  void (*quantize_x32)(const float *x, long n, int8_t *q, float *scale, float *total);
  // Rounds 0 <= n <= 64 entries to codes -8...7, not written if null, and a bf16 scale, which is returned. If the entries are multiples
  // -8...7 of a bf16 number, that number; else, of six scales that make the entry of largest magnitude about -8 or 7 and may cut
  // it off a little, and of the least squares scale for the codes that the best of these gives, the one with the smallest sum of
  // squared errors. 0 where the largest magnitude is not finite or its eighth below the normal numbers. The same at every level.
  uint16_t (*round_i4)(const float *x, long n, int8_t *codes);
  // The sums of every 16 bytes, n rounded up to a multiple of 32.
  void (*sums_x16)(const int8_t *q, long n, int32_t *sums);

  // Layers of a decoder
  void (*rmsnorm)(const float *x, const float *weight, float epsilon, long n, float *out);
  void (*softmax)(float *x, long n);                                            // in place
  void (*silu_mul)(const float *gate, const float *up, float *out, long n);     // silu(gate) * up
  // Rotates `pairs` pairs in place by angles given as cosines and sines [pairs]: pair i is (2i, 2i + 1), or
  // (i, i + pairs).
  void (*rope_interleaved)(float *x, const float *cosines, const float *sines, long pairs);
  void (*rope_halves)(float *x, const float *cosines, const float *sines, long pairs);
  // scores[t] = scale * (query · keys[t]); keys are `stride` floats apart.
  void (*attention_scores)(
      const float *query, const float *keys, long stride, long count, long dimensions, float scale, float *scores);
  // out = Σ_t weights[t] values[t]; values are `stride` floats apart.
  void (*attention_mix)(
      const float *weights, const float *values, long stride, long count, long dimensions, float *out);

  // Calibration: adds the sums and the sums of squares of each column of x [count, columns] (rows `stride` apart).
  void (*accumulate_sums)(const float *x, long count, long columns, long stride, double *sums);
  void (*accumulate_squares)(const float *x, long count, long columns, long stride, double *sums);

  // Selection, by the order of `lk_key`.
  // One step of a radix selection, for shift 21, 10 or 0: of the keys that agree with `prefix` above the digit, counts
  // the digits: counts[key >> shift & mask] += 1. A digit has 11 bits (10 at shift 0), so counts has 2048 entries.
  void (*count_keys)(const float *x, long n, int shift, uint32_t prefix, uint64_t *counts);
  // The k-th largest, 1 <= k <= n, and how many numbers are greater than it and equal to it.
  float (*kth_largest)(const float *x, long n, long k, long *greater, long *equal);
  // Bit i of `words` (n / 64 rounded up, unused bits 0) is set where x[i] is greater than the threshold, or equal to it
  // and at least `skipped` equal ones came before. Returns how many equal ones there are.
  long (*mask_above)(const float *x, long n, float threshold, long skipped, uint64_t *words);
  // Sets the bits of the k largest; of equals those at higher indices win. 0 <= k <= n.
  void (*mask_largest)(const float *x, long n, long k, uint64_t *words);

  // Dense products with one vector. They read, of the input: x (f32, f16), bf16 or rounded (bf16), q64 (i8, i4), q32 and
  // what belongs to it (blocks). Products of bf16 count subnormal numbers as zeros at the levels that multiply them as such.
  lk_gemv_dense *gemv_f32, *gemv_bf16, *gemv_f16, *gemv_i8, *gemv_i4, *gemv_q4_0, *gemv_q4_1, *gemv_q5_0, *gemv_q5_1,
      *gemv_q8_0, *gemv_q2_k, *gemv_q3_k, *gemv_q4_k, *gemv_q5_k, *gemv_q6_k;
  lk_decode_dense *decode_f32, *decode_bf16, *decode_f16, *decode_i8, *decode_i4, *decode_q4_0, *decode_q4_1,
      *decode_q5_0, *decode_q5_1, *decode_q8_0, *decode_q2_k, *decode_q3_k, *decode_q4_k, *decode_q5_k, *decode_q6_k;

  // Quantised products with several vectors. They read, of the inputs, q32 and what belongs to it; i8 reads q64 where it is
  // given, and then gives each input the bits that gemv_i8 gives it.
  lk_rows_dense *rows_i8, *rows_i4, *rows_q4_0, *rows_q4_1, *rows_q5_0, *rows_q5_1, *rows_q8_0, *rows_q2_k, *rows_q3_k,
      *rows_q4_k, *rows_q5_k, *rows_q6_k;

  // Dense products of two matrices. `space` has LK_PRODUCT_SPACE bytes, aligned to 64. Subnormal numbers count as zeros at the
  // levels that multiply bf16 as such.
  void (*product_bf16)(const lk_product *g, void *space);

  // Products with bitmask and N:M matrices. They read, of the input: x (f32, f16), bf16, rounded or split
  // (bf16), q64 (i8, i4), and x to see whether it is finite. Entries of the input whose bit is not set do not contribute,
  // be they infinite or not a number; if any is, integers multiply the floats.
  lk_gemv_bitmask *gemv_bitmask_f32, *gemv_bitmask_bf16, *gemv_bitmask_f16, *gemv_bitmask_i8, *gemv_bitmask_i4;
  lk_decode_bitmask *decode_bitmask_f32, *decode_bitmask_bf16, *decode_bitmask_f16, *decode_bitmask_i8,
      *decode_bitmask_i4;

  // Products that skip rows: y[c - c0] += Σ_i h[kept[i]] W[kept[i], c] for columns c0..<c1, W row-major.
  void (*skip_rows_f32)(
      const float *w, long columns, const uint32_t *kept, long count, const float *h, long c0, long c1, float *y);
  void (*skip_rows_bf16)(
      const uint16_t *w, long columns, const uint32_t *kept, long count, const float *h, long c0, long c1, float *y);
  void (*skip_rows_f16)(
      const uint16_t *w, long columns, const uint32_t *kept, long count, const float *h, long c0, long c1, float *y);

  // Products with 4-bit groups. They read, of the input: x. What meets a group that is not stored does not contribute.
  lk_gemv_code_groups *gemv_code_groups;
  lk_decode_code_groups *decode_code_groups;

  // CSR, BSR, and products with many vectors. They read, of the input: x.
  lk_gemv_csr *gemv_csr_f32, *gemv_csr_bf16, *gemv_csr_f16, *gemv_csr_i8, *gemv_csr_i4;
  lk_decode_csr *decode_csr_f32, *decode_csr_bf16, *decode_csr_f16, *decode_csr_i8, *decode_csr_i4;
  lk_gemv_bsr *gemv_bsr_f32, *gemv_bsr_bf16, *gemv_bsr_f16, *gemv_bsr_i8, *gemv_bsr_i4;
  lk_decode_bsr *decode_bsr_f32, *decode_bsr_bf16, *decode_bsr_f16, *decode_bsr_i8, *decode_bsr_i4;

  // The first `count` <= width of the vectors of a panel are rows of x, `stride` apart; the others are zeros.
  void (*pack_panel)(const float *x, long stride, long count, long columns, long width, float *panel);
  // y[t * stride + r] = tile[r * width + t] for t < count.
  void (*unpack_panel)(const float *tile, long width, long rows, long count, float *y, long stride);
  lk_panel_bitmask *panel_bitmask_f32, *panel_bitmask_bf16, *panel_bitmask_f16, *panel_bitmask_i8;
  lk_panel_bsr *panel_bsr_f32, *panel_bsr_bf16, *panel_bsr_f16, *panel_bsr_i8;
  lk_product_rows *product_rows_f32, *product_rows_bf16, *product_rows_f16, *product_rows_i8;

  // CSR matrices in segments, their panels floats; `lk_real` has those with floats and doubles as values.
  lk_product_segments *product_segments_bf16, *product_segments_f16, *product_segments_i8;

  // The pattern of the product of two sparse matrices: the number of entries of every row, and their columns.
  lk_spgemm_count *spgemm_count;
  lk_spgemm_pattern *spgemm_pattern;

  lk_pointwise_f32 *pointwise_f32;
  lk_pad_plane_f32 *pad_plane_f32;
  lk_direct_f32 *direct_f32;

  // Columns in double precision. Dense columns are `stride` apart; sparse column j has values and ascending row numbers
  // (below 2^31) start[j]..<start[j + 1]. Where `columns` is null, it stands for 0..<count.
  double (*dot_f64)(const double *a, const double *b, long n);
  void (*axpy_f64)(double a, const double *x, double *y, long n);                         // y += a x
  double (*weighted_squares_f64)(const double *x, const double *w, long n);               // Σ w x²
  void (*dots_f64)(                                                                       // out[k] = X[:, columns[k]] · v
      const double *x, long stride, const uint32_t *columns, long count, const double *v, long n, double *out);
  double (*sparse_dot_f64)(const double *values, const uint32_t *rows, long count, const double *v);
  void (*sparse_axpy_f64)(double a, const double *values, const uint32_t *rows, long count, double *y);
  double (*sparse_weighted_squares_f64)(const double *values, const uint32_t *rows, long count, const double *w);
  void (*sparse_dots_f64)(
      const double *values, const uint32_t *rows, const uint64_t *start, const uint32_t *columns, long count,
      const double *v, double *out);
} lk_table;

// MARK: Choosing a table

#define LK_PORTABLE 0
#define LK_AVX2 1
#define LK_AVX512 2
#define LK_AVX512_VNNI 3
#define LK_AVX512_BF16 4
#define LK_LEVELS 5

// The kernels of one level: portable (SSE2 or NEON), AVX2 (x86-64-v3), AVX-512 (x86-64-v4), and AVX-512 with VBMI,
// VBMI2, VNNI and BITALG (Ice Lake and later), and these with BF16 (Zen 4, Sapphire Rapids and later). Null if this
// processor lacks the instructions.
const lk_table *lk_level(int level);

// "portable", "avx2", "avx512", "avx512vnni", "avx512bf16".
const char *lk_level_name(int level);

// The level that `lk_best` uses: the highest this processor has, unless the environment variable LACUNA_SIMD names a
// lower one. It is read once.
int lk_best_level(void);
const lk_table *lk_best(void);

// Scalar loops, sums in double precision: what every level is tested against.
const lk_table *lk_reference(void);

// The same for the kernels of floats and of doubles: at a level (null if this processor lacks it), the best, the scalar.
enum { LK_F32, LK_F64, LK_REALS };
const lk_real *lk_real_level(int level, int type);
const lk_real *lk_real_best(int type);
const lk_real *lk_real_reference(int type);

#endif
