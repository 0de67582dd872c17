// Entries at listed places of a matrix, and masks of bits.

// An entry's rank among its group's is the number of those that go before it: larger ones, and equal ones behind it. The
// ranks of 64 columns are found together, by comparing them with themselves moved by 1, 2, ... m - 1 places.
static void K(keep_along_rows)(const void *x_, long columns, long n, long m, uint64_t *words) {
  const T *x = x_;
  for (long first = 0; first < columns; first += 64) {
    const int count = columns - first < 64 ? (int)(columns - first) : 64;
    // With room on both sides for neighbours that do not count; entries beyond the last go behind all others.
    T padded[192];
    T *a = padded + 64;
    int rank[64] = {0};
    for (int i = 0; i < 192; i++) padded[i] = -1;
    for (int i = 0; i < count; i++) a[i] = x[first + i] == x[first + i] ? ABS(x[first + i]) : 0;
    for (int d = 1; d < (int)m; d++)
      for (int i = 0; i < 64; i++) {
        const int place = i & ((int)m - 1);
        rank[i] += (place + d < (int)m) & (a[i + d] >= a[i]);
        rank[i] += (place >= d) & (a[i - d] > a[i]);
      }
    // A last, incomplete group of t entries keeps n t / m of them, rounded up.
    const int t = count & ((int)m - 1), limit = (int)((n * t + m - 1) / m);
    uint64_t word = 0;
    for (int i = 0; i < count; i++) word |= (uint64_t)(rank[i] < (i < count - t ? (int)n : limit)) << i;
    words[first / 64] = word;
  }
}

static void K(keep_along_columns)(
    const void *x_, long rows, long columns, long n, long m, uint64_t *words, long words_per_row) {
  const T *x = x_;
  T a[64 * 64];
  for (long first = 0; first < rows; first += m) {
    const long t = rows - first < m ? rows - first : m, limit = (n * t + m - 1) / m;
    for (long c = 0; c < columns; c += 64) {
      const int count = columns - c < 64 ? (int)(columns - c) : 64;
      for (long i = 0; i < t; i++)
        for (int j = 0; j < count; j++) {
          T value = x[(first + i) * columns + c + j];
          a[i * 64 + j] = value == value ? ABS(value) : 0;
        }
      for (long i = 0; i < t; i++) {
        int rank[64] = {0};
        for (long k = 0; k < i; k++)
          for (int j = 0; j < count; j++) rank[j] += a[k * 64 + j] > a[i * 64 + j];
        for (long k = i + 1; k < t; k++)
          for (int j = 0; j < count; j++) rank[j] += a[k * 64 + j] >= a[i * 64 + j];
        uint64_t word = 0;
        for (int j = 0; j < count; j++) word |= (uint64_t)(rank[j] < (int)limit) << j;
        words[(first + i) * words_per_row + c / 64] = word;
      }
    }
  }
}

static void K(scale_masked)(const void *x_, const uint64_t *words, long n, double on_, double off_, void *y_, int add) {
  const T *x = x_, on = (T)on_, off = (T)off_;
  T *y = y_;
  for (long first = 0; first < n; first += 32) {
    const uint32_t bits = (uint32_t)(words[first / 64] >> (first % 64));
    const int count = n - first < 32 ? (int)(n - first) : 32;
    // What counts for nothing may be anything, infinities included.
#define SCALED(i) ((bits >> (i) & 1 ? on : off) == 0 ? 0 : (bits >> (i) & 1 ? on : off) * x[first + (i)])
    if (add) for (int i = 0; i < count; i++) y[first + i] += SCALED(i);
    else for (int i = 0; i < count; i++) y[first + i] = SCALED(i);
#undef SCALED
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
  if (add) for (long i = 0; i < n; i++) y[i] += x[places[i]];
  else for (long i = 0; i < n; i++) y[i] = x[places[i]];
}
