import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Removes whole neurons in training: after every step the rows of a layer go through the proximal map of
/// ``GroupEnvelope`` with the weight `rate · λ`.
///
/// The map shortens what stays and, with a moderate λ, need not bring the rest to 0. So for the last part of the run the
/// `keep` rows of largest norm are all there is, the other neurons are silent (``NeuronRemoval``), and there is no
/// shrinkage. What is left can be cut out afterwards: `lacuna train` writes the smaller network.
public final class EnvelopeRegularization: TrainingMethod {
    /// Share of the rows to keep.
    public let keep: Double
    /// λ, 0 or more. It shortens survivors too: a moderate one and a selection at the end do better than a large one.
    public let lambda: Double
    /// The layers whose rows are groups. Their weights are dense.
    public let layers: LayerChoice
    /// The share of the run, 0...1, in which the neurons that stay are trained without shrinkage, the others being gone; 0
    /// removes them after the last step.
    public let fineTune: Double
    private var chosen: [Linear] = []

    /// - Throws: `LacunaError.invalidArgument` for numbers out of range.
    public init(keep: Double, lambda: Double, fineTune: Double = 0.25, layers: LayerChoice = .allButOutput) throws {
        guard keep > 0, keep <= 1 else { throw LacunaError.invalidArgument("keep", reason: "\(keep) is not in 0...1") }
        guard lambda >= 0, lambda.isFinite else {
            throw LacunaError.invalidArgument("lambda", reason: "\(lambda) is negative or not finite")
        }
        guard (0...1).contains(fineTune) else {
            throw LacunaError.invalidArgument("fine_tune", reason: "\(fineTune) is not in 0...1")
        }
        self.keep = keep
        self.lambda = lambda
        self.fineTune = fineTune
        self.layers = layers
    }

    public var card: MethodCard {
        MethodCard(
            name: "wgsef", family: .structured,
            paper: .init(
                authors: "Yehonathan Refael, Iftach Arbel, Wasim Huleihel",
                title: "Learning k-Level Structured Sparse Neural Networks Using Group Envelope Regularization",
                arXiv: "2212.12921"),
            composition: [
                "row norm", "convex envelope of k groups, then the k largest", "proximal step, smaller layers",
            ],
            implements: [
                "value and proximal map of the envelope",
                "neurons of each layer, the strongest cut out, training on without shrinkage",
            ],
            leavesOut: [
                "half-space steps",
                "budgets over all layers, groups of other weights",
                "adaptive metrics: the step is that of plain gradient descent",
            ])
    }

    public func attach(_ run: TrainingRun) throws {
        chosen = try layers.layers(of: run.model).map { name, layer in
            guard layer.dense != nil else {
                throw LacunaError.unsupported(
                    file: nil, what: "group envelopes on \(layer.weight.storage) weights ('\(name)')")
            }
            return layer
        }
    }

    /// The first step without shrinkage; that behind the last if there is none.
    private func cut(_ run: TrainingRun) -> Int {
        run.totalSteps - Int((fineTune * Double(run.totalSteps)).rounded(.down))
    }

    public func beforeStep(_ run: TrainingRun) throws {
        if run.step == cut(run) { try remove(run) }
    }

    public func afterStep(_ run: TrainingRun) throws {
        guard run.step < cut(run) else { return }
        for layer in chosen {
            let parameter = layer.dense!.parameter
            let strength = run.optimizer.learningRate * parameter.rateFactor * lambda
            if strength == 0 { continue }
            let (rows, columns) = (parameter.shape[0], parameter.shape[1])
            let w = parameter.buffer.pointer
            let norms = (0..<rows).map { r in
                (0..<columns).reduce(0.0) { $0 + Double(w[r * columns + $1] * w[r * columns + $1]) }.squareRoot()
            }
            let envelope = try GroupEnvelope(k: max(1, (keep * Double(rows)).rounded()))
            for (r, u) in envelope.weights(norms: norms, lambda: strength).enumerated() {
                let factor = Float(u / (strength + u))
                for c in 0..<columns { w[r * columns + c] *= factor }
            }
        }
    }

    public func end(_ run: TrainingRun) throws {
        // There may be no last part, and a run may end before it.
        if run.step <= cut(run) { try remove(run) }
        let all = chosen.reduce(0) { $0 + $1.outputDimensions }
        let left = chosen.reduce(0) { sum, layer in
            let mask = layer.dense!.mask
            return sum + (0..<layer.outputDimensions).count { mask == nil || mask!.keptCount(row: $0) > 0 }
        }
        run.metrics.append(("neurons", Double(left) / Double(max(all, 1))))
    }

    /// Leaves the strongest rows alone, and forgets what the optimiser kept for weights that were shrunk.
    private func remove(_ run: TrainingRun) throws {
        for (layer, rows) in zip(chosen, try strongestRows()) {
            try NeuronRemoval.silence(allBut: rows, of: layer, in: run.model)
        }
        run.optimizer.restart(run.model.parameters)
    }

    /// The rows of largest norm of each layer, `keep` of them, ascending.
    ///
    /// - Throws: `LacunaError.numerical` if weights are not numbers.
    public func strongestRows() throws -> [[Int]] {
        try chosen.map { layer in
            let parameter = layer.dense!.parameter
            let count = max(1, Int((keep * Double(parameter.shape[0])).rounded()))
            let mask = try Selection.mask(
                scores: parameter.value, pattern: .rows, amount: .count(count), unitScore: .norm)
            return (0..<mask.rows).filter { mask.keptCount(row: $0) > 0 }
        }
    }
}
