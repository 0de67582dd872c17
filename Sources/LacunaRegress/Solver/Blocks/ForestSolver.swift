import LacunaTensor

/// Solves symmetric systems whose off-diagonal pattern is a forest, by elimination from the leaves, which fills nothing in.
public enum ForestSolver {
    /// - Parameters:
    ///   - matrix: Rows of a symmetric, positive definite matrix [n, n] without cycles.
    ///   - right: [n].
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for other shapes, a matrix that is not symmetric (within 1e-9 of the diagonal,
    ///   and in what is 0) and a pattern with a cycle;
    ///   ``LacunaError/numerical(operation:reason:)`` for a pivot that is not above 0.
    /// - Complexity: O(n) to eliminate, O(n²) to find the neighbours in dense rows.
    public static func solve(_ matrix: [[Double]], _ right: [Double]) throws -> [Double] {
        let n = right.count
        guard matrix.count == n, matrix.allSatisfy({ $0.count == n }) else {
            throw LacunaError.invalidArgument("matrix", reason: "is not of \(n) rows of \(n) numbers")
        }
        var neighbours = [[(place: Int, value: Double)]](repeating: [], count: n)
        for i in 0..<n {
            for j in 0..<n where j != i && matrix[i][j] != 0 {
                let (value, mirrored) = (matrix[i][j], matrix[j][i])
                let scale = max(matrix[i][i], matrix[j][j])
                guard mirrored != 0, abs(value - mirrored) <= 1e-9 * scale else {
                    throw LacunaError.invalidArgument("matrix", reason: "is not symmetric at (\(i), \(j))")
                }
                neighbours[i].append((j, value))
            }
        }
        let diagonal = (0..<n).map { matrix[$0][$0] }
        return try Forest(Array(0..<n), neighbours, diagonal, argument: "matrix").solve(right)
    }
}
