/// A dense array of numbers in row-major order, with value semantics.
///
/// A copy shares its storage until one of the two is written to. Loops over elements should take a pointer once, with
/// ``withPointer(_:)`` or ``withMutablePointer(_:)``, rather than use subscripts.
public struct Tensor<Scalar: TensorScalar>: Sendable {
    /// Length of each dimension, outermost first. An empty shape is a single number.
    public private(set) var shape: [Int]
    private var buffer: Buffer<Scalar>

    /// A tensor whose elements are to be written before they are read.
    public init(uninitialized shape: [Int]) {
        require(shape.allSatisfy { $0 >= 0 }, "negative dimension in \(shape)")
        self.shape = shape
        buffer = Buffer(uninitialized: shape.reduce(1, *))
    }

    /// The same for a shape that a file or a user asks for.
    ///
    /// - Parameter what: What the memory is for, as the error names it.
    /// - Throws: ``LacunaError/resource(_:needed:available:)`` if the machine has not that much memory to give, and
    ///   ``LacunaError/invalidArgument(_:reason:)`` for a negative dimension.
    public init(checking shape: [Int], for what: String) throws {
        try MachineMemory.require(shape: shape, of: Scalar.self, for: what)
        self.shape = shape
        buffer = try Buffer(checking: shape.reduce(1, *), for: what)
    }

    /// A tensor whose entries are all the same.
    public init(repeating value: Scalar, shape: [Int]) {
        self.init(uninitialized: shape)
        buffer.pointer.update(repeating: value, count: buffer.count)
    }

    /// A tensor of zeros.
    public init(zeros shape: [Int]) { self.init(repeating: 0, shape: shape) }

    /// A tensor of these elements in row-major order, as many as the shape has.
    public init(_ elements: some Collection<Scalar>, shape: [Int]) {
        require(
            shape.allSatisfy { $0 >= 0 } && elements.count == shape.reduce(1, *),
            "\(elements.count) elements do not fill shape \(shape)")
        self.shape = shape
        buffer = Buffer(elements)
    }

    /// A one-dimensional tensor.
    public init(_ elements: [Scalar]) { self.init(elements, shape: [elements.count]) }

    /// Number of entries.
    public var count: Int { buffer.count }
    /// Number of dimensions.
    public var rank: Int { shape.count }
    /// Rows of a matrix.
    public var rows: Int {
        require(rank == 2)
        return shape[0]
    }
    /// Columns of a matrix.
    public var columns: Int {
        require(rank == 2)
        return shape[1]
    }

    /// Calls `body` with a pointer to the elements in row-major order, which is only valid during the call.
    public func withPointer<R>(_ body: (UnsafePointer<Scalar>) throws -> R) rethrows -> R {
        try withExtendedLifetime(buffer) { try body(UnsafePointer(buffer.pointer)) }
    }

    /// Calls `body` with a pointer to elements that no other tensor shares.
    public mutating func withMutablePointer<R>(_ body: (UnsafeMutablePointer<Scalar>) throws -> R) rethrows -> R {
        if !isKnownUniquelyReferenced(&buffer) { buffer = buffer.copy() }
        return try withExtendedLifetime(buffer) { try body(buffer.pointer) }
    }

    /// The elements in row-major order.
    public var scalars: [Scalar] { buffer.array }

    /// The same elements under another shape of the same size. Shares storage.
    public func reshaped(_ shape: [Int]) -> Tensor {
        require(
            shape.allSatisfy { $0 >= 0 } && shape.reduce(1, *) == count, "cannot reshape \(self.shape) to \(shape)")
        var result = self
        result.shape = shape
        return result
    }

    private func offset(_ indices: [Int]) -> Int {
        require(indices.count == rank, "\(indices.count) indices for rank \(rank)")
        var offset = 0
        for (index, length) in zip(indices, shape) {
            require(index >= 0 && index < length, "index \(indices) out of range for shape \(shape)")
            offset = offset * length + index
        }
        return offset
    }

    /// One element. Checks every index; meant for tests and small work.
    public subscript(indices: Int...) -> Scalar {
        get { buffer.pointer[offset(indices)] }
        set {
            let offset = offset(indices)
            withMutablePointer { $0[offset] = newValue }
        }
    }

    /// The transpose of a matrix.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    public func transposed() -> Tensor {
        let (m, n) = (rows, columns)
        var result = Tensor(uninitialized: [n, m])
        withPointer { source in
            result.withMutablePointer { target in
                // Tiles keep both the reads and the writes inside a few cache lines.
                let tile = 32
                Parallel.forRanges(n, grain: Swift.max(tile, (1 << 16) / Swift.max(m, 1) / tile * tile)) { range in
                    for i0 in stride(from: 0, to: m, by: tile) {
                        for j0 in stride(from: range.lowerBound, to: range.upperBound, by: tile) {
                            for i in i0..<Swift.min(i0 + tile, m) {
                                for j in j0..<Swift.min(j0 + tile, range.upperBound) {
                                    target[j * m + i] = source[i * n + j]
                                }
                            }
                        }
                    }
                }
            }
        }
        return result
    }
}

extension Tensor: Equatable {
    public static func == (a: Tensor, b: Tensor) -> Bool {
        a.shape == b.shape
            && (a.buffer === b.buffer || a.buffer.elements.elementsEqual(b.buffer.elements))
    }
}
