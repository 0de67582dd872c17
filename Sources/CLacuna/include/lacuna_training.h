// The arithmetic of training: elementwise functions and their derivatives, normalisation, softmax, convolution by
// unfolding, optimiser steps.
//
// There is one table for each element type. In the table of f32 every `void *` is a `float *`, in that of f64 a
// `double *`; that of f32 is compiled for each level of vector instructions, that of f64, which serves gradient checks,
// for the portable one alone. Kernels are serial, neither allocate nor keep state, and need pointers aligned to their
// elements. `add` says whether the last output is added to (1) or overwritten (0). Outputs may not overlap inputs
// except where an input and the output are the same array, elementwise.
#ifndef LACUNA_TRAINING_H
#define LACUNA_TRAINING_H

#include <stdint.h>

// Functions of one number.
enum {
  LK_RELU,
  LK_LEAKY_RELU,  // slope 0.01 below 0
  LK_GELU,        // x Φ(x), with the hyperbolic tangent's approximation of Φ
  LK_GELU_EXACT,  // x Φ(x)
  LK_SILU,
  LK_SIGMOID,
  LK_TANH,
  LK_SOFTPLUS,
  LK_EXP,
  LK_LOG,
  LK_SQRT,
  LK_SQUARE,
  LK_ABS,
  LK_RECIPROCAL,
  LK_UNARY_COUNT
};

// Functions of two numbers.
enum { LK_ADD, LK_SUBTRACT, LK_MULTIPLY, LK_DIVIDE };

// A window that slides over images, for convolution and pooling.
typedef struct lk_window {
  long channels, height, width;          // of the input
  long kernel_height, kernel_width;
  long stride_height, stride_width;
  long padding_height, padding_width;    // zeros on each side
  long dilation_height, dilation_width;
  long out_height, out_width;
} lk_window;

typedef struct lk_training {
  // MARK: Elementwise
  void (*unary)(int function, const void *x, void *y, long n);
  // dx = f'(x) dy, given y = f(x)
  void (*unary_backward)(int function, const void *x, const void *y, const void *dy, void *dx, long n, int add);
  void (*binary)(int function, const void *a, const void *b, void *y, long n, int add);
  void (*divide_backward)(const void *y, const void *b, const void *dy, void *db, long n, int add);  // db = -dy y / b
  void (*affine)(double a, const void *x, double b, void *y, long n, int add);                        // y = a x + b
  void (*swiglu)(const void *gate, const void *up, void *y, long n);                                  // silu(gate) up
  void (*swiglu_backward)(const void *gate, const void *up, const void *dy, void *dgate, void *dup, long n, int add_gate,
                          int add_up);
  void (*clamp_mask)(const void *x, double low, double high, void *y, long n);  // 1 inside [low, high], else 0
  double (*sum)(const void *x, long n);
  double (*sum_of_squares)(const void *x, long n);

  // MARK: Rows and columns of x [r, c]
  void (*add_row)(const void *x, const void *row, void *y, long r, long c, int add);       // y = x + row
  void (*multiply_row)(const void *x, const void *row, void *y, long r, long c, int add);  // y = x * row
  void (*multiply_column)(const void *x, const void *column, void *y, long r, long c, int add);
  void (*broadcast_column)(const void *column, double a, void *y, long r, long c, int add);  // y[i, j] = a column[i]
  void (*column_sums)(const void *x, void *out, long r, long c, int add);
  void (*column_dots)(const void *x, const void *z, void *out, long r, long c, int add);
  void (*row_sums)(const void *x, double a, void *out, long r, long c, int add);              // a times the sums
  void (*row_dots)(const void *x, const void *z, void *out, long r, long c, int add);

  // MARK: Softmax and losses
  void (*softmax)(const void *x, void *y, long r, long c);
  void (*softmax_backward)(const void *y, const void *dy, void *dx, long r, long c, int add);
  void (*log_softmax)(const void *x, void *y, long r, long c);
  void (*log_softmax_backward)(const void *y, const void *dy, void *dx, long r, long c, int add);
  // In place: the softmax of scale * x (+ bias) over the columns that row i may see; the others become 0. Row i sees
  // columns max(0, first + i) ..< min(c, last + i), of these only those whose byte in row i of `visible` (if not null) is
  // not 0, and whose bias is not -infinity. A row that sees nothing becomes zeros. Rows of `bias` and of `visible` are as
  // far apart as their strides say; 0 is one row for all. The scale is positive.
  void (*masked_softmax)(void *x, double scale, long r, long c, long first, long last, const void *bias, long bias_stride,
                         const uint8_t *visible, long visible_stride);
  // Row losses -log softmax(x)[label], and the softmax; rows with negative labels have loss 0 and zeros.
  void (*cross_entropy)(const void *x, const int32_t *labels, void *losses, void *probabilities, long r, long c);
  // dx = scale (probabilities - one-hot) for rows with labels >= 0, else 0
  void (*cross_entropy_backward)(const void *probabilities, const int32_t *labels, double scale, void *dx, long r, long c,
                                 int add);
  // Row losses KL(softmax(scale t) || softmax(scale s)), and softmax(scale s) - softmax(scale t): their gradient in scale s
  void (*divergence)(const void *s, const void *t, double scale, void *losses, void *difference, long r, long c);

  // MARK: Normalisation of the rows of x [r, c]
  void (*layer_norm)(const void *x, const void *gain, const void *bias, double epsilon, void *y, void *mean,
                     void *inverse_deviation, long r, long c);
  void (*layer_norm_backward)(const void *x, const void *gain, const void *mean, const void *inverse_deviation,
                              const void *dy, void *dx, long r, long c, int add);
  // dgain[j] (+)= sum over rows of dy * (x - mean) * inverse_deviation
  void (*layer_norm_gain)(const void *x, const void *mean, const void *inverse_deviation, const void *dy, void *dgain,
                          long r, long c, int add);
  void (*rms_norm)(const void *x, const void *gain, double epsilon, void *y, void *inverse_rms, long r, long c);
  void (*rms_norm_backward)(const void *x, const void *gain, const void *inverse_rms, const void *dy, void *dx, long r,
                            long c, int add);
  void (*rms_norm_gain)(const void *x, const void *inverse_rms, const void *dy, void *dgain, long r, long c, int add);
  // A channel of images: n pieces of `length` numbers, `stride` apart.
  void (*channel_moments)(const void *x, long n, long stride, long length, double *mean, double *variance);
  void (*channel_affine)(const void *x, long n, long stride, long length, double a, double b, void *y, int add);
  void (*channel_dots)(const void *x, const void *dy, long n, long stride, long length, double mean, double *sum,
                       double *dot);  // Σ dy and Σ dy (x - mean)
  // dx = a dy + b x + c
  void (*channel_backward)(const void *x, const void *dy, long n, long stride, long length, double a, double b, double c,
                           void *dx, int add);

  // MARK: Moving numbers
  void (*gather_rows)(const void *table, const int32_t *rows, void *y, long count, long width);
  void (*scatter_add_rows)(const void *dy, const int32_t *rows, void *table, long count, long width);
  // y, contiguous of `shape`, from x with `strides`; if `inverse`, x (+)= y instead.
  void (*permute)(const void *x, void *y, const long *shape, const long *strides, int rank, int add);
  void (*unpermute)(const void *dy, void *dx, const long *shape, const long *strides, int rank, int add);
  // Rotates pairs of a vector of `dimensions` by position: x [r, dimensions], the angles of row i in row positions[i] of
  // cosines and sines [., dimensions / 2]; `sign` -1 rotates back. Pair i is (i, i + dimensions / 2).
  void (*rotate)(const void *x, const int32_t *positions, const void *cosines, const void *sines, double sign, void *y,
                 long r, long stride, long dimensions, int add);

  // Sets the bits of the n largest magnitudes of every m consecutive entries, of equals the later ones; not-a-number counts
  // as 0. Of an incomplete group of t entries n t / m are kept, rounded up. Along a row of `columns` entries m is a power of
  // two up to 64; along the columns of a matrix [rows, columns], whose bits are words_per_row words a row, up to 64.
  void (*keep_along_rows)(const void *x, long columns, long n, long m, uint64_t *words);
  void (*keep_along_columns)(const void *x, long rows, long columns, long n, long m, uint64_t *words, long words_per_row);
  // y (+)= x times `on` where the bit is set and `off` where it is not; a factor 0 gives 0 whatever x is.
  void (*scale_masked)(const void *x, const uint64_t *words, long n, double on, double off, void *y, int add);
  // y[places[i]] += x[i], and y[i] (+)= x[places[i]]
  void (*scatter_add)(const void *x, const int32_t *places, long n, void *y);
  void (*gather)(const void *x, const int32_t *places, long n, void *y, int add);

  // MARK: Images [channels, height, width]
  // columns [channels * kernel_height * kernel_width, out_height * out_width]
  void (*unfold)(const void *image, const lk_window *w, void *columns);
  void (*fold_add)(const void *columns, const lk_window *w, void *image);
  // One channel with a kernel of its own.
  void (*depthwise)(const void *image, const void *kernel, const lk_window *w, void *out);
  void (*depthwise_input)(const void *dout, const void *kernel, const lk_window *w, void *dimage);   // adds
  void (*depthwise_kernel)(const void *dout, const void *image, const lk_window *w, void *dkernel);  // adds
  void (*max_pool)(const void *image, const lk_window *w, void *out, int32_t *places);
  void (*max_pool_backward)(const void *dout, const int32_t *places, long n, void *dimage);          // adds
  void (*average_pool)(const void *image, const lk_window *w, void *out);
  void (*average_pool_backward)(const void *dout, const lk_window *w, void *dimage);                 // adds

  // MARK: Optimisers, in place
  // v = momentum v + (1 - dampening)(g + decay w); w -= rate (nesterov ? g + decay w + momentum v : v)
  void (*sgd)(void *w, const void *g, void *v, long n, double rate, double momentum, double dampening, double decay,
              int nesterov);
  // w *= 1 - rate decay; m, v: moments of g (+ coupled w); w -= rate m / c1 / (sqrt(v / c2) + epsilon)
  void (*adam)(void *w, const void *g, void *m, void *v, long n, double rate, double beta1, double beta2, double epsilon,
               double decay, double coupled, double c1, double c2);
  void (*adagrad)(void *w, const void *g, void *s, long n, double rate, double epsilon, double decay);
  // average = keep average + (1 - keep) w
  void (*average)(const void *w, void *average, long n, double keep);
} lk_training;

// The kernels of f32 for this processor, and at a level of lacuna_kernels.h (null if the processor lacks it).
const lk_training *lk_training_f32(void);
const lk_training *lk_training_f32_level(int level);
const lk_training *lk_training_f64(void);

#endif
