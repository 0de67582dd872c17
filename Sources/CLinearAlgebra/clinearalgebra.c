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

#define ROUTINES(P, T, name)                                                                                            \
  static void P##_gemm(int ta, int tb, int m, int n, int k, double alpha, const void *a, int lda, const void *b,        \
                       int ldb, double beta, void *c, int ldc) {                                                        \
    ENTER;                                                                                                              \
    cblas_##P##gemm(CblasRowMajor, TRANS(ta), TRANS(tb), m, n, k, (T)alpha, (const T *)a, lda, (const T *)b, ldb,       \
                    (T)beta, (T *)c, ldc);                                                                              \
    LEAVE;                                                                                                              \
  }                                                                                                                     \
  static void P##_syrk(int t, int n, int k, double alpha, const void *a, int lda, double beta, void *c, int ldc) {      \
    ENTER;                                                                                                              \
    cblas_##P##syrk(CblasRowMajor, CblasLower, TRANS(t), n, k, (T)alpha, (const T *)a, lda, (T)beta, (T *)c, ldc);      \
    LEAVE;                                                                                                              \
  }                                                                                                                     \
  static void P##_trsm(int lower, int t, int m, int n, const void *l, int ldl, void *b, int ldb) {                      \
    ENTER;                                                                                                              \
    cblas_##P##trsm(CblasRowMajor, CblasLeft, lower ? CblasLower : CblasUpper, TRANS(t), CblasNonUnit, m, n, 1,         \
                    (const T *)l, ldl, (T *)b, ldb);                                                                    \
    LEAVE;                                                                                                              \
  }                                                                                                                     \
  static int P##_potrf(int n_, void *a, int lda_) {                                                                     \
    lapack_int_t n = n_, lda = lda_, info = 0;                                                                          \
    ENTER;                                                                                                              \
    P##potrf_("U", &n, (T *)a, &lda, &info);                                                                            \
    LEAVE;                                                                                                              \
    return (int)info;                                                                                                   \
  }                                                                                                                     \
  static int P##_potri(int n_, void *a, int lda_) {                                                                     \
    lapack_int_t n = n_, lda = lda_, info = 0;                                                                          \
    ENTER;                                                                                                              \
    P##potri_("U", &n, (T *)a, &lda, &info);                                                                            \
    LEAVE;                                                                                                              \
    return (int)info;                                                                                                   \
  }                                                                                                                     \
  static int P##_geqrf(int m_, int n_, void *a, int lda_, void *tau, void *work, int lwork_) {                          \
    lapack_int_t m = m_, n = n_, lda = lda_, lwork = lwork_, info = 0;                                                  \
    ENTER;                                                                                                              \
    P##geqrf_(&m, &n, (T *)a, &lda, (T *)tau, (T *)work, &lwork, &info);                                                \
    LEAVE;                                                                                                              \
    return (int)info;                                                                                                   \
  }                                                                                                                     \
  static int P##_orgqr(int m_, int n_, int k_, void *a, int lda_, const void *tau, void *work, int lwork_) {            \
    lapack_int_t m = m_, n = n_, k = k_, lda = lda_, lwork = lwork_, info = 0;                                          \
    ENTER;                                                                                                              \
    P##orgqr_(&m, &n, &k, (T *)a, &lda, (T *)tau, (T *)work, &lwork, &info);                                            \
    LEAVE;                                                                                                              \
    return (int)info;                                                                                                   \
  }                                                                                                                     \
  static int P##_gesdd(int m_, int n_, void *a, int lda_, void *s, void *u, int ldu_, void *vt, int ldvt_, void *work,  \
                       int lwork_, int *iwork) {                                                                        \
    lapack_int_t m = m_, n = n_, lda = lda_, ldu = ldu_, ldvt = ldvt_, lwork = lwork_, info = 0;                        \
    ENTER;                                                                                                              \
    P##gesdd_("S", &m, &n, (T *)a, &lda, (T *)s, (T *)u, &ldu, (T *)vt, &ldvt, (T *)work, &lwork,                       \
              (lapack_int_t *)iwork, &info);                                                                            \
    LEAVE;                                                                                                              \
    return (int)info;                                                                                                   \
  }                                                                                                                     \
  static int P##_syevd(int n_, void *a, int lda_, void *w, void *work, int lwork_, int *iwork, int liwork_) {           \
    lapack_int_t n = n_, lda = lda_, lwork = lwork_, liwork = liwork_, info = 0;                                        \
    ENTER;                                                                                                              \
    P##syevd_("V", "U", &n, (T *)a, &lda, (T *)w, (T *)work, &lwork, (lapack_int_t *)iwork, &liwork, &info);            \
    LEAVE;                                                                                                              \
    return (int)info;                                                                                                   \
  }                                                                                                                     \
  const la_routines *name(void) {                                                                                       \
    static const la_routines routines = {P##_gemm,  P##_syrk,  P##_trsm,  P##_potrf, P##_potri,                         \
                                         P##_geqrf, P##_orgqr, P##_gesdd, P##_syevd};                                   \
    return &routines;                                                                                                   \
  }

ROUTINES(s, float, la_floats)
ROUTINES(d, double, la_doubles)
