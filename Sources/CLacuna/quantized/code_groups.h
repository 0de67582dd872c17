// Products of matrices of 4-bit groups (lk_code_groups) with one vector. Included by level.h once for each level.

typedef uint8_t K(eight_codes) __attribute__((vector_size(8)));

// Adds scale * (code - zero) * x of 16 codes, LANES of them at a time.
INLINE VF K(add_codes)(VF sum, const uint8_t *bytes, VF scale, VF zero, const float *x) {
  K(eight_codes) packed;
  memcpy(&packed, bytes, 8);
  const K(eight_codes) low = packed & 15, high = packed >> 4;
#if LANES == 16
  const VF codes = __builtin_convertvector(
      __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), VF);
  return sum + scale * (codes - zero) * K(load)(x);
#elif LANES == 8
  sum += scale * (__builtin_convertvector(low, VF) - zero) * K(load)(x);
  return sum + scale * (__builtin_convertvector(high, VF) - zero) * K(load)(x + 8);
#else
#define FOUR_CODES(v, i) __builtin_convertvector(__builtin_shufflevector(v, v, i, i + 1, i + 2, i + 3), VF)
  sum += scale * (FOUR_CODES(low, 0) - zero) * K(load)(x);
  sum += scale * (FOUR_CODES(low, 4) - zero) * K(load)(x + 4);
  sum += scale * (FOUR_CODES(high, 0) - zero) * K(load)(x + 8);
  return sum + scale * (FOUR_CODES(high, 4) - zero) * K(load)(x + 12);
#undef FOUR_CODES
#endif
}

static void K(gemv_code_groups)(const lk_code_groups *w, const lk_input *input, long r0, long r1, float *out) {
  const long kept = w->kept, size = w->group;
  for (long r = r0; r < r1; r++) {
    const code_group_row row = code_group_row_of(w, r);
    // Two sums, so that one product does not wait for the one before.
    VF sums[2] = {{0}, {0}};
    for (long k = 0; k < kept; k++) {
      const VF scale = K(splat)(K(f16_value)(code_group_word(row.scales, k)));
      const VF zero = K(splat)((float)code_group_zero(row.zeros, k));
      const float *x = input->x + (long)code_group_word(row.groups, k) * size;
      const uint8_t *codes = row.codes + k * size / 2;
      long j = 0;
      for (; j + 32 <= size; j += 32) {
        sums[0] = K(add_codes)(sums[0], codes + j / 2, scale, zero, x + j);
        sums[1] = K(add_codes)(sums[1], codes + j / 2 + 8, scale, zero, x + j + 16);
      }
      if (j < size) {
        // Groups of 16 take turns.
        const VF sum = K(add_codes)(sums[0], codes + j / 2, scale, zero, x + j);
        sums[0] = sums[1];
        sums[1] = sum;
      }
    }
    out[r - r0] = K(sum_lanes)(sums[0] + sums[1]);
  }
}

static void K(decode_code_groups)(const lk_code_groups *w, long r0, long r1, float *out) {
  for (long r = r0; r < r1; r++, out += w->columns) {
    const code_group_row row = code_group_row_of(w, r);
    memset(out, 0, (size_t)w->columns * sizeof(float));
    for (long k = 0; k < w->kept; k++) {
      const float scale = K(f16_value)(code_group_word(row.scales, k));
      const int zero = code_group_zero(row.zeros, k);
      float *target = out + (long)code_group_word(row.groups, k) * w->group;
      const uint8_t *codes = row.codes + k * w->group / 2;
      for (long j = 0; j < w->group; j += 16, codes += 8)
        for (int i = 0; i < 8; i++) {
          target[j + i] = scale * (float)((codes[i] & 15) - zero);
          target[j + i + 8] = scale * (float)((codes[i] >> 4) - zero);
        }
    }
  }
}
