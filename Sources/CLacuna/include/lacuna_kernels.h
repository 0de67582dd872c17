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

#include <stdint.h>

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
} lk_input;

// A matrix of which every entry is stored, rows one after the other:
//   f32, bf16, f16       `columns` values a row
//   i8                   `columns` bytes a row; scales: float [rows]
//   i4                   32 bytes for every 64 columns begun; scales: bf16 [rows, columns / 64 rounded up]
//   q8_0, q4_0, q4_1     the blocks of a GGUF file, 32 columns each; scales are part of the blocks
typedef struct lk_dense {
  const void *values;
  const void *scales;
  long columns;
} lk_dense;

// A matrix that stores one bit for every entry, and the entries whose bit is set, in order.
typedef struct lk_bitmask {
  const uint64_t *mask;       // [rows, columns / 64 rounded up]; bit c % 64 of word c / 64 is column c
  const void *values;         // f32, bf16, i8: one after the other; i4: the nibbles of each mask word start a new byte
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
  const void *values;         // f32, bf16, i8: one after the other; i4: nibbles, without gaps
  const void *scales;         // i8: float [rows]; i4: bf16 [rows, columns / 64 rounded up]
  long columns;
  long wide;
} lk_csr;

// A matrix that stores dense blocks, row-major inside, and the block column of each. The last block row and the last
// block column may reach beyond the matrix; what is stored there is 0.
typedef struct lk_bsr {
  const uint32_t *row_start;     // where each block row begins, in blocks; block rows + 1 entries
  const uint32_t *block_column;  // ascending within a block row
  const void *values;            // f32, bf16, i8: one after the other; i4: the nibbles of each block start a new byte
  const void *scales;            // i8: float [rows]; i4: bf16 [rows, columns / 64 rounded up]
  long columns;
  long block_rows, block_columns;  // 1...LK_BLOCK_ROWS rows
} lk_bsr;

enum { LK_BLOCK_ROWS = 256 };

// out[i] = Σ_c W[r0 + i, c] x[c] for rows r0..<r1.
typedef void lk_gemv_dense(const lk_dense *w, const lk_input *x, long r0, long r1, float *out);
typedef void lk_gemv_bitmask(const lk_bitmask *w, const lk_input *x, long r0, long r1, float *out);
typedef void lk_gemv_csr(const lk_csr *w, const lk_input *x, long r0, long r1, float *out);
typedef void lk_gemv_bsr(const lk_bsr *w, const lk_input *x, long r0, long r1, float *out);

// Rows r0..<r1 as floats, `columns` apart.
typedef void lk_decode_dense(const lk_dense *w, long r0, long r1, float *out);
typedef void lk_decode_bitmask(const lk_bitmask *w, long r0, long r1, float *out);
typedef void lk_decode_csr(const lk_csr *w, long r0, long r1, float *out);
typedef void lk_decode_bsr(const lk_bsr *w, long r0, long r1, float *out);

// Many vectors at once. A panel holds `width` of them (16, 32 or 64), entry by entry: panel[c * width + t] is entry c
// of vector t. tile[(r - r0) * width + t] = Σ_c W[r, c] panel[c * width + t] for rows r0..<r1. Panels and tiles are
// aligned to 64 bytes.
typedef void lk_panel_bitmask(const lk_bitmask *w, const float *panel, long width, long r0, long r1, float *tile);
typedef void lk_panel_bsr(const lk_bsr *w, const float *panel, long width, long r0, long r1, float *tile);
// Panels of 16 vectors only: wider ones are for CSR matrices in segments.
typedef void lk_product_rows(const lk_csr *w, const float *panel, long r0, long r1, float *tile);

// MARK: Products with many vectors, for training

// The entries of one row within one band of columns.
typedef struct lk_segment {
  uint32_t start;  // the first of them, in values
  uint16_t row;    // from the first row of the block
  uint16_t count;  // at least 1
} lk_segment;

// A CSR matrix cut into blocks of consecutive rows and bands of `band_columns` columns, at most 65,535 of either.
typedef struct lk_segmented {
  const void *values;           // f32, f64, bf16 or i8 (scales are for the caller to apply), in CSR order
  const void *column;           // uint16_t, or uint32_t if `wide`
  long wide;
  const lk_segment *segments;   // block by block, band by band, by ascending count; 16 more beyond the last are readable
  const uint32_t *first;        // [blocks * bands + 1]: the first segment of block b and band k is first[b * bands + k]
  const uint32_t *block_start;  // [blocks + 1]: the first row of each block
  long blocks, bands, band_columns;
} lk_segmented;

// Panels have any number of vectors that fills whole SIMD vectors (multiples of 64 bytes) and are aligned to 64 bytes.
//
// product:    tile[r - block_start[block], t] += Σ_c W[r, c] panel[c, t] for the rows r of a block
// transposed: tile[c - band * band_columns, t] += Σ_r W[r, c] panel[r, t] for the columns c of a band
typedef void lk_segments_f32(const lk_segmented *w, long part, const float *panel, long width, float *tile);
typedef void lk_segments_f64(const lk_segmented *w, long part, const double *panel, long width, double *tile);

// values[j] = (add ? values[j] : 0) + Σ_t a[r, t] b[column[j], t] for the entries j of rows r0..<r1 of a CSR pattern; a
// and b are panels of `width` vectors.
typedef void lk_sampled_f32(
    const uint32_t *row_start, const uint32_t *column, long r0, long r1, const float *a, const float *b, long width,
    int add, float *values);
typedef void lk_sampled_f64(
    const uint32_t *row_start, const uint32_t *column, long r0, long r1, const double *a, const double *b, long width,
    int add, double *values);

// The same for the rows of one block, band by band: faster where segments are long enough to fill vectors. Columns are
// `wide`.
typedef void lk_sampled_segments_f32(
    const lk_segmented *w, long block, const float *a, const float *b, long width, int add, float *values);
typedef void lk_sampled_segments_f64(
    const lk_segmented *w, long block, const double *a, const double *b, long width, int add, double *values);

// A matrix under a mask of middling density, its columns in groups of four and its rows in blocks of LK_GROUP_ROWS. Part
// (block b, group g) has index b * groups + g. Its rows are sorted by pattern, the bits 0...3 of which say which of the
// four columns they keep; rows that keep none are left out. Values follow in that order, column by column within a row.
enum { LK_GROUP_ROWS = 128 };
typedef struct lk_grouped {
  const void *values;           // f32 or f64
  const uint8_t *row;           // the rows of every part, from the first of the block; then 16 zeros
  const uint32_t *first;        // [parts + 1], in `row`
  const uint32_t *value_first;  // [parts + 1], in `values`
  const uint8_t *counts;        // [parts, 15]: how many rows have pattern 1...15
  long columns, groups, blocks;
} lk_grouped;

// Panels as above, of `columns` or of rows.
//
// product:    tile[r - block * LK_GROUP_ROWS, t] += Σ_c W[r, c] panel[c, t] for the rows r of a block
// transposed: tile[c - 4 * from, t] += Σ_r W[r, c] panel[r, t] for the columns c of groups from..<to
// sampled:    values = (add ? values : 0) + Σ_t a[r, t] b[c, t] for the values of a block
typedef void lk_groups_f32(const lk_grouped *w, long block, const float *panel, long width, float *tile);
typedef void lk_groups_f64(const lk_grouped *w, long block, const double *panel, long width, double *tile);
typedef void lk_groups_transposed_f32(
    const lk_grouped *w, long from, long to, const float *panel, long width, float *tile);
typedef void lk_groups_transposed_f64(
    const lk_grouped *w, long from, long to, const double *panel, long width, double *tile);
typedef void lk_groups_sampled_f32(
    const lk_grouped *w, long block, const float *a, const float *b, long width, int add, float *values);
typedef void lk_groups_sampled_f64(
    const lk_grouped *w, long block, const double *a, const double *b, long width, int add, double *values);

// out[i] = Σ_c W[r0 + i, c] x[c] for rows r0..<r1.
typedef void lk_gemv_csr_f64(
    const uint32_t *row_start, const uint32_t *column, const double *values, const double *x, long r0, long r1,
    double *out);

// The products above, for BSR matrices of floats with `rows` rows; the scales and the type of their values are not used.
//
// product:    tile[r - first * block_rows, t] += Σ_c W[r, c] panel[c, t] for block rows first..<last
// transposed: tile[c - first * block_columns, t] += Σ_r W[r, c] panel[r, t] for block columns first..<last
// sampled:    values of block rows first..<last, except for those that lie beyond the matrix
typedef void lk_blocks_f32(
    const lk_bsr *w, long rows, long first, long last, const float *panel, long width, float *tile);
typedef void lk_sampled_blocks_f32(
    const lk_bsr *w, long rows, long first, long last, const float *a, const float *b, long width, int add,
    float *values);

// MARK: Products of two sparse matrices

// The patterns of A [rows, inner] and B [inner, columns] in CSR, columns ascending within a row.
typedef struct lk_spgemm {
  const uint32_t *a_start, *a_column, *b_start, *b_column;
  long columns;
} lk_spgemm;

// What one thread works in, and leaves as it was.
typedef struct lk_spgemm_work {
  uint64_t *bits;    // [columns / 64, rounded up to 8 words]: zeros
  void *sums;        // [columns]: the semiring's zero; not read for counting
  uint32_t *keys;    // zeros; a power of two, at least 16, that is twice the operations (or the columns, if that is less) of
                     // any row with more than two entries of A that is not dense
  void *table;       // as many values
  uint32_t *list;    // [columns + 64]
  long value_bytes;  // of one value: a row is dense if it has more than columns / 16 operations, or columns *
                     // value_bytes is at most 512 KiB
} lk_spgemm_work;

// counts[r]: entries of row r of A B, for rows r0..<r1. operations[r] is the sum of the lengths of the rows of B that row
// r of A names.
typedef void lk_spgemm_count(
    const lk_spgemm *m, const uint64_t *operations, long r0, long r1, const lk_spgemm_work *work, uint32_t *counts);
// Rows r0..<r1 of A B, columns ascending, from c_start[r] on. Entries whose terms cancel are kept. Sums run in the order
// of A's columns.
typedef void lk_spgemm_f32(
    const lk_spgemm *m, const float *a, const float *b, const uint64_t *operations, long r0, long r1,
    const lk_spgemm_work *work, const uint32_t *c_start, uint32_t *c_column, float *c);
typedef void lk_spgemm_f64(
    const lk_spgemm *m, const double *a, const double *b, const uint64_t *operations, long r0, long r1,
    const lk_spgemm_work *work, const uint32_t *c_start, uint32_t *c_column, double *c);
typedef void lk_spgemm_u8(
    const lk_spgemm *m, const uint8_t *a, const uint8_t *b, const uint64_t *operations, long r0, long r1,
    const lk_spgemm_work *work, const uint32_t *c_start, uint32_t *c_column, uint8_t *c);

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

// A dense kernel × kernel convolution that moves by `step`, over `inputs` planes that `pad_plane` has padded by `border`
// rows and columns. Rows of padded planes are `pitch` floats apart, which leaves room for 16 beyond what is needed.
typedef struct lk_direct {
  const float *weights;  // [outputs, inputs, kernel, kernel]
  const float *bias;     // [outputs]
  long inputs, height, width, kernel, step, border, pitch;
  long out_height, out_width, out_stride;  // planes of the output have 15 floats beyond the last pixel
  float low, high;
} lk_direct;

// Output channels o0..<o1.
typedef void lk_direct_f32(const lk_direct *w, const float *padded, long o0, long o1, float *y);
typedef void lk_pad_plane_f32(
    const float *plane, long height, long width, long border, long step, long pitch, float *out);

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
  float (*dot_f32)(const float *a, const float *b, long n);
  void (*axpy_f32)(float a, const float *x, float *y, long n);                  // y += a x
  void (*scale_add_f32)(float a, const float *x, float b, float *y, long n);    // y = a x + b y
  float (*sum_f32)(const float *x, long n);
  float (*max_f32)(const float *x, long n);     // -infinity for n = 0; NaNs are passed over
  long (*argmax_f32)(const float *x, long n);   // the first of equals; -1 if no entry is a number

  // Conversions, rounding to nearest, ties to even; NaN stays NaN
  void (*f32_to_bf16)(const float *x, uint16_t *out, long n);
  void (*bf16_to_f32)(const uint16_t *x, float *out, long n);
  void (*f32_to_f16)(const float *x, uint16_t *out, long n);
  void (*f16_to_f32)(const uint16_t *x, float *out, long n);

  // Forms of an input vector of n entries; the outputs are written up to the next multiple of 64 entries (32 for
  // quantize_x32). A group's scale is its largest magnitude / 127; a group of magnitudes below 2^-120 becomes zeros.
  void (*split_even_odd)(const float *x, long n, float *split);
  void (*quantize_x64)(const float *x, long n, int8_t *q, float *scale);
  void (*quantize_x32)(const float *x, long n, int8_t *q, float *scale, float *total);

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

  // Dense products with one vector. They read, of the input: x (f32, f16), bf16 or rounded (bf16), q64 (i8, i4), q32
  // (q8_0, q4_0, q4_1). Products of bf16 count subnormal numbers as zeros at the levels that multiply them as such.
  lk_gemv_dense *gemv_f32, *gemv_bf16, *gemv_f16, *gemv_i8, *gemv_i4, *gemv_q8_0, *gemv_q4_0, *gemv_q4_1;
  lk_decode_dense *decode_f32, *decode_bf16, *decode_f16, *decode_i8, *decode_i4, *decode_q8_0, *decode_q4_0,
      *decode_q4_1;

  // Products with bitmask and N:M matrices. They read, of the input: x (f32), bf16, rounded or split
  // (bf16), q64 (i8, i4).
  lk_gemv_bitmask *gemv_bitmask_f32, *gemv_bitmask_bf16, *gemv_bitmask_i8, *gemv_bitmask_i4;
  lk_decode_bitmask *decode_bitmask_f32, *decode_bitmask_bf16, *decode_bitmask_i8, *decode_bitmask_i4;

  // Products that skip rows: y[c - c0] += Σ_i h[kept[i]] W[kept[i], c] for columns c0..<c1, W row-major.
  void (*skip_rows_f32)(
      const float *w, long columns, const uint32_t *kept, long count, const float *h, long c0, long c1, float *y);
  void (*skip_rows_bf16)(
      const uint16_t *w, long columns, const uint32_t *kept, long count, const float *h, long c0, long c1, float *y);

  // CSR, BSR, and products with many vectors. They read, of the input: x.
  lk_gemv_csr *gemv_csr_f32, *gemv_csr_bf16, *gemv_csr_i8, *gemv_csr_i4;
  lk_decode_csr *decode_csr_f32, *decode_csr_bf16, *decode_csr_i8, *decode_csr_i4;
  lk_gemv_bsr *gemv_bsr_f32, *gemv_bsr_bf16, *gemv_bsr_i8, *gemv_bsr_i4;
  lk_decode_bsr *decode_bsr_f32, *decode_bsr_bf16, *decode_bsr_i8, *decode_bsr_i4;

  // The first `count` <= width of the vectors of a panel are rows of x, `stride` apart; the others are zeros.
  void (*pack_panel)(const float *x, long stride, long count, long columns, long width, float *panel);
  // y[t * stride + r] = tile[r * width + t] for t < count.
  void (*unpack_panel)(const float *tile, long width, long rows, long count, float *y, long stride);
  lk_panel_bitmask *panel_bitmask_f32, *panel_bitmask_bf16, *panel_bitmask_i8;
  lk_panel_bsr *panel_bsr_f32, *panel_bsr_bf16, *panel_bsr_i8;
  lk_product_rows *product_rows_f32, *product_rows_bf16, *product_rows_i8;

  // CSR matrices in segments.
  lk_gemv_csr_f64 *gemv_csr_f64;
  lk_segments_f32 *product_segments_f32, *product_segments_bf16, *product_segments_i8, *transposed_segments_f32;
  lk_segments_f64 *product_segments_f64, *transposed_segments_f64;
  lk_sampled_f32 *sampled_f32;
  lk_sampled_f64 *sampled_f64;
  lk_sampled_segments_f32 *sampled_segments_f32;
  lk_sampled_segments_f64 *sampled_segments_f64;
  lk_groups_f32 *product_groups_f32;
  lk_groups_f64 *product_groups_f64;
  lk_groups_transposed_f32 *transposed_groups_f32;
  lk_groups_transposed_f64 *transposed_groups_f64;
  lk_groups_sampled_f32 *sampled_groups_f32;
  lk_groups_sampled_f64 *sampled_groups_f64;
  lk_blocks_f32 *product_blocks_f32, *transposed_blocks_f32;
  lk_sampled_blocks_f32 *sampled_blocks_f32;

  // Sparse times sparse: (+, ×), (min, +), and (or, and) on 0 and 1.
  lk_spgemm_count *spgemm_count;
  lk_spgemm_f32 *spgemm_f32, *spgemm_min_plus_f32;
  lk_spgemm_f64 *spgemm_f64, *spgemm_min_plus_f64;
  lk_spgemm_u8 *spgemm_boolean;

  lk_pointwise_f32 *pointwise_f32;
  lk_pad_plane_f32 *pad_plane_f32;
  lk_direct_f32 *direct_f32;

  // target[j * target_stride + i] = alpha source[i * source_stride + j] + beta target[…] for i < m, j < n. With beta 0
  // what `target` held does not matter.
  void (*transpose_add_f32)(
      const float *source, long source_stride, long m, long n, float alpha, float beta, float *target,
      long target_stride);
  void (*transpose_add_f64)(
      const double *source, long source_stride, long m, long n, double alpha, double beta, double *target,
      long target_stride);
  // y = alpha x + beta y; with beta 0 what y held does not matter.
  void (*combine_f32)(float alpha, const float *x, float beta, float *y, long n);
  void (*combine_f64)(double alpha, const double *x, double beta, double *y, long n);
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

#endif
