import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor

/// Prunes while fine-tuning, by scores that training learns, without a number for every weight: the change of the weights is
/// a low-rank product, and so is the learned part of the scores, beside one number for each row and each column.
///
/// `W' = W + β U V` with frozen `W`; the score of an entry is `Q = |W'| + α₁ A B + α₂ (R 1ᵀ + 1 Cᵀ)`, and the forward pass uses
/// `M ∘ W'`, `M` keeping the largest of `Q` in every layer. Backwards the mask is taken for the identity: the score of an entry
/// gets the gradient of the masked weight times the weight. `V`, `B`, `R` and `C` start at 0, so that the first masks are those of
/// magnitudes; the sparsity rises as `s (1 - (1-u)³)` between a tenth and seven tenths of the run.
///
/// Yuchao Li, Fuli Luo, Chuanqi Tan, Mengdi Wang, Songfang Huang, Shen Li, Junjie Bai, "Parameter-Efficient Sparsity for Large
/// Language Models Fine-Tuning", arXiv 2205.11005. Defaults are theirs. Everything but the factors and a layer that gives the
/// output is frozen during the run; at the end the factors go into the masked weights.
public final class PST: TrainingMethod {
    /// Numbers of the method.
    public struct Settings: Sendable, Hashable {
        /// Rank of the weights' change, at least 1.
        public var rank = 8
        /// Rank of the learned part of the scores, at least 1.
        public var scoreRank = 8
        /// β: what the weights' change is multiplied by.
        public var change = 1.0
        /// α₁: what the low-rank part of the scores is multiplied by.
        public var lowRank = 1.0
        /// α₂: what the scores of rows and columns are multiplied by.
        public var structure = 1.0
        /// Whether the change of the weights learns from the scores as well, through `|W'|`.
        public var scoresReachChange = true
        /// The shares of the run between which the sparsity rises.
        public var window = 0.1...0.7
        /// The authors' numbers.
        public init() {}
    }

    /// What is removed in the end: a fraction of every layer, 0...1. Patterns that say so themselves are kept from the start.
    public let sparsity: Double?
    /// Which entries compete.
    public let pattern: Pattern
    /// Numbers of the method.
    public let settings: Settings
    /// The layers that are pruned.
    public let layers: LayerChoice
    /// How the result is trained on.
    public let storage: StorageLayout
    private let ramp: GradualPruning
    private var weights: [(layer: Linear, weight: ScoredWeight)] = []
    private var frozen: [Parameter<Float>] = []

    /// - Throws: `LacunaError.invalidArgument` for numbers out of range, a sparsity that is missing or contradicts the pattern, and
    ///   patterns of all layers together.
    public init(
        sparsity: Double? = 0.9, pattern: Pattern = .unstructured(.layer), settings: Settings = Settings(),
        layers: LayerChoice = .allButOutput, storage: StorageLayout = .masked
    ) throws {
        let own = try pattern.sparsityOfEachLayer(sparsity)
        guard settings.rank > 0, settings.scoreRank > 0 else {
            throw LacunaError.invalidArgument(
                "rank", reason: "\(settings.rank) and \(settings.scoreRank) are not both positive")
        }
        guard [settings.change, settings.lowRank, settings.structure].allSatisfy(\.isFinite) else {
            throw LacunaError.invalidArgument("alpha", reason: "is not finite")
        }
        ramp = try GradualPruning(sparsity: own ?? 0, window: settings.window)
        self.sparsity = own
        (self.pattern, self.settings, self.layers, self.storage) = (pattern, settings, layers, storage)
    }

    public var card: MethodCard {
        MethodCard(
            name: "pst", family: .sparseTraining,
            paper: .init(
                authors:
                    "Yuchao Li, Fuli Luo, Chuanqi Tan, Mengdi Wang, Songfang Huang, Shen Li, Junjie Bai",
                title: "Parameter-Efficient Sparsity for Large Language Models Fine-Tuning", arXiv: "2205.11005"),
            composition: [
                "|W'| + learned low-rank and row and column scores", "within layers, cubic ramp", "low-rank update",
            ],
            implements: ["low-rank change, low-rank and row and column scores, cubic ramp", "any pattern"],
            leavesOut: ["keeping the best network after the last pruning"])
    }

    /// The sparsity at a share of the run; nil where the pattern says it.
    public func sparsity(at progress: Double) -> Double? { sparsity == nil ? nil : ramp.sparsity(at: progress) }

    /// Replaces the weights of the chosen layers.
    ///
    /// - Throws: `LacunaError.unsupported` for weights that have a view or are trained sparse.
    public func begin(_ run: TrainingRun) throws {
        weights = try layers.layers(of: run.model).map { name, layer in
            guard layer.isWhole else {
                throw LacunaError.unsupported(file: nil, what: "scores of \(layer.weight.storage) weights ('\(name)')")
            }
            let base = layer.weight.densified()
            // What cannot be selected is found out here.
            _ = try Selection.mask(
                scores: MagnitudeScore().scores(weight: base), pattern: pattern, sparsity: sparsity(at: 0))
            let weight = ScoredWeight(base, pattern: pattern, settings: settings, using: &run.generator)
            layer.weight = weight
            return (layer, weight)
        }
    }

    public func attach(_ run: TrainingRun) throws {
        frozen = run.model.freeze(allBut: weights.flatMap(\.weight.parameters), chosen: weights.map(\.layer))
        for (_, weight) in weights { weight.sparsity = sparsity(at: run.progress) }
    }

    public func beforeStep(_ run: TrainingRun) throws {
        for (_, weight) in weights { weight.sparsity = sparsity(at: run.progress) }
    }

    public func afterStep(_ run: TrainingRun) throws { try Self.requireFinite(weights.flatMap(\.weight.parameters)) }

    public func end(_ run: TrainingRun) throws {
        for (layer, weight) in weights {
            weight.sparsity = sparsity
            let mask = weight.mask
            layer.weight = DenseWeight(weight.updated)
            try layer.sparsify(storage, mask: mask)
        }
        for parameter in frozen { parameter.isTrainable = true }
    }
}

/// A frozen weight with a low-rank change under a mask of learned scores: see ``PST``.
final class ScoredWeight: TrainableWeight {
    /// `W`, frozen.
    let base: Parameter<Float>
    /// `β U V`.
    let update: FactoredWeight
    /// `α₁ A B`.
    let score: FactoredWeight
    /// `R` [outputs, 1].
    let rows: Parameter<Float>
    /// `C` [1, inputs].
    let columns: Parameter<Float>
    /// What is removed now; nil where the pattern says it.
    var sparsity: Double?
    private let pattern: Pattern
    private let settings: PST.Settings

    init(_ base: Tensor<Float>, pattern: Pattern, settings: PST.Settings, using generator: inout SeededGenerator) {
        let (o, d) = (base.rows, base.columns)
        self.base = Parameter(base, isTrainable: false)
        update = FactoredWeight(
            a: Tensor(zeros: [settings.rank, d]), b: Tensor(normal: [o, settings.rank], using: &generator),
            scale: Float(settings.change))
        score = FactoredWeight(
            a: Tensor(zeros: [settings.scoreRank, d]), b: Tensor(normal: [o, settings.scoreRank], using: &generator),
            scale: Float(settings.lowRank))
        rows = Parameter(Tensor(zeros: [o, 1]))
        columns = Parameter(Tensor(zeros: [1, d]))
        (self.pattern, self.settings) = (pattern, settings)
        sparsity = pattern.impliedSparsity == nil ? 0 : nil
    }

    var parts: [(name: String, part: Any)] {
        [("", base), ("update", update), ("score", score), ("rows", rows), ("columns", columns)]
    }
    var outputs: Int { base.shape[0] }
    var inputs: Int { base.shape[1] }
    var activeCount: Int { Int(Double(base.count) * (1 - (sparsity ?? pattern.impliedSparsity ?? 0))) }
    var multiplyAdds: Int { base.count }
    var byteCount: Int {
        base.buffer.byteCount + update.byteCount + score.byteCount + rows.buffer.byteCount + columns.buffer.byteCount
    }
    var storage: String { "scored" }

    /// `W'`.
    var updated: Tensor<Float> { base.value + update.densified() }
    /// What the scores keep now.
    var mask: SparsePattern {
        let tape = Tape<Float>()
        return tape.evaluating { chosen(scores(of: changed(on: tape)).value) }
    }
    func densified() -> Tensor<Float> { mask.applied(to: updated) }

    private func product(_ factors: FactoredWeight, on tape: Tape<Float>) -> Variable<Float> {
        factors.b.on(tape).multiplied(by: factors.a.on(tape)).affine(factors.scale)
    }

    private func changed(on tape: Tape<Float>) -> Variable<Float> { base.on(tape) + product(update, on: tape) }

    /// `Q` [outputs, inputs].
    private func scores(of changed: Variable<Float>) -> Variable<Float> {
        let tape = changed.tape
        let size = (settings.scoresReachChange ? changed : changed.detached()).map(.absolute)
        let across = rows.on(tape).multiplied(by: tape.constant(Tensor(repeating: 1, shape: [1, inputs])))
        let down = tape.constant(Tensor(repeating: 1, shape: [outputs, 1])).multiplied(by: columns.on(tape))
        return size + product(score, on: tape) + (across + down).affine(Float(settings.structure))
    }

    /// The mask in a pass in which there is no one left to tell of a pattern that cannot be: it was tried at the beginning.
    private func chosen(_ scores: Tensor<Float>) -> SparsePattern {
        // Scores that training has driven to infinity or to no number are told apart by nothing: all entries stay.
        (try? Selection.mask(scores: scores, pattern: pattern, sparsity: sparsity))
            ?? SparsePattern(rows: outputs, columns: inputs, keepingAll: true)
    }

    func apply(_ x: Variable<Float>, bias: Variable<Float>?) -> Variable<Float> {
        let changed = changed(on: x.tape)
        let scores = scores(of: changed)
        let mask = chosen(scores.value)
        return x.linear(changed.masked(mask, scores: scores), bias: bias)
    }
}

extension Variable where Scalar == Float {
    /// The entries of a mask that scores have chosen. Gradients reach these entries, and the scores of all as if the mask were
    /// what the scores are: times the entry, a straight-through estimator.
    func masked(_ mask: SparsePattern, scores: Variable<Float>) -> Variable<Float> {
        let keep = mask.applied(to: Tensor<Float>(repeating: 1, shape: shape)).scalars
        return tape.operation(inputs: [self, scores], shape: shape) { inputs, output in
            for i in output.indices { output[i] = keep[i] * inputs[0][i] }
        } backward: { pass in
            pass.accumulate(0) { d in for i in d.indices { d[i] += keep[i] * pass.gradient[i] } }
            pass.accumulate(1) { d in for i in d.indices { d[i] += pass.inputs[0][i] * pass.gradient[i] } }
        }
    }
}
