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

// The routines of one type of numbers: what `void *` points at, and `alpha` and `beta` are rounded to. Leading dimensions
// are in numbers.
typedef struct la_routines {
  // C[m,n] = alpha op(A) op(B) + beta C, row-major.
  void (*gemm)(int transA, int transB, int m, int n, int k, double alpha, const void *a, int lda, const void *b, int ldb,
               double beta, void *c, int ldc);
  // C[n,n] (lower triangle, row-major) = alpha A Aᵀ + beta C for row-major A[n,k]; if transposed, AᵀA for A[k,n].
  void (*syrk)(int trans, int n, int k, double alpha, const void *a, int lda, double beta, void *c, int ldc);
  // Solves op(L) X = B in place for row-major triangular L[m,m] and B[m,n].
  void (*trsm)(int lower, int trans, int m, int n, const void *l, int ldl, void *b, int ldb);

  // LAPACK, column-major. Return value is LAPACK's info: 0 on success, < 0 for a bad argument, > 0 for a numerical
  // failure (not positive definite, no convergence).
  // Cholesky factor, and the inverse from it, of the upper triangle: the lower one of a row-major matrix.
  int (*potrf)(int n, void *a, int lda);
  int (*potri)(int n, void *a, int lda);
  int (*geqrf)(int m, int n, void *a, int lda, void *tau, void *work, int lwork);
  int (*orgqr)(int m, int n, int k, void *a, int lda, const void *tau, void *work, int lwork);
  // Thin singular value decomposition.
  int (*gesdd)(int m, int n, void *a, int lda, void *s, void *u, int ldu, void *vt, int ldvt, void *work, int lwork,
               int *iwork);
  // Eigenvalues and eigenvectors; the upper triangle is read.
  int (*syevd)(int n, void *a, int lda, void *w, void *work, int lwork, int *iwork, int liwork);
} la_routines;

const la_routines *la_floats(void);
const la_routines *la_doubles(void);

#endif
