// For every mask of 8 bits, the byte shuffle that spreads packed values to the positions of the set bits. Indices of
// 0x80 stand for zero, as byte shuffles take them.
#ifndef LACUNA_SPREAD_H
#define LACUNA_SPREAD_H

#include <stdint.h>

#define LACUNA_RANK(mask, bit) __builtin_popcount((mask) & ((1 << (bit)) - 1))
#define LACUNA_BYTE(mask, bit) ((mask) >> (bit) & 1 ? LACUNA_RANK(mask, bit) : 0x80)
#define LACUNA_WORD(mask, bit)                                  \
  ((mask) >> (bit) & 1 ? 2 * LACUNA_RANK(mask, bit) : 0x80),    \
      ((mask) >> (bit) & 1 ? 2 * LACUNA_RANK(mask, bit) + 1 : 0x80)
#define LACUNA_EIGHT(form, m) \
  {form(m, 0), form(m, 1), form(m, 2), form(m, 3), form(m, 4), form(m, 5), form(m, 6), form(m, 7)}
#define LACUNA_MASKS4(form, m) \
  LACUNA_EIGHT(form, m), LACUNA_EIGHT(form, m + 1), LACUNA_EIGHT(form, m + 2), LACUNA_EIGHT(form, m + 3)
#define LACUNA_MASKS16(form, m) \
  LACUNA_MASKS4(form, m), LACUNA_MASKS4(form, m + 4), LACUNA_MASKS4(form, m + 8), LACUNA_MASKS4(form, m + 12)
#define LACUNA_MASKS64(form, m) \
  LACUNA_MASKS16(form, m), LACUNA_MASKS16(form, m + 16), LACUNA_MASKS16(form, m + 32), LACUNA_MASKS16(form, m + 48)
#define LACUNA_MASKS256(form) \
  LACUNA_MASKS64(form, 0), LACUNA_MASKS64(form, 64), LACUNA_MASKS64(form, 128), LACUNA_MASKS64(form, 192)

static const uint8_t spread_bytes[256][8] = {LACUNA_MASKS256(LACUNA_BYTE)};
static const uint8_t spread_words[256][16] = {LACUNA_MASKS256(LACUNA_WORD)};

#endif
