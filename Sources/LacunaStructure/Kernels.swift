import CLacuna

/// The kernels for this processor.
let kernels: lk_table = lk_best().pointee
