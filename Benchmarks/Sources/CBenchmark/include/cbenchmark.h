// The plain loop that memory bandwidth is measured with.
#ifndef CBENCHMARK_H
#define CBENCHMARK_H

#include "mkl.h"

#include <stdint.h>

// The wrapped sum of `count` 64-bit words: reads each once, in order, with the widest vectors of this processor.
uint64_t lb_sum(const uint64_t *words, long count);

#endif
