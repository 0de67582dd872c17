import LacunaTensor

/// Solves symmetric systems whose off-diagonal pattern is a forest, by elimination from the leaves, which fills nothing in.
public enum ForestSolver {
    /// - Parameters:
    ///   - matrix: Rows of a symmetric, positive definite matrix [n, n] without cycles.
    ///   - right: [n].
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for other shapes and a pattern with a cycle;
    ///   ``LacunaError/numerical(operation:reason:)`` for a pivot that is not above 0.
    /// - Complexity: O(n) to eliminate, O(n²) to find the neighbours in dense rows.
    public static func solve(_ matrix: [[Double]], _ right: [Double]) throws -> [Double] {
        let n = right.count
        guard matrix.count == n, matrix.allSatisfy({ $0.count == n }) else {
            throw LacunaError.invalidArgument("matrix", reason: "is not of \(n) rows of \(n) numbers")
        }
        var (diagonal, x) = ((0..<n).map { matrix[$0][$0] }, right)
        var parent = [Int](repeating: -1, count: n)
        var order: [Int] = []
        var seen = [Bool](repeating: false, count: n)
        var edges = 0
        for root in 0..<n where !seen[root] {
            seen[root] = true
            var stack = [root]
            while let i = stack.popLast() {
                order.append(i)
                for j in 0..<n where j != i && matrix[i][j] != 0 {
                    edges += 1
                    if seen[j] { continue }
                    seen[j] = true
                    parent[j] = i
                    stack.append(j)
                }
            }
        }
        // Each edge was met from both ends; one leads to each place that is no root.
        guard edges == 2 * parent.count(where: { $0 >= 0 }) else {
            throw LacunaError.invalidArgument("matrix", reason: "has a cycle, or is not symmetric")
        }
        for i in order.reversed() {
            guard diagonal[i] > 0 else {
                throw LacunaError.numerical(operation: "elimination", reason: "pivot \(i) is \(diagonal[i])")
            }
            if parent[i] < 0 { continue }
            let factor = matrix[parent[i]][i] / diagonal[i]
            diagonal[parent[i]] -= factor * matrix[parent[i]][i]
            x[parent[i]] -= factor * x[i]
        }
        for i in order {
            if parent[i] >= 0 { x[i] -= matrix[parent[i]][i] * x[parent[i]] }
            x[i] /= diagonal[i]
        }
        return x
    }
}
