// Sums and entrywise products of two sparse matrices, whose rows are merged. Columns ascend within a row.
#ifndef LACUNA_MERGE_H
#define LACUNA_MERGE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// A matrix in compressed rows.
typedef struct lk_rows {
  const long *start;  // [rows + 1]
  const uint32_t *column;
  const void *values;
} lk_rows;

// Rows r0..<r1 of A + sign B, or of the products of entries that both have. Columns and values are written from `place` on, and
// where each row ends to ends[r]; the place after the last is the result. A sum takes room for the entries of both, a product for
// those of the one that has fewer and one more.
long lk_merge_sum_f32(
    const lk_rows *a, const lk_rows *b, float sign, long r0, long r1, long place, long *ends, uint32_t *column,
    float *values);
long lk_merge_sum_f64(
    const lk_rows *a, const lk_rows *b, double sign, long r0, long r1, long place, long *ends, uint32_t *column,
    double *values);
long lk_merge_product_f32(
    const lk_rows *a, const lk_rows *b, long r0, long r1, long place, long *ends, uint32_t *column, float *values);
long lk_merge_product_f64(
    const lk_rows *a, const lk_rows *b, long r0, long r1, long place, long *ends, uint32_t *column, double *values);

#ifdef __cplusplus
}
#endif

#endif
