#include "../reference.h"

#include <math.h>

// MARK: Layers of a decoder

void reference_rmsnorm(const float *x, const float *weight, float epsilon, long n, float *out) {
  double squares = 0;
  for (long i = 0; i < n; i++) squares += (double)x[i] * x[i];
  float scale = (float)(1 / sqrt(squares / (double)n + epsilon));
  for (long i = 0; i < n; i++) out[i] = x[i] * scale * weight[i];
}

void reference_softmax(float *x, long n) {
  float largest = reference_max_f32(x, n);
  double sum = 0;
  for (long i = 0; i < n; i++) sum += exp((double)x[i] - largest);
  for (long i = 0; i < n; i++) x[i] = (float)(exp((double)x[i] - largest) / sum);
}

void reference_silu_mul(const float *gate, const float *up, float *out, long n) {
  for (long i = 0; i < n; i++) out[i] = (float)(gate[i] / (1 + exp(-(double)gate[i])) * up[i]);
}

static void rotate(float *a, float *b, float cosine, float sine) {
  float first = *a, second = *b;
  *a = first * cosine - second * sine;
  *b = first * sine + second * cosine;
}

void reference_rope_interleaved(float *x, const float *cosines, const float *sines, long pairs) {
  for (long i = 0; i < pairs; i++) rotate(x + 2 * i, x + 2 * i + 1, cosines[i], sines[i]);
}

void reference_rope_halves(float *x, const float *cosines, const float *sines, long pairs) {
  for (long i = 0; i < pairs; i++) rotate(x + i, x + i + pairs, cosines[i], sines[i]);
}

void reference_attention_scores(
    const float *query, const float *keys, long stride, long count, long dimensions, float scale, float *scores) {
  for (long t = 0; t < count; t++) scores[t] = scale * reference_dot_f32(query, keys + t * stride, dimensions);
}

void reference_attention_mix(
    const float *weights, const float *values, long stride, long count, long dimensions, float *out) {
  for (long d = 0; d < dimensions; d++) {
    double sum = 0;
    for (long t = 0; t < count; t++) sum += (double)weights[t] * values[t * stride + d];
    out[d] = (float)sum;
  }
}

// MARK: Convolutions

static float clamped(double x, float low, float high) {
  const float y = (float)x;
  return y < low ? low : y > high ? high : y;
}

void reference_pointwise_f32(
    const lk_pointwise *w, long g0, long g1, const float *x, long stride, long p0, long p1, float *y) {
  for (long o = g0 * w->group; o < g1 * w->group && o < w->outputs; o++)
    for (long p = p0; p < p1; p++) {
      double sum = w->bias[o];
      for (long j = w->group_start[o / w->group]; j < (long)w->group_start[o / w->group + 1]; j++)
        sum += (double)w->values[j * w->group + o % w->group] * x[w->channel[j] * stride + p];
      y[o * stride + p] = clamped(sum, w->low, w->high);
    }
}

void reference_pad_plane_f32(
    const float *plane, long height, long width, long border, long top, long left, long step, long pitch, float *out) {
  const long rows = height + 2 * border;
  for (long i = 0; i < step * rows * pitch; i++) out[i] = 0;
  for (long r = 0; r < height; r++)
    for (long c = 0; c < width; c++)
      out[((c + left) % step * rows + r + top) * pitch + (c + left) / step] = plane[r * width + c];
}

void reference_direct_f32(const lk_direct *w, const float *padded, long o0, long o1, float *y) {
  const long rows = w->height + 2 * w->border, k = w->kernel;
  for (long o = o0; o < o1; o++)
    for (long oy = 0; oy < w->out_height; oy++)
      for (long ox = 0; ox < w->out_width; ox++) {
        double sum = w->bias[o];
        for (long i = 0; i < w->inputs; i++)
          for (long ky = 0; ky < k; ky++)
            for (long kx = 0; kx < k; kx++) {
              const long c = ox * w->step + kx;
              const long at = ((i * w->step + c % w->step) * rows + oy * w->step + ky) * w->pitch + c / w->step;
              sum += (double)w->weights[((o * w->inputs + i) * k + ky) * k + kx] * padded[at];
            }
        y[o * w->out_stride + oy * w->out_width + ox] = clamped(sum, w->low, w->high);
      }
}
