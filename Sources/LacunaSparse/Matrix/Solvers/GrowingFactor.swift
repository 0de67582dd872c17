/// The Cholesky factor of the Gram matrix of vectors that join one at a time: least squares on a support that grows.
///
/// A vector costs O(count²), a solution as much, where factoring anew would cost O(count³).
package struct GrowingFactor: Sendable {
    /// Vectors that have joined.
    package private(set) var count = 0
    /// The rows of the lower triangle, one behind the other: row i has i + 1 entries.
    private var rows: [Double] = []

    /// A factor that has room for so many vectors.
    package init(capacity: Int = 0) { rows.reserveCapacity(capacity * (capacity + 1) / 2) }

    private static func start(_ row: Int) -> Int { row * (row + 1) / 2 }

    /// Adds a vector.
    ///
    /// - Parameter products: Its inner products with the vectors before, in their order, and with itself.
    /// - Returns: False if the vector depends on them, as far as can be told (less than 10⁻⁶ of its length is orthogonal to
    ///   all), or is not finite; the factor is what it was then.
    package mutating func append(_ products: [Double]) -> Bool {
        let n = count
        let old = rows.count
        var rest = products[n]
        for i in 0..<n {
            let row = Self.start(i)
            var sum = products[i]
            for j in 0..<i { sum -= rows[row + j] * rows[old + j] }
            let entry = sum / rows[row + i]
            rows.append(entry)
            rest -= entry * entry
        }
        guard rest > 1e-12 * products[n], rest.isFinite else {
            rows.removeSubrange(old...)
            return false
        }
        rows.append(rest.squareRoot())
        count += 1
        return true
    }

    /// Solves `G z = b` for the Gram matrix `G` [count, count].
    package func solve(_ b: [Double]) -> [Double] {
        var z = b
        for i in z.indices {
            let row = Self.start(i)
            for j in 0..<i { z[i] -= rows[row + j] * z[j] }
            z[i] /= rows[row + i]
        }
        for i in z.indices.reversed() {
            let row = Self.start(i)
            z[i] /= rows[row + i]
            for j in 0..<i { z[j] -= rows[row + j] * z[i] }
        }
        return z
    }
}
