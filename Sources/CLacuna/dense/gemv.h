// Products of a dense floating-point matrix with one vector, and its decoding.
//
// One row at a time: rows of equal, even length lie at addresses that compete for the same cache lines, and one
// stream already draws the memory's full bandwidth. Software prefetching carries it over page boundaries, where the
// processor's own stops. What is read of the row comes before what is read of the input: taking turns, loads and
// prefetches of f16 rows get half of the bandwidth on Zen 4.

enum { K(dense_prefetch) = 4096 };  // bytes ahead

#define DENSE_GEMV(format, type, input_form)                                                                       \
  static void K(gemv_##format)(const lk_dense *w, const lk_input *input, long r0, long r1, float *out) {           \
    long n = w->columns;                                                                                           \
    const float *x = input->input_form;                                                                            \
    for (long r = r0; r < r1; r++) {                                                                               \
      const type *row = (const type *)w->values + r * n;                                                           \
      VF sum[4] = {0};                                                                                             \
      long c = 0;                                                                                                  \
      for (; c + 4 * LANES <= n; c += 4 * LANES) {                                                                 \
        VF v[4];                                                                                                   \
        for (int u = 0; u < 4; u++) v[u] = K(load_##format)(row + c + u * LANES);                                  \
        for (size_t line = 0; line < 4 * LANES * sizeof(type); line += 64)                                         \
          __builtin_prefetch((const char *)(row + c) + K(dense_prefetch) + line);                                  \
        for (int u = 0; u < 4; u++) sum[u] += v[u] * K(load)(x + c + u * LANES);                                   \
      }                                                                                                            \
      for (; c + LANES <= n; c += LANES) sum[0] += K(load_##format)(row + c) * K(load)(x + c);                     \
      if (c < n) sum[1] += K(load_##format##_part)(row + c, n - c) * K(load)(x + c);                               \
      out[r - r0] = K(sum_lanes)((sum[0] + sum[1]) + (sum[2] + sum[3]));                                           \
    }                                                                                                              \
  }

INLINE VF K(load_f32)(const float *p) { return K(load)(p); }
INLINE VF K(load_f32_part)(const float *p, long n) { return K(load_part)(p, n); }

DENSE_GEMV(f32, float, x)
DENSE_GEMV(f16, uint16_t, x)

#if LEVEL >= LK_AVX512_BF16

static void K(gemv_bf16)(const lk_dense *w, const lk_input *input, long r0, long r1, float *out) {
  long n = w->columns;
  const uint16_t *x = input->bf16;
  for (long r = r0; r < r1; r++) {
    const uint16_t *row = (const uint16_t *)w->values + r * n;
    __m512 sum[4] = {0};
    long c = 0;
    for (; c + 128 <= n; c += 128)
      for (int u = 0; u < 4; u++) {
        __builtin_prefetch((const char *)(row + c + 32 * u) + K(dense_prefetch));
        sum[u] = _mm512_dpbf16_ps(
            sum[u], (__m512bh)_mm512_loadu_si512(row + c + 32 * u), (__m512bh)_mm512_loadu_si512(x + c + 32 * u));
      }
    for (int u = 0; c + 32 <= n; c += 32, u++) {
      __builtin_prefetch((const char *)(row + c) + K(dense_prefetch));
      sum[u] = _mm512_dpbf16_ps(
          sum[u], (__m512bh)_mm512_loadu_si512(row + c), (__m512bh)_mm512_loadu_si512(x + c));
    }
    if (c < n) {
      __m512i weights = _mm512_maskz_loadu_epi16((1u << (n - c)) - 1, row + c);
      sum[3] = _mm512_dpbf16_ps(sum[3], (__m512bh)weights, (__m512bh)_mm512_loadu_si512(x + c));
    }
    out[r - r0] = _mm512_reduce_add_ps((sum[0] + sum[1]) + (sum[2] + sum[3]));
  }
}

#else
DENSE_GEMV(bf16, uint16_t, rounded)
#endif
#undef DENSE_GEMV

static void K(decode_f32)(const lk_dense *w, long r0, long r1, float *out) {
  memcpy(out, (const float *)w->values + r0 * w->columns, (size_t)((r1 - r0) * w->columns) * 4);
}

static void K(decode_bf16)(const lk_dense *w, long r0, long r1, float *out) {
  K(bf16_to_f32)((const uint16_t *)w->values + r0 * w->columns, out, (r1 - r0) * w->columns);
}

static void K(decode_f16)(const lk_dense *w, long r0, long r1, float *out) {
  K(f16_to_f32)((const uint16_t *)w->values + r0 * w->columns, out, (r1 - r0) * w->columns);
}
