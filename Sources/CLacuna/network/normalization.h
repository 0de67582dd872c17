// Normalisation by rows (layer norm, RMS norm) and by channels (batch norm).

static void K(layer_norm)(
    const void *x_, const void *gain_, const void *bias_, double epsilon, void *y_, void *mean_, void *inverse_, long r,
    long c) {
  const T *gain = gain_, *bias = bias_;
  for (long i = 0; i < r; i++) {
    const T *x = (const T *)x_ + i * c;
    T *y = (T *)y_ + i * c, sum = 0, squares = 0;
    for (long j = 0; j < c; j++) sum += x[j];
    T mean = sum / (T)c;
    for (long j = 0; j < c; j++) squares += (x[j] - mean) * (x[j] - mean);
    T inverse = (T)1 / SQRT(squares / (T)c + (T)epsilon);
    ((T *)mean_)[i] = mean;
    ((T *)inverse_)[i] = inverse;
    for (long j = 0; j < c; j++) y[j] = (x[j] - mean) * inverse * gain[j] + bias[j];
  }
}

static void K(layer_norm_backward)(
    const void *x_, const void *gain_, const void *mean_, const void *inverse_, const void *dy_, void *dx_, long r,
    long c, int add) {
  const T *gain = gain_;
  for (long i = 0; i < r; i++) {
    const T *x = (const T *)x_ + i * c, *dy = (const T *)dy_ + i * c;
    T *dx = (T *)dx_ + i * c, mean = ((const T *)mean_)[i], inverse = ((const T *)inverse_)[i], sum = 0, dot = 0;
    for (long j = 0; j < c; j++) {
      T g = dy[j] * gain[j];
      sum += g;
      dot += g * (x[j] - mean);
    }
    sum /= (T)c;
    dot *= inverse * inverse / (T)c;
    if (add) for (long j = 0; j < c; j++) dx[j] += inverse * (dy[j] * gain[j] - sum - (x[j] - mean) * dot);
    else for (long j = 0; j < c; j++) dx[j] = inverse * (dy[j] * gain[j] - sum - (x[j] - mean) * dot);
  }
}

static void K(layer_norm_gain)(
    const void *x_, const void *mean_, const void *inverse_, const void *dy_, void *dgain_, long r, long c, int add) {
  T *restrict dgain = dgain_;
  if (!add) memset(dgain, 0, (size_t)c * sizeof(T));
  for (long i = 0; i < r; i++) {
    const T *x = (const T *)x_ + i * c, *dy = (const T *)dy_ + i * c;
    T mean = ((const T *)mean_)[i], inverse = ((const T *)inverse_)[i];
    for (long j = 0; j < c; j++) dgain[j] += dy[j] * (x[j] - mean) * inverse;
  }
}

static void K(rms_norm)(const void *x_, const void *gain_, double epsilon, void *y_, void *inverse_, long r, long c) {
  const T *gain = gain_;
  for (long i = 0; i < r; i++) {
    const T *x = (const T *)x_ + i * c;
    T *y = (T *)y_ + i * c, squares = 0;
    for (long j = 0; j < c; j++) squares += x[j] * x[j];
    T inverse = (T)1 / SQRT(squares / (T)c + (T)epsilon);
    ((T *)inverse_)[i] = inverse;
    for (long j = 0; j < c; j++) y[j] = x[j] * inverse * gain[j];
  }
}

static void K(rms_norm_backward)(
    const void *x_, const void *gain_, const void *inverse_, const void *dy_, void *dx_, long r, long c, int add) {
  const T *gain = gain_;
  for (long i = 0; i < r; i++) {
    const T *x = (const T *)x_ + i * c, *dy = (const T *)dy_ + i * c;
    T *dx = (T *)dx_ + i * c, inverse = ((const T *)inverse_)[i], dot = 0;
    for (long j = 0; j < c; j++) dot += dy[j] * gain[j] * x[j];
    dot *= inverse * inverse / (T)c;
    if (add) for (long j = 0; j < c; j++) dx[j] += inverse * (dy[j] * gain[j] - x[j] * dot);
    else for (long j = 0; j < c; j++) dx[j] = inverse * (dy[j] * gain[j] - x[j] * dot);
  }
}

static void K(rms_norm_gain)(
    const void *x_, const void *inverse_, const void *dy_, void *dgain_, long r, long c, int add) {
  T *restrict dgain = dgain_;
  if (!add) memset(dgain, 0, (size_t)c * sizeof(T));
  for (long i = 0; i < r; i++) {
    const T *x = (const T *)x_ + i * c, *dy = (const T *)dy_ + i * c;
    T inverse = ((const T *)inverse_)[i];
    for (long j = 0; j < c; j++) dgain[j] += dy[j] * x[j] * inverse;
  }
}

// MARK: Channels

static void K(channel_moments)(const void *x_, long n, long stride, long length, double *mean, double *variance) {
  double sum = 0, squares = 0;
  for (long i = 0; i < n; i++) {
    const T *x = (const T *)x_ + i * stride;
    for (long j = 0; j < length; j++) sum += (double)x[j];
  }
  double m = sum / (double)(n * length);
  for (long i = 0; i < n; i++) {
    const T *x = (const T *)x_ + i * stride;
    for (long j = 0; j < length; j++) squares += ((double)x[j] - m) * ((double)x[j] - m);
  }
  *mean = m;
  *variance = squares / (double)(n * length);
}

static void K(channel_affine)(
    const void *x_, long n, long stride, long length, double a_, double b_, void *y_, int add) {
  T a = (T)a_, b = (T)b_;
  for (long i = 0; i < n; i++) {
    const T *x = (const T *)x_ + i * stride;
    T *y = (T *)y_ + i * stride;
    if (add) for (long j = 0; j < length; j++) y[j] += a * x[j] + b;
    else for (long j = 0; j < length; j++) y[j] = a * x[j] + b;
  }
}

static void K(channel_dots)(
    const void *x_, const void *dy_, long n, long stride, long length, double mean, double *sum, double *dot) {
  double s = 0, d = 0;
  for (long i = 0; i < n; i++) {
    const T *x = (const T *)x_ + i * stride, *dy = (const T *)dy_ + i * stride;
    for (long j = 0; j < length; j++) {
      s += (double)dy[j];
      d += (double)dy[j] * ((double)x[j] - mean);
    }
  }
  *sum = s;
  *dot = d;
}

static void K(channel_backward)(
    const void *x_, const void *dy_, long n, long stride, long length, double a_, double b_, double c_, void *dx_,
    int add) {
  T a = (T)a_, b = (T)b_, c = (T)c_;
  for (long i = 0; i < n; i++) {
    const T *x = (const T *)x_ + i * stride, *dy = (const T *)dy_ + i * stride;
    T *dx = (T *)dx_ + i * stride;
    if (add) for (long j = 0; j < length; j++) dx[j] += a * dy[j] + b * x[j] + c;
    else for (long j = 0; j < length; j++) dx[j] = a * dy[j] + b * x[j] + c;
  }
}
