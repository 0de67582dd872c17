import CLacuna
import LacunaTensor

/// A sparse matrix `W` [rows, columns] in compressed sparse rows whose values may change: what sparse training, and
/// everything else that computes with sparse matrices rather than only applying them, works on.
///
/// Values have value semantics; the pattern is shared. Results of products do not depend on the number of threads.
/// ``CSRMatrix`` is the same layout frozen for inference, with reduced precision.
public struct CompressedRows<Scalar: SparseScalar>: Sendable {
    public private(set) var pattern: CSRPattern
    private(set) var buffer: Buffer<Scalar>

    public var rows: Int { pattern.rows }
    public var columns: Int { pattern.columns }
    /// Entries of the pattern, explicit zeros included.
    public var count: Int { pattern.count }
    /// Fraction of entries that are not in the pattern.
    public var sparsity: Double { pattern.sparsity }
    /// Values, columns and offsets.
    public var byteCount: Int { buffer.byteCount + pattern.byteCount }

    /// All entries have the same value.
    public init(_ pattern: CSRPattern, repeating value: Scalar = 0) {
        self.pattern = pattern
        buffer = Buffer(repeating: value, count: pattern.count)
    }

    /// - Throws: `LacunaError.invalidArgument` unless there are as many values as the pattern has entries.
    public init(_ pattern: CSRPattern, values: [Scalar]) throws {
        guard values.count == pattern.count else {
            throw LacunaError.invalidArgument(
                "values", reason: "\(values.count) for a pattern of \(pattern.count) entries")
        }
        self.pattern = pattern
        buffer = Buffer(values)
    }

    /// The matrix whose values are in `buffer`, one for each entry: whoever owns the buffer sees and may change them.
    public init(_ pattern: CSRPattern, buffer: Buffer<Scalar>) {
        precondition(buffer.count == pattern.count)
        self.pattern = pattern
        self.buffer = buffer
    }

    /// The entries of `weight` [rows, columns] that are in `mask`; without one, those that are not 0.
    /// - Throws: `LacunaError.invalidArgument` if the tensor is not a matrix or the mask has another shape.
    public init(_ weight: Tensor<Scalar>, mask: Mask? = nil) throws {
        guard weight.rank == 2 else {
            throw LacunaError.invalidArgument("weight", reason: "shape \(weight.shape) is not a matrix")
        }
        if let mask, mask.rows != weight.rows || mask.columns != weight.columns {
            throw LacunaError.invalidArgument(
                "mask", reason: "shape [\(mask.rows), \(mask.columns)] for a weight of shape \(weight.shape)")
        }
        self.init(CSRPattern(mask ?? Mask(nonzerosOf: weight)))
        gather(from: weight)
    }

    // MARK: Values

    public func withValues<R>(_ body: (UnsafePointer<Scalar>) throws -> R) rethrows -> R {
        try withExtendedLifetime(buffer) { try body(UnsafePointer(buffer.pointer)) }
    }

    /// Calls `body` with values that no other matrix shares.
    public mutating func withMutableValues<R>(
        _ body: (UnsafeMutableBufferPointer<Scalar>) throws -> R
    ) rethrows -> R {
        if !isKnownUniquelyReferenced(&buffer) { buffer = buffer.copy() }
        return try withExtendedLifetime(buffer) { try body(buffer.elements) }
    }

    /// The values in the order of the pattern.
    public var values: [Scalar] { buffer.array }

    /// Replaces every value by the entry of `dense` [rows, columns] at its place.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    public mutating func gather(from dense: Tensor<Scalar>) {
        precondition(dense.shape == [rows, columns])
        let pattern = pattern
        dense.withPointer { source in
            withMutableValues { values in
                for r in 0..<pattern.rows {
                    for j in pattern.entries(row: r) {
                        values[j] = source[r * pattern.columns + Int(pattern.columnIndices.pointer[j])]
                    }
                }
            }
        }
    }

    /// The dense matrix.
    public func densified() -> Tensor<Scalar> {
        var result = Tensor<Scalar>(zeros: [rows, columns])
        result.withMutablePointer { target in
            for r in 0..<rows {
                for j in pattern.entries(row: r) {
                    target[r * columns + Int(pattern.columnIndices.pointer[j])] = buffer.pointer[j]
                }
            }
        }
        return result
    }

    /// The same values where `pattern` has entries too, 0 in entries that only `pattern` has; the others are dropped: how
    /// training carries values over to a moved pattern.
    /// - Throws: `LacunaError.invalidArgument` for a pattern of another shape.
    public func moved(to target: CSRPattern) throws -> CompressedRows {
        guard target.rows == rows && target.columns == columns else {
            throw LacunaError.invalidArgument(
                "pattern", reason: "shape [\(target.rows), \(target.columns)] for a matrix [\(rows), \(columns)]")
        }
        let result = CompressedRows(target)
        let (from, to) = (pattern.columnIndices.pointer, target.columnIndices.pointer)
        for r in 0..<rows {
            var j = pattern.entries(row: r)
            for k in target.entries(row: r) {
                while let i = j.first, from[i] < to[k] { j = i + 1..<j.upperBound }
                if let i = j.first, from[i] == to[k] { result.buffer.pointer[k] = buffer.pointer[i] }
            }
        }
        return result
    }

    /// What kernels take, in one of the orders of the pattern.
    func kernel(_ order: SegmentOrder) -> lk_segmented {
        order.kernel(values: buffer.pointer, column: pattern.columnIndices.pointer, wide: true)
    }
}
