// The blocks of 32 values that GGUF files store. They follow each other without gaps, on even addresses at best.
#ifndef LACUNA_BLOCKS_H
#define LACUNA_BLOCKS_H

#include <stdint.h>

// value = scale * byte
typedef struct __attribute__((packed)) block_q8_0 {
  uint16_t scale;  // f16, as all scales here
  int8_t values[32];
} block_q8_0;

// value = scale * (nibble - 8)
typedef struct __attribute__((packed)) block_q4_0 {
  uint16_t scale;
  uint8_t nibbles[16];  // byte i holds value i (low half) and value i + 16
} block_q4_0;

// value = scale * nibble + minimum
typedef struct __attribute__((packed)) block_q4_1 {
  uint16_t scale;
  uint16_t minimum;
  uint8_t nibbles[16];
} block_q4_1;

#endif
