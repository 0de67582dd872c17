import LacunaTensor

/// Sparse linear regression of grouped rows with a random intercept for each group and tails that may be heavy: a linear mixed
/// model with q-Gaussian residuals and any separable penalty.
///
/// For group `g`, `y_g = X_g β + β₀ + u_g 1 + e_g`, where `(u_g, e_g)` follow one Student distribution of ν degrees of freedom
/// (normal at `ν = ∞`) with scales `s² t` and `s²`. So `y_g` is multivariate Student with scale `s² (I + t 1 1ᵀ)`: outlying
/// *groups* count less, and a row that is a group of its own is a row of Student regression.
///
/// What is sought is a point from which neither of two things can be improved:
///
/// - the coefficients, in `(s²/N) Σ_g ½(ν + n_g) log(1 + d_g²/ν) + penalty(β)`, which for normal residuals without groups is
///   `Problem`'s `½ mean(r²) + penalty(β)`, so that strengths mean what they mean elsewhere and do not depend on the noise;
/// - the scales `s²` and `t`, in the likelihood.
///
/// Each round takes a step of both. The loss is concave in `d²`, so the least-squares problem with the weights
/// `(ν + n_g)/(ν + d_g²)` lies above it and touches it where it was made; whitened within groups and centred by generalised least
/// squares, it is an ordinary problem for any solver here. The scales follow by one-dimensional searches. In the units of the
/// round, likelihood plus penalty / s², neither half can rise.
///
/// The robust mixed model of Kai Yang, "Contributions to Robust and Efficient Methods for Analysis of High Dimensional Data",
/// thesis, McGill University, whose parametrisation is not transcribed here; weights after Kenneth Lange, Roderick Little, Jeremy
/// Taylor, "Robust Statistical Modeling Using the t Distribution", JASA 1989; penalised mixed models after Jürg Schelldorfer,
/// Peter Bühlmann, Sara van de Geer, "Estimation for High-Dimensional Linear Mixed-Effects Models Using ℓ1-Penalization", arXiv
/// 1002.3784.
public struct SparseMixedModel: Sendable {
    /// The tail of the residuals.
    public var tail: Tail
    /// Whether a constant is fitted beside the columns.
    public var hasIntercept: Bool
    /// Bound of the distance to stationarity of the coefficients, relative to the largest gradient without any.
    public var tolerance: Double
    /// A bound on the rounds of one fit.
    public var maximumRounds: Int
    /// What solves the weighted least-squares problem of a round. Where it certifies by a duality gap, which near the
    /// solution falls with the square of the distance to it, its tolerance should be far below ``tolerance``.
    public var solver: any SeparableSolver
    /// Told about rounds; its error, as when a user cancels, ends the fit.
    public var progress: (any ProgressReporter)?

    /// - Parameters:
    ///   - tolerance: Above 0.
    ///   - maximumRounds: At least 1. A fit that reaches it says so.
    public init(
        tail: Tail = .gaussian, hasIntercept: Bool = true, tolerance: Double = 1e-6, maximumRounds: Int = 200,
        solver: any SeparableSolver = ProximalNewton(tolerance: 1e-15, maximumPasses: 30),
        progress: (any ProgressReporter)? = nil
    ) {
        require(tolerance > 0 && maximumRounds > 0)
        self.tail = tail
        self.hasIntercept = hasIntercept
        self.tolerance = tolerance
        self.maximumRounds = maximumRounds
        self.solver = solver
        self.progress = progress
    }

    /// Fits one strength of a penalty.
    ///
    /// - Parameters:
    ///   - target: One finite number for each row.
    ///   - groups: Which rows share a random intercept; nil for none.
    ///   - start: Coefficients and scales to begin with; those of the empty model for nil.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for numbers that are not finite and unequal numbers of rows;
    ///   ``LacunaError/numerical(operation:reason:)`` where the likelihood has no bound, because residuals vanish;
    ///   ``LacunaError/cancelled``.
    public func fit<P: SeparablePenalty>(
        _ design: any Design, _ target: [Double], groups: RowGroups? = nil, _ penalty: P, from start: MixedFit? = nil
    ) throws -> MixedFit {
        let session = try MixedSession(self, design, target, groups: groups)
        return try session.fit(penalty, from: start)
    }

    /// Fits descending strengths, every one starting from the one before.
    ///
    /// A path ends early before a strength that selects too many columns, and before one where the likelihood has no bound:
    /// a model that nearly interpolates has a likelihood near infinity, and no criterion that rests on it means anything.
    ///
    /// - Parameters:
    ///   - strengths: 100 from the smallest that selects nothing to a hundredth of it for nil.
    ///   - maximumSupport: How many columns may be selected; half as many as there are rows for nil.
    /// - Throws: As ``fit(_:_:groups:_:from:)``, and ``LacunaError/numerical(operation:reason:)`` if no column is related to the
    ///   target, or the path would end at its first strength.
    public func path<P: SeparablePenalty & ScalablePenalty>(
        _ design: any Design, _ target: [Double], groups: RowGroups? = nil, _ penalty: P, strengths: [Double]? = nil,
        maximumSupport: Int? = nil
    ) throws -> MixedPath {
        try penalty.requireColumns(of: design)
        let session = try MixedSession(self, design, target, groups: groups)
        let all = try strengths ?? RegularizationPath.strengths(from: session.maximumStrength(penalty))
        return try session.path(penalty, all, maximumSupport: maximumSupport ?? design.rows / 2)
    }

    /// The smallest strength at which nothing is selected.
    ///
    /// - Throws: As ``fit(_:_:groups:_:from:)``.
    public func maximumStrength<P: SeparablePenalty & ScalablePenalty>(
        _ design: any Design, _ target: [Double], groups: RowGroups? = nil, _ penalty: P
    ) throws -> Double {
        try MixedSession(self, design, target, groups: groups).maximumStrength(penalty)
    }

    /// K-fold cross-validation of a path: how likely each strength makes groups that were not fitted.
    ///
    /// The loss of a fold is minus the log density of its rows, their random intercepts unknown, divided by their number.
    /// Strengths below one at which a fold's path ends are left out.
    ///
    /// - Parameters:
    ///   - folds: The fold of each row, from 0; rows of a group must share one. See ``RowGroups/folds(count:seed:)``.
    ///   - maximumSupport: As for a path.
    /// - Throws: As ``fit(_:_:groups:_:from:)``, and ``LacunaError/invalidArgument(_:reason:)`` for fewer than two folds, empty
    ///   ones, and folds that tear groups apart.
    public func crossValidation<P: SeparablePenalty & ScalablePenalty>(
        _ design: any Design, _ target: [Double], groups: RowGroups? = nil, _ penalty: P, strengths: [Double],
        folds: [Int], maximumSupport: Int? = nil
    ) throws -> CrossValidation {
        let groups = groups ?? .singletons(rows: target.count)
        guard folds.count == groups.rows else {
            throw LacunaError.invalidArgument("folds", reason: "\(folds.count) for \(groups.rows) rows")
        }
        let foldOfGroup = groups.firstRows.map { folds[$0] }
        if let row = folds.indices.first(where: { folds[$0] != foldOfGroup[groups.indices[$0]] }) {
            throw LacunaError.invalidArgument("folds", reason: "row \(row + 1) is not in the fold of its group")
        }
        let count = (folds.max() ?? -1) + 1
        guard count >= 2, Set(folds).count == count, folds.allSatisfy({ $0 >= 0 }) else {
            throw LacunaError.invalidArgument("folds", reason: "at least 2 are needed, from 0, none of them empty")
        }
        var losses = [[Double]](repeating: [], count: strengths.count)
        var converged = true
        var quiet = self
        quiet.progress = nil
        for fold in 0..<count {
            try progress.report("cross-validation", fold, of: count)
            let session = try MixedSession(
                quiet, design, target, groups: groups, included: foldOfGroup.map { $0 != fold })
            let path = try session.path(penalty, strengths, maximumSupport: maximumSupport ?? design.rows / 2)
            let outside = GroupedLikelihood(
                groups: groups, tail: tail, multiplicities: foldOfGroup.map { $0 == fold ? 1 : 0 })
            for index in strengths.indices {
                guard index < path.fits.count else {
                    losses[index].append(.infinity)
                    continue
                }
                let fit = path.fits[index]
                let residuals = zip(target, fit.solution.predictors(design)).map { $0 - $1 }
                losses[index].append(
                    outside.negativeLogLikelihood(outside.moments(residuals), fit.scale) / outside.total)
                converged = converged && fit.solution.converged
            }
        }
        let reached = losses.firstIndex { $0.contains(.infinity) } ?? strengths.count
        return CrossValidation(
            strengths: Array(strengths.prefix(reached)), losses: Array(losses.prefix(reached)), converged: converged)
    }
}
