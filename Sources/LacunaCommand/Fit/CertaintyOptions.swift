import ArgumentParser
import LacunaRegress
import LacunaTensor

/// How sure a fit is to be said to be.
struct CertaintyOptions: ParsableArguments {
    @Option(
        in: 1...10_000,
        help: ArgumentHelp(
            "Fit both halves of the rows, divided n times, and say how often each feature is selected.", valueName: "n")
    )
    var stability: Int?

    @Option(
        help: """
            Intervals for 95 in 100: debiased (lasso and elastic net of numbers, normal errors) or bootstrap (how the \
            estimate itself varies).
            """)
    var intervals: Certainty.Method?

    @Option(in: 20...100_000, help: ArgumentHelp("Samples of the bootstrap; 200 if not given.", valueName: "n"))
    var samples: Int?

    func validate() throws {
        if samples != nil && intervals != .bootstrap { throw ValidationError("--samples is for --intervals bootstrap") }
    }

    /// Whether fits to other samples of the rows are asked for.
    var drawsRows: Bool { stability != nil || intervals == .bootstrap }

    /// Refuses what does not combine before any work.
    func validate(_ estimator: Estimator, hasWeights: Bool, hasFactors: Bool) throws {
        if intervals == .debiased && estimator.family != .gaussian {
            throw LacunaError.invalidArgument(
                "--intervals", reason: "debiased are for numbers; bootstrap is for every family")
        }
        if intervals == .debiased { try estimator.validateDebiased(hasWeights: hasWeights, hasFactors: hasFactors) }
        if intervals == .bootstrap && estimator.family == .multinomial {
            throw LacunaError.invalidArgument("--intervals", reason: "bootstrap is not for several classes")
        }
    }

    func measure(_ estimator: Estimator, _ table: LacunaRegress.Table, _ fit: Fit, seed: UInt64) throws -> Certainty? {
        var result = try stability.map { try estimator.stability(table, of: fit, pairs: $0, seed: seed) }
        switch intervals {
        case .bootstrap:
            let found = try estimator.bootstrap(table, of: fit, samples: samples ?? 200, seed: seed)
            result = result?.joined(found) ?? found
        case .debiased:
            // All features of a narrow table; of a wide one those that were selected.
            let features = table.design.columns <= 500 ? nil : fit.solution.selectedColumns
            let found = try estimator.debiased(table, of: fit, features: features)
            result = result?.joined(found) ?? found
        case nil: break
        }
        return result
    }
}

extension Certainty.Method: ExpressibleByArgument {}
