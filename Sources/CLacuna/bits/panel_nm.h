// Products of N:M matrices with panels of many vectors. Included by level.h once for each level, before panel.h.
//
// Where groups do not straddle mask words, every word has equally many values: the loop over them ends where it always
// does, four values at a time come from one load, and a row's values are found without remembering where they began. A
// kept value then costs `width` fused multiply-adds that load their operand, which is what bounds the product (two loads a
// cycle); positions cost a count of zeros, a cleared bit and a shift. Fewer vectors than eight in a pass would wait for
// each other's additions: as many values as give eight have sums of their own.

#define NM_STREAMS(vectors) ((vectors) >= 8 ? 1 : (vectors) == 4 ? 2 : 4)

// Rows ahead of the present one that are asked for: values come from memory, sums from the second-level cache.
enum { K(NM_AHEAD) = 3 };

#define NM_VALUE(k)                                                       \
  {                                                                       \
    const float *entry = x + __builtin_ctzll(bits) * width;               \
    bits &= bits - 1;                                                     \
    const VF value = SPLAT(q, k);                                         \
    for (int u = 0; u < vectors; u++)                                     \
      sum[k % streams * vectors + u] += value * LOAD(entry + u * LANES);  \
  }

#define PANEL_NM(format, T)                                                                                           \
  INLINE void K(nm_row_##format)(                                                                                     \
      const uint64_t *mask, const T *v, const float *x, const long width, const int vectors, long words, long count,  \
      uint64_t rest, int fresh, float *sums) {                                                                        \
    const int streams = NM_STREAMS(vectors);                                                                          \
    LOAD_SUMS(sums, fresh)                                                                                            \
    for (long i = 0; i < words; i++, x += 64 * width) {                                                               \
      uint64_t bits = mask[i];                                                                                        \
      for (long n = 0; n < count; n += 4, v += 4) {                                                                   \
        const VF q = K(quad_##format)(v);                                                                             \
        NM_VALUE(0)                                                                                                   \
        NM_VALUE(1)                                                                                                   \
        NM_VALUE(2)                                                                                                   \
        NM_VALUE(3)                                                                                                   \
      }                                                                                                               \
    }                                                                                                                 \
    for (; rest; rest &= rest - 1, v++) {                                                                             \
      const float *entry = x + __builtin_ctzll(rest) * width;                                                         \
      for (int u = 0; u < vectors; u++) sum[u] += SPREAD_##format(v) * LOAD(entry + u * LANES);                       \
    }                                                                                                                 \
    STORE_SUMS(sums)                                                                                                  \
  }                                                                                                                   \
  INLINE void K(nm_block_##format)(                                                                                   \
      const lk_bitmask *w, const float *panel, const long width, const int vectors, long r0, long r1,                 \
      float *tile) {                                                                                                  \
    const long words = (w->columns + 63) / 64, whole = w->columns / 64, band = 128 / width, count = w->word_values;   \
    const T *values = (const T *)w->values;                                                                           \
    for (long word = 0; word < words; word += band) {                                                                 \
      const long n = whole - word < band ? whole - word : band, last = word + band >= words;                          \
      const float *x = panel + word * 64 * width;                                                                     \
      for (long r = r0; r < r1; r++) {                                                                                \
        const uint64_t *mask = w->mask + r * words + word;                                                            \
        const T *v = values + r * w->row_stride + word * count;                                                       \
        float *sums = tile + (r - r0) * width;                                                                        \
        const char *next = (const char *)(v + K(NM_AHEAD) * w->row_stride);                                           \
        for (long byte = 0; byte < n * count * (long)sizeof(T); byte += 64) __builtin_prefetch(next + byte);          \
        __builtin_prefetch(mask + K(NM_AHEAD) * words);                                                               \
        for (long t = 0; t < width; t += 16) __builtin_prefetch(sums + K(NM_AHEAD) * width + t, 1);                   \
        for (long t = 0; t < width; t += vectors * LANES)                                                             \
          K(nm_row_##format)(                                                                                         \
              mask, v, x + t, width, vectors, n, count, last && words > whole ? mask[n] : 0, word == 0, sums + t);    \
      }                                                                                                               \
    }                                                                                                                 \
    if (words == 0) memset(tile, 0, (size_t)((r1 - r0) * width) * sizeof(float));                                     \
  }                                                                                                                   \
  /* As panel_bitmask, where `word_values` is not 0. */                                                               \
  INLINE void K(panel_nm_##format)(                                                                                   \
      const lk_bitmask *w, const float *panel, long width, long r0, long r1, float *tile) {                           \
    BY_WIDTH(K(nm_block_##format), w, panel, width, r0, r1, tile)                                                     \
  }

PANEL_NM(f32, float)
PANEL_NM(bf16, uint16_t)
PANEL_NM(f16, uint16_t)
PANEL_NM(i8, int8_t)

#undef PANEL_NM
#undef NM_VALUE
#undef NM_STREAMS
