// For every mask of 8 (or 4) bits, the byte shuffle that spreads packed values to the positions of the set bits. Indices
// of 0x80 stand for zero, as byte shuffles take them.
#ifndef LACUNA_SPREAD_H
#define LACUNA_SPREAD_H

#include <stdint.h>

#define LACUNA_RANK(mask, bit) __builtin_popcount((mask) & ((1 << (bit)) - 1))
#define LACUNA_BYTE(mask, bit) ((mask) >> (bit) & 1 ? LACUNA_RANK(mask, bit) : 0x80)
#define LACUNA_WORD(mask, bit)                                \
  ((mask) >> (bit) & 1 ? 2 * LACUNA_RANK(mask, bit) : 0x80),  \
      ((mask) >> (bit) & 1 ? 2 * LACUNA_RANK(mask, bit) + 1 : 0x80)
#define LACUNA_NIBBLE(mask, bit) ((mask) >> (bit) & 1 ? 15 : 0)
#define LACUNA_EIGHT(form, m)  \
  {form(m, 0), form(m, 1), form(m, 2), form(m, 3), form(m, 4), form(m, 5), form(m, 6), form(m, 7)}
#define LACUNA_MASKS4(form, m)  \
  LACUNA_EIGHT(form, m), LACUNA_EIGHT(form, m + 1), LACUNA_EIGHT(form, m + 2), LACUNA_EIGHT(form, m + 3)
#define LACUNA_MASKS16(form, m)  \
  LACUNA_MASKS4(form, m), LACUNA_MASKS4(form, m + 4), LACUNA_MASKS4(form, m + 8), LACUNA_MASKS4(form, m + 12)
#define LACUNA_MASKS64(form, m)  \
  LACUNA_MASKS16(form, m), LACUNA_MASKS16(form, m + 16), LACUNA_MASKS16(form, m + 32), LACUNA_MASKS16(form, m + 48)
#define LACUNA_MASKS256(form)  \
  LACUNA_MASKS64(form, 0), LACUNA_MASKS64(form, 64), LACUNA_MASKS64(form, 128), LACUNA_MASKS64(form, 192)

static const uint8_t spread_bytes[256][8] = {LACUNA_MASKS256(LACUNA_BYTE)};
static const uint8_t spread_words[256][16] = {LACUNA_MASKS256(LACUNA_WORD)};

#if defined(__x86_64__)
// Not a shuffle: the nibbles that bit deposit fills, those below every set bit's byte.
static const uint8_t spread_nibbles[256][8] = {LACUNA_MASKS256(LACUNA_NIBBLE)};
#elif defined(__aarch64__)
#define LACUNA_FLOAT(mask, bit)                                                                                       \
  ((mask) >> (bit) & 1 ? 4 * LACUNA_RANK(mask, bit) : 0x80), ((mask) >> (bit) & 1 ? 4 * LACUNA_RANK(mask, bit) + 1 : 0x80), \
      ((mask) >> (bit) & 1 ? 4 * LACUNA_RANK(mask, bit) + 2 : 0x80),                                                  \
      ((mask) >> (bit) & 1 ? 4 * LACUNA_RANK(mask, bit) + 3 : 0x80)
#define LACUNA_FOUR(m) {LACUNA_FLOAT(m, 0), LACUNA_FLOAT(m, 1), LACUNA_FLOAT(m, 2), LACUNA_FLOAT(m, 3)}
#define LACUNA_FOURS(m) LACUNA_FOUR(m), LACUNA_FOUR(m + 1), LACUNA_FOUR(m + 2), LACUNA_FOUR(m + 3)
static const uint8_t spread_floats[16][16] = {LACUNA_FOURS(0), LACUNA_FOURS(4), LACUNA_FOURS(8), LACUNA_FOURS(12)};
#define LACUNA_COUNTS4(m)  \
  __builtin_popcount(m), __builtin_popcount(m + 1), __builtin_popcount(m + 2), __builtin_popcount(m + 3)
#define LACUNA_COUNTS16(m)  \
  LACUNA_COUNTS4(m), LACUNA_COUNTS4(m + 4), LACUNA_COUNTS4(m + 8), LACUNA_COUNTS4(m + 12)
#define LACUNA_COUNTS64(m)  \
  LACUNA_COUNTS16(m), LACUNA_COUNTS16(m + 16), LACUNA_COUNTS16(m + 32), LACUNA_COUNTS16(m + 48)
static const uint8_t spread_counts[256] = {
    LACUNA_COUNTS64(0), LACUNA_COUNTS64(64), LACUNA_COUNTS64(128), LACUNA_COUNTS64(192)};
#endif

#endif
