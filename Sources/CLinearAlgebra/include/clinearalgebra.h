// Dense linear algebra for Lacuna: the BLAS and LAPACK entry points that the Swift side needs, with one spelling on
// every platform. OpenBLAS answers on Linux, Accelerate on macOS. All matrices are row-major unless said otherwise;
// LAPACK routines are column-major and the Swift wrappers account for it.
#ifndef CLINEARALGEBRA_H
#define CLINEARALGEBRA_H

// The threads that the BLAS library uses for calls of others; 0 where the library does not say. Every function below has
// one thread to itself (parallelism belongs to Lacuna's own pool) and leaves the number as it was. Meanwhile calls that a
// host program makes on other threads have one, too.
int la_threads(void);
void la_set_threads(int threads);
// Name of the BLAS library, and of the core type it selected where it says so ("OpenBLAS 0.3.21 (Cooperlake)").
const char *la_description(void);

// C[m,n] = alpha op(A) op(B) + beta C, row-major, leading dimensions in elements.
void la_sgemm(int transA, int transB, int m, int n, int k, float alpha, const float *a, int lda, const float *b,
              int ldb, float beta, float *c, int ldc);
void la_dgemm(int transA, int transB, int m, int n, int k, double alpha, const double *a, int lda, const double *b,
              int ldb, double beta, double *c, int ldc);
// y = alpha op(A) x + beta y, row-major A[m,n].
void la_sgemv(int trans, int m, int n, float alpha, const float *a, int lda, const float *x, float beta, float *y);
void la_dgemv(int trans, int m, int n, double alpha, const double *a, int lda, const double *x, double beta,
              double *y);
// C[n,n] (lower triangle, row-major) = alpha Aᵀ A + beta C for row-major A[k,n].
void la_ssyrk(int t, int n, int k, float alpha, const float *a, int lda, float beta, float *c, int ldc);
void la_dsyrk(int t, int n, int k, double alpha, const double *a, int lda, double beta, double *c, int ldc);
// Solves op(L) X = B in place for row-major triangular L[m,m] and B[m,n].
void la_strsm(int lower, int trans, int unit, int m, int n, const float *l, int ldl, float *b, int ldb);
void la_dtrsm(int lower, int trans, int unit, int m, int n, const double *l, int ldl, double *b, int ldb);

// LAPACK, column-major. Return value is LAPACK's info: 0 on success, < 0 for a bad argument, > 0 for a numerical
// failure (not positive definite, no convergence).
int la_spotrf(char uplo, int n, float *a, int lda);
int la_dpotrf(char uplo, int n, double *a, int lda);
int la_spotri(char uplo, int n, float *a, int lda);
int la_dpotri(char uplo, int n, double *a, int lda);
int la_sgeqrf(int m, int n, float *a, int lda, float *tau, float *work, int lwork);
int la_dgeqrf(int m, int n, double *a, int lda, double *tau, double *work, int lwork);
int la_sorgqr(int m, int n, int k, float *a, int lda, const float *tau, float *work, int lwork);
int la_dorgqr(int m, int n, int k, double *a, int lda, const double *tau, double *work, int lwork);
int la_sgesdd(char jobz, int m, int n, float *a, int lda, float *s, float *u, int ldu, float *vt, int ldvt,
              float *work, int lwork, int *iwork);
int la_dgesdd(char jobz, int m, int n, double *a, int lda, double *s, double *u, int ldu, double *vt, int ldvt,
              double *work, int lwork, int *iwork);
int la_ssyevd(char jobz, char uplo, int n, float *a, int lda, float *w, float *work, int lwork, int *iwork,
              int liwork);
int la_dsyevd(char jobz, char uplo, int n, double *a, int lda, double *w, double *work, int lwork, int *iwork,
              int liwork);

#endif
