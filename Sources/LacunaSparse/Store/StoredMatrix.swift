import LacunaTensor

/// A stored matrix `A` [rows, columns] (of a linear layer: outputs × inputs) and its products.
///
/// Every store conforms. Products read only what is stored. The safe ones take and return arrays and tensors
/// (`multiplied(by:)`, ``applied(toRows:)``); the others write where they are told. `multiply` and `decode` are serial
/// and may be called from several threads at once on different rows; use ``Product`` for whole products on the thread pool.
public protocol StoredMatrix: Sendable {
    /// Outputs.
    var rows: Int { get }
    /// Inputs.
    var columns: Int { get }
    /// The layout and the type of its values.
    var format: StorageFormat { get }
    /// Number of values stored, explicit zeros included.
    var storedCount: Int { get }
    /// Everything a product with one vector reads: values, scales, positions, offsets.
    var byteCount: Int { get }
    /// The forms of its input vector that `multiply` reads.
    var inputEncoding: InputEncoding { get }
    /// Products are cut into ranges of rows that start at multiples of this.
    var rowGranularity: Int { get }
    /// Whether rows share work, so that whole products go through ``multiply(matrix:count:into:leadingY:)``, one vector
    /// included, rather than through ranges of rows. False by default.
    var isMultipliedWhole: Bool { get }
    /// The entries that are stored, where the matrix knows them, otherwise those that are not 0.
    var keptEntries: SparsePattern { get }

    /// `output[i] = Σ_c A[rows.lowerBound + i, c] x[c]`. Rows out of range stop the program.
    func multiply(_ input: EncodedInput, rows: Range<Int>, into output: UnsafeMutablePointer<Float>)

    /// Writes rows `rows` as dense floats, row-major, `columns` apart. Rows out of range stop the program.
    func decode(rows: Range<Int>, into output: UnsafeMutablePointer<Float>)

    /// `Y[n, rows] = X[n, columns] Aᵀ` for many vectors at once, on the thread pool; rows of `y` are `leadingY` apart.
    /// The default is ``Product/gemm(_:_:count:into:)``.
    func multiply(
        matrix x: UnsafePointer<Float>, count n: Int, into y: UnsafeMutablePointer<Float>, leadingY: Int)
}

extension StoredMatrix {
    /// The dense matrix.
    public func densified() -> Tensor<Float> {
        var result = Tensor<Float>(uninitialized: [rows, columns])
        let width = columns
        result.withMutablePointer { p in
            Parallel.forRanges(rows, grain: max(1, 65536 / max(width, 1))) { range in
                decode(rows: range, into: p + range.lowerBound * width)
            }
        }
        return result
    }

    /// Fraction of entries not stored. Explicit zeros count as stored.
    public var sparsity: Double {
        // Blocks that reach beyond the matrix may store more than it has.
        rows * columns == 0 ? 0 : max(0, 1 - Double(storedCount) / Double(rows * columns))
    }

    public var rowGranularity: Int { 16 }
    public var isMultipliedWhole: Bool { false }

    public var keptEntries: SparsePattern { SparsePattern(nonzerosOf: densified()) }

    /// Stops the program unless `rows` are rows of the matrix: what every product asks first, as it reads by pointers.
    @inline(__always)
    public func requireRows(_ rows: Range<Int>) {
        require(rows.lowerBound >= 0 && rows.upperBound <= self.rows, "rows of the matrix")
    }
}

extension StoredMatrix {
    /// `A x`, one number for every row.
    ///
    /// - Parameter x: `columns` numbers; another count stops the program.
    /// - Complexity: What is stored is read once.
    public func multiplied(by x: [Float]) -> [Float] {
        require(x.count == columns, "\(x.count) numbers for \(columns) columns")
        return applied(toRows: Tensor(x, shape: [1, x.count])).scalars
    }

    /// `A B`, as for any matrices.
    ///
    /// - Parameter other: `B` [columns, n]; another shape stops the program.
    /// - Returns: [rows, n].
    public func multiplied(by other: Tensor<Float>) -> Tensor<Float> {
        require(other.rank == 2 && other.rows == columns, "\(other.shape) for \(columns) columns")
        return applied(toRows: other.transposed()).transposed()
    }

    /// `X Aᵀ`: what a linear layer of weight `A` makes of the rows of `X`.
    ///
    /// - Parameter x: `X` [n, columns]; another width stops the program.
    /// - Returns: [n, rows].
    public func applied(toRows x: Tensor<Float>) -> Tensor<Float> {
        require(x.rank == 2 && x.columns == columns, "\(x.shape) for \(columns) columns")
        var result = Tensor<Float>(uninitialized: [x.rows, rows])
        let n = x.rows
        x.withPointer { x in
            result.withMutablePointer { y in
                if n == 1 { Product.gemv([(self, y)], x: x) } else { Product.gemm(self, x, count: n, into: y) }
            }
        }
        return result
    }
}
