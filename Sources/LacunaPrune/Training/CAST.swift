import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Continuous N:M training: the forward pass stays dense, and a growing decay drives what will be pruned to nothing.
///
/// Per weight, at step t of T with α = t/T (AdamS): `μ <- β₁ μ + (1-β₁) g`; `μ~ = μ` if kept, else `(1-α) μ + α λ sign(w)`;
/// `v <- β₂ v + (1-β₂) μ~²`; `w <- w - rate μ~ / (1-β₁^{t+1}) / (√(v / (1-β₂^{t+1})) + ε)`. The mask is chosen anew every
/// `interval` steps from |w|; pruning with it at the end then costs nothing.
///
/// Weiyu Huang, Yuezhou Hu, Jun Zhu, Jianfei Chen, "CAST: Continuous and Differentiable Semi-Structured Sparsity-Aware
/// Training for Large Language Models", arXiv 2509.25996. The column scales and the distillation of the authors are not
/// part of this: their effect is orthogonal, see ``Loss/distillation(student:teacher:temperature:)``. λ should be of the size
/// of gradients. Use a rate that decays, as what remains of masked weights is of the size of the last rate.
public final class CAST: TrainingMethod {
    /// What is kept at the end; one that fixes its sparsity, such as 2:4.
    public let pattern: Pattern
    /// λ, 0 or more, of the size of the gradients.
    public let lambda: Float
    /// Steps between choices of the mask.
    public let interval: Int
    /// The layers that are pruned. Their weights are dense and without masks.
    public let layers: LayerChoice
    private var chosen: [(weight: DenseWeight, kept: SparsePattern)] = []
    /// Mean magnitude of the masked weights over that of the kept ones, just before the final pruning.
    public private(set) var residual = Double.nan
    /// Called at the end, before anything is pruned.
    public var beforePruning: (() -> Void)?

    /// - Throws: `LacunaError.invalidArgument` unless the pattern is N:M, λ not negative and the interval positive.
    public init(pattern: Pattern, lambda: Double = 1e-3, interval: Int = 10, layers: LayerChoice = .allButOutput) throws
    {
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
        self.lambda = Float(lambda)
        self.interval = interval
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
            composition: ["|w|", "N:M", "dense forward, adaptive decay of what is masked"])
    }

    public func attach(_ run: TrainingRun) throws {
        chosen = try layers.layers(of: run.model).map { name, layer in
            guard let weight = layer.dense, weight.parameter.mask == nil else {
                throw LacunaError.unsupported(file: nil, what: "CAST on \(layer.weight.storage) weights ('\(name)')")
            }
            return (weight, try StraightThroughView.mask(weight.parameter.value, pattern))
        }
        if let restored {
            try MaskCoding.requireFit(restored, chosen.map(\.weight.parameter.shape))
            for (index, mask) in restored.enumerated() { chosen[index].kept = mask }
        }
        restored = nil
    }

    public func beforeStep(_ run: TrainingRun) throws {
        guard run.step % interval == 0 else { return }
        for index in chosen.indices {
            chosen[index].kept = try StraightThroughView.mask(chosen[index].weight.parameter.value, pattern)
        }
    }

    /// Updates the chosen weights itself, at the rate of the run's optimiser, and leaves that one nothing to do.
    public func gradientsReady(_ run: TrainingRun) throws {
        let t = run.step
        let alpha = Float(t) / Float(max(run.totalSteps, 1))
        let (b1, b2, epsilon): (Float, Float, Float) = (0.9, 0.999, 1e-8)
        let c1 = 1 - Float(power(Double(b1), Double(t + 1)))
        let c2 = 1 - Float(power(Double(b2), Double(t + 1)))
        for (weight, kept) in chosen {
            let parameter = weight.parameter
            guard parameter.hasGradient else { continue }
            let rate = Float(run.optimizer.learningRate * parameter.rateFactor)
            let (w, g) = (parameter.buffer.pointer, parameter.gradientPointer)
            let (m, v) = (parameter.slot("cast.first"), parameter.slot("cast.second"))
            let columns = kept.columns
            Parallel.forRanges(kept.rows, grain: max(1, 8192 / max(columns, 1))) { range in
                for r in range {
                    for c in 0..<columns {
                        let i = r * columns + c
                        m[i] = b1 * m[i] + (1 - b1) * g[i]
                        let isKept = kept[r, c]
                        let sign: Float = w[i] > 0 ? 1 : w[i] < 0 ? -1 : 0
                        let moved = isKept ? m[i] : (1 - alpha) * m[i] + alpha * lambda * sign
                        v[i] = b2 * v[i] + (1 - b2) * moved * moved
                        w[i] -= rate * (moved / c1) / ((v[i] / c2).squareRoot() + epsilon)
                    }
                }
            }
            parameter.clearGradient()
        }
    }

    public func end(_ run: TrainingRun) throws {
        var (masked, maskedCount, keptSum, keptCount) = (0.0, 0, 0.0, 0)
        for index in chosen.indices {
            let (weight, _) = chosen[index]
            let value = weight.parameter.value
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
        for (weight, mask) in chosen { weight.mask = mask }
    }

    public var state: JSONValue { .array(chosen.map { MaskCoding.json($0.kept) }) }
    private var restored: [SparsePattern]?
    public func restore(_ state: JSONValue) throws {
        restored = try MaskCoding.masks(state)
    }
}
