import LacunaTensor

/// Least squares `Y ≈ X A` (with an intercept if wanted) of rows that come in pieces, in double precision.
///
/// Only the moments are kept. Directions in which `X` hardly varies are left out, so that the solution is the one of
/// smallest norm when they do not determine it.
public struct StreamingLeastSquares: Sendable {
    /// Columns of `X`, without that of ones.
    public let inputs: Int
    /// Columns of `Y`.
    public let outputs: Int
    /// Whether a column of ones stands behind the inputs.
    public let hasIntercept: Bool
    /// Rows taken in.
    public private(set) var count = 0
    private var gram: Tensor<Double>
    private var cross: Tensor<Double>

    /// - Parameter intercept: Whether a column of ones stands behind the inputs.
    public init(inputs: Int, outputs: Int, intercept: Bool) {
        (self.inputs, self.outputs, hasIntercept) = (inputs, outputs, intercept)
        let n = inputs + (intercept ? 1 : 0)
        (gram, cross) = (Tensor(zeros: [n, n]), Tensor(zeros: [n, outputs]))
    }

    private func design(_ x: Tensor<Float>) -> Tensor<Double> {
        let (n, d) = (x.rows, inputs + (hasIntercept ? 1 : 0))
        var result = Tensor<Double>(uninitialized: [n, d])
        x.withPointer { x in
            result.withMutablePointer { r in
                for t in 0..<n {
                    for i in 0..<inputs { r[t * d + i] = Double(x[t * inputs + i]) }
                    if hasIntercept { r[t * d + inputs] = 1 }
                }
            }
        }
        return result
    }

    /// Takes in rows `x` [n, inputs] and what they should give, `y` [n, outputs].
    public mutating func add(_ x: Tensor<Float>, _ y: Tensor<Float>) {
        require(x.columns == inputs && y.columns == outputs && x.rows == y.rows, "rows of other shapes")
        let design = design(x)
        let goal = Tensor<Double>(y.scalars.map(Double.init), shape: y.shape)
        let (n, d, m) = (x.rows, design.columns, outputs)
        gram.withMutablePointer { g in
            design.withPointer { LinearAlgebra.accumulateGram($0, rows: n, columns: d, into: g) }
        }
        cross.withMutablePointer { c in
            design.withPointer { a in
                goal.withPointer { b in
                    LinearAlgebra.parallelGemm(
                        m: d, n: m, k: n, a, leadingA: d, transposedA: true, b, leadingB: m, beta: 1, into: c,
                        leadingC: m)
                }
            }
        }
        count += n
    }

    /// The coefficients [inputs (+ 1), outputs].
    ///
    /// - Parameter tolerance: Directions whose share of the largest variance is below this are left out.
    /// - Throws: `LacunaError.numerical` if moments are not finite.
    public func solve(tolerance: Double = 1e-12) throws -> Tensor<Double> {
        let (values, vectors) = try gram.symmetricEigen()
        let largest = values.last ?? 0
        // A = V diag(1/λ) Vᵀ C, with eigenvectors as rows.
        var image = vectors.multiplied(by: cross)
        let m = outputs
        image.withMutablePointer { p in
            for (i, value) in values.enumerated() {
                let factor = value > tolerance * largest ? 1 / value : 0
                for j in 0..<m { p[i * m + j] *= factor }
            }
        }
        return vectors.multiplied(by: image, transposed: true)
    }

    /// What coefficients predict for rows `x` [n, inputs]: [n, outputs].
    public func predict(_ x: Tensor<Float>, _ coefficients: Tensor<Double>) -> Tensor<Float> {
        let y = design(x).multiplied(by: coefficients)
        return Tensor(y.scalars.map(Float.init), shape: y.shape)
    }
}
