#include "clinearalgebra.h"

#include <pthread.h>
#include <stdatomic.h>
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

// Parallelism belongs to Lacuna's own pool, and a host program may have set up the BLAS library for itself: it has one
// thread while a call of ours is under way, and the host's number otherwise. `callers` counts the calls; it leaves 0, and
// comes back to it, under the lock alone, so that no call begins before the number is set.
#if defined(__APPLE__)
#define ENTER ((void)0)
#define LEAVE ((void)0)
int la_threads(void) { return 0; }
void la_set_threads(int threads) { (void)threads; }
#else
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_int callers;
static int host_threads;  // guarded by the lock

static void enter(void) {
  int count = atomic_load(&callers);
  while (count > 0)
    if (atomic_compare_exchange_weak(&callers, &count, count + 1)) return;
  pthread_mutex_lock(&lock);
  if (atomic_load(&callers) == 0) {
    host_threads = openblas_get_num_threads();
    if (host_threads != 1) openblas_set_num_threads(1);
  }
  atomic_fetch_add(&callers, 1);
  pthread_mutex_unlock(&lock);
}

static void leave(void) {
  int count = atomic_load(&callers);
  while (count > 1)
    if (atomic_compare_exchange_weak(&callers, &count, count - 1)) return;
  pthread_mutex_lock(&lock);
  if (atomic_fetch_sub(&callers, 1) == 1 && host_threads != 1) openblas_set_num_threads(host_threads);
  pthread_mutex_unlock(&lock);
}
#define ENTER enter()
#define LEAVE leave()

// While calls are under way, the host's number is the one that the last of them will set.
int la_threads(void) {
  pthread_mutex_lock(&lock);
  int threads = atomic_load(&callers) == 0 ? openblas_get_num_threads() : host_threads;
  pthread_mutex_unlock(&lock);
  return threads;
}

void la_set_threads(int threads) {
  pthread_mutex_lock(&lock);
  if (atomic_load(&callers) == 0)
    openblas_set_num_threads(threads);
  else
    host_threads = threads;
  pthread_mutex_unlock(&lock);
}
#endif

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
    ENTER;                                                                                                           \
    cblas_##P##gemm(CblasRowMajor, TRANS(ta), TRANS(tb), m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);              \
    LEAVE;                                                                                                           \
  }                                                                                                                  \
  void la_##P##gemv(int t, int m, int n, T alpha, const T *a, int lda, const T *x, T beta, T *y) {                   \
    ENTER;                                                                                                           \
    cblas_##P##gemv(CblasRowMajor, TRANS(t), m, n, alpha, a, lda, x, 1, beta, y, 1);                                 \
    LEAVE;                                                                                                           \
  }                                                                                                                  \
  void la_##P##syrk(int t, int n, int k, T alpha, const T *a, int lda, T beta, T *c, int ldc) {                      \
    ENTER;                                                                                                           \
    cblas_##P##syrk(CblasRowMajor, CblasLower, TRANS(t), n, k, alpha, a, lda, beta, c, ldc);                         \
    LEAVE;                                                                                                           \
  }                                                                                                                  \
  void la_##P##trsm(int lower, int t, int unit, int m, int n, const T *l, int ldl, T *b, int ldb) {                  \
    ENTER;                                                                                                           \
    cblas_##P##trsm(CblasRowMajor, CblasLeft, lower ? CblasLower : CblasUpper, TRANS(t),                             \
                    unit ? CblasUnit : CblasNonUnit, m, n, 1, l, ldl, b, ldb);                                       \
    LEAVE;                                                                                                           \
  }

BLAS_FAMILY(s, float)
BLAS_FAMILY(d, double)

#define LAPACK_FAMILY(P, T)                                                                                          \
  int la_##P##potrf(char uplo, int n_, T *a, int lda_) {                                                             \
    lapack_int_t n = n_, lda = lda_, info = 0;                                                                       \
    ENTER;                                                                                                           \
    P##potrf_(&uplo, &n, a, &lda, &info);                                                                            \
    LEAVE;                                                                                                           \
    return (int)info;                                                                                                \
  }                                                                                                                  \
  int la_##P##potri(char uplo, int n_, T *a, int lda_) {                                                             \
    lapack_int_t n = n_, lda = lda_, info = 0;                                                                       \
    ENTER;                                                                                                           \
    P##potri_(&uplo, &n, a, &lda, &info);                                                                            \
    LEAVE;                                                                                                           \
    return (int)info;                                                                                                \
  }                                                                                                                  \
  int la_##P##geqrf(int m_, int n_, T *a, int lda_, T *tau, T *work, int lwork_) {                                   \
    lapack_int_t m = m_, n = n_, lda = lda_, lwork = lwork_, info = 0;                                               \
    ENTER;                                                                                                           \
    P##geqrf_(&m, &n, a, &lda, tau, work, &lwork, &info);                                                            \
    LEAVE;                                                                                                           \
    return (int)info;                                                                                                \
  }                                                                                                                  \
  int la_##P##orgqr(int m_, int n_, int k_, T *a, int lda_, const T *tau, T *work, int lwork_) {                     \
    lapack_int_t m = m_, n = n_, k = k_, lda = lda_, lwork = lwork_, info = 0;                                       \
    ENTER;                                                                                                           \
    P##orgqr_(&m, &n, &k, a, &lda, (T *)tau, work, &lwork, &info);                                                   \
    LEAVE;                                                                                                           \
    return (int)info;                                                                                                \
  }                                                                                                                  \
  int la_##P##syevd(char jobz, char uplo, int n_, T *a, int lda_, T *w, T *work, int lwork_, int *iwork,             \
                    int liwork_) {                                                                                   \
    lapack_int_t n = n_, lda = lda_, lwork = lwork_, liwork = liwork_, info = 0;                                     \
    ENTER;                                                                                                           \
    P##syevd_(&jobz, &uplo, &n, a, &lda, w, work, &lwork, (lapack_int_t *)iwork, &liwork, &info);                    \
    LEAVE;                                                                                                           \
    return (int)info;                                                                                                \
  }                                                                                                                  \
  int la_##P##gesdd(char jobz, int m_, int n_, T *a, int lda_, T *s, T *u, int ldu_, T *vt, int ldvt_, T *work,      \
                    int lwork_, int *iwork) {                                                                        \
    lapack_int_t m = m_, n = n_, lda = lda_, ldu = ldu_, ldvt = ldvt_, lwork = lwork_, info = 0;                     \
    ENTER;                                                                                                           \
    P##gesdd_(&jobz, &m, &n, a, &lda, s, u, &ldu, vt, &ldvt, work, &lwork, (lapack_int_t *)iwork, &info);            \
    LEAVE;                                                                                                           \
    return (int)info;                                                                                                \
  }

LAPACK_FAMILY(s, float)
LAPACK_FAMILY(d, double)
