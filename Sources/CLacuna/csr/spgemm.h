// Products of two sparse matrices, row by row (Gustavson): row i of C sums rows k of B times A[i, k]. Included by real.h
// once for each type; what does not depend on it is compiled with the floats.
//
// What gathers a row is chosen by its size:
// - copy and merge, where A's row has one or two entries: sorted lists give a sorted list;
// - a dense accumulator, where C's columns fit in the second-level cache or the row fills a good part of them: one bit a
//   column says which ones were touched, and reading the bits in order sorts them;
// - a hash table, else; its keys are sorted afterwards.

#if REAL_BYTES == 4

enum { K(DENSE_BYTES) = 1 << 19, K(DENSE_SHARE) = 16 };

INLINE int K(spgemm_is_dense)(long columns, long size, uint64_t operations) {
  return columns * size <= K(DENSE_BYTES) || operations * K(DENSE_SHARE) > (uint64_t)columns;
}

// Writes the positions of the bits set in words 0..<words (a multiple of 8), in order, to `out`, which has room for 64 more
// than there are and for the words; clears the bits; returns their number.
//
// With AVX-512 the words that have bits are listed first, without a branch for each: whether a word has any is as good as
// random, and so is how many it has, which is why the first four are written whether they are there or not.
INLINE long K(take_bits)(uint64_t *bits, long words, uint32_t *out) {
  uint32_t *end = out;
#if LEVEL >= LK_AVX512_VNNI
  const __m512i places = _mm512_set_epi8(
      63, 62, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43, 42, 41, 40, 39, 38, 37, 36,
      35, 34, 33, 32, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7,
      6, 5, 4, 3, 2, 1, 0);
  enum { GROUP = 512 };  // words listed at a time
  uint32_t touched[GROUP + 8];
  for (long first = 0; first < words; first += GROUP) {
    const long last = first + GROUP < words ? first + GROUP : words;
    __m256i index = _mm256_add_epi32(_mm256_set1_epi32((int)first), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    long count = 0;
    for (long i = first; i < last; i += 8) {
      const __m512i eight = _mm512_loadu_si512(bits + i);
      const __mmask8 any = _mm512_test_epi64_mask(eight, eight);
      _mm256_storeu_si256((__m256i *)(touched + count), _mm256_maskz_compress_epi32(any, index));
      count += __builtin_popcount(any);
      index = _mm256_add_epi32(index, _mm256_set1_epi32(8));
    }
    for (long i = 0; i < count; i++) {
      const uint32_t word = touched[i], base = word * 64;
      uint64_t mask = bits[word];
      const long some = __builtin_popcountll(mask);
      if (some > 4) {
        const __m512i packed = _mm512_maskz_compress_epi8(mask, places);
        const __m512i start = _mm512_set1_epi32((int)base);
#define QUARTER(k)  \
  _mm512_storeu_si512(end + 16 * k, _mm512_add_epi32(start, _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(packed, k))))
        QUARTER(0);
        if (some > 16) {
          QUARTER(1);
          QUARTER(2);
          QUARTER(3);
        }
#undef QUARTER
      } else {
        end[0] = base + (uint32_t)_tzcnt_u64(mask);
        mask &= mask - 1;
        end[1] = base + (uint32_t)_tzcnt_u64(mask);
        mask &= mask - 1;
        end[2] = base + (uint32_t)_tzcnt_u64(mask);
        mask &= mask - 1;
        end[3] = base + (uint32_t)_tzcnt_u64(mask);
      }
      end += some;
      bits[word] = 0;
    }
  }
#else
  for (long i = 0; i < words; i++) {
    for (uint64_t mask = bits[i]; mask; mask &= mask - 1) *end++ = (uint32_t)(i * 64 + __builtin_ctzll(mask));
    bits[i] = 0;
  }
#endif
  return end - out;
}

// The number of bits set, which are cleared.
INLINE long K(count_bits)(uint64_t *bits, long words) {
  long count = 0;
  for (long i = 0; i < words; i++) count += __builtin_popcountll(bits[i]);
  memset(bits, 0, (size_t)words * sizeof *bits);
  return count;
}

// The slot of a column in a table of 2^(32 - shift) keys, column + 1 each, 0 for none: its own, or the first free one.
INLINE uint32_t K(hash_slot)(const uint32_t *keys, uint32_t column, int shift) {
  const uint32_t last = (uint32_t)((1ull << (32 - shift)) - 1);
  uint32_t slot = (column + 1) * 2654435769u >> shift;
  while (keys[slot] != 0 && keys[slot] != column + 1) slot = (slot + 1) & last;
  return slot;
}

INLINE int K(hash_shift)(uint64_t operations, long columns) {
  const uint64_t most = operations < (uint64_t)columns ? operations : (uint64_t)columns;
  int bits = 4;
  while ((1ull << bits) < 2 * most) bits++;
  return 32 - bits;
}

// Sorts by bytes, the lowest first; `other` is as long. Short lists by insertion.
static void K(sort_columns)(uint32_t *list, uint32_t *other, long count, long columns) {
  if (count <= 48) {
    for (long i = 1; i < count; i++) {
      const uint32_t x = list[i];
      long j = i;
      for (; j > 0 && list[j - 1] > x; j--) list[j] = list[j - 1];
      list[j] = x;
    }
    return;
  }
  uint32_t *const result = list;
  for (int shift = 0; (columns - 1) >> shift > 0; shift += 8) {
    uint32_t places[257] = {0};
    for (long i = 0; i < count; i++) places[(list[i] >> shift & 255) + 1]++;
    for (int i = 0; i < 256; i++) places[i + 1] += places[i];
    for (long i = 0; i < count; i++) other[places[list[i] >> shift & 255]++] = list[i];
    uint32_t *swap = list;
    list = other;
    other = swap;
  }
  if (list != result) memcpy(result, list, (size_t)count * sizeof *list);
}

// Sets the bits of the columns of B's rows that entries start..<end of A name; `last` entries of A are asked for ahead.
INLINE void K(mark_columns)(const lk_spgemm *m, long start, long end, long last, uint64_t *bits) {
  for (long i = start; i < end; i++) {
    const long k = m->a_column[i], ahead = m->b_start[m->a_column[i + 4 < last ? i + 4 : i]];
    __builtin_prefetch(m->b_column + ahead);
    for (long j = m->b_start[k], stop = m->b_start[k + 1]; j < stop; j++) {
      const uint32_t c = m->b_column[j];
      bits[c >> 6] |= 1ull << (c & 63);
    }
  }
}

// The number of those columns, found in the hash table, which is left as it was; the columns too, in no order, unless `column`
// is null.
INLINE long K(hash_columns)(
    const lk_spgemm *m, long start, long end, int shift, const lk_spgemm_work *work, uint32_t *column) {
  long count = 0;
  for (long i = start; i < end; i++) {
    const long k = m->a_column[i];
    for (long j = m->b_start[k], stop = m->b_start[k + 1]; j < stop; j++) {
      const uint32_t slot = K(hash_slot)(work->keys, m->b_column[j], shift);
      if (work->keys[slot] == 0) {
        work->keys[slot] = m->b_column[j] + 1;
        if (column) column[count] = m->b_column[j];
        work->list[count++] = slot;
      }
    }
  }
  for (long i = 0; i < count; i++) work->keys[work->list[i]] = 0;
  return count;
}

static void K(spgemm_count)(
    const lk_spgemm *m, const uint64_t *operations, long r0, long r1, const lk_spgemm_work *work, uint32_t *counts) {
  const long words = (m->columns + 511) / 512 * 8, last = m->a_start[r1];
  for (long r = r0; r < r1; r++) {
    const long start = m->a_start[r], end = m->a_start[r + 1];
    if (end - start == 0 || operations[r] == 0) {
      counts[r] = 0;
    } else if (end - start == 1) {
      counts[r] = (uint32_t)operations[r];
    } else if (K(spgemm_is_dense)(m->columns, work->value_bytes, operations[r])) {
      K(mark_columns)(m, start, end, last, work->bits);
      counts[r] = (uint32_t)K(count_bits)(work->bits, words);
    } else {
      counts[r] = (uint32_t)K(hash_columns)(m, start, end, K(hash_shift)(operations[r], m->columns), work, 0);
    }
  }
}

// The columns of rows r0..<r1, as below, and no values: where a product may have entries.
static void K(spgemm_pattern)(
    const lk_spgemm *m, const uint64_t *operations, long r0, long r1, const lk_spgemm_work *work, const long *c_start,
    uint32_t *c_column) {
  const long words = (m->columns + 511) / 512 * 8, last = m->a_start[r1], *const b_start = m->b_start;
  const uint32_t *const a_column = m->a_column, *const b_column = m->b_column;
  for (long r = r0; r < r1; r++) {
    const long start = m->a_start[r], end = m->a_start[r + 1];
    if (end == start || operations[r] == 0) continue;
    uint32_t *column = c_column + c_start[r];
    if (end - start == 1) {
      memcpy(column, b_column + b_start[a_column[start]], (size_t)operations[r] * sizeof *column);
    } else if (K(spgemm_is_dense)(m->columns, work->value_bytes, operations[r])) {
      K(mark_columns)(m, start, end, last, work->bits);
      // The list has room for what is written beyond the last column; the result has not.
      const long count = K(take_bits)(work->bits, words, work->list);
      memcpy(column, work->list, (size_t)count * sizeof *column);
    } else {
      const int shift = K(hash_shift)(operations[r], m->columns);
      const long count = K(hash_columns)(m, start, end, shift, work, column);
      K(sort_columns)(column, work->list, count, m->columns);
    }
  }
}

#endif

// TIMES and PLUS are the semiring, `zero` what PLUS leaves unchanged: what the sums hold between rows.
#define SPGEMM(name, zero, TIMES, PLUS)                                                                       \
  static void R(name)(                                                                                        \
      const lk_spgemm *m, const void *a_, const void *b_, const uint64_t *operations, long r0, long r1,       \
      const lk_spgemm_work *work, const long *c_start, uint32_t *c_column, void *c_) {                        \
    const long words = (m->columns + 511) / 512 * 8, last = m->a_start[r1], *const b_start = m->b_start;      \
    const uint32_t *const a_column = m->a_column, *const b_column = m->b_column;                              \
    uint64_t *const touched = work->bits;                                                                     \
    const REAL *a = (const REAL *)a_, *b = (const REAL *)b_;                                                  \
    REAL *sums = (REAL *)work->sums, *table = (REAL *)work->table, *c = (REAL *)c_;                           \
    for (long r = r0; r < r1; r++) {                                                                          \
      const long start = m->a_start[r], end = m->a_start[r + 1];                                              \
      if (end == start || operations[r] == 0) continue;                                                       \
      uint32_t *column = c_column + c_start[r];                                                               \
      REAL *value = c + c_start[r];                                                                           \
      if (end - start == 1) {                                                                                 \
        const long k = a_column[start], from = b_start[k];                                                    \
        memcpy(column, b_column + from, (size_t)operations[r] * sizeof *column);                              \
        for (long j = 0; j < (long)operations[r]; j++) value[j] = TIMES(a[start], b[from + j]);               \
      } else if (K(spgemm_is_dense)(m->columns, work->value_bytes, operations[r])) {                          \
        for (long i = start; i < end; i++) {                                                                  \
          const long k = a_column[i], ahead = b_start[a_column[i + 4 < last ? i + 4 : i]];                    \
          const REAL factor = a[i];                                                                           \
          __builtin_prefetch(b_column + ahead);                                                               \
          __builtin_prefetch(b + ahead);                                                                      \
          NO_GATHER for (long j = b_start[k], stop = b_start[k + 1]; j < stop; j++) {                         \
            const uint32_t to = b_column[j];                                                                  \
            sums[to] = PLUS(sums[to], TIMES(factor, b[j]));                                                   \
            touched[to >> 6] |= 1ull << (to & 63);                                                            \
          }                                                                                                   \
        }                                                                                                     \
        const long count = K(take_bits)(work->bits, words, work->list);                                       \
        NO_GATHER for (long j = 0; j < count; j++) {                                                          \
          const uint32_t from = work->list[j];                                                                \
          column[j] = from;                                                                                   \
          value[j] = sums[from];                                                                              \
          sums[from] = zero;                                                                                  \
        }                                                                                                     \
      } else if (end - start == 2) {                                                                          \
        const long k0 = a_column[start], k1 = a_column[start + 1];                                            \
        long i = b_start[k0], j = b_start[k1], n = 0;                                                         \
        const long i_end = b_start[k0 + 1], j_end = b_start[k1 + 1];                                          \
        while (i < i_end || j < j_end) {                                                                      \
          const uint32_t x = i < i_end ? b_column[i] : UINT32_MAX, y = j < j_end ? b_column[j] : UINT32_MAX;  \
          REAL sum = x <= y ? TIMES(a[start], b[i]) : zero;                                                   \
          if (y <= x) sum = PLUS(sum, TIMES(a[start + 1], b[j]));                                             \
          column[n] = x < y ? x : y;                                                                          \
          value[n++] = sum;                                                                                   \
          i += x <= y;                                                                                        \
          j += y <= x;                                                                                        \
        }                                                                                                     \
      } else {                                                                                                \
        const int shift = K(hash_shift)(operations[r], m->columns);                                           \
        long count = 0;                                                                                       \
        for (long i = start; i < end; i++) {                                                                  \
          const long k = a_column[i];                                                                         \
          const REAL factor = a[i];                                                                           \
          for (long j = b_start[k], stop = b_start[k + 1]; j < stop; j++) {                                   \
            const uint32_t slot = K(hash_slot)(work->keys, b_column[j], shift);                               \
            if (work->keys[slot] == 0) {                                                                      \
              work->keys[slot] = b_column[j] + 1;                                                             \
              table[slot] = zero;                                                                             \
              column[count++] = b_column[j];                                                                  \
            }                                                                                                 \
            table[slot] = PLUS(table[slot], TIMES(factor, b[j]));                                             \
          }                                                                                                   \
        }                                                                                                     \
        K(sort_columns)(column, work->list, count, m->columns);                                               \
        for (long j = 0; j < count; j++) {                                                                    \
          work->list[j] = K(hash_slot)(work->keys, column[j], shift);                                         \
          value[j] = table[work->list[j]];                                                                    \
        }                                                                                                     \
        for (long j = 0; j < count; j++) work->keys[work->list[j]] = 0;                                       \
      }                                                                                                       \
    }                                                                                                         \
  }

#define PRODUCT(x, y) ((x) * (y))
#define SUM(x, y) ((x) + (y))
#define SMALLER(x, y) ((y) < (x) ? (y) : (x))

SPGEMM(spgemm, 0, PRODUCT, SUM)
SPGEMM(spgemm_min_plus, (REAL)INFINITY, SUM, SMALLER)

#undef SPGEMM
#undef PRODUCT
#undef SUM
#undef SMALLER
