// Rows and columns of matrices, softmax, cross-entropy, and moving numbers around.

static void K(add_row)(const void *x_, const void *row_, void *y_, long r, long c, int add) {
  const T *row = row_;
  for (long i = 0; i < r; i++) {
    const T *x = (const T *)x_ + i * c;
    T *y = (T *)y_ + i * c;
    if (add) for (long j = 0; j < c; j++) y[j] += x[j] + row[j];
    else for (long j = 0; j < c; j++) y[j] = x[j] + row[j];
  }
}

static void K(multiply_row)(const void *x_, const void *row_, void *y_, long r, long c, int add) {
  const T *row = row_;
  for (long i = 0; i < r; i++) {
    const T *x = (const T *)x_ + i * c;
    T *y = (T *)y_ + i * c;
    if (add) for (long j = 0; j < c; j++) y[j] += x[j] * row[j];
    else for (long j = 0; j < c; j++) y[j] = x[j] * row[j];
  }
}

static void K(multiply_column)(const void *x_, const void *column_, void *y_, long r, long c, int add) {
  for (long i = 0; i < r; i++) {
    const T *x = (const T *)x_ + i * c, a = ((const T *)column_)[i];
    T *y = (T *)y_ + i * c;
    if (add) for (long j = 0; j < c; j++) y[j] += a * x[j];
    else for (long j = 0; j < c; j++) y[j] = a * x[j];
  }
}

static void K(broadcast_column)(const void *column_, double scale, void *y_, long r, long c, int add) {
  for (long i = 0; i < r; i++) {
    T a = (T)scale * ((const T *)column_)[i];
    T *y = (T *)y_ + i * c;
    if (add) for (long j = 0; j < c; j++) y[j] += a;
    else for (long j = 0; j < c; j++) y[j] = a;
  }
}

static void K(column_sums)(const void *x_, void *out_, long r, long c, int add) {
  T *restrict out = out_;
  if (!add) memset(out, 0, (size_t)c * sizeof(T));
  for (long i = 0; i < r; i++) {
    const T *x = (const T *)x_ + i * c;
    for (long j = 0; j < c; j++) out[j] += x[j];
  }
}

static void K(column_dots)(const void *x_, const void *z_, void *out_, long r, long c, int add) {
  T *restrict out = out_;
  if (!add) memset(out, 0, (size_t)c * sizeof(T));
  for (long i = 0; i < r; i++) {
    const T *x = (const T *)x_ + i * c, *z = (const T *)z_ + i * c;
    for (long j = 0; j < c; j++) out[j] += x[j] * z[j];
  }
}

static void K(row_sums)(const void *x_, double scale, void *out_, long r, long c, int add) {
  T *out = out_;
  for (long i = 0; i < r; i++) {
    const T *x = (const T *)x_ + i * c;
    T sum = 0;
    for (long j = 0; j < c; j++) sum += x[j];
    out[i] = (add ? out[i] : 0) + (T)scale * sum;
  }
}

static void K(row_dots)(const void *x_, const void *z_, void *out_, long r, long c, int add) {
  T *out = out_;
  for (long i = 0; i < r; i++) {
    const T *x = (const T *)x_ + i * c, *z = (const T *)z_ + i * c;
    T sum = 0;
    for (long j = 0; j < c; j++) sum += x[j] * z[j];
    out[i] = (add ? out[i] : 0) + sum;
  }
}

// MARK: Softmax

INLINE T K(largest)(const T *x, long n) {
  T largest = x[0];
  for (long j = 1; j < n; j++) largest = x[j] > largest ? x[j] : largest;
  return largest;
}

static void K(softmax)(const void *x_, void *y_, long r, long c) {
  for (long i = 0; i < r; i++) {
    const T *x = (const T *)x_ + i * c;
    T *y = (T *)y_ + i * c;
    T largest = K(largest)(x, c), total = 0;
    for (long j = 0; j < c; j++) {
      T e = K(exponential)(x[j] - largest);
      y[j] = e;
      total += e;
    }
    T inverse = (T)1 / total;
    for (long j = 0; j < c; j++) y[j] *= inverse;
  }
}

static void K(softmax_backward)(const void *y_, const void *dy_, void *dx_, long r, long c, int add) {
  for (long i = 0; i < r; i++) {
    const T *y = (const T *)y_ + i * c, *dy = (const T *)dy_ + i * c;
    T *dx = (T *)dx_ + i * c, dot = 0;
    for (long j = 0; j < c; j++) dot += y[j] * dy[j];
    if (add) {
      for (long j = 0; j < c; j++) dx[j] += y[j] * (dy[j] - dot);
    } else {  // attention works in place
#pragma clang loop vectorize(assume_safety)
      for (long j = 0; j < c; j++) dx[j] = y[j] * (dy[j] - dot);
    }
  }
}

static void K(log_softmax)(const void *x_, void *y_, long r, long c) {
  for (long i = 0; i < r; i++) {
    const T *x = (const T *)x_ + i * c;
    T *y = (T *)y_ + i * c;
    T largest = K(largest)(x, c), total = 0;
    for (long j = 0; j < c; j++) total += K(exponential)(x[j] - largest);
    T shift = largest + LOG(total);
    for (long j = 0; j < c; j++) y[j] = x[j] - shift;
  }
}

static void K(log_softmax_backward)(const void *y_, const void *dy_, void *dx_, long r, long c, int add) {
  for (long i = 0; i < r; i++) {
    const T *y = (const T *)y_ + i * c, *dy = (const T *)dy_ + i * c;
    T *dx = (T *)dx_ + i * c, sum = 0;
    for (long j = 0; j < c; j++) sum += dy[j];
    if (add) for (long j = 0; j < c; j++) dx[j] += dy[j] - K(exponential)(y[j]) * sum;
    else for (long j = 0; j < c; j++) dx[j] = dy[j] - K(exponential)(y[j]) * sum;
  }
}

static void K(masked_softmax)(
    void *x_, double scale_, long r, long c, long first, long last, const void *bias_, long bias_stride,
    const uint8_t *visible_, long visible_stride) {
  for (long i = 0; i < r; i++) {
    T *x = (T *)x_ + i * c, scale = (T)scale_;
    long low = first + i < 0 ? 0 : first + i, high = last + i < c ? last + i : c;
    if (high < low) high = low = 0;
    for (long j = 0; j < low; j++) x[j] = 0;
    for (long j = high; j < c; j++) x[j] = 0;
    if (bias_) {
      const T *bias = (const T *)bias_ + i * bias_stride;
      for (long j = low; j < high; j++) x[j] = scale * x[j] + bias[j];
      scale = 1;
    }
    T largest = -INFINITY, total = 0;
    const uint8_t *visible = visible_ ? visible_ + i * visible_stride : 0;
    if (visible) {
      for (long j = low; j < high; j++) x[j] = visible[j] ? x[j] : (T)-INFINITY;
    }
    for (long j = low; j < high; j++) largest = x[j] > largest ? x[j] : largest;
    if (largest == -INFINITY) {  // nothing is seen
      for (long j = low; j < high; j++) x[j] = 0;
      continue;
    }
    for (long j = low; j < high; j++) {
      T e = x[j] == -INFINITY ? 0 : K(exponential)(scale * (x[j] - largest));
      x[j] = e;
      total += e;
    }
    T inverse = (T)1 / total;
    for (long j = low; j < high; j++) x[j] *= inverse;
  }
}

static void K(cross_entropy)(
    const void *x_, const int32_t *labels, void *losses_, void *probabilities_, long r, long c) {
  T *losses = losses_;
  for (long i = 0; i < r; i++) {
    const T *x = (const T *)x_ + i * c;
    T *p = (T *)probabilities_ + i * c;
    if (labels[i] < 0) {
      losses[i] = 0;
      memset(p, 0, (size_t)c * sizeof(T));
      continue;
    }
    T largest = K(largest)(x, c), total = 0;
    for (long j = 0; j < c; j++) {
      T e = K(exponential)(x[j] - largest);
      p[j] = e;
      total += e;
    }
    T inverse = (T)1 / total;
    for (long j = 0; j < c; j++) p[j] *= inverse;
    losses[i] = LOG(total) - (x[labels[i]] - largest);
  }
}

static void K(cross_entropy_backward)(
    const void *probabilities_, const int32_t *labels, double scale_, void *dx_, long r, long c, int add) {
  T scale = (T)scale_;
  for (long i = 0; i < r; i++) {
    const T *p = (const T *)probabilities_ + i * c;
    T *dx = (T *)dx_ + i * c;
    if (add) for (long j = 0; j < c; j++) dx[j] += scale * p[j];
    else for (long j = 0; j < c; j++) dx[j] = scale * p[j];
    if (labels[i] >= 0) dx[labels[i]] -= scale;
  }
}

static void K(divergence)(
    const void *s_, const void *t_, double scale_, void *losses_, void *difference_, long r, long c) {
  T *losses = losses_, scale = (T)scale_;
  for (long i = 0; i < r; i++) {
    const T *s = (const T *)s_ + i * c, *t = (const T *)t_ + i * c;
    T *d = (T *)difference_ + i * c;
    T top_s = K(largest)(s, c), top_t = K(largest)(t, c), total_s = 0, total_t = 0, dot = 0;
    for (long j = 0; j < c; j++) {
      T a = scale * (t[j] - top_t), b = scale * (s[j] - top_s);
      T p = K(exponential)(a);
      total_t += p;
      total_s += K(exponential)(b);
      dot += p > 0 ? p * (a - b) : 0;  // what the teacher rules out costs nothing
    }
    T inverse_s = (T)1 / total_s, inverse_t = (T)1 / total_t;
    for (long j = 0; j < c; j++) {
#pragma clang fp contract(off) reassociate(off)
      // Both alike and neither fused with the difference: it is 0 to the last bit where the two are the same.
      T q = K(exponential)(scale * (s[j] - top_s)) * inverse_s;
      T p = K(exponential)(scale * (t[j] - top_t)) * inverse_t;
      d[j] = q - p;
    }
    losses[i] = dot * inverse_t + LOG(total_s) - LOG(total_t);
  }
}

// MARK: Moving numbers

static void K(gather_rows)(const void *table_, const int32_t *rows, void *y_, long count, long width) {
  for (long i = 0; i < count; i++)
    memcpy((T *)y_ + i * width, (const T *)table_ + (long)rows[i] * width, (size_t)width * sizeof(T));
}

static void K(scatter_add_rows)(const void *dy_, const int32_t *rows, void *table_, long count, long width) {
  for (long i = 0; i < count; i++) {
    const T *dy = (const T *)dy_ + i * width;
    T *row = (T *)table_ + (long)rows[i] * width;
    for (long j = 0; j < width; j++) row[j] += dy[j];
  }
}

// Walks an array of up to six dimensions, the last one innermost.
#define WALK(body)                                                   \
  long last = shape[rank - 1], step = strides[rank - 1], outer = 1;  \
  for (int d = 0; d < rank - 1; d++) outer *= shape[d];              \
  for (long row = 0; row < outer; row++) {                           \
    long rest = row, offset = 0;                                     \
    for (int d = rank - 2; d >= 0; d--) {                            \
      offset += rest % shape[d] * strides[d];                        \
      rest /= shape[d];                                              \
    }                                                                \
    body                                                             \
  }

static void K(permute)(const void *x_, void *y_, const long *shape, const long *strides, int rank, int add) {
  WALK({
    const T *x = (const T *)x_ + offset;
    T *y = (T *)y_ + row * last;
    if (add) for (long j = 0; j < last; j++) y[j] += x[j * step];
    else if (step == 1) memcpy(y, x, (size_t)last * sizeof(T));
    else for (long j = 0; j < last; j++) y[j] = x[j * step];
  })
}

static void K(unpermute)(const void *dy_, void *dx_, const long *shape, const long *strides, int rank, int add) {
  WALK({
    const T *dy = (const T *)dy_ + row * last;
    T *dx = (T *)dx_ + offset;
    if (add) for (long j = 0; j < last; j++) dx[j * step] += dy[j];
    else for (long j = 0; j < last; j++) dx[j * step] = dy[j];
  })
}
#undef WALK

static void K(rotate)(
    const void *x_, const int32_t *positions, const void *cosines_, const void *sines_, double sign_, void *y_, long r,
    long stride, long dimensions, int add) {
  long half = dimensions / 2;
  T sign = (T)sign_;
  for (long i = 0; i < r; i++) {
    const T *x = (const T *)x_ + i * stride, *cosines = (const T *)cosines_ + positions[i] * half,
            *sines = (const T *)sines_ + positions[i] * half;
    T *y = (T *)y_ + i * stride;
#define ROTATED(j, set)                                              \
  {                                                                  \
    const T a = x[j], b = x[j + half], s = sign * sines[j];          \
    const T u = a * cosines[j] - b * s, v = a * s + b * cosines[j];  \
    y[j] set u;                                                      \
    y[j + half] set v;                                               \
  }
    if (add) for (long j = 0; j < half; j++) ROTATED(j, +=)
    else for (long j = 0; j < half; j++) ROTATED(j, =)
#undef ROTATED
  }
}
