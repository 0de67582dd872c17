import CLacuna

/// The C kernels for this processor.
enum Kernels {
    static let best: lk_table = lk_best()!.pointee
    /// Whether the best kernels multiply bf16 numbers as such, twice as many at a time as floats.
    static let multipliesBF16 = lk_best_level() == LK_AVX512_BF16
}
