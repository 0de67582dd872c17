#include "level_prelude.h"

#define LEVEL LK_PORTABLE
#define SUFFIX _portable
#define VECTOR_BYTES 16
#include "../level.h"
