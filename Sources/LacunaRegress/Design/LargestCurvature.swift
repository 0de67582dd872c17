import LacunaTensor

extension Design {
    /// The largest eigenvalue of `Xᵀ W X`, by the power method, one per cent above its estimate: how far the square of a product
    /// with this design can exceed the square of its argument.
    ///
    /// - Parameters:
    ///   - weights: One for each row.
    ///   - means: What is subtracted from the columns, for designs next to an intercept; empty for nothing.
    func largestCurvature(weights: [Double], means: [Double] = []) -> Double {
        let (n, p) = (rows, columns)
        if p == 0 { return 0 }
        var generator = SeededGenerator(seed: 0, stream: 0xACCE1)
        var v = (0..<p).map { _ in generator.normal() }
        var u = [Double](repeating: 0, count: n)
        var (estimate, previous) = (0.0, 0.0)
        for iteration in 0..<500 {
            let length = v.reduce(0) { $0 + $1 * $1 }.squareRoot()
            if length == 0 || !length.isFinite { break }
            for j in 0..<p { v[j] /= length }
            product(v, into: &u)
            if !means.isEmpty {
                let shift = zip(v, means).reduce(0) { $0 + $1.0 * $1.1 }
                for i in 0..<n { u[i] -= shift }
            }
            for i in 0..<n { u[i] *= weights[i] }
            correlations(nil, with: u, into: &v)
            if !means.isEmpty {
                let total = u.reduce(0, +)
                for j in 0..<p { v[j] -= means[j] * total }
            }
            estimate = v.reduce(0) { $0 + $1 * $1 }.squareRoot()
            if iteration > 20 && estimate - previous <= 1e-6 * estimate { break }
            previous = estimate
        }
        return 1.01 * estimate
    }

    /// The largest eigenvalue of `Xᵀ W X` for a few columns, by their Gram matrix.
    ///
    /// - Parameters:
    ///   - members: The columns.
    ///   - weights: One for each row.
    func largestEigenvalue(of members: [Int], weights: [Double]) -> Double {
        let columns = members.map { UInt32($0) }
        var gram = Tensor<Double>(zeros: [columns.count, columns.count])
        gram.withMutablePointer {
            self.gram(columns, columns, weights: weights, totalWeight: 1, means: nil, into: $0, leading: columns.count)
        }
        if columns.count == 1 { return gram[0, 0] }
        // The trace bounds the eigenvalue should LAPACK give up.
        let trace = (0..<columns.count).reduce(0) { $0 + gram[$1, $1] }
        return (try? gram.symmetricEigen().values.last) ?? trace
    }
}
