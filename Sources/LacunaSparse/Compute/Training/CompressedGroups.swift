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

    public func _forward(
        _ panels: UnsafePointer<Scalar>, batch: Int,
        _ take: (_ panel: Int, _ rows: Range<Int>, _ tile: UnsafePointer<Scalar>) -> Void
    ) {
        let cut = PanelCut<Scalar>(batch: batch)
        withUnsafePointer(to: pattern.kernel(values: buffer.pointer)) { kernel in
            Parallel.forEach(cut.count * pattern.blocks) { item in
                let (p, block) = (item / pattern.blocks, item % pattern.blocks)
                let rows = pattern.rows(block: block)
                let width = cut[p].width
                let tile = Scratch.current.tile(Scalar.self, count: rows.count * width)
                tile.update(repeating: 0, count: rows.count * width)
                Scalar._productGroups(kernel, block, panels + cut.offset(p, features: columns), width, tile)
                take(p, rows, tile)
            }
        }
    }

    public func _backward(
        _ panels: UnsafePointer<Scalar>, batch: Int,
        _ take: (_ panel: Int, _ columns: Range<Int>, _ tile: UnsafePointer<Scalar>) -> Void
    ) {
        let cut = PanelCut<Scalar>(batch: batch)
        let items = (pattern.groups + Self.itemGroups - 1) / Self.itemGroups
        withUnsafePointer(to: pattern.kernel(values: buffer.pointer)) { kernel in
            Parallel.forEach(cut.count * items) { item in
                let (p, from) = (item / items, item % items * Self.itemGroups)
                let groups = from..<min(from + Self.itemGroups, pattern.groups)
                let columns = 4 * from..<min(4 * groups.upperBound, self.columns)
                let width = cut[p].width
                let tile = Scratch.current.tile(Scalar.self, count: columns.count * width)
                tile.update(repeating: 0, count: columns.count * width)
                Scalar._transposedGroups(kernel, groups, panels + cut.offset(p, features: rows), width, tile)
                take(p, columns, tile)
            }
        }
    }

    public func _sample(
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
                    Scalar._sampledGroups(
                        kernel, block, a + cut.offset(p, features: rows), b + cut.offset(p, features: columns),
                        cut[p].width, adding || p > 0, gradient)
                }
            }
        }
    }
}
