// Convolution by unfolding, depthwise convolution, pooling.

// The output columns whose input column o * stride - padding + k * dilation lies inside the image: from..<to.
INLINE void K(valid)(long out, long in, long stride, long shift, long *from, long *to) {
  long first = shift >= 0 ? 0 : (-shift + stride - 1) / stride;
  long last = shift >= in ? 0 : (in - shift + stride - 1) / stride;
  *from = first < out ? first : out;
  *to = last < out ? last : out;
  if (*to < *from) *to = *from;
}

static void K(unfold)(const void *image_, const lk_window *w, void *columns_) {
  T *column = columns_;
  for (long ch = 0; ch < w->channels; ch++) {
    const T *image = (const T *)image_ + ch * w->height * w->width;
    for (long ky = 0; ky < w->kernel_height; ky++)
      for (long kx = 0; kx < w->kernel_width; kx++) {
        long shift = kx * w->dilation_width - w->padding_width, from, to;
        K(valid)(w->out_width, w->width, w->stride_width, shift, &from, &to);
        for (long oy = 0; oy < w->out_height; oy++, column += w->out_width) {
          long y = oy * w->stride_height - w->padding_height + ky * w->dilation_height;
          if (y < 0 || y >= w->height) {
            memset(column, 0, (size_t)w->out_width * sizeof(T));
            continue;
          }
          const T *row = image + y * w->width + shift;
          for (long ox = 0; ox < from; ox++) column[ox] = 0;
          if (w->stride_width == 1) for (long ox = from; ox < to; ox++) column[ox] = row[ox];
          else for (long ox = from; ox < to; ox++) column[ox] = row[ox * w->stride_width];
          for (long ox = to; ox < w->out_width; ox++) column[ox] = 0;
        }
      }
  }
}

static void K(fold_add)(const void *columns_, const lk_window *w, void *image_) {
  const T *column = columns_;
  for (long ch = 0; ch < w->channels; ch++) {
    T *image = (T *)image_ + ch * w->height * w->width;
    for (long ky = 0; ky < w->kernel_height; ky++)
      for (long kx = 0; kx < w->kernel_width; kx++) {
        long shift = kx * w->dilation_width - w->padding_width, from, to;
        K(valid)(w->out_width, w->width, w->stride_width, shift, &from, &to);
        for (long oy = 0; oy < w->out_height; oy++, column += w->out_width) {
          long y = oy * w->stride_height - w->padding_height + ky * w->dilation_height;
          if (y < 0 || y >= w->height) continue;
          T *row = image + y * w->width + shift;
          if (w->stride_width == 1) for (long ox = from; ox < to; ox++) row[ox] += column[ox];
          else for (long ox = from; ox < to; ox++) row[ox * w->stride_width] += column[ox];
        }
      }
  }
}

// Calls `body` for every row of a kernel at every row of the output: `in` and `out` are rows, `k` the kernel's entry.
#define SLIDE(body)                                                                          \
  for (long ky = 0; ky < w->kernel_height; ky++)                                             \
    for (long kx = 0; kx < w->kernel_width; kx++) {                                          \
      long k = ky * w->kernel_width + kx, from, to, stride = w->stride_width;                \
      long shift = kx * w->dilation_width - w->padding_width;                                \
      K(valid)(w->out_width, w->width, stride, shift, &from, &to);                           \
      for (long oy = 0; oy < w->out_height; oy++) {                                          \
        long y = oy * w->stride_height - w->padding_height + ky * w->dilation_height;        \
        if (y < 0 || y >= w->height) continue;                                               \
        long in = y * w->width + shift, out = oy * w->out_width;                             \
        body                                                                                 \
      }                                                                                      \
    }

static void K(depthwise)(const void *image_, const void *kernel_, const lk_window *w, void *out_) {
  const T *image = image_, *kernel = kernel_;
  T *o = out_;
  memset(o, 0, (size_t)(w->out_height * w->out_width) * sizeof(T));
  SLIDE({
    T a = kernel[k];
    if (stride == 1) for (long x = from; x < to; x++) o[out + x] += a * image[in + x];
    else for (long x = from; x < to; x++) o[out + x] += a * image[in + x * stride];
  })
}

static void K(depthwise_input)(const void *dout_, const void *kernel_, const lk_window *w, void *dimage_) {
  const T *dout = dout_, *kernel = kernel_;
  T *dimage = dimage_;
  SLIDE({
    T a = kernel[k];
    if (stride == 1) for (long x = from; x < to; x++) dimage[in + x] += a * dout[out + x];
    else for (long x = from; x < to; x++) dimage[in + x * stride] += a * dout[out + x];
  })
}

static void K(depthwise_kernel)(const void *dout_, const void *image_, const lk_window *w, void *dkernel_) {
  const T *dout = dout_, *image = image_;
  T *dkernel = dkernel_;
  SLIDE({
    T sum = 0;
    if (stride == 1) for (long x = from; x < to; x++) sum += dout[out + x] * image[in + x];
    else for (long x = from; x < to; x++) sum += dout[out + x] * image[in + x * stride];
    dkernel[k] += sum;
  })
}
#undef SLIDE

static void K(max_pool)(const void *image_, const lk_window *w, void *out_, int32_t *places) {
  T *out = out_;
  for (long ch = 0; ch < w->channels; ch++) {
    const T *image = (const T *)image_ + ch * w->height * w->width;
    for (long oy = 0; oy < w->out_height; oy++)
      for (long ox = 0; ox < w->out_width; ox++) {
        T best = -INFINITY;
        long place = -1;
        for (long ky = 0; ky < w->kernel_height; ky++) {
          long y = oy * w->stride_height - w->padding_height + ky * w->dilation_height;
          if (y < 0 || y >= w->height) continue;
          for (long kx = 0; kx < w->kernel_width; kx++) {
            long x = ox * w->stride_width - w->padding_width + kx * w->dilation_width;
            if (x < 0 || x >= w->width) continue;
            if (place < 0 || image[y * w->width + x] > best) {
              best = image[y * w->width + x];
              place = y * w->width + x;
            }
          }
        }
        *out++ = place < 0 ? 0 : best;
        *places++ = place < 0 ? -1 : (int32_t)(ch * w->height * w->width + place);
      }
  }
}

static void K(max_pool_backward)(const void *dout_, const int32_t *places, long n, void *dimage_) {
  const T *dout = dout_;
  T *dimage = dimage_;
  for (long i = 0; i < n; i++)
    if (places[i] >= 0) dimage[places[i]] += dout[i];
}

// Entries outside the image count as zeros.
static void K(average_pool)(const void *image_, const lk_window *w, void *out_) {
  T *out = out_, scale = (T)1 / (T)(w->kernel_height * w->kernel_width);
  for (long ch = 0; ch < w->channels; ch++) {
    const T *image = (const T *)image_ + ch * w->height * w->width;
    for (long oy = 0; oy < w->out_height; oy++)
      for (long ox = 0; ox < w->out_width; ox++) {
        T sum = 0;
        for (long ky = 0; ky < w->kernel_height; ky++) {
          long y = oy * w->stride_height - w->padding_height + ky * w->dilation_height;
          if (y < 0 || y >= w->height) continue;
          for (long kx = 0; kx < w->kernel_width; kx++) {
            long x = ox * w->stride_width - w->padding_width + kx * w->dilation_width;
            if (x >= 0 && x < w->width) sum += image[y * w->width + x];
          }
        }
        *out++ = sum * scale;
      }
  }
}

static void K(average_pool_backward)(const void *dout_, const lk_window *w, void *dimage_) {
  const T *dout = dout_;
  T scale = (T)1 / (T)(w->kernel_height * w->kernel_width);
  for (long ch = 0; ch < w->channels; ch++) {
    T *dimage = (T *)dimage_ + ch * w->height * w->width;
    for (long oy = 0; oy < w->out_height; oy++)
      for (long ox = 0; ox < w->out_width; ox++) {
        T g = *dout++ * scale;
        for (long ky = 0; ky < w->kernel_height; ky++) {
          long y = oy * w->stride_height - w->padding_height + ky * w->dilation_height;
          if (y < 0 || y >= w->height) continue;
          for (long kx = 0; kx < w->kernel_width; kx++) {
            long x = ox * w->stride_width - w->padding_width + kx * w->dilation_width;
            if (x >= 0 && x < w->width) dimage[y * w->width + x] += g;
          }
        }
      }
  }
}
