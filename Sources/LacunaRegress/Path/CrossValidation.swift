import LacunaTensor

/// K-fold cross-validation of a path: how well each strength predicts rows that were not fitted.
///
/// Rows are held out by giving them the weight 0, so neither sparse nor mapped designs are copied. The folds depend on the
/// seed alone.
public struct CrossValidation: Sendable {
    /// Descending.
    public let strengths: [Double]
    /// Mean over the folds of the loss on the rows left out, for each strength.
    public let losses: [Double]
    /// Standard errors of those means.
    public let standardErrors: [Double]
    /// Whether every fit of every fold reached its tolerance.
    public let converged: Bool

    /// Where the mean loss is smallest.
    public var best: Int { losses.indices.min { losses[$0] < losses[$1] } ?? 0 }

    /// The one-standard-error rule: the largest strength whose loss is within one standard error of the best.
    public var simplest: Int {
        let limit = losses[best] + standardErrors[best]
        return losses.indices.first { losses[$0] <= limit } ?? best
    }

    /// The fold of each row: sizes differ by 1 at most.
    ///
    /// - Parameter strata: Classes that every fold gets its share of.
    public static func folds(rows: Int, count: Int, seed: UInt64, strata: [Int]? = nil) -> [Int] {
        var generator = SeededGenerator(seed: seed, stream: 0x0F01D)
        let shuffled = (0..<rows).shuffled(using: &generator)
        let order = strata.map { strata in
            shuffled.enumerated().sorted { (strata[$0.element], $0.offset) < (strata[$1.element], $1.offset) }.map(
                \.element)
        }
        var fold = [Int](repeating: 0, count: rows)
        for (position, row) in (order ?? shuffled).enumerated() { fold[row] = position % count }
        return fold
    }

    /// - Parameters:
    ///   - strengths: Descending.
    ///   - folds: The fold of each row, from 0; at least two.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for fewer than two folds or a fold without weight, and as the
    ///   solver.
    public init<F: Datafit, P: SeparablePenalty & ScalablePenalty>(
        _ problem: Problem<F, P>, strengths: [Double], folds: [Int], solver: some SeparableSolver = ProximalNewton(),
        progress: (any ProgressReporter)? = nil
    ) throws {
        try self.init(problem, strengths, folds, progress, measure: nil) { try solver.path($0, strengths: strengths) }
    }

    /// As the other initialiser, for penalties on groups.
    public init<F: Datafit, P: GroupPenalty & ScalablePenalty>(
        groups problem: Problem<F, P>, strengths: [Double], folds: [Int],
        solver: some GroupSolver = BlockCoordinateDescent(), progress: (any ProgressReporter)? = nil
    ) throws {
        try self.init(problem, strengths, folds, progress, measure: nil) { try solver.path($0, strengths: strengths) }
    }

    /// - Parameter measure: What takes the place of the loss: of the predictors of all rows, and of weights that are 0 for the
    ///   rows that were fitted.
    init<F: Datafit, P: Penalty>(
        _ problem: Problem<F, P>, _ strengths: [Double], _ folds: [Int], _ progress: (any ProgressReporter)?,
        measure: (([Double], [Double]) -> Double)?, path: (Problem<F, P>) throws -> [Solution]
    ) throws {
        require(folds.count == problem.design.rows)
        let count = (folds.max() ?? -1) + 1
        if count < 2 { throw LacunaError.invalidArgument("folds", reason: "at least 2 are needed, not \(count)") }
        let weights = problem.datafit.weights
        var losses = [[Double]](repeating: [], count: strengths.count)
        var converged = true
        for fold in 0..<count {
            try progress.report("cross-validation", fold, of: count)
            func inside() -> [Double] { weights.indices.map { folds[$0] == fold ? 0 : weights[$0] } }
            // What rows are left out for comes after the path, which needs the memory.
            let solutions = try path(try problem.weighted(by: inside()))
            let outside = weights.indices.map { folds[$0] == fold ? weights[$0] : 0 }
            let test = try problem.datafit.leftOut(outside, beside: inside())
            for (index, solution) in solutions.enumerated() {
                let eta = solution.predictors(problem.design)
                losses[index].append(measure.map { $0(eta, outside) } ?? test(eta))
                converged = converged && solution.converged
            }
        }
        self.init(strengths: strengths, losses: losses, converged: converged)
    }

    /// For strengths and losses in other units.
    func scaled(strengths: [Double], losses factor: Double) -> CrossValidation {
        CrossValidation(
            strengths: Array(strengths.prefix(self.strengths.count)), losses: losses.map { $0 * factor },
            standardErrors: standardErrors.map { $0 * factor }, converged: converged)
    }

    private init(strengths: [Double], losses: [Double], standardErrors: [Double], converged: Bool) {
        (self.strengths, self.losses, self.standardErrors, self.converged) = (
            strengths, losses, standardErrors, converged
        )
    }

    /// - Parameter losses: For each strength the loss in each fold.
    init(strengths: [Double], losses: [[Double]], converged: Bool) {
        self.strengths = strengths
        self.converged = converged
        self.losses = losses.map { $0.reduce(0, +) / Double($0.count) }
        standardErrors = zip(losses, self.losses).map { values, mean in
            let count = Double(values.count)
            let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / (count - 1)
            return (variance / count).squareRoot()
        }
    }
}
