import LacunaTensor

/// A sparse mixed model, fitted.
public struct MixedFit: Sendable {
    /// Fixed effects, their objective, how far from stationary they are, and whether the tolerance was reached.
    ///
    /// The objective is minus the log likelihood divided by the rows, plus the penalty divided by `s²`; passes are rounds.
    public let solution: Solution
    /// The tail of the residuals.
    public let tail: Tail
    /// Which rows belong together.
    public let groups: RowGroups
    /// Spread of rows and of groups, squared.
    public let scale: VarianceComponents
    /// Of all rows, at the fit.
    public let logLikelihood: Double
    /// Residuals of the fixed effects, `y - Xβ - β₀`.
    public let residuals: [Double]
    /// The best prediction of each group's random intercept.
    public let randomIntercepts: [Double]
    /// `d²` of each group; `n_g` is to be expected.
    public let squaredDistances: [Double]
    /// `(ν + n)/(ν + d²)`: what each group counted for; 1 is to be expected, much less marks an outlier. 1 for normal residuals.
    public let groupWeights: [Double]
    /// What each row would count for as a group of its own, given its group's random intercept: which rows of a group are to
    /// blame. They took no part in the fit.
    public let rowWeights: [Double]
    /// What each round came to.
    public let rounds: [Round]

    /// Likelihood and penalty in the units of a round, minus the log likelihood divided by the rows plus the penalty over the
    /// `s²` at its beginning.
    public struct Round: Sendable, Equatable {
        /// The objective before the round, after its coefficients, and after its scales.
        public let start, afterCoefficients, afterScales: Double
    }

    /// Parameters that were chosen freely: coefficients that are not 0, the intercept, and the scales.
    public var parameters: Int {
        solution.support.count + (hasIntercept ? 1 : 0) + (groups.hasCompany ? 2 : 1)
    }
    let hasIntercept: Bool

    /// `-2 log likelihood + parameters · log(rows)`: the information criterion of Schwarz, the smaller the better.
    public var bic: Double { -2 * logLikelihood + Double(parameters) * logarithm(Double(groups.rows)) }

    /// ``bic`` plus `2 log (columns choose selected)`, which accounts for how many sets of so many columns there are: for
    /// designs of more than a few columns, among which Schwarz's criterion picks too many.
    ///
    /// Jiahua Chen, Zehua Chen, "Extended Bayesian Information Criteria for Model Selection with Large Model Spaces", Biometrika
    /// 2008, with γ = 1.
    public var extendedBIC: Double {
        let (p, k) = (solution.columns, solution.support.count)
        let choices = (0..<min(k, p - k)).reduce(0.0) { $0 + logarithm(Double(p - $1) / Double($1 + 1)) }
        return bic + 2 * choices
    }

    /// Predicted targets of the rows that were fitted, random intercepts included.
    public func fitted(_ design: any Design) -> [Double] {
        zip(solution.predictors(design), groups.indices).map { $0 + randomIntercepts[$1] }
    }
}

/// Fits of descending strengths.
public struct MixedPath: Sendable {
    /// Descending.
    public let strengths: [Double]
    /// One for each strength.
    public let fits: [MixedFit]
    /// The smallest strength at which nothing is selected.
    public let maximumStrength: Double
    /// The model without columns.
    public let null: MixedFit
    /// Why the path ends before the last strength that was asked for; nil if it does not.
    public let ending: String?

    /// Where Schwarz's criterion is smallest.
    public var bestBIC: Int { fits.indices.min { fits[$0].bic < fits[$1].bic } ?? 0 }

    /// Where the extended criterion is smallest.
    public var bestExtendedBIC: Int { fits.indices.min { fits[$0].extendedBIC < fits[$1].extendedBIC } ?? 0 }

    /// The share of the variance `s²(1 + t)` of the empty model that the columns explain, for each strength.
    public var explained: [Double] {
        let whole = null.scale.residual * (1 + null.scale.ratio)
        return fits.map { 1 - $0.scale.residual * (1 + $0.scale.ratio) / whole }
    }

    /// The same as every path.
    public var regularizationPath: RegularizationPath {
        RegularizationPath(strengths: strengths, solutions: fits.map(\.solution), explained: explained)
    }
}
