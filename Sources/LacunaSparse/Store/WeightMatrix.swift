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
    /// The form in which `multiply` wants its input vector.
    var inputEncoding: InputEncoding { get }

    /// `output[i] = Σ_c W[rows.lowerBound + i, c] x[c]`.
    func multiply(_ input: EncodedInput, rows: Range<Int>, into output: UnsafeMutablePointer<Float>)

    /// Writes rows `rows` as dense floats, row-major, `columns` apart.
    func decode(rows: Range<Int>, into output: UnsafeMutablePointer<Float>)

    /// `Y[n, rows] = X[n, columns] Wᵀ` for many vectors at once, on the thread pool. The default decodes tiles of rows
    /// and multiplies them densely; formats with a faster way of their own override it.
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

    /// Fraction of entries not stored.
    public var sparsity: Double {
        rows * columns == 0 ? 0 : 1 - Double(storedCount) / Double(rows * columns)
    }
}
