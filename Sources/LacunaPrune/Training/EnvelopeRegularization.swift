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
    /// What rows share one budget, and what of.
    public enum Scope: String, Sendable, Hashable, CaseIterable {
        /// Those of each layer: a share of its neurons.
        case layer
        /// Those of all layers: a share of all neurons.
        case neurons
        /// Those of all layers: a share of all weights, so that neurons of many inputs are dearer.
        case weights
    }

    /// What shrinks rows.
    public enum Penalty: String, Sendable, Hashable, CaseIterable {
        /// ``GroupEnvelope``: those that are weak beside the strongest.
        case envelope
        /// The sum of the rows' norms, whose proximal map shortens every row by as much: the rival.
        case lasso
    }

    /// Share of the rows to keep, or with ``Scope/weights`` of the weights.
    public let keep: Double
    /// What rows share one budget.
    public let scope: Scope
    /// What shrinks rows.
    public let penalty: Penalty
    /// λ, 0 or more. It shortens survivors too: a moderate one and a selection at the end do better than a large one.
    public let lambda: Double
    /// The layers whose rows are groups. Their weights are dense.
    public let layers: LayerChoice
    /// The share of the run, 0...1, in which the neurons that stay are trained without shrinkage, the others being gone; 0
    /// removes them after the last step.
    public let fineTune: Double
    private var chosen: [Linear] = []

    /// - Throws: `LacunaError.invalidArgument` for numbers out of range.
    public init(
        keep: Double, lambda: Double, fineTune: Double = 0.25, scope: Scope = .layer, penalty: Penalty = .envelope,
        layers: LayerChoice = .allButOutput
    ) throws {
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
        self.scope = scope
        self.penalty = penalty
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
                "value and proximal map of the envelope, with costs of groups",
                "budgets of each layer, or of all layers' neurons or weights together",
                "the strongest cut out, training on without shrinkage; group lasso as a rival",
            ],
            leavesOut: [
                "half-space steps",
                "groups other than neurons",
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
        let rate = run.optimizer.learningRate * lambda
        for part in scope == .layer ? chosen.map({ [$0] }) : [chosen] {
            // Layers of one budget are shrunk at their groups' rates, but compete at that of the run.
            let strengths = part.map { rate * $0.dense!.parameter.rateFactor }
            let norms = part.map { Self.norms($0) }
            let costs = part.flatMap { layer in layer.rows.map { _ in cost(layer) } }
            let lambda = scope == .layer ? strengths[0] : rate
            if lambda == 0 { continue }
            var shares = ArraySlice(
                penalty == .lasso
                    ? []
                    : try GroupEnvelope(k: budget(costs)).weights(
                        norms: norms.flatMap(\.self), costs: scope == .weights ? costs : nil, lambda: lambda))
            for (index, layer) in part.enumerated() {
                let (parameter, strength) = (layer.dense!.parameter, strengths[index])
                let own = shares.prefix(norms[index].count)
                shares = shares.dropFirst(norms[index].count)
                if strength == 0 { continue }
                let (columns, w) = (parameter.shape[1], parameter.buffer.pointer)
                let factors =
                    penalty == .lasso
                    ? norms[index].map { $0 > 0 ? max(0, 1 - strength / $0) : 0 } : own.map { $0 / (strength + $0) }
                for (r, factor) in factors.enumerated() {
                    for c in 0..<columns { w[r * columns + c] *= Float(factor) }
                }
            }
        }
    }

    private static func norms(_ layer: Linear) -> [Double] {
        let parameter = layer.dense!.parameter
        let (columns, w) = (parameter.shape[1], parameter.buffer.pointer)
        return layer.rows.map { r in
            (0..<columns).reduce(0.0) { $0 + Double(w[r * columns + $1] * w[r * columns + $1]) }.squareRoot()
        }
    }

    /// What a row of a layer costs.
    private func cost(_ layer: Linear) -> Double { scope == .weights ? Double(layer.inputDimensions) : 1 }

    /// What rows of these costs may cost together.
    private func budget(_ costs: [Double]) -> Double {
        max(costs.min() ?? 1, (keep * costs.reduce(0, +)).rounded())
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

    /// The rows of largest norm, as many as the budget allows, of each layer, ascending. Rows of one budget compete by their norm over the
    /// root of their cost; every layer keeps one.
    ///
    /// - Throws: `LacunaError.numerical` if weights are not numbers.
    public func strongestRows() throws -> [[Int]] {
        if scope == .layer {
            return try chosen.map { layer in
                let parameter = layer.dense!.parameter
                let count = max(1, Int((keep * Double(parameter.shape[0])).rounded()))
                let mask = try Selection.mask(
                    scores: parameter.value, pattern: .rows, amount: .count(count), unitScore: .norm)
                return (0..<mask.rows).filter { mask.keptCount(row: $0) > 0 }
            }
        }
        var rows: [(layer: Int, row: Int, size: Double, cost: Double)] = []
        for (index, layer) in chosen.enumerated() {
            let cost = cost(layer)
            for (row, norm) in Self.norms(layer).enumerated() {
                guard norm.isFinite else {
                    throw LacunaError.numerical(operation: "group envelope", reason: "weights are not finite")
                }
                rows.append((index, row, norm / cost.squareRoot(), cost))
            }
        }
        // The strongest first; of equals the first.
        let order = rows.indices.sorted {
            rows[$0].size != rows[$1].size ? rows[$0].size > rows[$1].size : $0 < $1
        }
        var left = budget(rows.map(\.cost))
        var kept = chosen.map { _ in [Int]() }
        let strongest = chosen.indices.compactMap { layer in order.first { rows[$0].layer == layer } }
        for place in strongest {
            kept[rows[place].layer].append(rows[place].row)
            left -= rows[place].cost
        }
        for place in order where !strongest.contains(place) && rows[place].cost <= left {
            kept[rows[place].layer].append(rows[place].row)
            left -= rows[place].cost
        }
        return kept.map { $0.sorted() }
    }
}

extension Linear {
    fileprivate var rows: Range<Int> { 0..<outputDimensions }
}
