import LacunaTensor

/// A sparse vector: the ascending indices of its entries and their values. Entries that are stored may be 0.
public struct SparseVector<Scalar: SparseElement>: Sendable {
    /// Length, entries that are not stored included.
    public let count: Int
    private(set) var indexBuffer: Buffer<UInt32>
    private(set) var buffer: Buffer<Scalar>

    /// Number of stored entries, explicit zeros included.
    public var storedCount: Int { buffer.count }
    /// The places of the stored entries, ascending.
    public var indices: [Int] { indexBuffer.elements.map(Int.init) }
    /// The stored entries, in the order of ``indices``.
    public var values: [Scalar] { buffer.array }

    /// Takes buffers that are known to fit.
    init(count: Int, indices: Buffer<UInt32>, values: Buffer<Scalar>) {
        self.count = count
        indexBuffer = indices
        buffer = values
    }

    /// A vector without entries.
    public init(zeros count: Int) {
        require((0...SparsePattern.maximumSide).contains(count), "a vector of \(count) entries")
        self.init(count: count, indices: Buffer(uninitialized: 0), values: Buffer(uninitialized: 0))
    }

    /// From entries in any order.
    ///
    /// - Throws: `LacunaError.invalidArgument` for an index outside 0..<`count` or one that comes twice, or a count above
    ///   ``SparsePattern/maximumSide``.
    /// - Complexity: O(n log n) in the entries.
    public init(count: Int, entries: some Sequence<(index: Int, value: Scalar)>) throws {
        let row = try SparseMatrix(
            rows: 1, columns: count, entries: entries.lazy.map { (row: 0, column: $0.index, value: $0.value) },
            combining: nil)
        self = row.row(0)
    }

    /// The entries of a dense vector that are not ``SparseElement/absent``.
    public init(_ dense: [Scalar]) {
        let kept = dense.indices.filter { dense[$0] != .absent }
        self.init(
            count: dense.count, indices: Buffer(kept.map { UInt32($0) }), values: Buffer(kept.map { dense[$0] }))
    }

    /// The entry at an index, ``SparseElement/absent`` if it is not stored.
    ///
    /// - Complexity: O(log n) in the stored entries.
    public subscript(index: Int) -> Scalar {
        require((0..<count).contains(index), "entry \(index) of \(count)")
        var (low, high) = (0, storedCount)
        while low < high {
            let middle = (low + high) / 2
            if Int(indexBuffer.pointer[middle]) < index { low = middle + 1 } else { high = middle }
        }
        return low < storedCount && Int(indexBuffer.pointer[low]) == index ? buffer.pointer[low] : .absent
    }

    /// Every entry, stored or not.
    public func densified() -> [Scalar] {
        var result = [Scalar](repeating: .absent, count: count)
        for i in 0..<storedCount { result[Int(indexBuffer.pointer[i])] = buffer.pointer[i] }
        return result
    }

    /// The vector as a matrix of one row.
    public var rowMatrix: SparseMatrix<Scalar> {
        SparseMatrix(
            SparsePattern(
                rows: 1, columns: count, .init(starts: Buffer([0, storedCount]), columns: indexBuffer)), buffer: buffer)
    }

    /// Calls `body` with every stored entry, ascending.
    public func forEachEntry(_ body: (_ index: Int, _ value: Scalar) throws -> Void) rethrows {
        for i in 0..<storedCount { try body(Int(indexBuffer.pointer[i]), buffer.pointer[i]) }
    }

    /// The same vector without stored entries that are ``SparseElement/absent``.
    public func droppingZeros() -> SparseVector { rowMatrix.droppingZeros().row(0) }
}

extension SparseVector: Equatable {
    /// Whether two vectors of the same length have the same entries; one stored as 0 equals one that is not stored.
    public static func == (a: SparseVector, b: SparseVector) -> Bool { a.rowMatrix == b.rowMatrix }
}

extension SparseVector: Sequence {
    public typealias Element = (index: Int, value: Scalar)
    public func makeIterator() -> AnyIterator<Element> {
        var i = 0
        return AnyIterator { [self] in
            if i == storedCount { return nil }
            defer { i += 1 }
            return (Int(indexBuffer.pointer[i]), buffer.pointer[i])
        }
    }
}

extension SparseVector: CustomStringConvertible {
    public var description: String {
        let shown = prefix(8).map { "\($0.index): \(NumberText.number($0.value))" }.joined(separator: ", ")
        return "SparseVector<\(Scalar.self)> of \(count), \(storedCount) stored"
            + (storedCount == 0 ? "" : " [\(shown)\(storedCount > 8 ? ", …" : "")]")
    }
}

extension SparseVector where Scalar: Numeric {
    /// The inner product with another sparse vector of the same length.
    ///
    /// - Complexity: O(stored entries of both).
    public func dot(_ other: SparseVector) -> Scalar {
        require(count == other.count, "vectors of \(count) and \(other.count) entries")
        var (i, j): (Int, Int) = (0, 0)
        var sum: Scalar = 0
        while i < storedCount && j < other.storedCount {
            let (a, b) = (indexBuffer.pointer[i], other.indexBuffer.pointer[j])
            if a == b { sum += buffer.pointer[i] * other.buffer.pointer[j] }
            if a <= b { i += 1 }
            if b <= a { j += 1 }
        }
        return sum
    }

    /// The inner product with a dense vector of the same length.
    public func dot(_ dense: [Scalar]) -> Scalar {
        require(count == dense.count, "vectors of \(count) and \(dense.count) entries")
        var sum: Scalar = 0
        forEachEntry { sum += $1 * dense[$0] }
        return sum
    }

    /// Entry by entry; the lengths must agree.
    public static func + (a: SparseVector, b: SparseVector) -> SparseVector { (a.rowMatrix + b.rowMatrix).row(0) }
    /// Entry by entry; the lengths must agree.
    public static func - (a: SparseVector, b: SparseVector) -> SparseVector { (a.rowMatrix - b.rowMatrix).row(0) }
    /// Every stored value times a number.
    public static func * (factor: Scalar, a: SparseVector) -> SparseVector { (factor * a.rowMatrix).row(0) }
    /// Every stored value times a number.
    public static func * (a: SparseVector, factor: Scalar) -> SparseVector { factor * a }

    /// The sum of all entries.
    public func sum() -> Scalar { buffer.elements.reduce(0, +) }
}

extension SparseVector where Scalar: TensorScalar {
    /// √Σ x²
    public var norm: Scalar { rowMatrix.norm() }

    /// The `count` entries of largest magnitude, of equals the later ones: the best approximation with so many entries.
    public func largest(_ count: Int) -> SparseVector {
        if count >= storedCount { return self }
        let kept = buffer.elements.map(\.magnitude).withUnsafeBufferPointer {
            Largest.indices(Swift.max(count, 0), of: $0)
        }
        return SparseVector(
            count: self.count, indices: Buffer(kept.map { indexBuffer.pointer[$0] }),
            values: Buffer(kept.map { buffer.pointer[$0] }))
    }
}
