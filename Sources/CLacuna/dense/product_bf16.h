// The product of two matrices of floats whose entries are rounded to bf16 on the way, or are bf16. Included by level.h once for each level.
//
// Both are packed in pairs: a word holds two entries that are neighbours along the inner dimension, the earlier one in its low half,
// which is what instructions that multiply bf16 read. A packed panel of the left matrix has PRODUCT_ROWS rows (LANES words apart), of
// the right one 2 LANES columns; a tile of the result, as large, stays in registers.

#if LEVEL >= LK_AVX512_BF16
#define PRODUCT_ROWS 14
#elif LEVEL >= LK_AVX512
#define PRODUCT_ROWS 12
#else
#define PRODUCT_ROWS 4
#endif
#define PRODUCT_COLUMNS (2 * LANES)

typedef uint16_t K(vh_pairs) __attribute__((vector_size(VECTOR_BYTES), aligned(2), may_alias));
typedef uint32_t K(vu_memory) __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));

// Floats rounded to bf16, as the words of which these are the upper halves.
INLINE VU K(round_bf16)(VF x) {
  VU bits = (VU)x;
  VU rounded = bits + 0x7FFF + (bits >> 16 & 1);
  return (VU)K(choose)((VI)(x == x), (VF)rounded, (VF)(bits | 0x400000)) & 0xFFFF0000;
}

// Words whose low halves are the entries of one vector, and whose high halves those of another.
INLINE VU K(bf16_pairs)(VF low, VF high) {
#if LEVEL >= LK_AVX512_BF16
  return (VU)_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(low)) |
         (VU)_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(high)) << 16;
#else
  return K(round_bf16)(low) >> 16 | K(round_bf16)(high);
#endif
}

// The pairs of 2 LANES entries that follow each other.
INLINE VU K(bf16_neighbours)(VF first, VF second) {
#if LEVEL >= LK_AVX512_BF16
  return (VU)_mm512_cvtne2ps_pbh(second, first);
#elif VECTOR_BYTES == 64
  return K(bf16_pairs)(
      __builtin_shufflevector(first, second, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30),
      __builtin_shufflevector(first, second, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31));
#elif VECTOR_BYTES == 32
  return K(bf16_pairs)(
      __builtin_shufflevector(first, second, 0, 2, 4, 6, 8, 10, 12, 14),
      __builtin_shufflevector(first, second, 1, 3, 5, 7, 9, 11, 13, 15));
#else
  return K(bf16_pairs)(
      __builtin_shufflevector(first, second, 0, 2, 4, 6), __builtin_shufflevector(first, second, 1, 3, 5, 7));
#endif
}

// n entries, of which there may be none or more than LANES: the first LANES, with zeros where there are none.
INLINE VF K(load_some)(const float *p, long n) {
  return n >= LANES ? K(load)(p) : n > 0 ? K(load_part)(p, n) : (VF){0};
}

// The same of bf16, as words.
INLINE VU K(words_some)(const uint16_t *p, long n) {
  return n >= LANES ? __builtin_convertvector(*(const K(vh_memory) *)p, VU)
         : n > 0    ? __builtin_convertvector(K(load_half_words_part)(p, n), VU)
                    : (VU){0};
}

// Packs `width` rows of `depth` floats, or bf16, of which `count` are there, into out[pair * width + row].
static void K(pack_rows_bf16)(
    const void *x, const int is_bf16, long stride, long count, long depth, const int width, uint32_t *out) {
  const long pairs = (depth + 1) / 2;
  for (long first = 0; first < width; first += LANES)
    for (long pair = 0; pair < pairs; pair += LANES) {
      VF rows[LANES];
      const long left = depth - 2 * pair;
      for (int i = 0; i < LANES; i++) {
        const long there = first + i < count ? left : 0, place = there > 0 ? (first + i) * stride + 2 * pair : 0;
        if (is_bf16) {
          const uint16_t *p = (const uint16_t *)x + place;
          if (there >= 2 * LANES) {
            rows[i] = (VF)*(const K(vh_pairs) *)p;
          } else {
            uint16_t part[2 * LANES] = {0};
            if (there > 0) memcpy(part, p, (size_t)there * 2);
            memcpy(&rows[i], part, sizeof part);
          }
        } else {
          const float *p = (const float *)x + place;
          rows[i] = (VF)K(bf16_neighbours)(
              K(load_some)(p, there), K(load_some)(there > LANES ? p + LANES : p, there - LANES));
        }
      }
      K(transpose_square)(rows);
      const long some = pairs - pair < LANES ? pairs - pair : LANES;
      for (long i = 0; i < some; i++) *(K(vu_memory) *)(out + (pair + i) * width + first) = (VU)rows[i];
    }
}

// The same of the transpose: `depth` rows of `width` entries, of which `count` are there.
static void K(pack_columns_bf16)(
    const void *x, const int is_bf16, long stride, long count, long depth, const int width, uint32_t *out) {
  for (long row = 0; row < depth; row += 2)
    for (long first = 0; first < width; first += LANES) {
      const long there = count - first, place = there > 0 ? row * stride + first : 0;
      const int has_second = row + 1 < depth && there > 0;
      VU pairs;
      if (is_bf16) {
        const uint16_t *p = (const uint16_t *)x + place;
        pairs = K(words_some)(p, there);
        if (has_second) pairs |= K(words_some)(p + stride, there) << 16;
      } else {
        const float *p = (const float *)x + place;
        pairs = K(bf16_pairs)(K(load_some)(p, there), has_second ? K(load_some)(p + stride, there) : (VF){0});
      }
      *(K(vu_memory) *)(out + row / 2 * width + first) = pairs;
    }
}

// C = A B + beta C for one tile, of which `rows` × `columns` are there; A and B are packed.
static void K(tile_bf16)(
    const uint32_t *a, const uint32_t *b, long pairs, float beta, float *c, long stride, long rows, long columns) {
  VF sums[PRODUCT_ROWS][2];
  UNROLLED for (int r = 0; r < PRODUCT_ROWS; r++) sums[r][0] = sums[r][1] = (VF){0};
  for (long p = 0; p < pairs; p++, a += LANES, b += PRODUCT_COLUMNS) {
    const VU b0 = *(const K(vu_memory) *)b, b1 = *(const K(vu_memory) *)(b + LANES);
#if LEVEL >= LK_AVX512_BF16
    UNROLLED for (int r = 0; r < PRODUCT_ROWS; r++) {
      const __m512bh x = (__m512bh)_mm512_set1_epi32((int)a[r]);
      sums[r][0] = _mm512_dpbf16_ps(sums[r][0], x, (__m512bh)b0);
      sums[r][1] = _mm512_dpbf16_ps(sums[r][1], x, (__m512bh)b1);
    }
#else
    const VF low0 = (VF)(b0 << 16), low1 = (VF)(b1 << 16), high0 = (VF)(b0 & 0xFFFF0000), high1 = (VF)(b1 & 0xFFFF0000);
    UNROLLED for (int r = 0; r < PRODUCT_ROWS; r++) {
      const VU x = (VU){0} + a[r];
      const VF low = (VF)(x << 16), high = (VF)(x & 0xFFFF0000);
      sums[r][0] += low * low0;
      sums[r][1] += low * low1;
      sums[r][0] += high * high0;
      sums[r][1] += high * high1;
    }
#endif
  }
  for (int r = 0; r < PRODUCT_ROWS && r < rows; r++, c += stride)
    for (int half = 0; half < 2; half++) {
      const long there = columns - half * LANES;
      float *p = c + half * LANES;
      if (there >= LANES)
        K(store)(p, beta == 0 ? sums[r][half] : sums[r][half] + beta * K(load)(p));
      else if (there > 0)
        K(store_part)(p, beta == 0 ? sums[r][half] : sums[r][half] + beta * K(load_part)(p, there), there);
    }
}

static void K(product_bf16)(const lk_product *g, void *space) {
  enum { LEFT = LK_PRODUCT_PANELS * PRODUCT_ROWS, RIGHT = LK_PRODUCT_PANELS * PRODUCT_COLUMNS, DEPTH = 2 * LK_PRODUCT_PAIRS };
  uint32_t *const left = (uint32_t *)space, *const right = left + LK_PRODUCT_PANELS * LK_PRODUCT_PAIRS * LANES;
  // Equal parts of the inner dimension, each even but the last.
  const long parts = (g->k + DEPTH - 1) / DEPTH, part = ((g->k + parts - 1) / parts + 1) / 2 * 2;
  for (long j0 = 0; j0 < g->n; j0 += RIGHT) {
    const long n = g->n - j0 < RIGHT ? g->n - j0 : RIGHT;
    for (long k0 = 0; k0 < g->k; k0 += part) {
      const long k = g->k - k0 < part ? g->k - k0 : part, pairs = (k + 1) / 2;
      const float beta = k0 == 0 ? g->beta : 1;
      for (long j = 0; j < n; j += PRODUCT_COLUMNS) {
        uint32_t *panel = right + j * pairs;
        const long place = g->b_transposed ? (j0 + j) * g->b_stride + k0 : k0 * g->b_stride + j0 + j;
        const void *b = g->b_bf16 ? (const void *)((const uint16_t *)g->b + place) : (const float *)g->b + place;
        if (g->b_transposed)
          K(pack_rows_bf16)(b, g->b_bf16, g->b_stride, n - j, k, PRODUCT_COLUMNS, panel);
        else
          K(pack_columns_bf16)(b, g->b_bf16, g->b_stride, n - j, k, PRODUCT_COLUMNS, panel);
      }
      for (long i0 = 0; i0 < g->m; i0 += LEFT) {
        const long m = g->m - i0 < LEFT ? g->m - i0 : LEFT;
        for (long i = 0; i < m; i += PRODUCT_ROWS) {
          uint32_t *panel = left + i / PRODUCT_ROWS * LANES * pairs;
          const long count = m - i < PRODUCT_ROWS ? m - i : PRODUCT_ROWS;
          if (g->a_transposed)
            K(pack_columns_bf16)(g->a + k0 * g->a_stride + i0 + i, 0, g->a_stride, count, k, LANES, panel);
          else
            K(pack_rows_bf16)(g->a + (i0 + i) * g->a_stride + k0, 0, g->a_stride, count, k, LANES, panel);
        }
        for (long j = 0; j < n; j += PRODUCT_COLUMNS)
          for (long i = 0; i < m; i += PRODUCT_ROWS)
            K(tile_bf16)(
                left + i / PRODUCT_ROWS * LANES * pairs, right + j * pairs, pairs, beta,
                g->c + (i0 + i) * g->c_stride + j0 + j, g->c_stride, m - i, n - j);
      }
    }
  }
}

#undef PRODUCT_ROWS
#undef PRODUCT_COLUMNS
