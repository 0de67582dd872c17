import LacunaTensor

/// Shares a pruning ratio out among a model's blocks: those that turn their input further keep more.
///
/// With `g_l` the mean angle between a block's input and output, divided by π, a block weighs
/// `s_l = σ(slope (g_l - mean g))` and keeps the fraction `(1 - p) s_l / mean s`. If one would keep more than all it has,
/// the weights are first drawn together about their mean until the largest keeps `1 - p + p / 1.05`.
///
/// The coarse part of: Yuxin Wang, Minghua Ma, Zekun Wang and others, "CFSP: An Efficient Structured Pruning Framework
/// for LLMs with Coarse-to-Fine Activation Information", arXiv 2409.13199. Their release sums angles over 128 x 1024
/// tokens and divides by 10⁴; the default slope is that for mean angles, so that it does not depend on the number of
/// tokens.
public struct AngularBudget: Sendable, Hashable {
    /// Steepness of the sigmoid; 0 gives every block the same.
    public var slope: Double

    /// - Parameter slope: 0 or more. The default is what the authors' comes to on their 128 sequences of 1024 tokens.
    public init(slope: Double = 13.1072) { self.slope = slope }

    /// The angle between two vectors divided by π, 0...1. 0 if either vanishes.
    public static func angle(
        _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, count: Int
    ) -> Double {
        var (product, first, second) = (0.0, 0.0, 0.0)
        for i in 0..<count {
            let (x, y) = (Double(a[i]), Double(b[i]))
            product += x * y
            first += x * x
            second += y * y
        }
        let norms = (first * second).squareRoot()
        // Rounding can put the cosine of parallel vectors beyond 1.
        return norms > 0 ? arcCosine(min(1, max(-1, product / norms))) / Double.pi : 0
    }

    /// The fraction that every block keeps; their mean is `1 - ratio`.
    ///
    /// - Parameters:
    ///   - importance: Mean angle of every block.
    ///   - ratio: Fraction removed from all blocks together, 0..<1.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a ratio out of range or an importance that is not
    ///   finite.
    public func keptFractions(importance: [Double], ratio: Double) throws -> [Double] {
        if !(ratio >= 0 && ratio < 1) {
            throw LacunaError.invalidArgument("sparsity", reason: "must be at least 0 and below 1, not \(ratio)")
        }
        if importance.isEmpty { return [] }
        if !importance.allSatisfy(\.isFinite) {
            throw LacunaError.invalidArgument("importance", reason: "of a block is not finite")
        }
        func mean(_ numbers: [Double]) -> Double { numbers.reduce(0, +) / Double(numbers.count) }
        let centre = mean(importance)
        var weights = importance.map { 1 / (1 + exponential(-slope * ($0 - centre))) }
        let level = mean(weights)
        let largest = weights.max()!
        if (1 - ratio) * largest / level >= 1 && largest > level {
            let contraction = level * (1 / (1 - ratio) - 1) / (largest - level) / 1.05
            weights = weights.map { level + contraction * ($0 - level) }
        }
        let scale = (1 - ratio) / mean(weights)
        return weights.map { $0 * scale }
    }

    /// Whole numbers that follow the fractions and add up to the rounded total, each at least 1 and at most the width.
    ///
    /// - Parameters:
    ///   - fractions: Of ``keptFractions(importance:ratio:)``.
    ///   - widths: What every block has.
    ///   - multiple: Every number is a multiple of this, where the width allows it.
    static func keptCounts(_ fractions: [Double], widths: [Int], multiple: Int) -> [Int] {
        let shares = zip(fractions, widths).map { $0 * Double($1) / Double(multiple) }
        let limits = widths.map { max(1, $0 / multiple) }
        var kept = zip(shares, limits).map { min(max(1, Int($0 + 1e-9)), $1) }
        var missing = Int((shares.reduce(0, +)).rounded()) - kept.reduce(0, +)
        let byLoss = shares.indices.sorted {
            let (a, b) = (shares[$0] - Double(kept[$0]), shares[$1] - Double(kept[$1]))
            return a != b ? a > b : $0 < $1
        }
        for block in byLoss where missing > 0 && kept[block] < limits[block] {
            kept[block] += 1
            missing -= 1
        }
        return widths.indices.map { fractions[$0] > 1 - 1e-9 ? widths[$0] : min(kept[$0] * multiple, widths[$0]) }
    }
}
