import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor

/// Learns n:m masks of a trained network end to end while its weights stay: every group of m weights has a score for each
/// way of keeping n of them, and the network computes with a sampled mixture that sharpens towards one.
///
/// `m = softmax((κ p + g) / τ) S`, `g` Gumbel noise, `S` the patterns; τ falls and κ rises linearly over the run, from
/// exploring to deciding. `-λ (1 - t/T) Σ ‖W ∘ m‖²` beside the loss keeps large weights, and with them gradients, at first. A prior
/// mask raises the scores of patterns that overlap it: `p += α σ (⟨S, m₀⟩ - n/2)`, σ the deviation of the first scores. At the end
/// every group takes its best pattern, and the weights are stored as n:m.
///
/// Gongfan Fang, Hongxu Yin, Saurav Muralidharan, Greg Heinrich, Jeff Pool, Jan Kautz, Pavlo Molchanov, Xinchao Wang, "MaskLLM:
/// Learnable Semi-Structured Sparsity for Large Language Models", arXiv 2409.17481. Defaults are theirs; they train the scores by
/// AdamW with β 0.9 and 0.95, weight decay 0.1, clipping at 1 and rates from 5e-4 to 5e-5 for 2000 steps. Everything but the
/// scores is frozen during the run.
public final class MaskLLM: CalibratedMethod {
    /// Where the scores start.
    public enum Prior: Sendable {
        /// At random.
        case none
        /// At the mask that magnitudes give.
        case magnitude
        /// At the mask that a method of ``PruningMethods`` chooses on the run's text, whatever it does to weights.
        case method(String)
        /// At masks by the layers' paths: those of another text, for instance.
        case masks([String: SparsePattern])

        /// A name as a configuration gives it.
        public init(_ name: String) {
            switch name {
            case "none": self = .none
            case "magnitude": self = .magnitude
            default: self = .method(name)
            }
        }
    }

    /// Numbers of the method.
    public struct Settings: Sendable {
        /// τ at the beginning and at the end; positive.
        public var temperature = (from: 4.0, to: 0.05)
        /// κ at the beginning and at the end; positive.
        public var scale = (from: 100.0, to: 500.0)
        /// α: how strong the prior is, 0 or more.
        public var strength = 3.0
        /// λ, 0 or more.
        public var reward = 1e-5
        /// σ: the deviation of the first scores.
        public var deviation = 0.01
        /// The authors' numbers.
        public init() {}
    }

    /// What is kept: n of m along the inputs, m at most 8.
    public let pattern: Pattern
    /// Where the scores start.
    public let prior: Prior
    /// Numbers of the method.
    public let settings: Settings
    /// The layers that are pruned. Their weights are without masks; they may be frozen in any store.
    public let layers: LayerChoice
    /// How the result is trained on: as n:m unless said otherwise.
    public let storage: StorageLayout
    public let sequences: Int
    public let length: Int?
    public var calibration: CalibrationSet?
    private var weights: [(name: String, layer: Linear, weight: PatternWeight)] = []
    private var frozen: [Parameter<Float>] = []
    /// The mean share of the best pattern when the run ended.
    public private(set) var certainty = Double.nan

    /// - Throws: `LacunaError.invalidArgument` for numbers out of range, a pattern that is not n:m along the inputs with m at
    ///   most 8, and a prior that is no method choosing masks.
    public init(
        pattern: Pattern = .nm(n: 2, m: 4), prior: Prior = .magnitude, settings: Settings = Settings(),
        layers: LayerChoice = .allButOutput, storage: StorageLayout? = nil,
        sequences: Int = CalibrationSet.defaultSequences, length: Int? = nil
    ) throws {
        try pattern.validate()
        guard pattern.unit == .entry, let (n, m, axis) = pattern.group, axis == .input, m <= 8 else {
            throw LacunaError.invalidArgument(
                "pattern", reason: "\(pattern) is not n:m along the inputs with m at most 8")
        }
        let numbers = [
            settings.temperature.from, settings.temperature.to, settings.scale.from, settings.scale.to,
            settings.deviation,
        ]
        guard numbers.allSatisfy({ $0 > 0 && $0.isFinite }) else {
            throw LacunaError.invalidArgument("temperature", reason: "temperatures, scales and deviation are positive")
        }
        guard settings.strength >= 0, settings.strength.isFinite else {
            throw LacunaError.invalidArgument("strength", reason: "\(settings.strength) is negative or not finite")
        }
        guard settings.reward >= 0, settings.reward.isFinite else {
            throw LacunaError.invalidArgument("reward", reason: "\(settings.reward) is negative or not finite")
        }
        guard sequences > 0, length ?? 1 > 0 else {
            throw LacunaError.invalidArgument("sequences", reason: "\(sequences) of \(length ?? 1) tokens")
        }
        if case .method(let name) = prior, !(try Self.method(name) is any LayerwisePruning) {
            throw LacunaError.invalidArgument("prior", reason: "\(name) chooses no masks")
        }
        (self.pattern, self.prior, self.settings, self.layers) = (pattern, prior, settings, layers)
        self.storage = storage ?? .nm(n: n, m: m)
        (self.sequences, self.length) = (sequences, length)
    }

    private static func method(_ name: String) throws -> any PruningMethod {
        do {
            return try PruningMethods.named(name)
        } catch let LacunaError.invalidArgument(_, reason) {
            throw LacunaError.invalidArgument("prior", reason: "neither none nor magnitude, and " + reason)
        }
    }

    public var card: MethodCard {
        MethodCard(
            name: "maskllm", family: .sparseTraining,
            paper: .init(
                authors:
                    "Gongfan Fang, Hongxu Yin, Saurav Muralidharan, Greg Heinrich, Jeff Pool, Jan Kautz, Pavlo Molchanov, "
                    + "Xinchao Wang",
                title: "MaskLLM: Learnable Semi-Structured Sparsity for Large Language Models", arXiv: "2409.17481"),
            composition: ["learned scores of patterns", "N:M", "Gumbel softmax over frozen weights"],
            implements: [
                "all patterns of n:m, n of m up to what a table holds",
                "priors by any method of `lacuna prune`",
                "schedules of temperature and scale, reward of large weights",
            ],
            leavesOut: ["transfer of a learned mask to another domain as its prior"])
    }

    public var textOption: String? {
        if case .method = prior { return "prior" }
        return nil
    }

    /// Replaces the weights of the chosen layers and freezes all others.
    ///
    /// - Throws: `LacunaError.unsupported` for weights under a mask or stored sparse; `.invalidArgument` for a layer whose inputs
    ///   are no multiple of m and for masks of other shapes; as ``Pruner/prune(_:calibration:progress:)``.
    public func begin(_ run: TrainingRun) throws {
        let chosen = try layers.layers(of: run.model)
        guard let (n, m, _) = pattern.group else { return }
        for (name, layer) in chosen {
            guard layer.isWhole else {
                throw LacunaError.unsupported(
                    file: nil, what: "learning masks of \(layer.weight.storage) weights ('\(name)')")
            }
            guard layer.inputDimensions % m == 0 else {
                throw LacunaError.invalidArgument(
                    "pattern", reason: "'\(name)' reads \(layer.inputDimensions) inputs, no multiple of \(m)")
            }
        }
        let masks = try priorMasks(run.model, chosen)
        let table = PatternTable(n: n, m: m)
        weights = try chosen.map { name, layer in
            let base = layer.weight.densified()
            var logits = Tensor<Float>(
                normal: [base.count / m, table.count], standardDeviation: Float(settings.deviation),
                using: &run.generator)
            if let mask = masks[name] {
                guard mask.rows == base.rows, mask.columns == base.columns else {
                    throw LacunaError.invalidArgument(
                        "prior", reason: "a mask [\(mask.rows), \(mask.columns)] for '\(name)' of shape \(base.shape)")
                }
                let strength = Float(settings.strength * settings.deviation)
                logits += strength * (table.overlaps(mask) - Float(n) / 2)
            }
            let weight = PatternWeight(base, table, logits: logits)
            layer.weight = weight
            return (name, layer, weight)
        }
    }

    public func attach(_ run: TrainingRun) throws {
        frozen = run.model.freeze(
            allBut: weights.map(\.weight.logits), chosen: weights.map(\.layer), trainsOutput: false)
    }

    private func priorMasks(
        _ model: any Module, _ chosen: [(name: String, layer: Linear)]
    ) throws -> [String: SparsePattern] {
        switch prior {
        case .none: return [:]
        case .masks(let masks): return masks
        case .magnitude:
            return try Dictionary(
                uniqueKeysWithValues: chosen.map {
                    ($0.name, try StraightThroughView.mask($0.layer.weight.densified(), pattern))
                })
        case .method(let name):
            let pruner = Pruner(try Self.method(name), pattern: pattern)
            let network = try CalibratedPruning.network(model, layers, method: pruner.method).network
            return try CalibratedPruning.prune(network, chosen.map(\.name), pruner, calibration)
                .mapValues { SparsePattern(nonzerosOf: $0) }
        }
    }

    public func beforeStep(_ run: TrainingRun) throws {
        func between(_ ends: (from: Double, to: Double)) -> Double {
            ends.from + (ends.to - ends.from) * run.progress
        }
        for (_, _, weight) in weights {
            weight.redraw(
                scale: between(settings.scale), temperature: between(settings.temperature), using: &run.generator)
        }
    }

    public func penalty(_ run: TrainingRun) -> Variable<Float>? {
        let factor = -settings.reward * (1 - run.progress)
        guard factor != 0 else { return nil }
        let terms = weights.map { $0.weight.relaxed(on: run.tape).map(.square).sum() }
        return terms.dropFirst().reduce(terms[0], +).affine(Float(factor))
    }

    public func end(_ run: TrainingRun) throws {
        let groups = weights.reduce(0) { $0 + $1.weight.logits.shape[0] }
        certainty =
            weights.reduce(0) { $0 + $1.weight.certainty * Double($1.weight.logits.shape[0]) } / Double(max(groups, 1))
        run.metrics.append(("certainty", certainty))
        for (_, layer, weight) in weights { try layer.sparsify(storage, mask: weight.mask) }
        for parameter in frozen { parameter.isTrainable = true }
    }
}
