#include "../reference.h"

// Calls for every value of a part: its place, its row in the block, its column.
#define EACH_GROUPED(w, block, group, statement)                            \
  do {                                                                      \
    const long part = (block) * (w)->groups + (group);                      \
    const uint8_t *at = (w)->row + (w)->first[part];                        \
    long place = (w)->value_first[part];                                    \
    for (int pattern = 1; pattern < 16; pattern++)                          \
      for (int i = 0; i < (w)->counts[part * 15 + pattern - 1]; i++, at++)  \
        for (int c = 0; c < 4; c++)                                         \
          if (pattern >> c & 1) {                                           \
            const long row = *at, column = 4 * (group) + c;                 \
            statement;                                                      \
            place++;                                                        \
          }                                                                 \
  } while (0)

#define GROUPED(real, R)                                                                                         \
  void reference_product_groups_##real(                                                                          \
      const lk_grouped *w, long block, const void *panel_, long width, void *tile_) {                            \
    const R *panel = (const R *)panel_;                                                                          \
    R *tile = (R *)tile_;                                                                                        \
    const R *values = w->values;                                                                                 \
    for (long group = 0; group < w->groups; group++)                                                             \
      EACH_GROUPED(w, block, group, for (long t = 0; t < width; t++) tile[row * width + t] +=                    \
                                    values[place] * panel[column * width + t]);                                  \
  }                                                                                                              \
  void reference_transposed_groups_##real(                                                                       \
      const lk_grouped *w, long from, long to, const void *panel_, long width, void *tile_) {                    \
    const R *panel = (const R *)panel_;                                                                          \
    R *tile = (R *)tile_;                                                                                        \
    const R *values = w->values;                                                                                 \
    for (long block = 0; block < w->blocks; block++)                                                             \
      for (long group = from; group < to; group++)                                                               \
        EACH_GROUPED(w, block, group, for (long t = 0; t < width; t++) tile[(column - 4 * from) * width + t] +=  \
                                      values[place] * panel[(block * LK_GROUP_ROWS + row) * width + t]);         \
  }                                                                                                              \
  void reference_sampled_groups_##real(                                                                          \
      const lk_grouped *w, long block, const void *a_, const void *b_, long width, int add, void *values_) {     \
    const R *a = (const R *)a_, *b = (const R *)b_;                                                              \
    R *values = (R *)values_;                                                                                    \
    for (long group = 0; group < w->groups; group++)                                                             \
      EACH_GROUPED(w, block, group, double sum = 0;                                                              \
                   for (long t = 0; t < width; t++) sum +=                                                       \
                   (double)a[(block * LK_GROUP_ROWS + row) * width + t] * b[column * width + t];                 \
                   values[place] = (R)((add ? values[place] : 0) + sum));                                        \
  }

GROUPED(f32, float)
GROUPED(f64, double)
