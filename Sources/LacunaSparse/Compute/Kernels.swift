import CLacuna

/// The C kernels for this processor.
enum Kernels {
    static let best: lk_table = lk_best()!.pointee
}
