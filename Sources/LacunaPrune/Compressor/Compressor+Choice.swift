import LacunaModels
import LacunaSparse
import LacunaTensor

extension Compressor {
    /// Tries compositions of methods and budgets, each on half of the calibration text, and notes how well each keeps what the
    /// dense model predicts on held-out text: methods under the first budget, then the other budgets for the best of these.
    func choose(_ dense: Transformer, _ run: inout CompressionRun, _ progress: (any ProgressReporter)?) throws {
        if run.report[.pruned] != nil { return }
        let calibration = try calibration(max(1, plan.sequences / 2), for: dense)
        let held = try PredictionReference(
            dense, tokens: Array(text.heldOut.prefix(plan.heldOutTokens)), progress: progress)
        func attempt(_ method: String, _ budget: CompressionPlan.Budget) throws {
            if run.report.candidates.contains(where: { $0.method == method && $0.budget == budget }) { return }
            let begin = monotonicSeconds()
            if budget == .searched {
                run.report.searchedSparsities = try searched(dense, method, calibration, progress)
            }
            let pruned = try pruner(method, budget, run.report.searchedSparsities, of: dense).prune(
                dense, calibration: calibration, progress: progress
            ).decoder
            run.report.candidates.append(
                CompressionReport.Candidate(
                    method: method, budget: budget, fidelity: try held.compare(pruned, progress: progress),
                    seconds: monotonicSeconds() - begin))
            try run.save()
        }
        for method in plan.methods { try attempt(method, possibleBudgets[0]) }
        guard let best = run.report.chosen?.method else { return }
        for budget in possibleBudgets.dropFirst() { try attempt(best, budget) }
    }

    /// Those of the plan's budgets that the target leaves room for.
    private var possibleBudgets: [CompressionPlan.Budget] {
        guard case .sparsity(let value) = plan.target else { return [.uniform] }
        let possible = plan.budgets.filter { budget in
            budget != .owl || 2 * OutlierBudget(value).spread <= min(value, 1 - value)
        }
        return possible.isEmpty ? [.uniform] : possible
    }

    /// The pruner of a composition; its result is in f32.
    ///
    /// - Parameter sparsities: Of blocks, for a budget that was searched.
    func pruner(
        _ method: String, _ budget: CompressionPlan.Budget, _ sparsities: [String: Double], of dense: Transformer
    ) throws -> Pruner {
        var pruner = try plan.pruning(method, budget).pruner()
        guard budget == .searched else { return pruner }
        pruner.budget = LayerBudget(
            try Dictionary(
                uniqueKeysWithValues: dense.linearNames.map { name in
                    guard let sparsity = sparsities[OutlierBudget.block(of: name)] else {
                        throw LacunaError.invalidArgument("budget", reason: "none was found for '\(name)'")
                    }
                    return (name, sparsity)
                }))
        return pruner
    }

    /// The sparsities of blocks by what pruning each alone costs on the beginning of the calibration text.
    private func searched(
        _ dense: Transformer, _ method: String, _ calibration: CalibrationSet, _ progress: (any ProgressReporter)?
    ) throws -> [String: Double] {
        let plan = plan.pruning(method, .uniform)
        let pruner = try plan.pruner()
        guard let layerwise = pruner.method as? any LayerwisePruning, let pattern = pruner.pattern else {
            throw LacunaError.invalidArgument("budget", reason: "cannot be searched for \(method)")
        }
        let reference = try PredictionReference(
            dense, tokens: Array(calibration.tokens.prefix(Self.searchTokens)),
            window: min(calibration.sequenceLength, Self.searchTokens), progress: progress)
        let budget = try SensitivityBudget.measure(
            plan.removed(), method: layerwise, pattern: pattern, reference: reference, calibration: calibration,
            progress: progress)
        let layers = dense.linearNames.map { name in
            (name: name, shape: [dense[linear: name].rows, dense[linear: name].columns])
        }
        let shares = try budget.allocate(layers: layers)
        return Dictionary(shares.map { (OutlierBudget.block(of: $0), $1) }) { first, _ in first }
    }

    /// Tokens on which blocks are compared.
    private static let searchTokens = 1024
}
