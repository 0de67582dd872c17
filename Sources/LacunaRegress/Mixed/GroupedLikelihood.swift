import LacunaTensor

/// Scale parameters of a mixed model.
public struct VarianceComponents: Sendable, Equatable {
    /// `s²`, above 0: the variance of residuals; where tails are heavy, their squared scale.
    public var residual: Double
    /// `t`, 0 or more: the variance of the random intercepts over `s²`.
    public var ratio: Double

    /// Both at least 0.
    public init(residual: Double, ratio: Double) {
        self.residual = residual
        self.ratio = ratio
    }

    /// `s² t`.
    public var intercepts: Double { residual * ratio }
    /// `t / (1 + t)`: the correlation of two rows of a group beyond what the columns explain.
    public var intraclassCorrelation: Double { ratio / (1 + ratio) }
}

/// Residuals `r_g` of groups that follow a multivariate Student distribution (normal at infinite degrees of freedom) with scale
/// `s² (I + t 1 1ᵀ)`: a random intercept for each group, and tails that the whole group shares.
///
/// `d_g² = r_gᵀ (I + t 1 1ᵀ)^{-1} r_g / s² = (‖r_g‖² - t/(1 + t n_g) (Σ r_g)²) / s²`.
public struct GroupedLikelihood: Sendable {
    /// Which rows belong together.
    public let groups: RowGroups
    /// How heavy the tails of residuals are.
    public let tail: Tail
    /// How often each group counts; 0 for one held out.
    let multiplicities: [Double]
    /// `Σ multiplicity · rows`.
    let total: Double
    /// `Σ multiplicity · log normaliser`.
    private let normalizer: Double

    /// The likelihood of residuals in these groups, of this tail.
    public init(groups: RowGroups, tail: Tail) {
        self.init(groups: groups, tail: tail, multiplicities: [Double](repeating: 1, count: groups.count))
    }

    init(groups: RowGroups, tail: Tail, multiplicities: [Double]) {
        self.groups = groups
        self.tail = tail
        self.multiplicities = multiplicities
        total = zip(multiplicities, groups.sizes).reduce(0) { $0 + $1.0 * Double($1.1) }
        var bySize: [Int: Double] = [:]
        normalizer = zip(multiplicities, groups.sizes).reduce(0) { sum, group in
            let value = bySize[group.1] ?? tail.logNormalizer(count: group.1)
            bySize[group.1] = value
            return sum + (group.0 > 0 ? group.0 * value : 0)
        }
    }

    /// What the likelihood needs of residuals: for each group the sum and the sum of squares.
    struct Moments {
        var sums, squares: [Double]

        /// `‖r‖² - t/(1 + t n) (Σ r)²`, which is not negative.
        func distance(_ g: Int, count n: Int, ratio t: Double) -> Double {
            t == 0 ? squares[g] : max(0, squares[g] - t / (1 + t * Double(n)) * sums[g] * sums[g])
        }
    }

    func moments(_ residuals: UnsafePointer<Double>) -> Moments {
        var (sums, squares) = ([Double](repeating: 0, count: groups.count), [Double](repeating: 0, count: groups.count))
        for (i, g) in groups.indices.enumerated() {
            sums[g] += residuals[i]
            squares[g] += residuals[i] * residuals[i]
        }
        return Moments(sums: sums, squares: squares)
    }

    /// `d²` of each group.
    func squaredDistances(_ moments: Moments, _ scale: VarianceComponents) -> [Double] {
        groups.sizes.indices.map {
            moments.distance($0, count: groups.sizes[$0], ratio: scale.ratio) / scale.residual
        }
    }

    /// `(ν + n)/(ν + d²)` of each group.
    func weights(_ moments: Moments, _ scale: VarianceComponents) -> [Double] {
        zip(squaredDistances(moments, scale), groups.sizes).map { tail.weight($0, count: $1) }
    }

    /// The part that residuals move, `Σ loss(d²)`.
    func loss(_ moments: Moments, _ scale: VarianceComponents) -> Double {
        var sum = 0.0
        for (g, n) in groups.sizes.enumerated() where multiplicities[g] > 0 {
            sum +=
                multiplicities[g]
                * tail.loss(moments.distance(g, count: n, ratio: scale.ratio) / scale.residual, count: n)
        }
        return sum
    }

    func negativeLogLikelihood(_ moments: Moments, _ scale: VarianceComponents) -> Double {
        var determinant = total * logarithm(scale.residual)
        if scale.ratio > 0 {
            for (g, n) in groups.sizes.enumerated() {
                determinant += multiplicities[g] * logarithmOfOnePlus(scale.ratio * Double(n))
            }
        }
        return loss(moments, scale) + determinant / 2 - normalizer
    }

    /// The log density of all residuals with the sign changed.
    ///
    /// - Parameter residuals: One for each row.
    public func negativeLogLikelihood(_ residuals: [Double], _ scale: VarianceComponents) -> Double {
        require(residuals.count == groups.rows && scale.residual > 0 && scale.ratio >= 0)
        return negativeLogLikelihood(moments(residuals), scale)
    }

    /// The derivative of ``negativeLogLikelihood(_:_:)`` in the residuals.
    public func gradient(_ residuals: [Double], _ scale: VarianceComponents) -> [Double] {
        require(residuals.count == groups.rows && scale.residual > 0 && scale.ratio >= 0)
        return gradient(residuals, moments(residuals), scale)
    }

    func gradient(_ residuals: [Double], _ moments: Moments, _ scale: VarianceComponents) -> [Double] {
        let weights = weights(moments, scale)
        let factors = weights.indices.map { multiplicities[$0] * weights[$0] / scale.residual }
        let means = groups.sizes.indices.map {
            scale.ratio / (1 + scale.ratio * Double(groups.sizes[$0])) * moments.sums[$0]
        }
        return zip(residuals, groups.indices).map { r, g in factors[g] * (r - means[g]) }
    }

    /// The best predictions of the random intercepts, `t/(1 + t n) Σ r`. They do not depend on the tail.
    public func randomIntercepts(_ residuals: [Double], _ scale: VarianceComponents) -> [Double] {
        let sums = moments(residuals).sums
        return zip(sums, groups.sizes).map { scale.ratio / (1 + scale.ratio * Double($1)) * $0 }
    }
}
