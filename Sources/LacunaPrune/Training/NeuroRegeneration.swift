import LacunaLearn
import LacunaSparse
import LacunaTensor

/// GraNet: gradual magnitude pruning in which every update also exchanges connections, so that what was pruned too early may come
/// back.
///
/// From the share `start` of the run to `end` the sparsity of all chosen layers together follows a cubic ramp; at each update
/// the smallest magnitudes of all of them go. Then every layer drops `⌊r(t) · kept⌋` of its smallest weights and grows as many of the
/// largest gradient among those absent, at 0, never the ones just dropped; r falls by half a cosine from `regeneration` to 0 at
/// `end`. With `regeneration` 0 it is gradual magnitude pruning with one competition.
///
/// Shiwei Liu and others, "Sparse Training via Boosting Pruning Plasticity with Neuroregeneration", arXiv 2106.10404.
public final class NeuroRegeneration: TrainingMethod {
    /// The sparsity at the end, 0...1, of all chosen layers together.
    public let sparsity: Double
    /// Shares of the run between which the sparsity rises.
    public let window: ClosedRange<Double>
    /// The share of a layer's weights that is exchanged at the first update, 0...1.
    public let regeneration: Double
    /// Steps between updates.
    public let interval: Int
    /// The layers that are pruned.
    public let layers: LayerChoice
    private var states: [SparseLayerState] = []

    /// - Throws: `LacunaError.invalidArgument` for numbers out of range.
    public init(
        sparsity: Double, window: ClosedRange<Double> = 0.1...0.8, regeneration: Double = 0.5, interval: Int = 20,
        layers: LayerChoice = .allButOutput
    ) throws {
        func require(_ holds: Bool, _ name: String, _ reason: String) throws {
            if !holds { throw LacunaError.invalidArgument(name, reason: reason) }
        }
        try require((0...1).contains(sparsity), "sparsity", "\(sparsity) is not in 0...1")
        try require(window.lowerBound >= 0 && window.upperBound <= 1, "window", "\(window) is not within 0...1")
        try require((0...1).contains(regeneration), "regeneration", "\(regeneration) is not in 0...1")
        try require(interval >= 1, "interval", "\(interval) is not at least 1")
        (self.sparsity, self.window, self.regeneration) = (sparsity, window, regeneration)
        (self.interval, self.layers) = (interval, layers)
    }

    public var card: MethodCard {
        MethodCard(
            name: "granet", family: .sparseTraining,
            paper: .init(
                authors: "Shiwei Liu and others",
                title: "Sparse Training via Boosting Pruning Plasticity with Neuroregeneration", arXiv: "2106.10404"),
            composition: ["|w| of all layers, cubic ramp", "|w| drops, |gradient| grows", "exact exchange by layer"],
            implements: ["one competition of all layers, cubic ramp, regeneration by gradients"],
            leavesOut: ["starts from sparse networks"])
    }

    /// The sparsity at a share of the run.
    public func sparsity(at progress: Double) -> Double {
        if progress < window.lowerBound { return 0 }
        let length = window.upperBound - window.lowerBound
        let rest = 1 - (length > 0 ? min((progress - window.lowerBound) / length, 1) : 1)
        return sparsity * (1 - rest * rest * rest)
    }

    /// The share exchanged at a share of the run.
    public func regeneration(at progress: Double) -> Double {
        if window.upperBound <= 0 || progress >= window.upperBound { return 0 }
        return regeneration / 2 * (1 + cosine(Double.pi * progress / window.upperBound))
    }

    public func attach(_ run: TrainingRun) throws {
        states = try layers.layers(of: run.model).map { name, layer in
            guard layer.dense != nil else {
                throw LacunaError.unsupported(file: nil, what: "pruning \(layer.weight.storage) weights ('\(name)')")
            }
            return try SparseLayerState(name, layer)
        }
    }

    public func gradientsReady(_ run: TrainingRun) throws {
        let target = sparsity(at: run.progress)
        let total = states.reduce(0) { $0 + $1.layer.inputDimensions * $1.layer.outputDimensions }
        let kept = total - Selection.removedCount(sparsity: target, of: total)
        let active = states.reduce(0) { $0 + $1.mask.count }
        let isUpdate = run.step % interval == 0 && run.progress >= window.lowerBound
        // The end of the ramp need not be a multiple of the interval.
        let isEdge = run.progress >= window.upperBound && active > kept
        guard isUpdate || isEdge, target > 0 else { return }
        if active > kept {
            var (scores, inUse) = ([String: Tensor<Float>](), [String: SparsePattern]())
            for state in states {
                scores[state.name] = try MagnitudeScore().scores(weight: state.layer.dense!.parameter.value)
                inUse[state.name] = state.mask
            }
            let masks = try Selection.masks(scores: scores, amount: .count(kept), within: inUse)
            for state in states { state.move(to: masks[state.name]!, from: state.mask) { _, _ in 0 } }
        }
        let share = regeneration(at: run.progress)
        if share > 0 { for state in states { try exchange(state, share) } }
    }

    private func exchange(_ state: SparseLayerState, _ share: Double) throws {
        guard let gradient = state.denseGradient else { return }
        let old = state.mask
        let absent = old.inverted()
        let count = min(Selection.removedCount(sparsity: share, of: old.count), absent.count)
        let weight = state.layer.dense!.parameter.value
        let remaining = try Selection.mask(
            scores: MagnitudeScore().scores(weight: weight), pattern: .unstructured(.layer),
            amount: .count(old.count - count), within: old)
        let grown = try Selection.mask(
            scores: GradientScore().scores(ScoreInputs(weight: weight, gradient: gradient)),
            pattern: .unstructured(.layer), amount: .count(count), within: absent)
        state.move(to: remaining.union(grown), from: old) { _, _ in 0 }
    }
}
