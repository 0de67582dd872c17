import CLacuna
import LacunaLearn
import LacunaTensor

/// Sums and differences of activations, in the kernels of training.
extension Tensor where Scalar == Float {
    func multiplied(byNumber factor: Float) -> Tensor {
        if factor == 1 { return self }
        var result = Tensor(uninitialized: shape)
        let n = count
        withPointer { x in
            result.withMutablePointer { y in
                let y = UncheckedTarget(y)
                Parallel.forRanges(n, grain: 1 << 16) {
                    Float.kernels.pointee.affine(
                        Double(factor), x + $0.lowerBound, 0, y.pointer! + $0.lowerBound, $0.count, 0)
                }
            }
        }
        return result
    }

    func subtracting(_ other: Tensor) -> Tensor {
        require(shape == other.shape, "\(shape) less \(other.shape)")
        var result = Tensor(uninitialized: shape)
        let n = count
        withPointer { x in
            other.withPointer { z in
                result.withMutablePointer { y in
                    let y = UncheckedTarget(y)
                    Parallel.forRanges(n, grain: 1 << 16) {
                        Float.kernels.pointee.binary(
                            Int32(LK_SUBTRACT), x + $0.lowerBound, z + $0.lowerBound, y.pointer! + $0.lowerBound,
                            $0.count, 0)
                    }
                }
            }
        }
        return result
    }

    var sumOfSquares: Double { withPointer { Float.kernels.pointee.sum_of_squares($0, count) } }

    /// The mean of the rows.
    var rowMean: [Float] {
        var sums = [Float](repeating: 0, count: columns)
        withPointer { Float.kernels.pointee.column_sums($0, &sums, rows, columns, 0) }
        return sums.map { $0 / Float(Swift.max(rows, 1)) }
    }

    /// `Σ ‖x - mean‖²` over rows.
    var sumOfSquaresAroundMean: Double {
        var centered = self
        let (n, d) = (rows, columns)
        let negative = rowMean.map { -$0 }
        centered.withMutablePointer { Float.kernels.pointee.add_row($0, negative, $0, n, d, 0) }
        return centered.sumOfSquares
    }
}
