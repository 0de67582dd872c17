#include "reference.h"

#include "entries.h"

#define REFERENCE(name) reference_##name
static const lk_table table = {LK_TABLE_ENTRIES(REFERENCE)};

#define REFERENCE_F32(name) reference_##name##_f32
#define REFERENCE_F64(name) reference_##name##_f64
static const lk_real real[LK_REALS] = {
    [LK_F32] = {LK_REAL_ENTRIES(REFERENCE_F32)},
    [LK_F64] = {LK_REAL_ENTRIES(REFERENCE_F64)},
};

const lk_table *lk_reference(void) { return &table; }
const lk_real *lk_real_reference(int type) { return type >= 0 && type < LK_REALS ? &real[type] : 0; }
