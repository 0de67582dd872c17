// Products of sparse matrices with panels of many vectors. Included by level.h once for each level.
//
// A panel is walked in bands of columns that fit in the first-level cache (32 KiB); for each band every row of a block
// of rows adds its share to its sums in the tile, a few kilobytes each in the second-level cache. Where a row had got
// to in its values is remembered from band to band. A kept value costs one broadcast and `width` fused multiply-adds.

// Panels and tiles are aligned, which older instructions can use.
#define LOAD(p) (*(const VF *)(p))

enum { K(BAND_BYTES) = 32768, K(BLOCK_ROWS) = 512 };

// The value at p, as something that multiplies a vector. A bf16 is the upper half of a float: the word that starts at
// it, shifted up, is that float, and one instruction loads a word into every lane.
#define SPREAD_f32(p) (*(p))
#define SPREAD_bf16(p) ((VF)(((VU){0} + *(const lk_any_u32 *)(p)) << 16))
#define SPREAD_i8(p) ((float)*(p))

// MARK: Panels

#if VECTOR_BYTES == 64
#define ZIP_LOW(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define ZIP_HIGH(a, b) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#elif VECTOR_BYTES == 32
#define ZIP_LOW(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define ZIP_HIGH(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#else
#define ZIP_LOW(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define ZIP_HIGH(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#endif

// Transposes a square of LANES × LANES: interleaving the upper with the lower half of the rows, log2(LANES) times.
INLINE void K(transpose_square)(VF *rows) {
  VF other[LANES];
  for (int width = 1; width < LANES; width *= 2) {
    for (int i = 0; i < LANES / 2; i++) {
      other[2 * i] = ZIP_LOW(rows[i], rows[i + LANES / 2]);
      other[2 * i + 1] = ZIP_HIGH(rows[i], rows[i + LANES / 2]);
    }
    for (int i = 0; i < LANES; i++) rows[i] = other[i];
  }
}

// target[j * target_stride + i] = source[i * source_stride + j] for i < m, j < n.
static void K(transpose)(
    const float *source, long source_stride, long m, long n, float *target, long target_stride) {
  long i = 0;
  for (; i + LANES <= m; i += LANES) {
    long j = 0;
    for (; j + LANES <= n; j += LANES) {
      VF rows[LANES];
      for (int k = 0; k < LANES; k++) rows[k] = K(load)(source + (i + k) * source_stride + j);
      K(transpose_square)(rows);
      for (int k = 0; k < LANES; k++) K(store)(target + (j + k) * target_stride + i, rows[k]);
    }
    for (; j < n; j++)
      for (int k = 0; k < LANES; k++) target[j * target_stride + i + k] = source[(i + k) * source_stride + j];
  }
  for (; i < m; i++)
    for (long j = 0; j < n; j++) target[j * target_stride + i] = source[i * source_stride + j];
}

static void K(pack_panel)(const float *x, long stride, long count, long columns, long width, float *panel) {
  if (count < width) memset(panel, 0, (size_t)(columns * width) * sizeof(float));
  K(transpose)(x, stride, count, columns, panel, width);
}

static void K(unpack_panel)(const float *tile, long width, long rows, long count, float *y, long stride) {
  K(transpose)(tile, width, rows, count, y, stride);
}

INLINE void K(scale_tile)(const float *scales, long width, long rows, float *tile) {
  for (long r = 0; r < rows; r++)
    for (long t = 0; t < width; t += LANES) *(VF *)(tile + r * width + t) = LOAD(tile + r * width + t) * scales[r];
}

#define SCALE_f32(w, width, r0, r1, tile) ((void)0)
#define SCALE_bf16(w, width, r0, r1, tile) ((void)0)
#define SCALE_i8(w, width, r0, r1, tile)                                                                           \
  K(scale_tile)((const float *)(w)->scales + (r0), width, (r1) - (r0), tile)

// Calls block(…, width, vectors in a pass, …) with both known to the compiler, for blocks of rows of limited number.
#define BY_WIDTH(block, w, panel, width, r0, r1, tile)                                                             \
  for (long first = r0; first < (r1); first += K(BLOCK_ROWS)) {                                                    \
    long last = first + K(BLOCK_ROWS) < (r1) ? first + K(BLOCK_ROWS) : (r1);                                       \
    float *sums = (tile) + (first - (r0)) * (width);                                                               \
    if ((width) == 64) block(w, panel, 64, 64 / LANES < 8 ? 64 / LANES : 8, first, last, sums);                    \
    else if ((width) == 32) block(w, panel, 32, 32 / LANES < 8 ? 32 / LANES : 8, first, last, sums);               \
    else block(w, panel, 16, 16 / LANES < 8 ? 16 / LANES : 8, first, last, sums);                                  \
  }

// Narrow panels have few sums, and one entry's additions would wait for those of the entry before: as many entries as
// give 4 vectors of sums are added to separate ones.
#define STREAMS(vectors) ((vectors) >= 4 ? 1 : 4 / (vectors))

#define LOAD_SUMS(sums, fresh)                                                                                     \
  VF sum[8];                                                                                                       \
  for (int u = 0; u < vectors; u++) sum[u] = (fresh) ? (VF){0} : LOAD((sums) + u * LANES);                         \
  for (int u = vectors; u < vectors * streams; u++) sum[u] = (VF){0};

#define STORE_SUMS(sums)                                                                                           \
  for (int u = 0; u < vectors; u++) {                                                                              \
    for (int s = 1; s < streams; s++) sum[u] += sum[s * vectors + u];                                              \
    *(VF *)((sums) + u * LANES) = sum[u];                                                                          \
  }

// MARK: Bitmask and N:M

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

#define PANEL_BITMASK(format, T)                                                                                   \
  INLINE void K(bitmask_block_##format)(                                                                           \
      const lk_bitmask *w, const float *panel, const long width, const int vectors, long r0, long r1,              \
      float *tile) {                                                                                               \
    const long words = (w->columns + 63) / 64, band = 128 / width < 4 ? 128 / width : 4;                           \
    const int streams = STREAMS(vectors), lists = LISTS && width < 64;                                             \
    const T *at[K(BLOCK_ROWS)];                                                                                    \
    for (long r = r0; r < r1; r++)                                                                                 \
      at[r - r0] = (const T *)w->values + (w->row_start ? (long)w->row_start[r] : r * w->row_stride);              \
    if (words == 0) memset(tile, 0, (size_t)((r1 - r0) * width) * sizeof(float));                                  \
    for (long word = 0; word < words; word += band) {                                                              \
      const long end = word + band < words ? word + band : words;                                                  \
      for (long r = r0; r < r1; r++) {                                                                             \
        const T *v = at[r - r0];                                                                                   \
        uint8_t index[4 * 64 + 64];                                                                                \
        const long n = lists ? K(positions)(w->mask + r * words + word, end - word, index) : 0;                    \
        for (long t = 0; t < width; t += vectors * LANES) {                                                        \
          float *sums = tile + (r - r0) * width + t;                                                               \
          LOAD_SUMS(sums, word == 0)                                                                               \
          const float *x = panel + word * 64 * width + t;                                                          \
          v = at[r - r0];                                                                                          \
          if (lists) {                                                                                             \
            long j = 0;                                                                                            \
            for (; j + streams <= n; j += streams, v += streams)                                                   \
              for (int s = 0; s < streams; s++)                                                                    \
                for (int u = 0; u < vectors; u++)                                                                  \
                  sum[s * vectors + u] += SPREAD_##format(v + s) * LOAD(x + index[j + s] * width + u * LANES);     \
            for (; j < n; j++, v++)                                                                                \
              for (int u = 0; u < vectors; u++)                                                                    \
                sum[u] += SPREAD_##format(v) * LOAD(x + index[j] * width + u * LANES);                             \
          } else {                                                                                                 \
            for (long i = word; i < end; i++, x += 64 * width)                                                     \
              for (uint64_t bits = w->mask[r * words + i]; bits; bits &= bits - 1, v++) {                          \
                const float *entry = x + __builtin_ctzll(bits) * width;                                            \
                for (int u = 0; u < vectors; u++) sum[u] += SPREAD_##format(v) * LOAD(entry + u * LANES);          \
              }                                                                                                    \
          }                                                                                                        \
          STORE_SUMS(sums)                                                                                         \
        }                                                                                                          \
        at[r - r0] = v;                                                                                            \
        __builtin_prefetch((const char *)v + 60, 0, 2);                                                            \
        __builtin_prefetch((const char *)v + 124, 0, 2);                                                           \
      }                                                                                                            \
    }                                                                                                              \
    SCALE_##format(w, width, r0, r1, tile);                                                                        \
  }                                                                                                                \
  static void K(panel_bitmask_##format)(                                                                           \
      const lk_bitmask *w, const float *panel, long width, long r0, long r1, float *tile) {                        \
    if (w->word_values > 0) {                                                                                      \
      K(panel_nm_##format)(w, panel, width, r0, r1, tile);                                                         \
      SCALE_##format(w, width, r0, r1, tile);                                                                      \
    } else {                                                                                                       \
      BY_WIDTH(K(bitmask_block_##format), w, panel, width, r0, r1, tile)                                           \
    }                                                                                                              \
  }

PANEL_BITMASK(f32, float)
PANEL_BITMASK(bf16, uint16_t)
PANEL_BITMASK(i8, int8_t)

// MARK: BSR

// Adds to the sums of `rows` (1...4) consecutive rows of a block row what its blocks `from`..<`to` give, for `vectors`
// vectors of the panel. `value` points at the first of these rows in block 0.
#define BSR_STRIP(format, T)                                                                                       \
  INLINE void K(bsr_strip_##format)(                                                                               \
      const lk_bsr *w, const T *value, const float *panel, const long width, const int vectors, const int rows,    \
      long from, long to, int fresh, float *sums) {                                                                \
    VF sum[4][4];                                                                                                  \
    for (int i = 0; i < rows; i++)                                                                                 \
      for (int u = 0; u < vectors; u++)                                                                            \
        sum[i][u] = fresh ? (VF){0} : LOAD(sums + i * width + u * LANES);                                          \
    const long size = w->block_rows * w->block_columns;                                                            \
    for (long b = from; b < to; b++) {                                                                             \
      const long c0 = (long)w->block_column[b] * w->block_columns;                                                 \
      const long n = c0 + w->block_columns <= w->columns ? w->block_columns : w->columns - c0;                     \
      const T *v = value + b * size;                                                                               \
      const float *entry = panel + c0 * width;                                                                     \
      for (long j = 0; j < n; j++, v++, entry += width)                                                            \
        for (int i = 0; i < rows; i++)                                                                             \
          for (int u = 0; u < vectors; u++)                                                                        \
            sum[i][u] += SPREAD_##format(v + i * w->block_columns) * LOAD(entry + u * LANES);                      \
    }                                                                                                              \
    for (int i = 0; i < rows; i++)                                                                                 \
      for (int u = 0; u < vectors; u++) *(VF *)(sums + i * width + u * LANES) = sum[i][u];                         \
  }

#define PANEL_BSR(format, T)                                                                                       \
  BSR_STRIP(format, T)                                                                                             \
  INLINE void K(bsr_block_##format)(                                                                               \
      const lk_bsr *w, const float *panel, const long width, const int vectors, long r0, long r1, float *tile) {   \
    const long band = K(BAND_BYTES) / 4 / width, height = w->block_rows, size = height * w->block_columns;         \
    const long first = r0 / height, last = (r1 + height - 1) / height;                                             \
    uint32_t at[K(BLOCK_ROWS) + 1];                                                                                \
    for (long i = first; i < last; i++) at[i - first] = w->row_start[i];                                           \
    if (w->columns == 0) memset(tile, 0, (size_t)((r1 - r0) * width) * sizeof(float));                             \
    for (long c0 = 0; c0 < w->columns; c0 += band) {                                                               \
      for (long i = first; i < last; i++) {                                                                        \
        const long from = at[i - first], stop = w->row_start[i + 1];                                               \
        long to = from;                                                                                            \
        while (to < stop && (long)w->block_column[to] * w->block_columns < c0 + band) to++;                        \
        at[i - first] = (uint32_t)to;                                                                              \
        if (i + 1 < last) { /* the next row of blocks begins elsewhere: about as much of it as of this one */      \
          const char *next = (const char *)((const T *)w->values + (long)at[i + 1 - first] * size);                \
          const long bytes = (to - from) * size * (long)sizeof(T);                                                 \
          for (long byte = 0; byte < bytes; byte += 64) __builtin_prefetch(next + byte);                           \
        }                                                                                                          \
        const long low = i * height > r0 ? i * height : r0, high = (i + 1) * height < r1 ? (i + 1) * height : r1;  \
        for (long r = low; r < high;) {                                                                            \
          const T *value = (const T *)w->values + (r - i * height) * w->block_columns;                             \
          const int rows = high - r >= 4 ? 4 : high - r >= 2 ? 2 : 1;                                              \
          for (long t = 0; t < width; t += vectors * LANES) {                                                      \
            float *sums = tile + (r - r0) * width + t;                                                             \
            if (rows == 4) K(bsr_strip_##format)(w, value, panel + t, width, vectors, 4, from, to, c0 == 0, sums); \
            else if (rows == 2)                                                                                    \
              K(bsr_strip_##format)(w, value, panel + t, width, vectors, 2, from, to, c0 == 0, sums);              \
            else K(bsr_strip_##format)(w, value, panel + t, width, vectors, 1, from, to, c0 == 0, sums);           \
          }                                                                                                        \
          r += rows;                                                                                               \
        }                                                                                                          \
      }                                                                                                            \
    }                                                                                                              \
    SCALE_##format(w, width, r0, r1, tile);                                                                        \
  }                                                                                                                \
  static void K(panel_bsr_##format)(                                                                               \
      const lk_bsr *w, const float *panel, long width, long r0, long r1, float *tile) {                            \
    for (long first = r0; first < r1; first += K(BLOCK_ROWS)) {                                                    \
      long last = first + K(BLOCK_ROWS) < r1 ? first + K(BLOCK_ROWS) : r1;                                         \
      float *sums = tile + (first - r0) * width;                                                                   \
      if (width == 64) K(bsr_block_##format)(w, panel, 64, VECTOR_BYTES == 64 ? 4 : 2, first, last, sums);         \
      else if (width == 32) K(bsr_block_##format)(w, panel, 32, 2, first, last, sums);                             \
      else K(bsr_block_##format)(w, panel, 16, VECTOR_BYTES == 64 ? 1 : 2, first, last, sums);                     \
    }                                                                                                              \
  }

PANEL_BSR(f32, float)
PANEL_BSR(bf16, uint16_t)
PANEL_BSR(i8, int8_t)

#undef PANEL_BSR
#undef BSR_STRIP
#undef PANEL_BITMASK
#undef LISTS
#undef STORE_SUMS
#undef LOAD_SUMS
#undef STREAMS
#undef BY_WIDTH
#undef SCALE_f32
#undef SCALE_bf16
#undef SCALE_i8
#undef ZIP_LOW
#undef ZIP_HIGH
#undef SPREAD_f32
#undef SPREAD_bf16
#undef SPREAD_i8
#undef LOAD
