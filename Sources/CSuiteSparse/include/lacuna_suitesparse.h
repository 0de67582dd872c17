// Direct factorisations of sparse matrices by UMFPACK and CHOLMOD, behind functions that need none of their headers. Built
// only with the package trait SuiteSparse; without it this module is empty.
#ifndef LACUNA_SUITESPARSE_H
#define LACUNA_SUITESPARSE_H

typedef struct lss_lu lss_lu;
typedef struct lss_cholesky lss_cholesky;

enum { LSS_OK = 0, LSS_SINGULAR = 1, LSS_MEMORY = 2, LSS_FAILED = 3 };

// Factors of the square matrix [n, n] in compressed sparse rows, columns ascending within a row.
int lss_lu_make(long n, const long *starts, const long *columns, const double *values, lss_lu **factors);
// Solves A x = b, or Aᵀ x = b. The arrays must be those of lss_lu_make.
int lss_lu_solve(
    const lss_lu *factors, const long *starts, const long *columns, const double *values, int transposed,
    const double *b, double *x);
// Entries of both factors, and an estimate of the reciprocal of the condition number.
long lss_lu_entries(const lss_lu *factors);
double lss_lu_condition(const lss_lu *factors);
void lss_lu_free(lss_lu *factors);

// The factor of a symmetric matrix, of which the entries on and below the diagonal are read. Where it is not positive
// definite, LSS_SINGULAR, and `minor` is the order of the first leading minor that is not positive.
int lss_cholesky_make(
    long n, const long *starts, const long *columns, const double *values, lss_cholesky **factor, long *minor);
int lss_cholesky_solve(lss_cholesky *factor, long n, const double *b, double *x);
long lss_cholesky_entries(const lss_cholesky *factor);
void lss_cholesky_free(lss_cholesky *factor);

#endif
