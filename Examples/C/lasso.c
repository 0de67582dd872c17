// Which of twenty columns a target depends on, from C: a lasso whose strength cross-validation chooses, and a sparse product.
#include <lacuna.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROWS = 200, COLUMNS = 20 };

static void check(int32_t status) {
  if (status == LACUNA_OK) return;
  fprintf(stderr, "error %d: %s\n", status, lacuna_error_message());
  exit(1);
}

int main(void) {
  static double x[ROWS * COLUMNS], y[ROWS];
  for (int i = 0; i < ROWS * COLUMNS; i++) x[i] = sin(i * i * 0.7);
  for (int i = 0; i < ROWS; i++) y[i] = 3 * x[3 * ROWS + i] - 2 * x[11 * ROWS + i] + 0.1 * cos(i * 1.3);

  lacuna_table *table;
  lacuna_estimator *estimator;
  lacuna_fit *fit;
  lacuna_array *array;
  check(lacuna_table_dense(x, ROWS, COLUMNS, 1, ROWS, 1, &table));  // columns one behind another, borrowed
  check(lacuna_table_set(table, "target", y, ROWS));
  check(lacuna_estimator_create(&estimator));
  check(lacuna_estimator_fit(estimator, table, NULL, NULL, &fit));
  check(lacuna_fit_array(fit, "coefficients", &array));
  const void *data;
  int64_t count;
  check(lacuna_array_view(array, NULL, &count, &data));
  for (int64_t j = 0; j < count; j++)
    if (((const double *)data)[j] != 0) printf("column %d: %.2f\n", (int)j, ((const double *)data)[j]);

  // [[0, 2, 0], [1, 0, 4]] times (1, 10, 100).
  const int32_t starts[] = {0, 1, 3}, indices[] = {1, 0, 2};
  const double values[] = {2, 1, 4}, vector[] = {1, 10, 100};
  double product[2];
  lacuna_matrix *matrix;
  check(lacuna_matrix_csr(LACUNA_FLOAT64, 2, 3, 3, 32, starts, 32, indices, values, 1, &matrix));
  check(lacuna_matrix_times_dense(matrix, 0, 1, vector, 1, product, 1));
  printf("product: %g %g\n", product[0], product[1]);

  void *const objects[] = {matrix, array, fit, estimator, table};
  for (int i = 0; i < 5; i++) check(lacuna_release(objects[i]));
  printf("released twice: %d (%s)\n", lacuna_release(matrix), lacuna_error_message());
  return lacuna_object_count() != 0 || product[0] != 20 || product[1] != 401;
}
