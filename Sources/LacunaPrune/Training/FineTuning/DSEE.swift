import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor

/// Fine-tunes by a low-rank change and a few single entries beside it, then prunes the frozen weights by how much they were
/// changed, and tunes the same few numbers on.
///
/// `W' = M ∘ W + α/r (B A + S)`, with `S` on the places that a low-rank matrix explains worst (``GoDec`` of `W`). In the middle of the
/// run `M` is chosen: single weights by `|α/r (B A + S)|` where there is a change and by `|W|` elsewhere, a fraction of all of each
/// set; or whole heads, those whose queries and values changed least, and neurons, those with the smallest weights.
///
/// Xuxi Chen, Tianlong Chen, Weizhu Chen, Ahmed Hassan Awadallah, Zhangyang Wang, Yu Cheng, "DSEE: Dually Sparsity-embedded Efficient
/// Tuning of Pre-trained Language Models", arXiv 2111.00160. r, α, 16 entries and a fifth pruned are theirs; their released code
/// grows the rank of the decomposition until it explains everything, which makes the places arbitrary, and is not followed.
/// Everything but the changes and the layer that gives the output is frozen during the run. The result keeps the two parts of a weight
/// apart (``UpdatedWeight``): stored as one matrix, only heads and neurons that are gone stay zeros.
public final class DSEE: TrainingMethod {
    /// What is taken out of the frozen weights.
    public enum Removal: Sendable, Hashable {
        /// A fraction of the single weights, 0...1.
        case weights(Double)
        /// So many heads of each layer (groups of heads with one key and value head), and a fraction of the neurons, 0..<1.
        case units(heads: Int, neurons: Double)
    }

    /// What decides about weights that have a change.
    public enum Score: String, Sendable, Hashable, CaseIterable {
        /// `|α/r (B A + S)|`.
        case update
        /// `|W|`.
        case weight
        /// `|W + α/r (B A + S)|`.
        case sum
        /// Chance.
        case random
    }

    /// Numbers of the method.
    public struct Settings: Sendable, Hashable {
        /// r, at least 1.
        public var rank = 16
        /// α; the change is multiplied by α / r.
        public var alpha = 32.0
        /// Trained entries of a matrix beside the low-rank part, 0 or more; no more than it has are used.
        public var entries = 16
        /// Rank of the decomposition that says which, 0 or more: that of what the weight is at large, not more.
        public var decompositionRank = 8
        /// Share of the run after which weights are taken out, 0...1; at 1 none are.
        public var pruneAt = 0.5
        /// The authors' numbers, and a rank of 8 in the decomposition.
        public init() {}
    }

    /// Numbers of the method.
    public let settings: Settings
    /// What is taken out.
    public let removal: Removal
    /// What decides about weights that have a change.
    public let score: Score
    /// The layers that are changed; nil for query and value projections, and without any, all but the output.
    public let layers: LayerChoice?
    private var changes: [(name: String, layer: Linear)] = []
    private var frozen: [Parameter<Float>] = []
    private var isPruned = false
    private let seed: UInt64

    /// - Parameter seed: Of the score by chance.
    /// - Throws: `LacunaError.invalidArgument` for numbers out of range.
    public init(
        settings: Settings = Settings(), removal: Removal = .weights(0.2), score: Score = .update,
        layers: LayerChoice? = nil, seed: UInt64 = 0
    ) throws {
        guard settings.rank >= 1, settings.entries >= 0, settings.decompositionRank >= 0 else {
            throw LacunaError.invalidArgument(
                "rank",
                reason:
                    "\(settings.rank), \(settings.entries) entries or \(settings.decompositionRank) are out of range")
        }
        guard settings.alpha.isFinite, (0...1).contains(settings.pruneAt) else {
            throw LacunaError.invalidArgument("alpha", reason: "is not finite, or prune_at not in 0...1")
        }
        switch removal {
        case .weights(let fraction):
            guard (0...1).contains(fraction) else {
                throw LacunaError.invalidArgument("sparsity", reason: "\(fraction) is not in 0...1")
            }
        case .units(let heads, let neurons):
            guard heads >= 0, (0..<1).contains(neurons) else {
                throw LacunaError.invalidArgument("heads", reason: "\(heads) heads or \(neurons) of the neurons")
            }
        }
        (self.settings, self.removal, self.score, self.layers, self.seed) = (settings, removal, score, layers, seed)
    }

    public var card: MethodCard {
        MethodCard(
            name: "dsee", family: .sparseTraining,
            paper: .init(
                authors: "Xuxi Chen, Tianlong Chen, Weizhu Chen, Ahmed Hassan Awadallah, Zhangyang Wang, Yu Cheng",
                title: "DSEE: Dually Sparsity-embedded Efficient Tuning of Pre-trained Language Models",
                arXiv: "2111.00160"),
            composition: [
                "size of the update", "entries, heads or neurons over all layers", "low-rank + sparse update",
            ],
            implements: [
                "low-rank change and single entries by GoDec",
                "pruning by the change, by weights or at random; heads and neurons",
            ],
            leavesOut: ["the release's decomposition of growing rank"])
    }

    private func chosen(_ model: any Module) throws -> [(name: String, layer: Linear)] {
        if let layers { return try layers.layers(of: model) }
        let projections = model.linears.filter { entry in
            ["q_proj", "v_proj", "query", "value"].contains { entry.name.hasSuffix(".\($0)") }
        }
        return projections.isEmpty ? try LayerChoice.allButOutput.layers(of: model) : projections
    }

    /// Lays changes beside the weights of the chosen layers.
    ///
    /// - Throws: `LacunaError.unsupported` for weights that are not whole, `.invalidArgument` for more heads than there are.
    public func begin(_ run: TrainingRun) throws {
        isPruned = false
        changes = try chosen(run.model)
        for (name, layer) in changes {
            guard layer.isWhole else {
                throw LacunaError.unsupported(
                    file: nil, what: "a change of \(layer.weight.storage) weights ('\(name)')")
            }
            let base = layer.weight.densified()
            let factor = Float(settings.alpha / Double(settings.rank))
            let places = try GoDec.decompose(
                base, rank: settings.decompositionRank, entries: min(settings.entries, base.count)
            ).support
            layer.weight = UpdatedWeight(
                base: DenseWeight(base),
                updates: [
                    FactoredWeight(
                        a: Tensor(
                            normal: [settings.rank, base.columns], standardDeviation: 0.02, using: &run.generator),
                        b: Tensor(zeros: [base.rows, settings.rank]), scale: factor),
                    ScaledWeight(CSRWeight(Tensor(zeros: base.shape), mask: places), by: factor),
                ])
        }
        guard case .units(let heads, _) = removal else { return }
        for units in try CoupledUnits.all(of: run.model) where units.kind == .heads && heads >= units.count {
            throw LacunaError.invalidArgument("heads", reason: "\(heads) of the \(units.count) of '\(units.name)'")
        }
    }

    public func attach(_ run: TrainingRun) throws {
        let own = changes.flatMap { entry in
            ((entry.layer.weight as? UpdatedWeight)?.updates ?? []).flatMap { $0.parameters }
        }
        frozen = run.model.freeze(allBut: own, chosen: changes.map(\.layer))
    }

    public func beforeStep(_ run: TrainingRun) throws {
        if !isPruned, run.progress >= settings.pruneAt { try prune(run.model) }
    }

    public func end(_ run: TrainingRun) throws {
        run.metrics.append(("backbone_sparsity", Self.backboneSparsity(run.model)))
        for parameter in frozen { parameter.isTrainable = true }
        for (_, layer) in changes {
            for parameter in (layer.weight as? UpdatedWeight)?.base.parameters ?? [] { parameter.isTrainable = false }
        }
    }

    public var state: JSONValue { ["pruned": .bool(isPruned)] }
    public func restore(_ state: JSONValue) throws {
        guard let pruned = state["pruned"]?.boolValue else {
            throw LacunaError.malformed(
                file: "checkpoint", location: "dsee", reason: "does not say whether it has pruned")
        }
        isPruned = pruned
    }

    // MARK: Pruning

    /// Takes out what ``removal`` says, now.
    ///
    /// - Throws: `LacunaError.unsupported` for weights that cannot be masked, `.numerical` for ones that are not finite.
    public func prune(_ model: any Module) throws {
        isPruned = true
        switch removal {
        case .weights(let fraction): try removeWeights(fraction, model)
        case .units(let heads, let neurons):
            for units in try CoupledUnits.all(of: model) {
                let count = units.kind == .heads ? heads : Selection.removedCount(sparsity: neurons, of: units.count)
                if count > 0 { try silence(units, count: count) }
            }
        }
    }

    /// Fraction of the frozen weights of a model's layers, but for the one that gives the output, that is masked.
    public static func backboneSparsity(_ model: any Module) -> Double {
        var (kept, all) = (0, 0)
        for (_, layer) in (try? LayerChoice.allButOutput.layers(of: model)) ?? [] {
            let base = (layer.weight as? UpdatedWeight)?.base ?? layer.weight
            kept += base.activeCount
            all += base.outputs * base.inputs
        }
        return all == 0 ? 0 : 1 - Double(kept) / Double(all)
    }

    /// The frozen part of a layer's weight.
    private static func backbone(_ layer: Linear) -> DenseWeight? {
        ((layer.weight as? UpdatedWeight)?.base ?? layer.weight) as? DenseWeight
    }

    /// What training has added, [outputs, inputs].
    private static func change(_ layer: Linear) -> Tensor<Float>? {
        guard let weight = layer.weight as? UpdatedWeight else { return nil }
        return weight.updates.dropFirst().reduce(weight.updates[0].densified()) { $0 + $1.densified() }
    }

    private func removeWeights(_ fraction: Double, _ model: any Module) throws {
        let changed = Set(changes.map { ObjectIdentifier($0.layer) })
        let rest = try LayerChoice.allButOutput.layers(of: model).filter {
            !changed.contains(ObjectIdentifier($0.layer))
        }
        for (set, isChanged) in [(changes, true), (rest, false)] where !set.isEmpty {
            var scores: [String: Tensor<Float>] = [:]
            for (index, entry) in set.enumerated() {
                guard let base = Self.backbone(entry.layer), base.view == nil else {
                    throw LacunaError.unsupported(
                        file: nil, what: "pruning \(entry.layer.weight.storage) weights ('\(entry.name)')")
                }
                let weight = base.parameter.value
                scores[entry.name] =
                    switch isChanged ? score : .weight {
                    case .update: try MagnitudeScore().scores(weight: Self.change(entry.layer) ?? weight)
                    case .weight: try MagnitudeScore().scores(weight: weight)
                    case .sum: try MagnitudeScore().scores(weight: entry.layer.weight.densified())
                    case .random: try RandomScore(seed: seed &+ UInt64(index)).scores(weight: weight)
                    }
            }
            let masks = try Selection.masks(scores: scores, amount: .sparsity(fraction))
            for (name, layer) in set { Self.backbone(layer)?.mask = masks[name] }
        }
    }

    /// Takes out the units with the smallest scores: of their rows and columns nothing is left, in weights, changes or biases.
    private func silence(_ units: CoupledUnits, count: Int) throws {
        var scores = [Float](repeating: 0, count: units.count)
        let hasChange = units.producers.contains { Self.change($0.layer) != nil }
        for (layer, size) in units.producers {
            // Of heads what changed decides; neurons have no change as a rule.
            guard let matrix = hasChange ? Self.change(layer) : Optional(layer.weight.densified()) else { continue }
            for row in 0..<matrix.rows {
                scores[row / size] += (0..<matrix.columns).reduce(Float(0)) { $0 + abs(matrix[row, $1]) }
            }
        }
        let kept = Set(try Selection.indices(.count(units.count - count), of: scores))
        for (layer, size) in units.producers {
            try Self.mask(layer) { row, _ in kept.contains(row / size) }
            let alive = Tensor<Float>((0..<layer.outputDimensions).map { kept.contains($0 / size) ? 1 : 0 })
            layer.bias?.setMask(alive)
        }
        for (layer, size) in units.consumers { try Self.mask(layer) { _, column in kept.contains(column / size) } }
    }

    /// Masks whole rows or columns of a layer's weight and change.
    private static func mask(_ layer: Linear, _ isKept: (Int, Int) -> Bool) throws {
        guard let base = backbone(layer), base.view == nil else {
            throw LacunaError.unsupported(file: nil, what: "pruning \(layer.weight.storage) weights")
        }
        let pattern = SparsePattern(rows: base.outputs, columns: base.inputs) { isKept($0, $1) }
        base.mask = base.mask.map { $0.intersection(pattern) } ?? pattern
        for update in (layer.weight as? UpdatedWeight)?.updates ?? [] {
            if let factors = update as? FactoredWeight {
                factors.b.setMask(factors.b.value.filled { row, _ in (0..<base.inputs).contains { isKept(row, $0) } })
                factors.a.setMask(
                    factors.a.value.filled { _, column in (0..<base.outputs).contains { isKept($0, column) } })
            } else if let entries = (update as? ScaledWeight)?.base as? CSRWeight {
                var alive = [Float](repeating: 0, count: entries.values.count)
                entries.pattern.forEachEntry { alive[$0] = isKept($1, $2) ? 1 : 0 }
                entries.values.setMask(Tensor(alive))
            }
        }
    }
}

extension Tensor where Scalar == Float {
    /// A matrix of the same shape: 1 where something holds, 0 elsewhere.
    fileprivate func filled(_ holds: (Int, Int) -> Bool) -> Tensor {
        var result = Tensor(zeros: shape)
        for row in 0..<rows { for column in 0..<columns where holds(row, column) { result[row, column] = 1 } }
        return result
    }
}
