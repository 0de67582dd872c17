// What products with panels of many vectors have in common. Included by level.h once for each level, before the panel.h of
// every layout; level.h removes its macros.

// Panels and tiles are aligned, which older instructions can use.
#define LOAD(p) (*(const VF *)(p))

enum { K(BAND_BYTES) = 32768, K(BLOCK_ROWS) = 512 };

// The value at p, as something that multiplies a vector. A bf16 is the upper half of a float: the word that starts at
// it, shifted up, is that float, and one instruction loads a word into every lane.
#define SPREAD_f32(p) (*(p))
#define SPREAD_bf16(p) ((VF)(((VU){0} + *(const lk_any_u32 *)(p)) << 16))
#define SPREAD_f16(p) K(f16_value)(*(p))
#define SPREAD_i8(p) ((float)*(p))

// MARK: Panels

#if VECTOR_BYTES == 64
#define ZIP_LOW ZIP_LOW_16
#define ZIP_HIGH ZIP_HIGH_16
#elif VECTOR_BYTES == 32
#define ZIP_LOW ZIP_LOW_8
#define ZIP_HIGH ZIP_HIGH_8
#else
#define ZIP_LOW ZIP_LOW_4
#define ZIP_HIGH ZIP_HIGH_4
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
#define SCALE_f16(w, width, r0, r1, tile) ((void)0)
#define SCALE_i8(w, width, r0, r1, tile)  \
  K(scale_tile)((const float *)(w)->scales + (r0), width, (r1) - (r0), tile)

// Calls block(…, width, vectors in a pass, …) with both known to the compiler, for blocks of rows of limited number.
#define BY_WIDTH(block, w, panel, width, r0, r1, tile)                                                \
  for (long first = r0; first < (r1); first += K(BLOCK_ROWS)) {                                       \
    long last = first + K(BLOCK_ROWS) < (r1) ? first + K(BLOCK_ROWS) : (r1);                          \
    float *sums = (tile) + (first - (r0)) * (width);                                                  \
    if ((width) == 64) block(w, panel, 64, 64 / LANES < 8 ? 64 / LANES : 8, first, last, sums);       \
    else if ((width) == 32) block(w, panel, 32, 32 / LANES < 8 ? 32 / LANES : 8, first, last, sums);  \
    else block(w, panel, 16, 16 / LANES < 8 ? 16 / LANES : 8, first, last, sums);                     \
  }

// Narrow panels have few sums, and one entry's additions would wait for those of the entry before: as many entries as
// give 4 vectors of sums are added to separate ones.
#define STREAMS(vectors) ((vectors) >= 4 ? 1 : 4 / (vectors))

#define LOAD_SUMS(sums, fresh)                                                              \
  VF sum[8];                                                                                \
  for (int u = 0; u < vectors; u++) sum[u] = (fresh) ? (VF){0} : LOAD((sums) + u * LANES);  \
  for (int u = vectors; u < vectors * streams; u++) sum[u] = (VF){0};

#define STORE_SUMS(sums)                                               \
  for (int u = 0; u < vectors; u++) {                                  \
    for (int s = 1; s < streams; s++) sum[u] += sum[s * vectors + u];  \
    *(VF *)((sums) + u * LANES) = sum[u];                              \
  }
