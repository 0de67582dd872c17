// Products of bitmask and N:M matrices with panels of many vectors.
//
// A panel is walked in bands of columns that fit in the first-level cache (32 KiB); for each band every row of a block
// of rows adds its share to its sums in the tile, a few kilobytes each in the second-level cache. Where a row had got
// to in its values is remembered from band to band. A kept value costs one broadcast and `width` fused multiply-adds.

// Narrow panels take the positions of a band's bits from a list. The branch that ends a loop over the few bits of a word
// is mispredicted nearly always; where entries are cheap, that costs more than the list, which needs no such branch. In
// a panel of 64 vectors the additions in flight hide it.
#define LISTS (LEVEL >= LK_AVX2)

// Writes the positions of the bits set in `words` (1...4) words to `index`, which has room for 64 more than there are,
// and returns their number.
INLINE long K(positions)(const uint64_t *mask, long words, uint8_t *index) {
  uint8_t *end = index;
#if LEVEL >= LK_AVX512_VNNI
  __m512i places = _mm512_set_epi8(
      63, 62, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43, 42, 41, 40, 39, 38, 37, 36,
      35, 34, 33, 32, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7,
      6, 5, 4, 3, 2, 1, 0);
  for (long i = 0; i < words; i++) {
    _mm512_storeu_si512(end, _mm512_maskz_compress_epi8(mask[i], places));
    end += __builtin_popcountll(mask[i]);
    places = _mm512_add_epi8(places, _mm512_set1_epi8(64));
  }
#elif LEVEL >= LK_AVX2
  uint64_t places = 0x0706050403020100;
  for (long i = 0; i < words; i++)
    for (int shift = 0; shift < 64; shift += 8, places += 0x0808080808080808) {
      const uint64_t bits = mask[i] >> shift & 255;
      *(lk_any_u64 *)end = _pext_u64(places, _pdep_u64(bits, 0x0101010101010101) * 255);
      end += __builtin_popcountll(bits);
    }
#else
  for (long i = 0; i < words; i++)
    for (uint64_t bits = mask[i]; bits; bits &= bits - 1) *end++ = (uint8_t)(i * 64 + __builtin_ctzll(bits));
#endif
  return end - index;
}

#define PANEL_BITMASK(format, T)                                                                                \
  INLINE void K(bitmask_block_##format)(                                                                        \
      const lk_bitmask *w, const float *panel, const long width, const int vectors, long r0, long r1,           \
      float *tile) {                                                                                            \
    const long words = (w->columns + 63) / 64, band = 128 / width < 4 ? 128 / width : 4;                        \
    const int streams = STREAMS(vectors), lists = LISTS && width < 64;                                          \
    const T *at[K(BLOCK_ROWS)];                                                                                 \
    for (long r = r0; r < r1; r++)                                                                              \
      at[r - r0] = (const T *)w->values + (w->row_start ? (long)w->row_start[r] : r * w->row_stride);           \
    if (words == 0) memset(tile, 0, (size_t)((r1 - r0) * width) * sizeof(float));                               \
    for (long word = 0; word < words; word += band) {                                                           \
      const long end = word + band < words ? word + band : words;                                               \
      for (long r = r0; r < r1; r++) {                                                                          \
        const T *v = at[r - r0];                                                                                \
        uint8_t index[4 * 64 + 64];                                                                             \
        const long n = lists ? K(positions)(w->mask + r * words + word, end - word, index) : 0;                 \
        for (long t = 0; t < width; t += vectors * LANES) {                                                     \
          float *sums = tile + (r - r0) * width + t;                                                            \
          LOAD_SUMS(sums, word == 0)                                                                            \
          const float *x = panel + word * 64 * width + t;                                                       \
          v = at[r - r0];                                                                                       \
          if (lists) {                                                                                          \
            long j = 0;                                                                                         \
            for (; j + streams <= n; j += streams, v += streams)                                                \
              for (int s = 0; s < streams; s++)                                                                 \
                for (int u = 0; u < vectors; u++)                                                               \
                  sum[s * vectors + u] += SPREAD_##format(v + s) * LOAD(x + index[j + s] * width + u * LANES);  \
            for (; j < n; j++, v++)                                                                             \
              for (int u = 0; u < vectors; u++)                                                                 \
                sum[u] += SPREAD_##format(v) * LOAD(x + index[j] * width + u * LANES);                          \
          } else {                                                                                              \
            for (long i = word; i < end; i++, x += 64 * width)                                                  \
              for (uint64_t bits = w->mask[r * words + i]; bits; bits &= bits - 1, v++) {                       \
                const float *entry = x + __builtin_ctzll(bits) * width;                                         \
                for (int u = 0; u < vectors; u++) sum[u] += SPREAD_##format(v) * LOAD(entry + u * LANES);       \
              }                                                                                                 \
          }                                                                                                     \
          STORE_SUMS(sums)                                                                                      \
        }                                                                                                       \
        at[r - r0] = v;                                                                                         \
        __builtin_prefetch((const char *)v + 60, 0, 2);                                                         \
        __builtin_prefetch((const char *)v + 124, 0, 2);                                                        \
      }                                                                                                         \
    }                                                                                                           \
    SCALE_##format(w, width, r0, r1, tile);                                                                     \
  }                                                                                                             \
  static void K(panel_bitmask_##format)(                                                                        \
      const lk_bitmask *w, const float *panel, long width, long r0, long r1, float *tile) {                     \
    if (w->word_values > 0) {                                                                                   \
      K(panel_nm_##format)(w, panel, width, r0, r1, tile);                                                      \
      SCALE_##format(w, width, r0, r1, tile);                                                                   \
    } else {                                                                                                    \
      BY_WIDTH(K(bitmask_block_##format), w, panel, width, r0, r1, tile)                                        \
    }                                                                                                           \
  }

PANEL_BITMASK(f32, float)
PANEL_BITMASK(bf16, uint16_t)
PANEL_BITMASK(f16, uint16_t)
PANEL_BITMASK(i8, int8_t)

#undef PANEL_BITMASK
#undef LISTS
