import LacunaTensor

/// The convex envelope of "a ridge, and at most k groups that are not 0", its value and its proximal map.
///
/// With group norms n_j, `S_k = ½ min Σ n_j² / u_j` over 0 ≤ u_j ≤ 1, Σ u_j ≤ k. The proximal map of λ S_k scales group j by
/// `u_j / (λ + u_j)` with `u_j = clip(μ n_j - λ, 0, 1)` and μ the root of Σ u_j = k. With singletons and whole k this is
/// half the squared k-support norm. Groups can have costs d_j, which the budget then counts: Σ d_j u_j ≤ k, and `u_j = clip(μ n_j / √d_j
/// - λ, 0, 1)`.
///
/// Yehonathan Refael, Iftach Arbel, Wasim Huleihel, "Learning k-Level Structured Sparse Neural Networks Using Group Envelope
/// Regularization", arXiv 2212.12921. The map keeps at least k groups, exactly k only if the next is small enough: end
/// with a selection, and train on without the shrinkage.
public struct GroupEnvelope: Sendable, Hashable {
    /// Groups that may differ from 0, or what they may cost together, above 0; need not be whole.
    public var k: Double

    /// - Throws: `LacunaError.invalidArgument` unless k is positive.
    public init(k: Double) throws {
        guard k > 0 else { throw LacunaError.invalidArgument("k", reason: "\(k) is not positive") }
        self.k = k
    }

    /// The u of the proximal map of λ S_k for groups of these norms.
    ///
    /// - Parameter costs: What each group costs, above 0; nil for 1 each.
    /// - Complexity: O(groups log groups), and O(groups) for each of at most 1100 halvings.
    public func weights(norms: [Double], costs: [Double]? = nil, lambda: Double) -> [Double] {
        let (sizes, costs) = (Self.sizes(norms, costs), costs ?? norms.map { _ in 1 })
        func at(_ mu: Double) -> [Double] { sizes.map { min(max(mu * $0 - lambda, 0), 1) } }
        func spent(_ u: [Double]) -> Double { zip(u, costs).reduce(0) { $0 + $1.0 * $1.1 } }
        let whole = norms.map { $0 > 0 ? 1.0 : 0 }
        if spent(whole) <= k || lambda == 0 { return whole }
        // There the largest, of a cost of k or more together, have a u of 1.
        var (sum, last) = (0.0, 0)
        let order = norms.indices.filter { norms[$0] > 0 }.sorted { sizes[$0] > sizes[$1] }
        while sum < k {
            sum += costs[order[last]]
            last += 1
        }
        var (low, high) = (0.0, min((1 + lambda) / sizes[order[last - 1]], 1e300))
        for _ in 0..<1100 {
            let middle = 0.5 * (low + high)
            if middle == low || middle == high { break }
            if spent(at(middle)) < k { low = middle } else { high = middle }
        }
        return at(0.5 * (low + high))
    }

    /// Norms by which groups compete: that of a dear group counts for less.
    private static func sizes(_ norms: [Double], _ costs: [Double]?) -> [Double] {
        guard let costs else { return norms }
        require(
            costs.count == norms.count && costs.allSatisfy { $0 > 0 },
            "\(costs.count) costs of \(norms.count) groups, or one that is not positive")
        return zip(norms, costs).map { $0 / $1.squareRoot() }
    }

    /// S_k for groups of these norms.
    ///
    /// - Parameter costs: What each group costs, above 0; nil for 1 each.
    public func value(norms: [Double], costs: [Double]? = nil) -> Double {
        let sizes = Self.sizes(norms, costs)
        let live = norms.indices.filter { norms[$0] > 0 }.map {
            (norm: norms[$0], size: sizes[$0], cost: costs?[$0] ?? 1)
        }
        if live.reduce(0.0, { $0 + $1.cost }) <= k { return 0.5 * live.reduce(0) { $0 + $1.norm * $1.norm } }
        // u_j = min(1, n_j / √(ν d_j)), with ν from the budget. At the upper end the sum is k at most.
        var (low, high) = (0.0, live.reduce(0) { $0 + $1.cost * $1.size } / min(k, 1) + 1)
        for _ in 0..<200 {
            let middle = 0.5 * (low + high)
            if middle == low || middle == high { break }
            if live.reduce(0.0, { $0 + $1.cost * min(1, $1.size / middle) }) > k { low = middle } else { high = middle }
        }
        let root = 0.5 * (low + high)
        return 0.5 * live.reduce(0) { $0 + $1.norm * $1.norm / min(1, $1.size / root) }
    }

    /// Applies the proximal map of λ S_k in place; `groups` are the places of each group.
    ///
    /// - Parameter costs: What each group costs, above 0; nil for 1 each.
    public func prox(_ v: inout [Double], groups: [[Int]], costs: [Double]? = nil, lambda: Double) {
        let norms = groups.map { group in group.reduce(0) { $0 + v[$1] * v[$1] }.squareRoot() }
        for (group, u) in zip(groups, weights(norms: norms, costs: costs, lambda: lambda)) {
            for i in group { v[i] *= lambda + u > 0 ? u / (lambda + u) : 1 }
        }
    }
}
