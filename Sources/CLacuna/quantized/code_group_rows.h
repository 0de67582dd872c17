// Where the parts of a row of 4-bit groups lie.
#ifndef LACUNA_CODE_GROUP_ROWS_H
#define LACUNA_CODE_GROUP_ROWS_H

#include "../include/lacuna_kernels.h"

#include <string.h>

typedef struct {
  const uint8_t *codes, *scales, *groups, *zeros;
} code_group_row;

static inline code_group_row code_group_row_of(const lk_code_groups *w, long r) {
  const uint8_t *codes = w->rows + r * w->row_bytes;
  const uint8_t *scales = codes + w->kept * w->group / 2;
  return (code_group_row){codes, scales, scales + 2 * w->kept, scales + 4 * w->kept};
}

// Rows need not be aligned.
static inline uint16_t code_group_word(const uint8_t *words, long k) {
  uint16_t word;
  memcpy(&word, words + 2 * k, 2);
  return word;
}

static inline int code_group_zero(const uint8_t *zeros, long k) { return zeros[k / 2] >> (k % 2 * 4) & 15; }

#endif
