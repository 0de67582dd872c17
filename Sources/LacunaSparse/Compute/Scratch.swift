import LacunaTensor

/// Working memory that a thread keeps from one product to the next, so that products in steady state do not allocate.
final class Scratch {
    /// The encoded input of the product that this thread started.
    let input = EncodedInput()
    /// The encoded inputs of a product with several vectors.
    let rows = EncodedRows()
    /// Whether products that this thread starts treat each vector as if it were alone (``Product/apart(_:)``).
    var keepsVectorsApart = false
    /// What decoded matrices are multiplied in (``Product/rounded(_:_:)``).
    var precision = ProductPrecision.f32
    private var panels = Buffer<Float>(uninitialized: 0)
    private var tile = Buffer<Float>(uninitialized: 0)
    private var expanded = Buffer<Float>(uninitialized: 0)

    /// Memory for the inputs of a product, shared with the threads that work on it.
    func panels(count: Int) -> UnsafeMutablePointer<Float> {
        if panels.count < count { panels = Buffer(uninitialized: count) }
        return panels.pointer
    }

    /// The same for values of another type; there is only one such memory.
    func panels<Scalar: BitwiseCopyable>(_: Scalar.Type, count: Int) -> UnsafeMutablePointer<Scalar> {
        UnsafeMutableRawPointer(panels(count: count * MemoryLayout<Scalar>.stride / 4))
            .assumingMemoryBound(to: Scalar.self)
    }

    /// As ``panels(_:count:)``, for one item of work on this thread.
    func tile<Scalar: BitwiseCopyable>(_: Scalar.Type, count: Int) -> UnsafeMutablePointer<Scalar> {
        UnsafeMutableRawPointer(tile(count: count * MemoryLayout<Scalar>.stride / 4))
            .assumingMemoryBound(to: Scalar.self)
    }

    /// Memory for one item of work on this thread.
    func tile(count: Int) -> UnsafeMutablePointer<Float> {
        if tile.count < count { tile = Buffer(uninitialized: count) }
        return tile.pointer
    }

    /// Memory for values of one item of work that are spread out before they are multiplied.
    func expanded(count: Int) -> UnsafeMutablePointer<Float> {
        if expanded.count < count { expanded = Buffer(uninitialized: count) }
        return expanded.pointer
    }

    private static let threads = PerThread { Scratch() }

    /// The calling thread's.
    static var current: Scratch { threads.current }
}
