#include "../reference.h"

void reference_count_keys(const float *x, long n, int shift, uint32_t prefix, uint64_t *counts) {
  int bits = shift == 0 ? 10 : 11;
  for (long i = 0; i < n; i++) {
    uint64_t key = lk_key(x[i]);
    if (key >> (shift + bits) == (uint64_t)prefix >> (shift + bits)) counts[key >> shift & ((1u << bits) - 1)]++;
  }
}

float reference_kth_largest(const float *x, long n, long k, long *greater, long *equal) {
  // The largest key that at least k keys reach, one bit at a time.
  uint32_t key = 0;
  for (int bit = 31; bit >= 0; bit--) {
    uint32_t candidate = key | 1u << bit;
    long reached = 0;
    for (long i = 0; i < n; i++) reached += lk_key(x[i]) >= candidate;
    if (reached >= k) key = candidate;
  }
  *greater = *equal = 0;
  for (long i = 0; i < n; i++) {
    *greater += lk_key(x[i]) > key;
    *equal += lk_key(x[i]) == key;
  }
  return lk_key_value(key);
}

long reference_mask_above(const float *x, long n, float threshold, long skipped, uint64_t *words) {
  memset(words, 0, (size_t)((n + 63) / 64) * 8);
  long equal = 0;
  for (long i = 0; i < n; i++) {
    int same = lk_key(x[i]) == lk_key(threshold);
    if (lk_key(x[i]) > lk_key(threshold) || (same && equal >= skipped)) words[i / 64] |= (uint64_t)1 << i % 64;
    equal += same;
  }
  return equal;
}

void reference_mask_largest(const float *x, long n, long k, uint64_t *words) {
  memset(words, 0, (size_t)((n + 63) / 64) * 8);
  if (k <= 0) return;
  long greater, equal;
  float threshold = reference_kth_largest(x, n, k, &greater, &equal);
  reference_mask_above(x, n, threshold, equal - (k - greater), words);
}
