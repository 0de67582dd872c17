import LacunaTensor

/// Extrapolates a linearly converging sequence: the combination of its last differences that nearly cancels.
///
/// Quentin Bertrand, Mathurin Massias, "Anderson Acceleration of Coordinate Descent", arXiv 2011.10065.
struct AndersonAcceleration {
    let depth: Int
    private var iterates: [[Double]] = []

    init(depth: Int = 5) { self.depth = depth }

    mutating func reset() { iterates = [] }

    /// Takes the next iterate; every `depth` of them gives an extrapolation to try. Iterates may grow: what is not there yet was 0.
    mutating func extrapolated(after iterate: [Double]) -> [Double]? {
        for k in iterates.indices where iterates[k].count < iterate.count {
            iterates[k] += [Double](repeating: 0, count: iterate.count - iterates[k].count)
        }
        iterates.append(iterate)
        guard iterates.count == depth + 1 else { return nil }
        defer { iterates = [] }
        let differences = (0..<depth).map { k in zip(iterates[k + 1], iterates[k]).map { $0 - $1 } }
        var gram = Tensor<Double>(zeros: [depth, depth])
        var trace = 0.0
        for a in 0..<depth {
            for b in 0...a {
                let dot = kernels.dot_f64(differences[a], differences[b], iterate.count)
                gram[a, b] = dot
                gram[b, a] = dot
            }
            trace += gram[a, a]
        }
        guard trace > 0, trace.isFinite else { return nil }
        for a in 0..<depth { gram[a, a] += 1e-12 * trace }
        guard let solved = try? gram.solvePositiveDefinite(Tensor(repeating: 1, shape: [depth, 1])) else { return nil }
        let weights = solved.scalars
        let total = weights.reduce(0, +)
        guard total.isFinite, abs(total) > 1e-300 else { return nil }
        var result = [Double](repeating: 0, count: iterate.count)
        for k in 0..<depth { kernels.axpy_f64(weights[k] / total, iterates[k + 1], &result, iterate.count) }
        return result.allSatisfy(\.isFinite) ? result : nil
    }
}
