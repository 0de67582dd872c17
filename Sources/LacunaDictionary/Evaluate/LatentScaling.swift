import LacunaLearn
import LacunaSparse
import LacunaTensor

/// How much of a feature's direction another signal holds where the feature is active.
///
/// For feature `j` with direction `d_j` and strengths `f_n`, the least-squares `β = argmin Σ_n ‖y_n - β f_n d_j‖²`,
/// which is `d_j·(Σ f_n y_n) / (Σ f_n² ‖d_j‖²)`: one pass over the tokens for all features. Julian Minder and others,
/// "Overcoming Sparsity Artifacts in Crosscoders to Interpret Chat-Tuning", arXiv 2504.02922.
public struct LatentScaling: Sendable {
    private let directions: Tensor<Float>
    private var products: [Double]
    private var squares: [Double]

    /// - Parameter directions: [features, dimensions].
    public init(directions: Tensor<Float>) {
        self.directions = directions
        products = [Double](repeating: 0, count: directions.rows)
        squares = products
    }

    /// Takes in a code [tokens, features] and the signal [tokens, dimensions] beside it.
    ///
    /// - Parameter addingBack: Directions [features, dimensions] in the signal's own space: the target of feature `j`
    ///   is then `y_n + f_nj g_j`, which for a residual `y` is the error without that feature.
    public mutating func add(_ code: SparseMatrix<Float>, _ signal: Tensor<Float>, addingBack: Tensor<Float>? = nil) {
        require(
            code.columns == directions.rows && code.rows == signal.rows && signal.columns == directions.columns
                && addingBack.map { $0.shape == directions.shape } ?? true, "a code or signal of another shape")
        // d_j·y_n at the entries of the code alone.
        let inner = SparseMatrix.sampled(signal, directions, at: code.pattern)
        let own = addingBack.map { back in
            directions.withPointer { d in
                back.withPointer { Directions.dots(d, $0, rows: directions.rows, columns: directions.columns) }
            }
        }
        code.withValues { f in
            inner.withValues { y in
                code.pattern.forEachEntry { i, _, j in
                    products[j] += Double(f[i]) * (Double(y[i]) + Double(f[i]) * Double(own?[j] ?? 0))
                    squares[j] += Double(f[i]) * Double(f[i])
                }
            }
        }
    }

    /// β of every feature; nil for those that are never active or have no direction.
    public var scales: [Double?] {
        let norms = directions.withPointer {
            Directions.dots($0, $0, rows: directions.rows, columns: directions.columns)
        }
        return norms.indices.map { j in
            let scale = squares[j] * Double(norms[j])
            return scale > 0 ? products[j] / scale : nil
        }
    }
}
