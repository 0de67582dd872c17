// The layers of a decoder between its matrix products.

static void K(rmsnorm)(const float *x, const float *weight, float epsilon, long n, float *out) {
  float scale = 1 / sqrtf(K(sum_of_squares)(x, n) / (float)n + epsilon);
  long i = 0;
  for (; i + LANES <= n; i += LANES) K(store)(out + i, K(load)(x + i) * scale * K(load)(weight + i));
  for (; i < n; i++) out[i] = x[i] * scale * weight[i];
}

static void K(softmax)(float *x, long n) {
  VF largest = K(splat)(K(max_f32)(x, n));
  VF sum = {0};
  long i = 0;
  for (; i + LANES <= n; i += LANES) {
    VF e = K(exponential)(K(load)(x + i) - largest);
    K(store)(x + i, e);
    sum += e;
  }
  float total = K(sum_lanes)(sum);
  if (i < n) {
    VF e = K(exponential)(K(load_part)(x + i, n - i) - largest);
    K(store_part)(x + i, e, n - i);
    for (long j = i; j < n; j++) total += x[j];
  }
  float inverse = 1 / total;
  for (i = 0; i + LANES <= n; i += LANES) K(store)(x + i, K(load)(x + i) * inverse);
  for (; i < n; i++) x[i] *= inverse;
}

INLINE VF K(silu)(VF x) { return x / (1.0f + K(exponential)(-x)); }

static void K(silu_mul)(const float *gate, const float *up, float *out, long n) {
  long i = 0;
  for (; i + LANES <= n; i += LANES) K(store)(out + i, K(silu)(K(load)(gate + i)) * K(load)(up + i));
  if (i < n)
    K(store_part)(out + i, K(silu)(K(load_part)(gate + i, n - i)) * K(load_part)(up + i, n - i), n - i);
}

// Two plain loops that clang vectorises well by itself.
static void K(rope_interleaved)(float *x, const float *cosines, const float *sines, long pairs) {
  for (long i = 0; i < pairs; i++) {
    float first = x[2 * i], second = x[2 * i + 1];
    x[2 * i] = first * cosines[i] - second * sines[i];
    x[2 * i + 1] = first * sines[i] + second * cosines[i];
  }
}

static void K(rope_halves)(float *x, const float *cosines, const float *sines, long pairs) {
  for (long i = 0; i < pairs; i++) {
    float first = x[i], second = x[i + pairs];
    x[i] = first * cosines[i] - second * sines[i];
    x[i + pairs] = first * sines[i] + second * cosines[i];
  }
}

static void K(attention_scores)(
    const float *query, const float *keys, long stride, long count, long dimensions, float scale, float *scores) {
  long t = 0;
  for (; t + 4 <= count; t += 4) {  // four keys share the loads of the query
    const float *k = keys + t * stride;
    VF sum[4] = {0};
    long d = 0;
    for (; d + LANES <= dimensions; d += LANES)
      for (int u = 0; u < 4; u++) sum[u] += K(load)(query + d) * K(load)(k + u * stride + d);
    if (d < dimensions)
      for (int u = 0; u < 4; u++)
        sum[u] += K(load_part)(query + d, dimensions - d) * K(load_part)(k + u * stride + d, dimensions - d);
    for (int u = 0; u < 4; u++) scores[t + u] = scale * K(sum_lanes)(sum[u]);
  }
  for (; t < count; t++) scores[t] = scale * K(dot_f32)(query, keys + t * stride, dimensions);
}

static void K(attention_mix)(
    const float *weights, const float *values, long stride, long count, long dimensions, float *out) {
  long d = 0;
  for (; d + 4 * LANES <= dimensions; d += 4 * LANES) {
    VF sum[4] = {0};
    for (long t = 0; t < count; t++)
      for (int u = 0; u < 4; u++) sum[u] += weights[t] * K(load)(values + t * stride + d + u * LANES);
    for (int u = 0; u < 4; u++) K(store)(out + d + u * LANES, sum[u]);
  }
  for (; d < dimensions; d += LANES) {
    long n = dimensions - d < LANES ? dimensions - d : LANES;
    VF sum = {0};
    if (n == LANES)
      for (long t = 0; t < count; t++) sum += weights[t] * K(load)(values + t * stride + d);
    else
      for (long t = 0; t < count; t++) sum += weights[t] * K(load_part)(values + t * stride + d, n);
    if (n == LANES) K(store)(out + d, sum);
    else K(store_part)(out + d, sum, n);
  }
}
