// The tables of the levels, each made in a file of its own.
#ifndef LACUNA_LEVELS_H
#define LACUNA_LEVELS_H

#include "lacuna_kernels.h"

#define LEVEL_TABLES(suffix) \
  extern const lk_table lk_table##suffix; \
  extern const lk_real lk_real_f32##suffix, lk_real_f64##suffix;
LEVEL_TABLES(_portable)
#if defined(__x86_64__)
LEVEL_TABLES(_avx2)
LEVEL_TABLES(_avx512)
LEVEL_TABLES(_avx512vnni)
LEVEL_TABLES(_avx512bf16)
#endif
#undef LEVEL_TABLES

#endif
