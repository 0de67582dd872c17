import CLacuna
import LacunaSparse
import LacunaTensor

/// The element types that can be trained: `Float`, in which networks are trained, and `Double`, in which gradients are
/// checked.
public protocol LearningScalar: SparseScalar {
    /// The kernels of training for this type and processor.
    static var kernels: UnsafePointer<lk_training> { get }
    /// Sets the bits of the `k` largest of `n` numbers in `words` (n / 64 rounded up); of equals later ones win.
    static func markLargest(
        _ x: UnsafePointer<Self>, _ n: Int, _ k: Int, _ words: UnsafeMutablePointer<UInt64>)
}

extension Float: LearningScalar {
    public nonisolated(unsafe) static let kernels: UnsafePointer<lk_training> = lk_training_f32()!
    private static let selection = lk_best()!.pointee.mask_largest!

    public static func markLargest(
        _ x: UnsafePointer<Float>, _ n: Int, _ k: Int, _ words: UnsafeMutablePointer<UInt64>
    ) {
        selection(x, n, k, words)
    }
}

extension Double: LearningScalar {
    public nonisolated(unsafe) static let kernels: UnsafePointer<lk_training> = lk_training_f64()!

    public static func markLargest(
        _ x: UnsafePointer<Double>, _ n: Int, _ k: Int, _ words: UnsafeMutablePointer<UInt64>
    ) {
        for word in 0..<(n + 63) / 64 { words[word] = 0 }
        for i in Largest.indices(k, of: UnsafeBufferPointer(start: x, count: n)) {
            words[i / 64] |= 1 << UInt64(i % 64)
        }
    }
}

/// Calls `body(start, count)` for pieces of `0..<n`, on the thread pool if there is work for more than one.
@inline(__always)
func spread(_ n: Int, grain: Int = 1 << 16, _ body: (Int, Int) -> Void) {
    if n <= grain { return body(0, n) }
    Parallel.forRanges(n, grain: grain) { body($0.lowerBound, $0.count) }
}

/// Calls `body(first row, rows)` for pieces of the rows of a matrix of `columns` columns.
@inline(__always)
func spreadRows(_ rows: Int, _ columns: Int, grain: Int = 1 << 16, _ body: (Int, Int) -> Void) {
    spread(rows, grain: max(1, grain / max(columns, 1)), body)
}
