// Ranks and thresholds. All by the order of lk_key, so that every level gives the same bits.

static void K(count_keys)(const float *x, long n, int shift, uint32_t prefix, uint64_t *counts) {
  int bits = shift == 0 ? 10 : 11;
  uint32_t digit = (1u << bits) - 1;
  // Two tables, as equal digits in a row would otherwise wait for each other; 32-bit, as blocks are short.
  for (long first = 0; first < n; first += 1l << 30) {
    long last = n - first < 1l << 30 ? n : first + (1l << 30);
    uint32_t even[2048] = {0}, odd[2048] = {0};
    long i = first;
    if (shift + bits == 32) {
      for (; i + 2 <= last; i += 2) {
        even[lk_key(x[i]) >> shift]++;
        odd[lk_key(x[i + 1]) >> shift]++;
      }
    }
    for (; i < last; i++) {
      uint32_t key = lk_key(x[i]);
      if ((uint64_t)(key ^ prefix) >> (shift + bits) == 0) even[key >> shift & digit]++;
    }
    for (uint32_t d = 0; d <= digit; d++) counts[d] += (uint64_t)even[d] + odd[d];
  }
}

static float K(kth_largest)(const float *x, long n, long k, long *greater, long *equal) {
  // Radix selection with digits of 8 bits: small tables, as most calls rank a row of a few hundred numbers.
  uint32_t prefix = 0;
  long above = 0, among = n;
  for (int shift = 24; shift >= 0; shift -= 8) {
    long counts[2][256] = {{0}};
    long i = 0;
    if (shift == 24) {
      for (; i + 2 <= n; i += 2) {
        counts[0][lk_key(x[i]) >> 24]++;
        counts[1][lk_key(x[i + 1]) >> 24]++;
      }
    }
    for (; i < n; i++) {
      uint32_t key = lk_key(x[i]);
      counts[0][key >> shift & 255] += (uint64_t)(key ^ prefix) >> (shift + 8) == 0;
    }
    int digit = 255;
    for (;; digit--) {
      among = counts[0][digit] + counts[1][digit];
      if (above + among >= k || digit == 0) break;
      above += among;
    }
    prefix |= (uint32_t)digit << shift;
  }
  *greater = above;
  *equal = among;
  return lk_key_value(prefix);
}

static long K(mask_above)(const float *x, long n, float threshold, long skipped, uint64_t *words) {
  uint32_t limit = lk_key(threshold);
  long equal = 0;
  for (long first = 0; first < n; first += 64) {
    long count = n - first < 64 ? n - first : 64;
    uint64_t above = 0, same = 0;
    for (long i = 0; i < count; i++) {
      uint32_t key = lk_key(x[first + i]);
      above |= (uint64_t)(key > limit) << i;
      same |= (uint64_t)(key == limit) << i;
    }
    for (uint64_t rest = same; rest; rest &= rest - 1)
      if (equal++ >= skipped) above |= rest & -rest;
    words[first / 64] = above;
  }
  return equal;
}

static void K(mask_largest)(const float *x, long n, long k, uint64_t *words) {
  if (k <= 0) {
    memset(words, 0, (size_t)((n + 63) / 64) * 8);
    return;
  }
  long greater, equal;
  float threshold = K(kth_largest)(x, n, k, &greater, &equal);
  K(mask_above)(x, n, threshold, equal - (k - greater), words);
}
