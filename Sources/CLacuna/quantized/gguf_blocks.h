// The blocks of quantised values that GGUF files store. They follow each other without gaps, on even addresses at best.
// Those of 256 values are cut into parts of 32 or 16 with scales of their own, in units of the block's.
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

// value = scale * (nibble + 16 bit - 16); bit i of `high` is that of value i
typedef struct __attribute__((packed)) block_q5_0 {
  uint16_t scale;
  uint32_t high;
  uint8_t nibbles[16];
} block_q5_0;

// value = scale * (nibble + 16 bit) + minimum
typedef struct __attribute__((packed)) block_q5_1 {
  uint16_t scale;
  uint16_t minimum;
  uint32_t high;
  uint8_t nibbles[16];
} block_q5_1;

// value = scale * s * crumb - minimum * m, for each 16 values
typedef struct __attribute__((packed)) block_q2_k {
  uint8_t parts[16];   // s in the low half of a byte, m in the high one
  uint8_t crumbs[64];  // byte 32 h + i holds values 128 h + i, + 32, + 64 and + 96, from the lowest bits on
  uint16_t scale;
  uint16_t minimum;
} block_q2_k;

// value = scale * (s - 32) * (crumb + 4 bit - 4), for each 16 values
typedef struct __attribute__((packed)) block_q3_k {
  uint8_t high[32];    // bit j of byte i is that of value 32 j + i
  uint8_t crumbs[64];  // as above
  uint8_t parts[12];   // s: four low bits in halves of bytes 0...7, two high ones in bytes 8...11
  uint16_t scale;
} block_q3_k;

// value = scale * s * nibble - minimum * m, for each 32 values
typedef struct __attribute__((packed)) block_q4_k {
  uint16_t scale;
  uint16_t minimum;
  uint8_t parts[12];     // s and m, six bits each: 0...3 in the low bits of bytes 0...3 and 4...7; 4...7 have their
                         // four low bits in the halves of bytes 8...11 and their two high ones above those of 0...3
  uint8_t nibbles[128];  // byte 32 p + i holds values 64 p + i (low half) and 64 p + i + 32
} block_q4_k;

// value = scale * s * (nibble + 16 bit) - minimum * m, for each 32 values
typedef struct __attribute__((packed)) block_q5_k {
  uint16_t scale;
  uint16_t minimum;
  uint8_t parts[12];
  uint8_t high[32];  // bit j of byte i is that of value 32 j + i
  uint8_t nibbles[128];
} block_q5_k;

// value = scale * s * (nibble + 16 crumb - 32), for each 16 values
typedef struct __attribute__((packed)) block_q6_k {
  uint8_t nibbles[128];  // byte 64 h + i holds values 128 h + i (low half) and 128 h + i + 64
  uint8_t crumbs[64];    // byte 32 h + i holds those of 128 h + i, + 32, + 64 and + 96
  int8_t parts[16];
  uint16_t scale;
} block_q6_k;

#endif
