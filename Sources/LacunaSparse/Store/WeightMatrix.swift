import LacunaTensor

/// A stored matrix `W` [rows, columns] (outputs × inputs) and its products with activations.
///
/// Every format conforms. Products read only what is stored. `multiply` and `decode` are serial and may be called
/// from several threads at once on different rows; use ``Product`` for whole products on the thread pool.
public protocol WeightMatrix: Sendable {
    /// Outputs.
    var rows: Int { get }
    /// Inputs.
    var columns: Int { get }
    var format: StorageFormat { get }
    /// Number of values stored, explicit zeros included.
    var storedCount: Int { get }
    /// Everything a product with one vector reads: values, scales, positions, offsets.
    var byteCount: Int { get }
    /// The forms of its input vector that `multiply` reads.
    var inputEncoding: InputEncoding { get }
    /// Products are cut into ranges of rows that start at multiples of this.
    var rowGranularity: Int { get }

    /// `output[i] = Σ_c W[rows.lowerBound + i, c] x[c]`.
    func multiply(_ input: EncodedInput, rows: Range<Int>, into output: UnsafeMutablePointer<Float>)

    /// Writes rows `rows` as dense floats, row-major, `columns` apart.
    func decode(rows: Range<Int>, into output: UnsafeMutablePointer<Float>)

    /// `Y[n, rows] = X[n, columns] Wᵀ` for many vectors at once, on the thread pool; rows of `y` are `leadingY` apart.
    /// The default is ``Product/gemm(_:x:count:leadingY:)``.
    func multiply(
        matrix x: UnsafePointer<Float>, count n: Int, into y: UnsafeMutablePointer<Float>, leadingY: Int)
}

extension WeightMatrix {
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
}
