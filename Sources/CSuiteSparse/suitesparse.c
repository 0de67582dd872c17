#include "lacuna_suitesparse.h"

#ifdef LACUNA_SUITESPARSE

#include <stdlib.h>
#include <string.h>
#include <suitesparse/cholmod.h>
#include <suitesparse/umfpack.h>

// MARK: LU

struct lss_lu {
  void *numeric;
  double condition;
  long entries;
};

static int lu_status(int status) {
  switch (status) {
    case UMFPACK_OK: return LSS_OK;
    case UMFPACK_WARNING_singular_matrix: return LSS_SINGULAR;
    case UMFPACK_ERROR_out_of_memory: return LSS_MEMORY;
    default: return LSS_FAILED;
  }
}

// UMFPACK takes columns: our rows are the columns of the transpose.
int lss_lu_make(long n, const long *starts, const long *columns, const double *values, lss_lu **factors) {
  double control[UMFPACK_CONTROL], info[UMFPACK_INFO];
  umfpack_dl_defaults(control);
  void *symbolic = 0, *numeric = 0;
  int status = lu_status(umfpack_dl_symbolic(n, n, starts, columns, values, &symbolic, control, info));
  if (status != LSS_OK) {
    umfpack_dl_free_symbolic(&symbolic);
    return status;
  }
  status = lu_status(umfpack_dl_numeric(starts, columns, values, symbolic, &numeric, control, info));
  umfpack_dl_free_symbolic(&symbolic);
  lss_lu *result = status == LSS_OK ? malloc(sizeof *result) : 0;
  if (!result) {
    umfpack_dl_free_numeric(&numeric);
    return status == LSS_OK ? LSS_MEMORY : status;
  }
  result->numeric = numeric;
  result->condition = info[UMFPACK_RCOND];
  result->entries = (long)(info[UMFPACK_LNZ] + info[UMFPACK_UNZ]);
  *factors = result;
  return LSS_OK;
}

int lss_lu_solve(
    const lss_lu *factors, const long *starts, const long *columns, const double *values, int transposed,
    const double *b, double *x) {
  double control[UMFPACK_CONTROL], info[UMFPACK_INFO];
  umfpack_dl_defaults(control);
  int system = transposed ? UMFPACK_A : UMFPACK_At;
  return lu_status(umfpack_dl_solve(system, starts, columns, values, x, b, factors->numeric, control, info));
}

long lss_lu_entries(const lss_lu *factors) { return factors->entries; }
double lss_lu_condition(const lss_lu *factors) { return factors->condition; }

void lss_lu_free(lss_lu *factors) {
  umfpack_dl_free_numeric(&factors->numeric);
  free(factors);
}

// MARK: Cholesky

struct lss_cholesky {
  cholmod_common common;
  cholmod_factor *factor;
};

int lss_cholesky_make(
    long n, const long *starts, const long *columns, const double *values, lss_cholesky **factor, long *minor) {
  lss_cholesky *result = calloc(1, sizeof *result);
  if (!result) return LSS_MEMORY;
  cholmod_common *common = &result->common;
  cholmod_l_start(common);
  common->print = 0;
  common->quick_return_if_not_posdef = 1;
  // L Lᵀ rather than L D Lᵀ, which small matrices would get and which takes indefinite ones without a word.
  common->final_ll = 1;
  // Our lower triangle by rows is the upper one by columns.
  cholmod_sparse a = {0};
  a.nrow = a.ncol = (size_t)n;
  a.nzmax = (size_t)starts[n];
  a.p = (void *)starts;
  a.i = (void *)columns;
  a.x = (void *)values;
  a.stype = 1;
  a.itype = CHOLMOD_LONG;
  a.xtype = CHOLMOD_REAL;
  a.dtype = CHOLMOD_DOUBLE;
  a.sorted = 1;
  a.packed = 1;
  result->factor = cholmod_l_analyze(&a, common);
  if (result->factor) cholmod_l_factorize(&a, result->factor, common);
  int status = LSS_OK;
  if (common->status == CHOLMOD_NOT_POSDEF || (result->factor && result->factor->minor < (size_t)n)) {
    status = LSS_SINGULAR;
    *minor = result->factor ? (long)result->factor->minor + 1 : 1;
  } else if (common->status == CHOLMOD_OUT_OF_MEMORY || common->status == CHOLMOD_TOO_LARGE) {
    status = LSS_MEMORY;
  } else if (common->status < 0 || !result->factor) {
    status = LSS_FAILED;
  }
  if (status != LSS_OK) {
    lss_cholesky_free(result);
    return status;
  }
  *factor = result;
  return LSS_OK;
}

int lss_cholesky_solve(lss_cholesky *factor, long n, const double *b, double *x) {
  cholmod_dense right = {0};
  right.nrow = right.d = right.nzmax = (size_t)n;
  right.ncol = 1;
  right.x = (void *)b;
  right.xtype = CHOLMOD_REAL;
  right.dtype = CHOLMOD_DOUBLE;
  cholmod_dense *solution = cholmod_l_solve(CHOLMOD_A, factor->factor, &right, &factor->common);
  if (!solution) return factor->common.status == CHOLMOD_OUT_OF_MEMORY ? LSS_MEMORY : LSS_FAILED;
  memcpy(x, solution->x, (size_t)n * sizeof *x);
  cholmod_l_free_dense(&solution, &factor->common);
  return LSS_OK;
}

long lss_cholesky_entries(const lss_cholesky *factor) { return (long)factor->common.lnz; }

void lss_cholesky_free(lss_cholesky *factor) {
  if (factor->factor) cholmod_l_free_factor(&factor->factor, &factor->common);
  cholmod_l_finish(&factor->common);
  free(factor);
}

#endif
