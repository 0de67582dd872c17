import LacunaTensor

/// Pairs rows with columns so that the sum of what the pairs cost is least.
///
/// Harold Kuhn, "The Hungarian Method for the Assignment Problem", Naval Research Logistics Quarterly 1955, by shortest augmenting
/// paths.
public enum Assignment {
    /// The column of each row; no column twice.
    ///
    /// - Parameter costs: [rows, columns], finite, with no more rows than columns.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for other costs.
    /// - Complexity: O(rows² · columns).
    public static func cheapest(_ costs: Tensor<Double>) throws -> [Int] {
        guard costs.rank == 2, costs.rows <= costs.columns, costs.scalars.allSatisfy(\.isFinite) else {
            throw LacunaError.invalidArgument("costs", reason: "are not finite numbers of no more rows than columns")
        }
        let (n, m) = (costs.rows, costs.columns)
        // Prices of rows and columns; the row of each column, place 0 standing for none.
        var (u, v) = ([Double](repeating: 0, count: n + 1), [Double](repeating: 0, count: m + 1))
        var (owner, way) = ([Int](repeating: 0, count: m + 1), [Int](repeating: 0, count: m + 1))
        for row in 1...max(n, 1) where n > 0 {
            owner[0] = row
            var column = 0
            var least = [Double](repeating: .infinity, count: m + 1)
            var used = [Bool](repeating: false, count: m + 1)
            repeat {
                used[column] = true
                let here = owner[column]
                var (delta, next) = (Double.infinity, 0)
                for j in 1...m where !used[j] {
                    let reduced = costs[here - 1, j - 1] - u[here] - v[j]
                    if reduced < least[j] { (least[j], way[j]) = (reduced, column) }
                    if least[j] < delta { (delta, next) = (least[j], j) }
                }
                for j in 0...m {
                    if used[j] {
                        u[owner[j]] += delta
                        v[j] -= delta
                    } else {
                        least[j] -= delta
                    }
                }
                column = next
            } while owner[column] != 0
            while column != 0 {
                owner[column] = owner[way[column]]
                column = way[column]
            }
        }
        var result = [Int](repeating: 0, count: n)
        for j in 1...max(m, 1) where m > 0 && owner[j] > 0 { result[owner[j] - 1] = j - 1 }
        return result
    }
}

/// Least squares with coefficients of at least 0.
enum NonNegativeLeastSquares {
    /// `argmin ‖Aᵀ x - b‖`, x ≥ 0, from the Gram matrix `A Aᵀ` [k, k] and `A b` [k].
    ///
    /// Charles Lawson, Richard Hanson, "Solving Least Squares Problems", 1974.
    static func solve(gram: Tensor<Double>, products: [Double]) -> [Double] {
        let k = products.count
        var x = [Double](repeating: 0, count: k)
        var free: [Int] = []
        let scale = products.reduce(0) { max($0, abs($1)) }
        for _ in 0..<3 * k + 1 {
            let pulls = (0..<k).map { i in products[i] - (0..<k).reduce(0) { $0 + gram[i, $1] * x[$1] } }
            guard let next = (0..<k).filter({ !free.contains($0) }).max(by: { pulls[$0] < pulls[$1] }),
                pulls[next] > 1e-12 * scale
            else { break }
            free.append(next)
            while true {
                var small = Tensor<Double>(zeros: [free.count, free.count])
                for (a, i) in free.enumerated() { for (b, j) in free.enumerated() { small[a, b] = gram[i, j] } }
                guard
                    let step = try? small.solvePositiveDefinite(
                        Tensor(free.map { products[$0] }, shape: [free.count, 1])
                    ).scalars
                else {
                    free.removeAll { $0 == next }
                    break
                }
                if step.allSatisfy({ $0 > 0 }) {
                    for (a, i) in free.enumerated() { x[i] = step[a] }
                    break
                }
                // As far as the first that would fall below 0, which stays there.
                var length = 1.0
                for (a, i) in free.enumerated() where step[a] <= 0 { length = min(length, x[i] / (x[i] - step[a])) }
                for (a, i) in free.enumerated() { x[i] += length * (step[a] - x[i]) }
                free.removeAll { x[$0] <= 1e-15 * (x.max() ?? 0) }
                for i in 0..<k where !free.contains(i) { x[i] = 0 }
                if free.isEmpty { break }
            }
        }
        return x
    }
}
