// Optimiser steps, one pass over the parameter each.

static void K(sgd)(
    void *w_, const void *g_, void *v_, long n, double rate_, double momentum_, double dampening_, double decay_,
    int nesterov) {
  const T *g = g_, rate = (T)rate_, momentum = (T)momentum_, share = (T)(1 - dampening_), decay = (T)decay_;
  T *w = w_, *v = v_;
  if (!v) {
    for (long i = 0; i < n; i++) w[i] -= rate * (g[i] + decay * w[i]);
  } else if (nesterov) {
    for (long i = 0; i < n; i++) {
      T d = g[i] + decay * w[i];
      v[i] = momentum * v[i] + share * d;
      w[i] -= rate * (d + momentum * v[i]);
    }
  } else {
    for (long i = 0; i < n; i++) {
      v[i] = momentum * v[i] + share * (g[i] + decay * w[i]);
      w[i] -= rate * v[i];
    }
  }
}

static void K(adam)(
    void *w_, const void *g_, void *m_, void *v_, long n, double rate, double beta1, double beta2, double epsilon_,
    double decay, double coupled_, double c1, double c2) {
  const T *g = g_, b1 = (T)beta1, b2 = (T)beta2, a1 = (T)(1 - beta1), a2 = (T)(1 - beta2), keep = (T)(1 - rate * decay),
          step = (T)(rate / c1), scale = (T)(1 / c2), epsilon = (T)epsilon_, coupled = (T)coupled_;
  T *w = w_, *m = m_, *v = v_;
  for (long i = 0; i < n; i++) {
    T d = g[i] + coupled * w[i];
    T first = b1 * m[i] + a1 * d, second = b2 * v[i] + a2 * d * d;
    m[i] = first;
    v[i] = second;
    w[i] = keep * w[i] - step * first / (SQRT(second * scale) + epsilon);
  }
}

static void K(adagrad)(void *w_, const void *g_, void *s_, long n, double rate_, double epsilon_, double decay_) {
  const T *g = g_, rate = (T)rate_, epsilon = (T)epsilon_, decay = (T)decay_;
  T *w = w_, *s = s_;
  for (long i = 0; i < n; i++) {
    T d = g[i] + decay * w[i];
    s[i] += d * d;
    w[i] -= rate * d / (SQRT(s[i]) + epsilon);
  }
}

static void K(average)(const void *w_, void *average_, long n, double keep_) {
  const T *w = w_, keep = (T)keep_, share = (T)(1 - keep_);
  T *average = average_;
  for (long i = 0; i < n; i++) average[i] = keep * average[i] + share * w[i];
}

#undef LOG
#undef LOG1P
#undef ERF
#undef SQRT
#undef ABS
