import LacunaTensor

/// How unequal the sizes of numbers are, and how many of them a vector that unequal can do without.
///
/// `I = 1 - d^(1/q - 1/p) ‖w‖_p / ‖w‖_q` for d numbers, 0 < p ≤ 1 ≤ q, p < q: 0 for equal magnitudes, towards 1 for one
/// that dwarfs the rest. At least `r = d (1+η)^(-q/(q-p)) (1-I)^(qp/(q-p))` have to be kept.
///
/// Enmao Diao, Ganghua Wang, Jiawei Zhan, Yuhong Yang, Jie Ding, Vahid Tarokh, "Pruning Deep Neural Networks from a Sparsity
/// Perspective", arXiv 2302.05601.
public struct PQIndex: Sendable, Hashable {
    /// The smaller exponent, above 0 and at most 1.
    public var p: Double
    /// The larger exponent, 1 or more.
    public var q: Double

    /// - Throws: `LacunaError.invalidArgument` unless 0 < p ≤ 1 ≤ q < ∞ and p < q.
    public init(p: Double = 1, q: Double = 2) throws {
        guard p > 0, p <= 1, q >= 1, p < q, q.isFinite else {
            throw LacunaError.invalidArgument("p, q", reason: "\(p), \(q) must satisfy 0 < p <= 1 <= q, p < q")
        }
        self.p = p
        self.q = q
    }

    /// The index of the magnitudes of `numbers`, in 0..<1; 0 for none or for zeros alone, not a number if one of them is not
    /// finite. Only numbers in use should be given.
    public func value(_ numbers: some Collection<Float>) -> Double {
        if !numbers.allSatisfy(\.isFinite) { return .nan }
        let largest = Double(numbers.reduce(0) { max($0, abs($1)) })
        if largest == 0 { return 0 }
        // Power means of numbers up to 1 neither overflow nor vanish, whatever the exponents.
        var (a, b) = (0.0, 0.0)
        for number in numbers {
            let magnitude = Double(abs(number)) / largest
            a += power(magnitude, p)
            b += power(magnitude, q)
        }
        let d = Double(numbers.count)
        return max(0, 1 - power(a / d, 1 / p) / power(b / d, 1 / q))
    }

    /// The share of numbers that a vector of this index has to keep.
    public func retainedShare(index: Double, eta: Double = 0) -> Double {
        min(1, power(1 + eta, -q / (q - p)) * power(1 - index, q * p / (q - p)))
    }

    /// The share to prune: `clip(γ (1 - r/d), 0, β)`.
    public func pruneShare(index: Double, eta: Double = 0, gamma: Double = 1, limit: Double = 0.9) -> Double {
        min(max(gamma * (1 - retainedShare(index: index, eta: eta)), 0), limit)
    }
}
