// Every kernel at one level of vector instructions. Each file of levels/ includes this one, with LEVEL, SUFFIX and
// VECTOR_BYTES defined; none of the files included here has an include guard.

#define PASTE_(name, suffix) name##suffix
#define PASTE(name, suffix) PASTE_(name, suffix)
#define PASTE3_(name, type, suffix) name##type##suffix
#define PASTE3(name, type, suffix) PASTE3_(name, type, suffix)
#define K(name) PASTE(name, SUFFIX)  // the name at this level

#include "vector.h"
#include "dense/vectors.h"
#include "dense/moments.h"
#include "network/decoder.h"
#include "select/select.h"
#include "dense/gemv.h"
#include "dense/skip_rows.h"
#include "quantized/gemv.h"
#include "quantized/round.h"
#include "quantized/unpack.h"
#include "quantized/blocks.h"
#include "quantized/code_groups.h"
#include "bits/gemv.h"
#include "bits/decode.h"
#include "csr/gemv.h"
#include "bsr/gemv.h"
#include "dense/panel.h"
#include "dense/product_bf16.h"
#include "quantized/rows.h"
#include "bits/panel_nm.h"
#include "bits/panel.h"
#include "bsr/panel.h"
#undef STORE_SUMS
#undef LOAD_SUMS
#undef STREAMS
#undef BY_WIDTH
#undef SCALE_f32
#undef SCALE_bf16
#undef SCALE_f16
#undef SCALE_i8
#undef ZIP_LOW
#undef ZIP_HIGH
#undef SPREAD_f32
#undef SPREAD_bf16
#undef SPREAD_f16
#undef SPREAD_i8
#undef LOAD

#define REAL float
#define REAL_NAME _f32
#define REAL_BYTES 4
#define VECTOR VF
#include "real.h"
#define REAL double
#define REAL_NAME _f64
#define REAL_BYTES 8
#define VECTOR K(vd)
#include "real.h"

#include "dense/columns.h"
#include "csr/columns.h"
#include "network/sparse_convolution.h"

const lk_table K(lk_table) = {LK_TABLE_ENTRIES(K)};

#undef SPLAT
#undef K
#undef PASTE
#undef PASTE_
#undef PASTE3
#undef PASTE3_
#undef LEVEL
#undef SUFFIX
#undef VECTOR_BYTES
