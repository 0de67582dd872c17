import LacunaTensor

/// What graphs are learnt from.
enum Observations {
    /// Covariance [variables, variables] of observations [rows, variables], which are centred, not scaled: scaling would remove what
    /// tells causes from effects.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for fewer than 2 rows or variables, numbers that are not
    ///   finite, and variables that never vary.
    static func covariance(_ data: Tensor<Double>) throws -> [Double] {
        let (n, d) = (data.rows, data.columns)
        guard n >= 2, d >= 2 else {
            throw LacunaError.invalidArgument("data", reason: "\(n) rows of \(d) variables; 2 of each are needed")
        }
        var centred = data
        try centred.withMutablePointer { x in
            for j in 0..<d {
                let first = x[j]
                var (mean, varies) = (0.0, false)
                // Deviations from a value are 0 where all are equal, and their mean is as exact as they are.
                for i in 0..<n {
                    mean += (x[i * d + j] - first) / Double(n)
                    varies = varies || x[i * d + j] != first
                }
                var (square, rest) = (0.0, 0.0)
                for i in 0..<n {
                    x[i * d + j] = x[i * d + j] - first - mean
                    rest += x[i * d + j] / Double(n)
                }
                for i in 0..<n {
                    x[i * d + j] -= rest
                    square += x[i * d + j] * x[i * d + j]
                }
                guard square.isFinite else {
                    throw LacunaError.invalidArgument(
                        "data", reason: "variable \(j + 1) holds numbers that are not finite")
                }
                guard varies, square > 0 else {
                    throw LacunaError.invalidArgument("data", reason: "variable \(j + 1) never varies")
                }
            }
        }
        let product = centred.multiplied(by: centred, transposed: true)
        return product.scalars.map { $0 / Double(n) }
    }
}
