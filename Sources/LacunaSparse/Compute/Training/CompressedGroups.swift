import LacunaTensor

/// A sparse matrix `W` [rows, columns] of middling density whose values may change: N:M patterns in training.
///
/// At a half of the entries ``SparseMatrix`` is bound by fetching panel rows; here four of them stay in registers while
/// the rows of a block pass by. Any mask will do, but with less than an entry or so in four columns the other is faster.
public struct CompressedGroups<Scalar: SparseScalar>: Sendable {
    /// Which entries are stored.
    public let pattern: SparsePattern
    private let order: GroupOrder
    private var buffer: Buffer<Scalar>

    /// The matrix whose values are in `buffer`, in the order of the pattern: whoever owns the buffer sees and may change
    /// them.
    package init(_ pattern: SparsePattern, buffer: Buffer<Scalar>) {
        self.pattern = pattern
        order = pattern.groups
        require(buffer.count == order.count, "\(buffer.count) values for \(order.count) entries")
        self.buffer = buffer
    }

    /// The entries of `weight` [rows, columns] that are in `mask`.
    ///
    /// - Throws: `LacunaError.invalidArgument` for a mask of another shape.
    public init(_ weight: Tensor<Scalar>, mask: SparsePattern) throws {
        guard weight.shape == [mask.rows, mask.columns] else {
            throw LacunaError.invalidArgument(
                "mask", reason: "shape [\(mask.rows), \(mask.columns)] for a weight of shape \(weight.shape)")
        }
        self.init(mask, from: weight)
    }

    /// The entries of `weight` [rows, columns] that are in `pattern`.
    public init(_ pattern: SparsePattern, from weight: Tensor<Scalar>) {
        require(weight.shape == [pattern.rows, pattern.columns], "a pattern of another shape")
        self.pattern = pattern
        order = pattern.groups
        buffer = Buffer(uninitialized: order.count)
        let values = buffer.pointer
        weight.withPointer { w in order.forEachEntry { values[$0] = w[$1 * pattern.columns + $2] } }
    }

    /// Number of rows.
    public var rows: Int { pattern.rows }
    /// Number of columns.
    public var columns: Int { pattern.columns }
    /// Number of stored values.
    public var count: Int { order.count }
    /// Bytes of values, pattern and the order in which products visit them.
    public var byteCount: Int { buffer.byteCount + pattern.byteCount + order.byteCount }

    /// The values in the order of the pattern.
    public var values: [Scalar] { buffer.array }

    /// Calls `body` with the index of every value of a matrix of this pattern, ascending, and its row and column.
    public static func forEachEntry(
        of pattern: SparsePattern, _ body: (_ index: Int, _ row: Int, _ column: Int) throws -> Void
    ) rethrows {
        try pattern.groups.forEachEntry(body)
    }

    /// Calls `body` with the values, which are only valid during the call.
    public func withValues<R>(_ body: (UnsafeBufferPointer<Scalar>) throws -> R) rethrows -> R {
        try withExtendedLifetime(buffer) { try body(UnsafeBufferPointer(buffer.elements)) }
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
        result.withMutablePointer { w in order.forEachEntry { w[$1 * columns + $2] = buffer.pointer[$0] } }
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
        withUnsafePointer(to: order.kernel(values: buffer.pointer)) { kernel in
            PanelCut<Scalar>(batch: batch).forEachTile(
                of: panels, features: columns, parts: order.blocks, range: order.rows(block:),
                product: { Scalar.kernelTable.pointee.product_groups(kernel, $0, $1, $2, $3) }, take)
        }
    }

    public func backwardTiles(
        _ panels: UnsafePointer<Scalar>, batch: Int,
        _ take: (_ panel: Int, _ columns: Range<Int>, _ tile: UnsafePointer<Scalar>) -> Void
    ) {
        let size = Self.itemGroups
        func groups(_ part: Int) -> Range<Int> { part * size..<min((part + 1) * size, order.groups) }
        withUnsafePointer(to: order.kernel(values: buffer.pointer)) { kernel in
            PanelCut<Scalar>(batch: batch).forEachTile(
                of: panels, features: rows, parts: (order.groups + size - 1) / size,
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
        withUnsafePointer(to: order.kernel(values: buffer.pointer)) { kernel in
            Parallel.forEach(order.blocks) { block in
                for p in 0..<cut.count {
                    Scalar.kernelTable.pointee.sampled_groups(
                        kernel, block, a + cut.offset(p, features: rows), b + cut.offset(p, features: columns),
                        cut[p].width, adding || p > 0 ? 1 : 0, gradient)
                }
            }
        }
    }
}
