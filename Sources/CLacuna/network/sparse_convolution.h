// Convolutions of images stored channel by channel (CHW), for inference. Included by level.h once for each level.
//
// A channel is a plane of `stride` floats: height × width pixels, row by row, and room for whole vectors beyond the last.
// Vectors run over pixels, so that a weight is one broadcast, and a weight that is 0 can be left out.

#define PIXELS(p) (*(K(aligned_f32) *)(p))

// 1 × 1: `group` output channels share their input channels, and every vector of an input channel that is loaded is used
// for all of them.
INLINE void K(pointwise_tile)(
    const lk_pointwise *w, long g0, long g1, const float *x, long stride, long p, const int group, const int vectors,
    float *y) {
  for (long g = g0; g < g1; g++) {
    const long rows = w->outputs - g * group < group ? w->outputs - g * group : group;
    VF sum[16];
    for (int i = 0; i < group; i++)
      for (int u = 0; u < vectors; u++) sum[i * vectors + u] = K(splat)(i < rows ? w->bias[g * group + i] : 0);
    long j = w->group_start[g];
    const long end = w->group_start[g + 1];
    if (group == 1) {  // two entries at a time: one addition need not wait for that of the entry before
      VF other[16];
      for (int u = 0; u < vectors; u++) other[u] = (VF){0};
      for (; j + 2 <= end; j += 2) {
        const float *a = x + (long)w->channel[j] * stride + p, *b = x + (long)w->channel[j + 1] * stride + p;
        for (int u = 0; u < vectors; u++) {
          sum[u] += w->values[j] * PIXELS(a + u * LANES);
          other[u] += w->values[j + 1] * PIXELS(b + u * LANES);
        }
      }
      for (int u = 0; u < vectors; u++) sum[u] += other[u];
    }
    for (; j < end; j++) {
      const float *entry = x + (long)w->channel[j] * stride + p, *values = w->values + j * group;
      VF v[4];
      for (int u = 0; u < vectors; u++) v[u] = PIXELS(entry + u * LANES);
      for (int i = 0; i < group; i++) {
        const VF value = K(splat)(values[i]);
        for (int u = 0; u < vectors; u++) sum[i * vectors + u] += value * v[u];
      }
    }
    // Both loops end where the compiler knows: sums that an index of another kind reaches would live in memory.
#pragma clang loop unroll(full)
    for (int i = 0; i < group; i++)
      if (i < rows)
        for (int u = 0; u < vectors; u++) {
          const VF low = K(larger)(sum[i * vectors + u], K(splat)(w->low)), high = K(splat)(w->high);
          PIXELS(y + (g * group + i) * stride + p + u * LANES) = K(choose)(low > high, high, low);
        }
  }
}

#define POINTWISE(group, vectors)                                                                                  \
  {                                                                                                                \
    long p = p0;                                                                                                   \
    for (; p + vectors * LANES <= p1; p += vectors * LANES)                                                        \
      K(pointwise_tile)(w, g0, g1, x, stride, p, group, vectors, y);                                               \
    for (; p < p1; p += LANES) K(pointwise_tile)(w, g0, g1, x, stride, p, group, 1, y);                            \
  }                                                                                                                \
  break

static void K(pointwise_f32)(
    const lk_pointwise *w, long g0, long g1, const float *x, long stride, long p0, long p1, float *y) {
  switch (w->group) {
    case 1: POINTWISE(1, 4);
    case 2: POINTWISE(2, 4);
    case 4: POINTWISE(4, (VECTOR_BYTES == 64 ? 4 : 2));
    case 8: POINTWISE(8, (VECTOR_BYTES == 64 ? 2 : 1));
    default: POINTWISE(16, 1);
  }
}

#undef POINTWISE

// A plane with zeros around it, its columns sorted by their remainder modulo `step`: what a convolution of that step
// reads is contiguous. Row r of part q is at out[(q * (height + 2 border) + r) * pitch].
static void K(pad_plane_f32)(
    const float *plane, long height, long width, long border, long top, long left, long step, long pitch, float *out) {
  const long rows = height + 2 * border, columns = width + 2 * border;
  memset(out, 0, (size_t)(step * rows * pitch) * sizeof *out);
  for (long r = 0; r < height; r++)
    for (long q = 0; q < step; q++) {
      float *row = out + (q * rows + r + top) * pitch;
      for (long c = q; c < columns; c += step)
        if (c >= left && c < width + left) row[c / step] = plane[r * width + c - left];
    }
}

// Up to four output channels of a k × k convolution over `inputs` padded planes.
INLINE void K(direct_rows)(
    const lk_direct *w, const float *padded, const int channels, const float *weights, const float *bias, float *y) {
  const long rows = w->height + 2 * w->border, part = rows * w->pitch, plane = w->step * part, k = w->kernel;
  for (long oy = 0; oy < w->out_height; oy++)
    for (long ox = 0; ox < w->out_width; ox += LANES) {
      VF sum[4];
      for (int i = 0; i < channels; i++) sum[i] = K(splat)(bias[i]);
      const float *tap = weights;
      for (long input = 0; input < w->inputs; input++)
        for (long ky = 0; ky < k; ky++)
          for (long kx = 0; kx < k; kx++, tap++) {
            const float *row = padded + input * plane + kx % w->step * part + (oy * w->step + ky) * w->pitch;
            const VF v = K(load)(row + ox + kx / w->step);
            for (int i = 0; i < channels; i++) sum[i] += tap[i * w->inputs * k * k] * v;
          }
      // What is written beyond the end of a row is written again by the next one, or lies beyond the last.
      for (int i = 0; i < channels; i++) {
        const VF low = K(larger)(sum[i], K(splat)(w->low)), high = K(splat)(w->high);
        K(store)(y + i * w->out_stride + oy * w->out_width + ox, K(choose)(low > high, high, low));
      }
    }
}

static void K(direct_f32)(const lk_direct *w, const float *padded, long o0, long o1, float *y) {
  const long taps = w->inputs * w->kernel * w->kernel;
  long o = o0;
  for (; o + 4 <= o1; o += 4)
    K(direct_rows)(w, padded, 4, w->weights + o * taps, w->bias + o, y + o * w->out_stride);
  for (; o < o1; o++) K(direct_rows)(w, padded, 1, w->weights + o * taps, w->bias + o, y + o * w->out_stride);
}
#undef PIXELS
