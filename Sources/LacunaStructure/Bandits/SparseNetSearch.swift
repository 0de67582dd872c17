import LacunaTensor

/// Finds a nearly best action of a misspecified linear bandit whose parameter has at most `s` entries that are not 0, with an
/// error that does not grow with the dimension.
///
/// For every support of size `s` and every point of an ε-net of the directions in it, the action that this parameter would
/// prefer becomes a candidate; candidates are queried and the best is played. The net holds a point within ε of the true
/// direction, whose preferred action loses at most 2ε; the errors of the rewards hide at most ε on either side. So without
/// noise the action played is within 4ε of the best whenever `‖θ‖ ≤ 1` and `‖φ(a)‖ ≤ 1`.
///
/// Jialin Dong, Lin F. Yang, "Does Sparsity Help in Learning Misspecified Linear Bandits?", arXiv 2303.16998, which proves that
/// O(ε⁻ˢ dˢ) queries suffice for O(ε) and that the exponent s is needed. The net here is our construction.
public struct SparseNetSearch: Sendable {
    /// s.
    public var sparsity: Int
    /// ε: the bound on the error of the rewards, and the spacing of the net.
    public var resolution: Double
    /// With noise: the probability that some mean is off by more than ε.
    public var failure: Double
    /// How the supports to search are found.
    public var support: Support

    /// Which supports are looked at.
    public enum Support: Sendable, Equatable {
        /// All of them: O(dˢ ε¹⁻ˢ) candidates at most.
        case exhaustive
        /// The one that orthogonal matching pursuit picks from the answers of so many random actions. Needs features that are
        /// nearly orthogonal on sparse vectors; a wrong support has no guarantee.
        case pursuit(queries: Int)
    }

    /// Settings as their properties say.
    public init(sparsity: Int, resolution: Double, failure: Double = 0.05, support: Support = .exhaustive) {
        require(sparsity > 0 && resolution > 0 && resolution <= 1 && failure > 0 && failure < 1)
        self.sparsity = sparsity
        self.resolution = resolution
        self.failure = failure
        self.support = support
    }

    /// An ε-net of the unit sphere in `dimensions` dimensions: for every unit vector there is a point within ε.
    ///
    /// Centres of cubes on the faces of the cube around the sphere, drawn in towards the centre, which brings no two points
    /// farther apart.
    static func sphere(dimensions s: Int, resolution: Double) -> [[Double]] {
        let cells = max(1, Int((Double(s - 1).squareRoot() / resolution).rounded(.up)))
        let centres = (0..<cells).map { (2 * Double($0) + 1) / Double(cells) - 1 }
        var grid: [[Double]] = [[]]
        for _ in 0..<s - 1 { grid = grid.flatMap { point in centres.map { point + [$0] } } }
        return (0..<s).flatMap { axis in
            grid.flatMap { point -> [[Double]] in
                let length = (1 + point.reduce(0) { $0 + $1 * $1 }).squareRoot()
                return [1.0, -1].map { sign in
                    (point[..<axis] + [sign] + point[axis...]).map { $0 / length }
                }
            }
        }
    }

    /// Actions preferred by some point of the net on some of these supports, ascending and each once.
    ///
    /// - Complexity: O(supports · net · actions · s); only the columns of a support are read.
    func candidates(_ columns: Tensor<Double>, supports: [[Int]]) -> [Int] {
        let actions = columns.columns
        let net = Self.sphere(dimensions: sparsity, resolution: resolution)
        var preferred = [Bool](repeating: false, count: actions)
        let found = Buffer<Int32>(repeating: 0, count: max(supports.count * net.count, 1))
        columns.withPointer { columns in
            Parallel.forEach(supports.count) { place in
                let support = supports[place]
                var scores = [Double](repeating: 0, count: actions)
                for (k, point) in net.enumerated() {
                    for a in 0..<actions { scores[a] = 0 }
                    for (weight, j) in zip(point, support) {
                        kernels.axpy_f64(weight, columns + j * actions, &scores, actions)
                    }
                    var best = 0
                    for a in 1..<max(actions, 1) where scores[a] > scores[best] { best = a }
                    found.pointer[place * net.count + k] = Int32(best)
                }
            }
        }
        if !supports.isEmpty { for action in found.elements { preferred[Int(action)] = true } }
        return preferred.indices.filter { preferred[$0] }
    }

    /// Every set of `size` numbers below `count`, ascending.
    static func subsets(of count: Int, size: Int) -> [[Int]] {
        var result: [[Int]] = [[]]
        for place in 0..<size {
            var longer: [[Int]] = []
            for set in result {
                let first = (set.last ?? -1) + 1
                for next in first..<max(count - size + place + 1, first) { longer.append(set + [next]) }
            }
            result = longer
        }
        return result
    }

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if `sparsity` exceeds the dimension, pursuit may not query, there are
    ///   more than 10⁷ points of nets to look at, or noise of this size takes more than 10⁹ queries.
    public func decide(_ bandit: LinearBandit, using generator: inout SeededGenerator) throws -> BanditDecision {
        let d = bandit.dimensions
        guard sparsity <= d else {
            throw LacunaError.invalidArgument("sparsity", reason: "\(sparsity) exceeds the dimension, \(d)")
        }
        var size = 2 * Double(sparsity)
        for _ in 0..<sparsity - 1 { size *= max(1, (Double(sparsity - 1).squareRoot() / resolution).rounded(.up)) }
        if support == .exhaustive {
            for k in 0..<sparsity { size *= Double(d - k) / Double(k + 1) }
        }
        guard size <= 1e7 else {
            throw LacunaError.invalidArgument(
                "sparsity", reason: "a net of \(Int(min(size, 1e18))) points for \(d) dimensions is too large")
        }
        var queries = 0
        let supports: [[Int]]
        switch support {
        case .exhaustive: supports = Self.subsets(of: d, size: sparsity)
        case .pursuit(let count):
            guard count > 0 else {
                throw LacunaError.invalidArgument("support", reason: "pursuit after \(count) queries")
            }
            let (asked, answers) = LeastSquaresBandit.ask(bandit, count, &generator)
            let pursuit = try OrthogonalMatchingPursuit(count: sparsity).fit(bandit.features(of: asked), answers)
            // Rewards that vanish leave the support open: the first dimensions do as well as any.
            let rest = (0..<d).lazy.filter { !pursuit.support.contains($0) }.prefix(sparsity - pursuit.support.count)
            supports = [(pursuit.support + rest).sorted()]
            queries += asked.count
        }
        let candidates = candidates(bandit.features.transposed(), supports: supports)
        // Tails of normal means: with so many answers each, all are within ε but for the probability of failure.
        let ratio = bandit.noise / resolution
        let needed = max(1, (2 * ratio * ratio * logarithm(2 * Double(candidates.count) / failure)).rounded(.up))
        guard needed * Double(candidates.count) <= 1e9 else {
            throw LacunaError.invalidArgument(
                "noise", reason: "\(bandit.noise) hides errors of \(resolution) in fewer than 10⁹ queries")
        }
        let repeats = Int(needed)
        var best: (action: Int, value: Double)?
        for action in candidates {
            var sum = 0.0
            for _ in 0..<repeats { sum += bandit.query(action, using: &generator) }
            if sum > best?.value ?? -.infinity { best = (action, sum) }
        }
        queries += candidates.count * repeats
        return BanditDecision(action: best?.action ?? 0, queries: queries, candidates: candidates.count)
    }
}
