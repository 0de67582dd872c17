// Functions of single numbers, and their derivatives.

#if IS_FLOAT
// exp(x) to 2e-7 relative; 0 below -87, at most exp(88). Without branches, so that loops over it become vectors.
INLINE float K(exponential)(float x) {
#pragma clang fp reassociate(off)
  float bounded = x > 88.0f ? 88.0f : x < -87.0f ? -87.0f : x;
  float shifted = bounded * 0x1.715476p+0f + 0x1.8p23f;
  float n = shifted - 0x1.8p23f;
  float r = (bounded - n * 0x1.62e4p-1f) - n * 0x1.7f7d1cp-20f;  // ln 2 in two parts, the first short enough to be exact
  float p = 1.0f + r * (1.0f + r * (1.0f / 2 + r * (1.0f / 6 + r * (1.0f / 24 + r * (1.0f / 120 + r * (1.0f / 720))))));
  int32_t bits;
  memcpy(&bits, &shifted, 4);
  bits = (int32_t)(((uint32_t)bits << 23) + 0x3F800000u);  // the low bits of `shifted` are n
  float power;
  memcpy(&power, &bits, 4);
  return x < -87.0f ? 0.0f : p * power;
}
#define LOG logf
#define LOG1P log1pf
#define ERF erff
#define SQRT __builtin_elementwise_sqrt
#define ABS __builtin_elementwise_abs
#else
INLINE double K(exponential)(double x) { return exp(x); }
#define LOG log
#define LOG1P log1p
#define ERF erf
#define SQRT __builtin_elementwise_sqrt
#define ABS __builtin_elementwise_abs
#endif

INLINE T K(sigmoid_of)(T x) { return (T)1 / ((T)1 + K(exponential)(-x)); }
INLINE T K(tanh_of)(T x) { return (T)1 - (T)2 / (K(exponential)((T)2 * x) + (T)1); }
// The inner argument of GELU's approximation, sqrt(2 / pi) (x + 0.044715 x^3), and its derivative.
INLINE T K(gelu_inner)(T x) { return (T)0.7978845608028654 * (x + (T)0.044715 * x * x * x); }
INLINE T K(gelu_slope)(T x) { return (T)0.7978845608028654 * ((T)1 + (T)0.134145 * x * x); }

#define MAP(expression)            \
  for (long i = 0; i < n; i++) {   \
    T v = x[i];                    \
    y[i] = (expression);           \
  }                                \
  break

static void K(unary)(int function, const void *x_, void *y_, long n) {
  const T *x = x_;
  T *y = y_;
  switch (function) {
    case LK_RELU: MAP(v > 0 ? v : 0);
    case LK_LEAKY_RELU: MAP(v > 0 ? v : (T)0.01 * v);
    case LK_GELU: MAP((T)0.5 * v * ((T)1 + K(tanh_of)(K(gelu_inner)(v))));
    case LK_GELU_EXACT: MAP((T)0.5 * v * ((T)1 + ERF(v * (T)0.7071067811865476)));
    case LK_SILU: MAP(v * K(sigmoid_of)(v));
    case LK_SIGMOID: MAP(K(sigmoid_of)(v));
    case LK_TANH: MAP(K(tanh_of)(v));
    case LK_SOFTPLUS: MAP((v > 0 ? v : 0) + LOG1P(K(exponential)(-ABS(v))));
    case LK_EXP: MAP(K(exponential)(v));
    case LK_LOG: MAP(LOG(v));
    case LK_SQRT: MAP(SQRT(v));
    case LK_SQUARE: MAP(v * v);
    case LK_ABS: MAP(ABS(v));
    case LK_RECIPROCAL: MAP((T)1 / v);
  }
}
#undef MAP

#define MAP(expression)                              \
  if (add) {                                         \
    for (long i = 0; i < n; i++) {                   \
      T v = x[i], f = y[i];                          \
      (void)v, (void)f;                              \
      dx[i] += dy[i] * (expression);                 \
    }                                                \
  } else {                                           \
    for (long i = 0; i < n; i++) {                   \
      T v = x[i], f = y[i];                          \
      (void)v, (void)f;                              \
      dx[i] = dy[i] * (expression);                  \
    }                                                \
  }                                                  \
  break

INLINE T K(gelu_derivative)(T v) {
  T t = K(tanh_of)(K(gelu_inner)(v));
  return (T)0.5 * ((T)1 + t) + (T)0.5 * v * ((T)1 - t * t) * K(gelu_slope)(v);
}
INLINE T K(silu_derivative)(T v) {
  T s = K(sigmoid_of)(v);
  return s * ((T)1 + v * ((T)1 - s));
}

static void K(unary_backward)(
    int function, const void *x_, const void *y_, const void *dy_, void *dx_, long n, int add) {
  const T *x = x_, *y = y_, *dy = dy_;
  T *dx = dx_;
  switch (function) {
    case LK_RELU: MAP(v > 0 ? (T)1 : (T)0);
    case LK_LEAKY_RELU: MAP(v > 0 ? (T)1 : (T)0.01);
    case LK_GELU: MAP(K(gelu_derivative)(v));
    case LK_GELU_EXACT:
      MAP((T)0.5 * ((T)1 + ERF(v * (T)0.7071067811865476)) +
          v * (T)0.3989422804014327 * K(exponential)((T)-0.5 * v * v));
    case LK_SILU: MAP(K(silu_derivative)(v));
    case LK_SIGMOID: MAP(f * ((T)1 - f));
    case LK_TANH: MAP((T)1 - f * f);
    case LK_SOFTPLUS: MAP(K(sigmoid_of)(v));
    case LK_EXP: MAP(f);
    case LK_LOG: MAP((T)1 / v);
    case LK_SQRT: MAP((T)0.5 / f);
    case LK_SQUARE: MAP((T)2 * v);
    case LK_ABS: MAP(v > 0 ? (T)1 : v < 0 ? (T)-1 : (T)0);
    case LK_RECIPROCAL: MAP(-f * f);
  }
}
#undef MAP

#define MAP(expression)                                          \
  if (add) for (long i = 0; i < n; i++) y[i] += (expression);    \
  else for (long i = 0; i < n; i++) y[i] = (expression);         \
  break

static void K(binary)(int function, const void *a_, const void *b_, void *y_, long n, int add) {
  const T *a = a_, *b = b_;
  T *y = y_;
  switch (function) {
    case LK_ADD: MAP(a[i] + b[i]);
    case LK_SUBTRACT: MAP(a[i] - b[i]);
    case LK_MULTIPLY: MAP(a[i] * b[i]);
    case LK_DIVIDE: MAP(a[i] / b[i]);
  }
}
#undef MAP

static void K(divide_backward)(const void *y_, const void *b_, const void *dy_, void *db_, long n, int add) {
  const T *y = y_, *b = b_, *dy = dy_;
  T *db = db_;
  if (add) for (long i = 0; i < n; i++) db[i] -= dy[i] * y[i] / b[i];
  else for (long i = 0; i < n; i++) db[i] = -dy[i] * y[i] / b[i];
}

static void K(affine)(double a_, const void *x_, double b_, void *y_, long n, int add) {
  const T a = (T)a_, b = (T)b_, *x = x_;
  T *y = y_;
  if (add) for (long i = 0; i < n; i++) y[i] += a * x[i] + b;
  else for (long i = 0; i < n; i++) y[i] = a * x[i] + b;
}

static void K(swiglu)(const void *gate_, const void *up_, void *y_, long n) {
  const T *gate = gate_, *up = up_;
  T *y = y_;
  for (long i = 0; i < n; i++) y[i] = gate[i] * K(sigmoid_of)(gate[i]) * up[i];
}

static void K(swiglu_backward)(
    const void *gate_, const void *up_, const void *dy_, void *dgate_, void *dup_, long n, int add_gate, int add_up) {
  const T *gate = gate_, *up = up_, *dy = dy_;
  T *dgate = dgate_, *dup = dup_;
  for (long i = 0; i < n; i++) {
    T s = K(sigmoid_of)(gate[i]);
    T g = dy[i] * up[i] * s * ((T)1 + gate[i] * ((T)1 - s));
    T u = dy[i] * gate[i] * s;
    dgate[i] = add_gate ? dgate[i] + g : g;
    dup[i] = add_up ? dup[i] + u : u;
  }
}

static void K(clamp_mask)(const void *x_, double low_, double high_, void *y_, long n) {
  const T *x = x_, low = (T)low_, high = (T)high_;
  T *y = y_;
  for (long i = 0; i < n; i++) y[i] = x[i] >= low && x[i] <= high ? (T)1 : (T)0;
}

static double K(sum)(const void *x_, long n) {
  const T *x = x_;
  double total = 0;
  // Blocks keep single precision exact enough and fast; between blocks the sum is double.
  for (long start = 0; start < n; start += 4096) {
    long end = start + 4096 < n ? start + 4096 : n;
    T sum = 0;
    for (long i = start; i < end; i++) sum += x[i];
    total += (double)sum;
  }
  return total;
}

static double K(sum_of_squares)(const void *x_, long n) {
  const T *x = x_;
  double total = 0;
  for (long start = 0; start < n; start += 4096) {
    long end = start + 4096 < n ? start + 4096 : n;
    T sum = 0;
    for (long i = start; i < end; i++) sum += x[i] * x[i];
    total += (double)sum;
  }
  return total;
}
