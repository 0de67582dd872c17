// Sparse weights between their stored values and dense tiles.

static void K(expand)(const void *values_, const uint64_t *words, long n, void *dense_) {
  const T *values = values_;
  T *dense = dense_;
  long i = 0;
#ifdef HAS_COMPRESSION
  for (; i + 16 <= n; i += 16) {
    __mmask16 bits = (__mmask16)(words[i / 64] >> (i % 64));
    _mm512_storeu_ps(dense + i, _mm512_maskz_expand_ps(bits, _mm512_loadu_ps(values)));
    values += __builtin_popcount(bits);
  }
#endif
  for (; i < n; i++) {
    int set = (int)(words[i / 64] >> (i % 64) & 1);
    dense[i] = set ? *values : 0;
    values += set;
  }
}

static void K(compress)(const void *dense_, const uint64_t *words, long n, void *values_, int add) {
  const T *dense = dense_;
  T *values = values_;
  long i = 0;
#ifdef HAS_COMPRESSION
  for (; i + 16 <= n; i += 16) {
    __mmask16 bits = (__mmask16)(words[i / 64] >> (i % 64));
    int count = __builtin_popcount(bits);
    __mmask16 first = (__mmask16)((1u << count) - 1);
    __m512 picked = _mm512_maskz_compress_ps(bits, _mm512_loadu_ps(dense + i));
    if (add) picked = _mm512_add_ps(picked, _mm512_maskz_loadu_ps(first, values));
    _mm512_mask_storeu_ps(values, first, picked);
    values += count;
  }
#endif
  for (; i < n; i++)
    if (words[i / 64] >> (i % 64) & 1) {
      *values = (add ? *values : 0) + dense[i];
      values++;
    }
}

static void K(scatter_add)(const void *x_, const int32_t *places, long n, void *y_) {
  const T *x = x_;
  T *y = y_;
  for (long i = 0; i < n; i++) y[places[i]] += x[i];
}

static void K(gather)(const void *x_, const int32_t *places, long n, void *y_, int add) {
  const T *x = x_;
  T *y = y_;
  for (long i = 0; i < n; i++) y[i] = (add ? y[i] : 0) + x[places[i]];
}
