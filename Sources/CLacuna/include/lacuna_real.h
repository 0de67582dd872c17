// Kernels of sparse matrices of floats and of doubles: products with one vector, with panels of many vectors, sampled
// products, products of two sparse matrices.
//
// There is one table for each type. In that of f32 every `void *` is a `float *`, in that of f64 a `double *`. Rows may
// start anywhere below 2^63, columns are 32 bits wide. What callers guarantee besides is in lacuna_kernels.h.
#ifndef LACUNA_REAL_H
#define LACUNA_REAL_H

#include <stdint.h>

// MARK: Products with many vectors

// The entries of one row within one band of columns, or part of them.
typedef struct lk_segment {
  uint32_t start;  // the first of them, from the first entry of the block
  uint16_t row;    // from the first row of the block
  uint16_t count;  // at least 1
} lk_segment;

// A CSR matrix cut into blocks of consecutive rows, at most 65,535 of them, and bands of `band_columns` columns.
typedef struct lk_segmented {
  const void *values;           // f32, f64, bf16 or i8 (scales are for the caller to apply), in CSR order
  const void *column;           // uint16_t, or uint32_t if `wide`
  long wide;
  const lk_segment *segments;   // block by block, band by band, by ascending count; 16 more beyond the last are readable
  const uint32_t *first;        // [blocks * bands + 1]: the first segment of block b and band k is first[b * bands + k]
  const uint32_t *block_start;  // [blocks + 1]: the first row of each block
  const long *block_entry;      // [blocks + 1]: the first entry of each block
  long blocks, bands, band_columns;
} lk_segmented;

// A matrix under a mask of middling density, its columns in groups of four and its rows in blocks of LK_GROUP_ROWS. Part
// (block b, group g) has index b * groups + g. Its rows are sorted by pattern, the bits 0...3 of which say which of the
// four columns they keep; rows that keep none are left out. Values follow in that order, column by column within a row.
enum { LK_GROUP_ROWS = 128 };
typedef struct lk_grouped {
  const void *values;
  const uint8_t *row;           // the rows of every part, from the first of the block; then 16 zeros
  const uint32_t *first;        // [parts + 1], in `row`
  const uint32_t *value_first;  // [parts + 1], in `values`
  const uint8_t *counts;        // [parts, 15]: how many rows have pattern 1...15
  long columns, groups, blocks;
} lk_grouped;

// A matrix of dense blocks, row-major inside. The last block row and the last block column may reach beyond the matrix;
// what is stored there is not read, and not written.
typedef struct lk_blocks {
  const long *row_start;         // where each block row begins, in blocks; block rows + 1 entries
  const uint32_t *block_column;  // ascending within a block row
  const void *values;
  long rows, columns;
  long block_rows, block_columns;
} lk_blocks;

// Panels have any number of vectors that fills whole SIMD vectors (multiples of 64 bytes) and are aligned to 64 bytes.
// Panels are of columns or of rows: panel[c, t] is entry c of vector t. `part` counts blocks or bands.
typedef void lk_product_segments(const lk_segmented *w, long part, const void *panel, long width, void *tile);

// MARK: Products of two sparse matrices

// The patterns of A [rows, inner] and B [inner, columns] in CSR, columns ascending within a row.
typedef struct lk_spgemm {
  const long *a_start;
  const uint32_t *a_column;
  const long *b_start;
  const uint32_t *b_column;
  long columns;
} lk_spgemm;

// What one thread works in, and leaves as it was.
typedef struct lk_spgemm_work {
  uint64_t *bits;    // [columns / 64, rounded up to 8 words]: zeros
  void *sums;        // [columns]: the semiring's zero; not read for counting and for patterns
  uint32_t *keys;    // zeros; a power of two, at least 16, that is twice the operations (or the columns, if that is less) of
                     // any row with more than two entries of A (for patterns, more than one) that is not dense
  void *table;       // as many values
  uint32_t *list;    // [columns + 64]
  long value_bytes;  // of one value: a row is dense if it has more than columns / 16 operations, or columns *
                     // value_bytes is at most 512 KiB
} lk_spgemm_work;

// counts[r]: entries of row r of A B, for rows r0..<r1. operations[r] is the sum of the lengths of the rows of B that row
// r of A names.
typedef void lk_spgemm_count(
    const lk_spgemm *m, const uint64_t *operations, long r0, long r1, const lk_spgemm_work *work, uint32_t *counts);
// The columns of rows r0..<r1 of A B, ascending, from c_start[r] on.
typedef void lk_spgemm_pattern(
    const lk_spgemm *m, const uint64_t *operations, long r0, long r1, const lk_spgemm_work *work, const long *c_start,
    uint32_t *c_column);
// Both columns and values. Entries whose terms cancel are kept. Sums run in the order of A's columns.
typedef void lk_spgemm_values(
    const lk_spgemm *m, const void *a, const void *b, const uint64_t *operations, long r0, long r1,
    const lk_spgemm_work *work, const long *c_start, uint32_t *c_column, void *c);

// MARK: The table

typedef struct lk_real {
  // out[i] = Σ_c W[r0 + i, c] x[c] for rows r0..<r1.
  void (*gemv_rows)(
      const long *row_start, const uint32_t *column, const void *values, const void *x, long r0, long r1, void *out);

  // tile[r - block_start[block], t] += Σ_c W[r, c] panel[c, t] for the rows r of a block
  lk_product_segments *product_segments;
  // tile[c - band * band_columns, t] += Σ_r W[r, c] panel[r, t] for the columns c of a band
  lk_product_segments *transposed_segments;
  // values[j] = (add ? values[j] : 0) + Σ_t a[r, t] b[column[j], t] for the entries j of rows r0..<r1 of a pattern
  void (*sampled)(
      const long *row_start, const uint32_t *column, long r0, long r1, const void *a, const void *b, long width,
      int add, void *values);
  // The same for the rows of one block, band by band: faster where segments are long enough to fill vectors. Columns are
  // `wide`.
  void (*sampled_segments)(
      const lk_segmented *w, long block, const void *a, const void *b, long width, int add, void *values);

  // The three products of groups: of a block, of groups from..<to (whose tile begins with the columns of the first), and of
  // the values of a block.
  void (*product_groups)(const lk_grouped *w, long block, const void *panel, long width, void *tile);
  void (*transposed_groups)(const lk_grouped *w, long from, long to, const void *panel, long width, void *tile);
  void (*sampled_groups)(
      const lk_grouped *w, long block, const void *a, const void *b, long width, int add, void *values);

  // The three products of dense blocks: of block rows first..<last, of block columns first..<last, and of the values of
  // block rows first..<last.
  void (*product_blocks)(const lk_blocks *w, long first, long last, const void *panel, long width, void *tile);
  void (*transposed_blocks)(const lk_blocks *w, long first, long last, const void *panel, long width, void *tile);
  void (*sampled_blocks)(
      const lk_blocks *w, long first, long last, const void *a, const void *b, long width, int add, void *values);

  // Sparse times sparse: (+, ×) and (min, +).
  lk_spgemm_values *spgemm, *spgemm_min_plus;

  // target[j * target_stride + i] = alpha source[i * source_stride + j] + beta target[…] for i < m, j < n. With beta 0
  // what `target` held does not matter.
  void (*transpose_add)(
      const void *source, long source_stride, long m, long n, double alpha, double beta, void *target,
      long target_stride);
  // y = alpha x + beta y; with beta 0 what y held does not matter.
  void (*combine)(double alpha, const void *x, double beta, void *y, long n);
} lk_real;

#endif
