import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Continuous N:M training: the forward pass stays dense, and a growing decay drives what will be pruned to nothing.
///
/// The decay is part of the optimiser, ``AdamS``, which this method tells the share α = t/T of the run that is done and the mask,
/// chosen anew every `interval` steps from |w|; pruning with it at the end then costs nothing. Clipping, accumulation, β, rates
/// of groups and weight decay are those of the run.
///
/// Meanwhile every row of a weight has some trained factors, one for each run of consecutive inputs, which make up for what goes
/// (``GroupScaledWeight``); at the end they are multiplied in.
///
/// Weiyu Huang, Yuezhou Hu, Jun Zhu, Jianfei Chen, "CAST: Continuous and Differentiable Semi-Structured Sparsity-Aware
/// Training for Large Language Models", arXiv 2509.25996. The distillation of the authors is not part of this, as it goes with every
/// method: see ``Loss/distillation(student:teacher:temperature:)``. λ should be of the size of gradients. Use a rate that decays, as what remains of masked weights is of the size of the last rate.
public final class CAST: TrainingMethod {
    /// What is kept at the end; one that fixes its sparsity, such as 2:4.
    public let pattern: Pattern
    /// λ, 0 or more, of the size of the gradients.
    public let lambda: Double
    /// Steps between choices of the mask.
    public let interval: Int
    /// Factors of each row, of two runs of inputs for the authors; 0 for none.
    public let scales: Int
    /// The layers that are pruned. Their weights are dense and without masks.
    public let layers: LayerChoice
    private var chosen: [(layer: Linear, weight: DenseWeight, kept: SparsePattern)] = []
    /// Mean magnitude of the masked weights over that of the kept ones, just before the final pruning.
    public private(set) var residual = Double.nan
    /// Called at the end, before anything is pruned.
    public var beforePruning: (() -> Void)?

    /// - Throws: `LacunaError.invalidArgument` unless the pattern is N:M, λ and the scales not negative and the interval positive.
    public init(
        pattern: Pattern, lambda: Double = 1e-3, interval: Int = 10, scales: Int = 2,
        layers: LayerChoice = .allButOutput
    ) throws {
        guard scales >= 0 else { throw LacunaError.invalidArgument("scales", reason: "\(scales) is negative") }
        try pattern.validate()
        guard pattern.impliedSparsity != nil else {
            throw LacunaError.invalidArgument("pattern", reason: "\(pattern) is not N:M")
        }
        guard lambda >= 0, lambda.isFinite else {
            throw LacunaError.invalidArgument("decay", reason: "\(lambda) is negative or not finite")
        }
        guard interval >= 1 else {
            throw LacunaError.invalidArgument("interval", reason: "\(interval) is not positive")
        }
        self.pattern = pattern
        self.lambda = lambda
        self.interval = interval
        self.scales = scales
        self.layers = layers
    }

    public var card: MethodCard {
        MethodCard(
            name: "cast", family: .sparseTraining,
            paper: .init(
                authors: "Weiyu Huang, Yuezhou Hu, Jun Zhu, Jianfei Chen",
                title:
                    "CAST: Continuous and Differentiable Semi-Structured Sparsity-Aware Training for Large Language Models",
                arXiv: "2509.25996"),
            composition: ["|w|", "N:M", "dense forward, adaptive decay of what is masked"],
            implements: [
                "AdamS: decay of masked weights alone, in a copy of the mean",
                "column scales, folded in at the end",
                "any optimiser settings of Adam",
            ],
            leavesOut: ["distillation: for language models [teacher] adds it"])
    }

    /// ``AdamS`` in the place of Adam.
    ///
    /// - Throws: `LacunaError.invalidArgument` for an optimiser that has no moving mean to mix the decay into.
    public func optimizer(_ base: any Optimizer) throws -> any Optimizer {
        if base is AdamS { return base }
        guard let adam = base as? Adam else {
            throw LacunaError.invalidArgument(
                "optimizer", reason: "cast decays within Adam's step: '\(base.name)' must be adam or adamw")
        }
        return AdamS(adam)
    }

    /// Gives rows their factors.
    ///
    /// - Throws: `LacunaError.unsupported` for weights that are not dense.
    public func begin(_ run: TrainingRun) throws {
        if scales == 0 { return }
        for (name, layer) in try layers.layers(of: run.model) where !(layer.weight is GroupScaledWeight) {
            layer.weight = GroupScaledWeight(try Self.dense(name, layer), groups: min(scales, layer.inputDimensions))
        }
    }

    private static func dense(_ name: String, _ layer: Linear) throws -> DenseWeight {
        let weight = layer.dense ?? (layer.weight as? GroupScaledWeight)?.base
        guard let weight, weight.parameter.mask == nil, weight.view == nil else {
            throw LacunaError.unsupported(file: nil, what: "CAST on \(layer.weight.storage) weights ('\(name)')")
        }
        return weight
    }

    /// - Throws: `LacunaError.invalidArgument` for a run whose optimiser is not ``AdamS``, `.unsupported` for weights that are
    ///   not dense.
    public func attach(_ run: TrainingRun) throws {
        guard let adams = run.optimizer as? AdamS else {
            throw LacunaError.invalidArgument(
                "optimizer", reason: "cast trains with AdamS, not with '\(run.optimizer.name)': see optimizer(_:)")
        }
        adams.lambda = lambda
        chosen = try layers.layers(of: run.model).map { name, layer in
            let weight = try Self.dense(name, layer)
            return (layer, weight, try StraightThroughView.mask(weight.parameter.value, pattern))
        }
        if let restored {
            try MaskCoding.requireFit(restored, chosen.map(\.weight.parameter.shape))
            for (index, mask) in restored.enumerated() { chosen[index].kept = mask }
        }
        restored = nil
        for (_, weight, mask) in chosen { adams.keep(mask, of: weight.parameter) }
    }

    public func beforeStep(_ run: TrainingRun) throws {
        guard let adams = run.optimizer as? AdamS else { return }
        adams.alpha = run.progress
        guard run.step % interval == 0 else { return }
        for index in chosen.indices {
            let parameter = chosen[index].weight.parameter
            chosen[index].kept = try StraightThroughView.mask(parameter.value, pattern)
            adams.keep(chosen[index].kept, of: parameter)
        }
    }

    public func end(_ run: TrainingRun) throws {
        var (masked, maskedCount, keptSum, keptCount) = (0.0, 0, 0.0, 0)
        for index in chosen.indices {
            let value = chosen[index].weight.parameter.value
            // Recomputed from the weights: a mask that is only counted proves nothing.
            let mask = try StraightThroughView.mask(value, pattern)
            chosen[index].kept = mask
            for r in 0..<mask.rows {
                for c in 0..<mask.columns {
                    if mask[r, c] {
                        keptSum += Double(abs(value[r, c]))
                        keptCount += 1
                    } else {
                        masked += Double(abs(value[r, c]))
                        maskedCount += 1
                    }
                }
            }
        }
        residual = (masked / Double(max(maskedCount, 1))) / (keptSum / Double(max(keptCount, 1)))
        beforePruning?()
        for (layer, weight, mask) in chosen {
            if layer.weight is GroupScaledWeight {
                weight.parameter.value = layer.weight.densified()
                layer.weight = weight
            }
            weight.mask = mask
        }
    }

    public var state: JSONValue { .array(chosen.map { MaskCoding.json($0.kept) }) }
    private var restored: [SparsePattern]?
    public func restore(_ state: JSONValue) throws {
        restored = try MaskCoding.masks(state)
    }
}
