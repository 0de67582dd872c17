import LacunaSparse
import LacunaTensor

/// The upper triangular `U` with `UᵀU = H⁻¹` for the Hessian `H` of a linear layer's squared output error.
///
/// Row `j` of `U` answers: if column `j` of a weight matrix is changed and the columns before it are frozen, how must the
/// columns after it move to keep the output? `U[j, j]²` is the `j`-th diagonal entry of the inverse of `H` restricted to
/// columns `j...`, and `U[j, j...] / U[j, j]` the direction of the compensation.
///
/// One Cholesky factorisation is enough: with `H = R Rᵀ`, `R` upper triangular, `U = R⁻¹`; and `R` is the ordinary lower
/// factor of `H` with its rows and columns in reverse, reversed back.
public struct InverseFactor: Sendable {
    /// `U` [columns, columns]; entries below the diagonal are 0.
    public let upper: Tensor<Float>
    /// Inputs that were 0 for every token: weights that meet them can be removed freely.
    public let deadColumns: [Int]

    /// - Parameters:
    ///   - statistics: Inputs with their Gram matrix.
    ///   - damping: Share of the mean diagonal added to the diagonal.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` without a Gram matrix or tokens, or for a negative damping;
    ///   ``LacunaError/numerical(operation:reason:)`` if the damped matrix is not positive definite.
    /// - Complexity: O(columns³).
    public init(_ statistics: InputStatistics, damping: Double) throws {
        if statistics.tokens == 0 {
            throw LacunaError.invalidArgument("statistics", reason: "no tokens were seen")
        }
        deadColumns = statistics.deadColumns
        var hessian = try statistics.hessian(Float.self, damping: damping)
        Self.reverse(&hessian)
        let n = hessian.rows
        var identity = Tensor<Float>(zeros: [n, n])
        identity.withMutablePointer { p in for i in 0..<n { p[i * n + i] = 1 } }
        var inverse = try hessian.cholesky().solveTriangular(identity)
        Self.reverse(&inverse)
        upper = inverse
    }

    /// Reverses the order of rows and of columns.
    private static func reverse(_ matrix: inout Tensor<Float>) {
        let count = matrix.count
        matrix.withMutablePointer { p in
            var (low, high) = (0, count - 1)
            while low < high {
                (p[low], p[high]) = (p[high], p[low])
                low += 1
                high -= 1
            }
        }
    }
}
