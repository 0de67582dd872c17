import LacunaTensor

/// The convex envelope of "a ridge, and at most k groups that are not 0", its value and its proximal map.
///
/// With group norms n_j, `S_k = ½ min Σ n_j² / u_j` over 0 ≤ u_j ≤ 1, Σ u_j ≤ k. The proximal map of λ S_k scales group j by
/// `u_j / (λ + u_j)` with `u_j = clip(μ n_j - λ, 0, 1)` and μ the root of Σ u_j = k. With singletons and whole k this is
/// half the squared k-support norm.
///
/// Yehonathan Refael, Iftach Arbel, Wasim Huleihel, "Learning k-Level Structured Sparse Neural Networks Using Group Envelope
/// Regularization", arXiv 2212.12921. The map keeps at least k groups, exactly k only if the next is small enough: end
/// with a selection, and train on without the shrinkage.
public struct GroupEnvelope: Sendable, Hashable {
    /// Groups that may differ from 0, above 0; need not be whole.
    public var k: Double

    /// - Throws: `LacunaError.invalidArgument` unless k is positive.
    public init(k: Double) throws {
        guard k > 0 else { throw LacunaError.invalidArgument("k", reason: "\(k) is not positive") }
        self.k = k
    }

    /// The u of the proximal map of λ S_k for groups of these norms.
    ///
    /// - Complexity: O(groups log groups), and O(groups) for each of at most 1100 halvings.
    public func weights(norms: [Double], lambda: Double) -> [Double] {
        func at(_ mu: Double) -> [Double] { norms.map { min(max(mu * $0 - lambda, 0), 1) } }
        let live = norms.filter { $0 > 0 }.sorted(by: >)
        if Double(live.count) <= k || lambda == 0 { return norms.map { $0 > 0 ? 1 : 0 } }
        // There the k largest, rounded up, have a u of 1.
        var (low, high) = (0.0, min((1 + lambda) / live[Int(k.rounded(.up)) - 1], 1e300))
        for _ in 0..<1100 {
            let middle = 0.5 * (low + high)
            if middle == low || middle == high { break }
            if at(middle).reduce(0, +) < k { low = middle } else { high = middle }
        }
        return at(0.5 * (low + high))
    }

    /// S_k for groups of these norms.
    public func value(norms: [Double]) -> Double {
        let live = norms.filter { $0 > 0 }
        if Double(live.count) <= k { return 0.5 * live.reduce(0) { $0 + $1 * $1 } }
        // u_j = min(1, n_j / √ν), with ν from the budget.
        var (low, high) = (0.0, live.reduce(0, +) / min(k, 1) + 1)
        for _ in 0..<200 {
            let middle = 0.5 * (low + high)
            if middle == low || middle == high { break }
            if live.reduce(0.0, { $0 + min(1, $1 / middle) }) > k { low = middle } else { high = middle }
        }
        let root = 0.5 * (low + high)
        return 0.5 * live.reduce(0) { $0 + $1 * $1 / min(1, $1 / root) }
    }

    /// Applies the proximal map of λ S_k in place; `groups` are the places of each group.
    public func prox(_ v: inout [Double], groups: [[Int]], lambda: Double) {
        let norms = groups.map { group in group.reduce(0) { $0 + v[$1] * v[$1] }.squareRoot() }
        for (group, u) in zip(groups, weights(norms: norms, lambda: lambda)) {
            for i in group { v[i] *= lambda + u > 0 ? u / (lambda + u) : 1 }
        }
    }
}
