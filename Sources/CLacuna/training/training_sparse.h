// Entries at listed places of a matrix.

static void K(scatter_add)(const void *x_, const int32_t *places, long n, void *y_) {
  const T *x = x_;
  T *y = y_;
  for (long i = 0; i < n; i++) y[places[i]] += x[i];
}

static void K(gather)(const void *x_, const int32_t *places, long n, void *y_, int add) {
  const T *x = x_;
  T *y = y_;
  for (long i = 0; i < n; i++) y[i] = (add ? y[i] : 0) + x[places[i]];
}
