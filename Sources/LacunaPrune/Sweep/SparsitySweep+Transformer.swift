import LacunaModels
import LacunaSparse
import LacunaTensor

extension SparsitySweep {
    /// The curve of a decoder under one method: its perplexity on a text at every sparsity, each time pruned anew from the
    /// original. Embeddings, norms and the head are left alone.
    ///
    /// - Parameters:
    ///   - method: Any. With scope global, those that see layers in turn are pruned with the same sparsity in every layer;
    ///     for structured ones the sparsity is that of the feed-forward neurons and 1 is left out.
    ///   - text: Tokens to score.
    ///   - window: Tokens of a window; windows stand on their own.
    ///   - calibration: Needed unless the method's requirement is none.
    /// - Throws: As ``Pruner/prune(_:calibration:progress:)`` and ``Perplexity/measure(_:tokens:window:stride:progress:)``.
    public func run(
        _ decoder: Transformer, method: any PruningMethod, text: [Int], window: Int = 512,
        calibration: CalibrationSet? = nil, progress: (any ProgressReporter)? = nil
    ) throws -> SparsityCurve {
        var points: [SparsityCurve.Point] = []
        for sparsity in sparsities.sorted() {
            try progress.report(
                method.card.name, points.count, of: sparsities.count, "\(Int((sparsity * 100).rounded())) %")
            var pruned = decoder
            if sparsity > 0 {
                pruned = try pruner(method, sparsity).prune(decoder, calibration: calibration).decoder
            }
            let value = try perplexity(pruned, text, window)
            points.append(.init(sparsity: sparsity, value: value))
        }
        try progress.report(method.card.name, points.count, of: sparsities.count)
        return SparsityCurve(method: method.card.name, metric: .perplexity, points: points)
    }

    private func pruner(_ method: any PruningMethod, _ sparsity: Double) throws -> Pruner {
        if let method = method as? any MatrixCompression {
            return Pruner(method, pattern: try method.pattern(nil), budget: UniformBudget(sparsity))
        }
        guard let layerwise = method as? any LayerwisePruning else {
            return Pruner(method, pattern: .rows, budget: UniformBudget(sparsity))
        }
        // Dense floats: a sweep asks about quality, and every model is thrown away.
        let storage = PrunedStorage(layout: .dense)
        if scope == .global && method is any ScoredPruning && method.requirement == .none {
            return Pruner(method, pattern: .unstructured(.global), budget: GlobalBudget(sparsity), storage: storage)
        }
        let pattern = Pattern.unstructured(scope == .global ? layerwise.defaultScope : scope)
        return Pruner(method, pattern: pattern, budget: UniformBudget(sparsity), storage: storage)
    }

    /// A model so broken that its logits are no numbers has an infinite perplexity.
    private func perplexity(_ decoder: Transformer, _ text: [Int], _ window: Int) throws -> Double {
        do {
            return try Perplexity.measure(decoder, tokens: text, window: window).value
        } catch LacunaError.numerical {
            return .infinity
        }
    }
}
