#include "clinearalgebra.h"

#include <stdio.h>

#if defined(__APPLE__)
#define ACCELERATE_NEW_LAPACK
#include <Accelerate/Accelerate.h>
typedef __LAPACK_int lapack_int_t;
#else
#include <cblas.h>
typedef int lapack_int_t;
void spotrf_(const char *, const int *, float *, const int *, int *);
void dpotrf_(const char *, const int *, double *, const int *, int *);
void spotri_(const char *, const int *, float *, const int *, int *);
void dpotri_(const char *, const int *, double *, const int *, int *);
void sgeqrf_(const int *, const int *, float *, const int *, float *, float *, const int *, int *);
void dgeqrf_(const int *, const int *, double *, const int *, double *, double *, const int *, int *);
void sorgqr_(const int *, const int *, const int *, float *, const int *, const float *, float *, const int *, int *);
void dorgqr_(const int *, const int *, const int *, double *, const int *, const double *, double *, const int *,
             int *);
void sgesdd_(const char *, const int *, const int *, float *, const int *, float *, float *, const int *, float *,
             const int *, float *, const int *, int *, int *);
void dgesdd_(const char *, const int *, const int *, double *, const int *, double *, double *, const int *, double *,
             const int *, double *, const int *, int *, int *);
void ssyevd_(const char *, const char *, const int *, float *, const int *, float *, float *, const int *, int *,
             const int *, int *);
void dsyevd_(const char *, const char *, const int *, double *, const int *, double *, double *, const int *, int *,
             const int *, int *);
#endif

void la_init(void) {
#if !defined(__APPLE__)
  openblas_set_num_threads(1);
#endif
}

const char *la_description(void) {
#if defined(__APPLE__)
  return "Accelerate";
#else
  static char text[160];
  snprintf(text, sizeof text, "%.100s, core %.40s", openblas_get_config(), openblas_get_corename());
  return text;
#endif
}

#define TRANS(t) ((t) ? CblasTrans : CblasNoTrans)

#define BLAS_FAMILY(P, T)                                                                                            \
  void la_##P##gemm(int ta, int tb, int m, int n, int k, T alpha, const T *a, int lda, const T *b, int ldb, T beta,  \
                    T *c, int ldc) {                                                                                 \
    cblas_##P##gemm(CblasRowMajor, TRANS(ta), TRANS(tb), m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);              \
  }                                                                                                                  \
  void la_##P##gemv(int t, int m, int n, T alpha, const T *a, int lda, const T *x, T beta, T *y) {                   \
    cblas_##P##gemv(CblasRowMajor, TRANS(t), m, n, alpha, a, lda, x, 1, beta, y, 1);                                 \
  }                                                                                                                  \
  void la_##P##syrk(int t, int n, int k, T alpha, const T *a, int lda, T beta, T *c, int ldc) {                      \
    cblas_##P##syrk(CblasRowMajor, CblasLower, TRANS(t), n, k, alpha, a, lda, beta, c, ldc);                         \
  }                                                                                                                  \
  void la_##P##trsm(int lower, int t, int unit, int m, int n, const T *l, int ldl, T *b, int ldb) {                  \
    cblas_##P##trsm(CblasRowMajor, CblasLeft, lower ? CblasLower : CblasUpper, TRANS(t),                             \
                    unit ? CblasUnit : CblasNonUnit, m, n, 1, l, ldl, b, ldb);                                       \
  }

BLAS_FAMILY(s, float)
BLAS_FAMILY(d, double)

#define LAPACK_FAMILY(P, T)                                                                                          \
  int la_##P##potrf(char uplo, int n_, T *a, int lda_) {                                                             \
    lapack_int_t n = n_, lda = lda_, info = 0;                                                                       \
    P##potrf_(&uplo, &n, a, &lda, &info);                                                                            \
    return (int)info;                                                                                                \
  }                                                                                                                  \
  int la_##P##potri(char uplo, int n_, T *a, int lda_) {                                                             \
    lapack_int_t n = n_, lda = lda_, info = 0;                                                                       \
    P##potri_(&uplo, &n, a, &lda, &info);                                                                            \
    return (int)info;                                                                                                \
  }                                                                                                                  \
  int la_##P##geqrf(int m_, int n_, T *a, int lda_, T *tau, T *work, int lwork_) {                                   \
    lapack_int_t m = m_, n = n_, lda = lda_, lwork = lwork_, info = 0;                                               \
    P##geqrf_(&m, &n, a, &lda, tau, work, &lwork, &info);                                                            \
    return (int)info;                                                                                                \
  }                                                                                                                  \
  int la_##P##orgqr(int m_, int n_, int k_, T *a, int lda_, const T *tau, T *work, int lwork_) {                     \
    lapack_int_t m = m_, n = n_, k = k_, lda = lda_, lwork = lwork_, info = 0;                                       \
    P##orgqr_(&m, &n, &k, a, &lda, (T *)tau, work, &lwork, &info);                                                   \
    return (int)info;                                                                                                \
  }                                                                                                                  \
  int la_##P##syevd(char jobz, char uplo, int n_, T *a, int lda_, T *w, T *work, int lwork_, int *iwork,             \
                    int liwork_) {                                                                                   \
    lapack_int_t n = n_, lda = lda_, lwork = lwork_, liwork = liwork_, info = 0;                                     \
    P##syevd_(&jobz, &uplo, &n, a, &lda, w, work, &lwork, (lapack_int_t *)iwork, &liwork, &info);                    \
    return (int)info;                                                                                                \
  }                                                                                                                  \
  int la_##P##gesdd(char jobz, int m_, int n_, T *a, int lda_, T *s, T *u, int ldu_, T *vt, int ldvt_, T *work,      \
                    int lwork_, int *iwork) {                                                                        \
    lapack_int_t m = m_, n = n_, lda = lda_, ldu = ldu_, ldvt = ldvt_, lwork = lwork_, info = 0;                     \
    P##gesdd_(&jobz, &m, &n, a, &lda, s, u, &ldu, vt, &ldvt, work, &lwork, (lapack_int_t *)iwork, &info);            \
    return (int)info;                                                                                                \
  }

LAPACK_FAMILY(s, float)
LAPACK_FAMILY(d, double)
