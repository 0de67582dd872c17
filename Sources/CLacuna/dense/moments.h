// Sums and sums of squares of columns.

static void K(accumulate_sums)(const float *x, long count, long columns, long stride, double *sums) {
  for (long i = 0; i < count; i++) {
    const float *row = x + i * stride;
    long c = 0;
    for (; c + LANES / 2 <= columns; c += LANES / 2)
      *(K(vd_memory) *)(sums + c) += __builtin_convertvector(*(const K(vf_half_memory) *)(row + c), K(vd));
    for (; c < columns; c++) sums[c] += row[c];
  }
}

static void K(accumulate_squares)(const float *x, long count, long columns, long stride, double *sums) {
  for (long i = 0; i < count; i++) {
    const float *row = x + i * stride;
    long c = 0;
    for (; c + LANES / 2 <= columns; c += LANES / 2) {
      K(vd) v = __builtin_convertvector(*(const K(vf_half_memory) *)(row + c), K(vd));
      *(K(vd_memory) *)(sums + c) += v * v;
    }
    for (; c < columns; c++) sums[c] += (double)row[c] * row[c];
  }
}
