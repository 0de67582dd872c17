// Quantised matrices in one form: up to 256 columns of a row as unsigned codes of one byte, and for each part of 32 or
// 16 columns what makes values of them,
//
//     value = scale * (code - offset) + minimum.
//
// The loops are plain, as clang vectorises them. FORMAT(name, columns of a part, offset, has a minimum).

#define BLOCKS_OF_32(FORMAT)                                                                                 \
  FORMAT(q4_0, 32, 8, 0) FORMAT(q4_1, 32, 0, 1) FORMAT(q5_0, 32, 16, 0) FORMAT(q5_1, 32, 0, 1)               \
  FORMAT(q8_0, 32, 128, 0)
#define BLOCKS_OF_256(FORMAT)                                                                                \
  FORMAT(q2_k, 16, 0, 1) FORMAT(q3_k, 16, 4, 0) FORMAT(q4_k, 32, 0, 1) FORMAT(q5_k, 32, 0, 1)                \
  FORMAT(q6_k, 16, 32, 0)

// `groups` <= 8 groups of 32 columns of row r from group g on, a multiple of 8.
#define UNPACK(format)                                                                                       \
  INLINE void K(unpack_##format)(                                                                            \
      const lk_dense *w, long r, long g, long groups, uint8_t *restrict codes, float *restrict scales,       \
      float *restrict minima)
#define ROW_OF_32(format) (const block_##format *)w->values + r * (w->columns / 32) + g
#define BLOCK_IN_ROW(format) (const block_##format *)w->values + r * (w->columns / 256) + g / 8

INLINE void K(unpack_nibbles)(const uint8_t *restrict nibbles, uint8_t *restrict codes) {
  for (int i = 0; i < 16; i++) codes[i] = nibbles[i] & 15;
  for (int i = 0; i < 16; i++) codes[i + 16] = nibbles[i] >> 4;
}

#if LEVEL >= LK_AVX2
// 16 in the bytes whose bit is set.
INLINE __m256i K(fifth_bits)(uint32_t high) {
#if LEVEL >= LK_AVX512
  return _mm256_maskz_set1_epi8(high, 16);
#else
  // Byte i takes byte i / 8 of the bits and keeps bit i % 8.
  const __m256i spread = _mm256_shuffle_epi8(
      _mm256_set1_epi32((int)high), _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303));
  const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201);
  return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit), _mm256_set1_epi8(16));
#endif
}
#endif

// Adds 16 to the codes whose bit is set.
INLINE void K(add_fifth_bits)(uint32_t high, uint8_t *restrict codes) {
#if LEVEL >= LK_AVX2
  _mm256_storeu_si256((__m256i *)codes, _mm256_or_si256(K(load32)(codes), K(fifth_bits)(high)));
#else
  for (int i = 0; i < 32; i++) codes[i] |= (uint8_t)((high >> i & 1) << 4);
#endif
}

UNPACK(q4_0) {
  const block_q4_0 *block = ROW_OF_32(q4_0);
  for (long b = 0; b < groups; b++) {
    K(unpack_nibbles)(block[b].nibbles, codes + 32 * b);
    scales[b] = K(f16_value)(block[b].scale);
  }
}

UNPACK(q4_1) {
  const block_q4_1 *block = ROW_OF_32(q4_1);
  for (long b = 0; b < groups; b++) {
    K(unpack_nibbles)(block[b].nibbles, codes + 32 * b);
    scales[b] = K(f16_value)(block[b].scale);
    minima[b] = K(f16_value)(block[b].minimum);
  }
}

UNPACK(q5_0) {
  const block_q5_0 *block = ROW_OF_32(q5_0);
  for (long b = 0; b < groups; b++) {
    K(unpack_nibbles)(block[b].nibbles, codes + 32 * b);
    K(add_fifth_bits)(block[b].high, codes + 32 * b);
    scales[b] = K(f16_value)(block[b].scale);
  }
}

UNPACK(q5_1) {
  const block_q5_1 *block = ROW_OF_32(q5_1);
  for (long b = 0; b < groups; b++) {
    K(unpack_nibbles)(block[b].nibbles, codes + 32 * b);
    K(add_fifth_bits)(block[b].high, codes + 32 * b);
    scales[b] = K(f16_value)(block[b].scale);
    minima[b] = K(f16_value)(block[b].minimum);
  }
}

UNPACK(q8_0) {
  const block_q8_0 *block = ROW_OF_32(q8_0);
  for (long b = 0; b < groups; b++) {
    for (int i = 0; i < 32; i++) codes[32 * b + i] = (uint8_t)block[b].values[i] ^ 128;
    scales[b] = K(f16_value)(block[b].scale);
  }
}

// The six-bit scales, then the six-bit minima, of the parts of a block.
INLINE void K(unpack_parts)(const uint8_t *parts, uint16_t scale, uint16_t minimum, float *scales, float *minima) {
  uint32_t a, b, c;
  memcpy(&a, parts, 4), memcpy(&b, parts + 4, 4), memcpy(&c, parts + 8, 4);
  const uint32_t words[4] = {
      a & 0x3F3F3F3F, (c & 0x0F0F0F0F) | (a >> 6 & 0x03030303) << 4,
      b & 0x3F3F3F3F, (c >> 4 & 0x0F0F0F0F) | (b >> 6 & 0x03030303) << 4};
  uint8_t bytes[16];
  memcpy(bytes, words, 16);
  const float d = K(f16_value)(scale), m = -K(f16_value)(minimum);
  for (int j = 0; j < 8; j++) scales[j] = d * (float)bytes[j];
  for (int j = 0; j < 8; j++) minima[j] = m * (float)bytes[8 + j];
}

UNPACK(q4_k) {
  const block_q4_k *block = BLOCK_IN_ROW(q4_k);
  for (int p = 0; p < 4; p++) {
    for (int i = 0; i < 32; i++) codes[64 * p + i] = block->nibbles[32 * p + i] & 15;
    for (int i = 0; i < 32; i++) codes[64 * p + 32 + i] = block->nibbles[32 * p + i] >> 4;
  }
  K(unpack_parts)(block->parts, block->scale, block->minimum, scales, minima);
}

UNPACK(q5_k) {
  const block_q5_k *block = BLOCK_IN_ROW(q5_k);
  UNROLLED for (int p = 0; p < 4; p++) {
    for (int i = 0; i < 32; i++)
      codes[64 * p + i] = (uint8_t)((block->nibbles[32 * p + i] & 15) | (block->high[i] & 1 << 2 * p ? 16 : 0));
    for (int i = 0; i < 32; i++)
      codes[64 * p + 32 + i] =
          (uint8_t)(block->nibbles[32 * p + i] >> 4 | (block->high[i] & 2 << 2 * p ? 16 : 0));
  }
  K(unpack_parts)(block->parts, block->scale, block->minimum, scales, minima);
}

UNPACK(q6_k) {
  const block_q6_k *block = BLOCK_IN_ROW(q6_k);
  for (int h = 0; h < 2; h++) {
    const uint8_t *nibbles = block->nibbles + 64 * h, *crumbs = block->crumbs + 32 * h;
    uint8_t *target = codes + 128 * h;
    for (int i = 0; i < 32; i++) target[i] = (uint8_t)((nibbles[i] & 15) | (crumbs[i] & 3) << 4);
    for (int i = 0; i < 32; i++) target[32 + i] = (uint8_t)((nibbles[32 + i] & 15) | (crumbs[i] >> 2 & 3) << 4);
    for (int i = 0; i < 32; i++) target[64 + i] = (uint8_t)(nibbles[i] >> 4 | (crumbs[i] >> 4 & 3) << 4);
    for (int i = 0; i < 32; i++) target[96 + i] = (uint8_t)(nibbles[32 + i] >> 4 | (crumbs[i] >> 6) << 4);
  }
  const float d = K(f16_value)(block->scale);
  for (int j = 0; j < 16; j++) scales[j] = d * (float)block->parts[j];
}

UNPACK(q2_k) {
  const block_q2_k *block = BLOCK_IN_ROW(q2_k);
  UNROLLED for (int h = 0; h < 2; h++)
    UNROLLED for (int j = 0; j < 4; j++)
      for (int i = 0; i < 32; i++) codes[128 * h + 32 * j + i] = block->crumbs[32 * h + i] >> 2 * j & 3;
  const float d = K(f16_value)(block->scale), m = -K(f16_value)(block->minimum);
  for (int j = 0; j < 16; j++) scales[j] = d * (float)(block->parts[j] & 15);
  for (int j = 0; j < 16; j++) minima[j] = m * (float)(block->parts[j] >> 4);
}

UNPACK(q3_k) {
  const block_q3_k *block = BLOCK_IN_ROW(q3_k);
  UNROLLED for (int h = 0; h < 2; h++)
    UNROLLED for (int j = 0; j < 4; j++)
      for (int i = 0; i < 32; i++)
        codes[128 * h + 32 * j + i] = (uint8_t)(
            (block->crumbs[32 * h + i] >> 2 * j & 3) | (block->high[i] & 1 << (4 * h + j) ? 4 : 0));
  uint32_t a, b, c;
  memcpy(&a, block->parts, 4), memcpy(&b, block->parts + 4, 4), memcpy(&c, block->parts + 8, 4);
  const uint32_t words[4] = {
      (a & 0x0F0F0F0F) | (c & 0x03030303) << 4, (b & 0x0F0F0F0F) | (c >> 2 & 0x03030303) << 4,
      (a >> 4 & 0x0F0F0F0F) | (c >> 4 & 0x03030303) << 4, (b >> 4 & 0x0F0F0F0F) | (c >> 6 & 0x03030303) << 4};
  uint8_t bytes[16];
  memcpy(bytes, words, 16);
  const float d = K(f16_value)(block->scale);
  for (int j = 0; j < 16; j++) scales[j] = d * (float)(bytes[j] - 32);
}

// The stores of Lacuna's own, whose products with many vectors take the same way.

UNPACK(i8) {
  const long first = 32 * g, count = w->columns - first < 256 ? w->columns - first : 256;
  const uint8_t *bytes = (const uint8_t *)w->values + r * w->columns + first;
  for (long i = 0; i < count; i++) codes[i] = bytes[i] ^ 128;
  for (long i = count; i < 32 * groups; i++) codes[i] = 128;
  for (long b = 0; b < groups; b++) scales[b] = ((const float *)w->scales)[r];
}

UNPACK(i4) {
  const long words = (w->columns + 63) / 64;
  const uint8_t *nibbles = (const uint8_t *)w->values + r * words * 32 + 16 * g;
  for (long i = 0; i < 16 * groups; i++) {
    codes[2 * i] = (nibbles[i] & 15) ^ 8;
    codes[2 * i + 1] = (nibbles[i] >> 4) ^ 8;
  }
  const uint16_t *factors = (const uint16_t *)w->scales + r * words + g / 2;
  for (long b = 0; b < groups; b++) scales[b] = K(bf16_value)(factors[b / 2]);
}

#undef ROW_OF_32
#undef BLOCK_IN_ROW
