import LacunaTensor

/// A sparse matrix `W` [rows, columns] of middling density whose values may change: N:M patterns in training.
///
/// At a half of the entries ``CompressedRows`` is bound by fetching panel rows; here four of them stay in registers while
/// the rows of a block pass by. Any mask will do, but with less than an entry or so in four columns the other is faster.
public struct CompressedGroups<Scalar: SparseScalar>: Sendable {
    public let pattern: GroupPattern
    private var buffer: Buffer<Scalar>

    /// The matrix whose values are in `buffer`, in the order of the pattern: whoever owns the buffer sees and may change
    /// them.
    public init(_ pattern: GroupPattern, buffer: Buffer<Scalar>) {
        precondition(buffer.count == pattern.count, "\(buffer.count) values for \(pattern.count) entries")
        self.pattern = pattern
        self.buffer = buffer
    }

    /// The entries of `weight` [rows, columns] that are in `mask`.
    ///
    /// - Throws: `LacunaError.invalidArgument` for a mask of another shape.
    public init(_ weight: Tensor<Scalar>, mask: Mask) throws {
        guard weight.shape == [mask.rows, mask.columns] else {
            throw LacunaError.invalidArgument(
                "mask", reason: "shape [\(mask.rows), \(mask.columns)] for a weight of shape \(weight.shape)")
        }
        self.init(GroupPattern(mask), from: weight)
    }

    /// The entries of `weight` [rows, columns] that are in `pattern`.
    public init(_ pattern: GroupPattern, from weight: Tensor<Scalar>) {
        precondition(weight.shape == [pattern.rows, pattern.columns], "a pattern of another shape")
        self.pattern = pattern
        buffer = Buffer(uninitialized: pattern.count)
        let values = buffer.pointer
        weight.withPointer { w in pattern.forEachEntry { values[$0] = w[$1 * pattern.columns + $2] } }
    }

    public var rows: Int { pattern.rows }
    public var columns: Int { pattern.columns }
    public var count: Int { pattern.count }
    public var byteCount: Int { buffer.byteCount + pattern.byteCount }

    /// The values in the order of the pattern.
    public var values: [Scalar] { buffer.array }

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

    /// The dense matrix.
    public func densified() -> Tensor<Scalar> {
        var result = Tensor<Scalar>(zeros: [rows, columns])
        result.withMutablePointer { w in pattern.forEachEntry { w[$1 * columns + $2] = buffer.pointer[$0] } }
        return result
    }
}

extension CompressedGroups: PanelProducts {
    /// Groups of an item of parallel work in transposed products.
    private static var itemGroups: Int { 32 }

    public func forwardTiles(
        _ panels: UnsafePointer<Scalar>, batch: Int,
        _ take: (_ panel: Int, _ rows: Range<Int>, _ tile: UnsafePointer<Scalar>) -> Void
    ) {
        withUnsafePointer(to: pattern.kernel(values: buffer.pointer)) { kernel in
            PanelCut<Scalar>(batch: batch).forEachTile(
                of: panels, features: columns, parts: pattern.blocks, range: pattern.rows(block:),
                product: { Scalar.kernelTable.pointee.product_groups(kernel, $0, $1, $2, $3) }, take)
        }
    }

    public func backwardTiles(
        _ panels: UnsafePointer<Scalar>, batch: Int,
        _ take: (_ panel: Int, _ columns: Range<Int>, _ tile: UnsafePointer<Scalar>) -> Void
    ) {
        let size = Self.itemGroups
        func groups(_ part: Int) -> Range<Int> { part * size..<min((part + 1) * size, pattern.groups) }
        withUnsafePointer(to: pattern.kernel(values: buffer.pointer)) { kernel in
            PanelCut<Scalar>(batch: batch).forEachTile(
                of: panels, features: rows, parts: (pattern.groups + size - 1) / size,
                range: { 4 * groups($0).lowerBound..<min(4 * groups($0).upperBound, columns) },
                product: {
                    Scalar.kernelTable.pointee.transposed_groups(
                        kernel, groups($0).lowerBound, groups($0).upperBound, $1, $2, $3)
                }, take)
        }
    }

    public func samplePanels(
        _ a: UnsafePointer<Scalar>, _ b: UnsafePointer<Scalar>, batch: Int,
        into gradient: UnsafeMutablePointer<Scalar>, adding: Bool
    ) {
        let cut = PanelCut<Scalar>(batch: batch)
        if cut.count == 0 {
            if !adding { gradient.update(repeating: 0, count: count) }
            return
        }
        withUnsafePointer(to: pattern.kernel(values: buffer.pointer)) { kernel in
            Parallel.forEach(pattern.blocks) { block in
                for p in 0..<cut.count {
                    Scalar.kernelTable.pointee.sampled_groups(
                        kernel, block, a + cut.offset(p, features: rows), b + cut.offset(p, features: columns),
                        cut[p].width, adding || p > 0 ? 1 : 0, gradient)
                }
            }
        }
    }
}
