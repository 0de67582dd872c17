import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor

/// Training a vision transformer with a term that shapes how spread its attention is, before it is pruned.
///
/// The authors' term is the mean over pictures, heads, queries and keys of `log(1 + a²)`. Over the n weights of a row, which sum to
/// 1, its sum is smallest where all are equal (n · log(1 + 1/n²)) and largest where one is 1 (log 2): added to a loss it spreads
/// attention. The ``Kind/entropy`` of rows is what makes attention sparse.
///
/// Yogi Prasetyo, Novanto Yudistira, Agus Wahyu Widodo, "Sparse then Prune: Toward Efficient Vision Transformers", arXiv 2307.11988.
/// Their release takes the last block's term, and prunes all weights of the network together, norms included, without training
/// again: ``OneShotPruning`` with a ``GlobalBudget``, here of matrices alone.
///
/// ```swift
/// let penalty = try AttentionPenalty(coefficient: 0.01)
/// let trainer = try Trainer(
///     model: vit, optimizer: SGD(learningRate: 1e-3, momentum: 0.9), source: batches, plan: plan, hooks: [penalty],
///     loss: { batch, tape in Loss.crossEntropy(vit(tape.constant(batch.inputs)), labels: batch.labels) })
/// try trainer.train()
/// try OneShotPruning(budget: GlobalBudget(0.1), layers: .all).prune(vit)
/// ```
public final class AttentionPenalty: TrainingMethod {
    /// What is added up.
    public enum Kind: String, Sendable, Hashable, CaseIterable {
        /// The mean of `log(1 + a²)`: spreads attention.
        case logarithm
        /// The mean over rows of `- Σ a log a`: gathers attention.
        case entropy
    }

    /// Which blocks.
    public enum Blocks: String, Sendable, Hashable, CaseIterable {
        /// The last alone.
        case last
        /// The mean of all.
        case all
    }

    /// Factor of the term, 0 or more.
    public let coefficient: Double
    /// What is added up.
    public let kind: Kind
    /// Of which blocks.
    public let blocks: Blocks
    private var watched: [(query: ObservedWeight, key: ObservedWeight)] = []
    private var layers: [Linear] = []
    private var shape = (tokens: 0, heads: 0)

    /// - Throws: `LacunaError.invalidArgument` for a negative coefficient.
    public init(coefficient: Double = 0.01, kind: Kind = .logarithm, blocks: Blocks = .last) throws {
        guard coefficient >= 0, coefficient.isFinite else {
            throw LacunaError.invalidArgument("coefficient", reason: "\(coefficient) is negative or not finite")
        }
        (self.coefficient, self.kind, self.blocks) = (coefficient, kind, blocks)
    }

    public var card: MethodCard {
        MethodCard(
            name: "sparse-then-prune", family: .sparseTraining,
            paper: .init(
                authors: "Yogi Prasetyo, Novanto Yudistira, Agus Wahyu Widodo",
                title: "Sparse then Prune: Toward Efficient Vision Transformers", arXiv: "2307.11988"),
            composition: ["|w| of all layers", "one competition", "log(1 + a²) of attention beside the loss"],
            implements: [
                "log(1 + a²) of the last block or of all",
                "entropy as what makes attention sparse",
                "one-shot pruning of all matrices together",
            ],
            leavesOut: ["pruning of norms' gains"])
    }

    /// - Throws: `LacunaError.invalidArgument` for a model that is no vision transformer.
    public func attach(_ run: TrainingRun) throws {
        guard let model = run.model as? TrainableViT else {
            throw LacunaError.invalidArgument("model", reason: "is no vision transformer")
        }
        let c = model.configuration
        shape = (c.specialTokens + c.patchCount, c.headCount)
        let chosen = blocks == .last ? Array(model.blocks.suffix(1)) : model.blocks
        layers = chosen.flatMap { [$0.attention.query, $0.attention.key] }
        let weights = layers.map { layer in
            let observed = ObservedWeight(layer.weight)
            layer.weight = observed
            return observed
        }
        watched = chosen.indices.map { (weights[2 * $0], weights[2 * $0 + 1]) }
    }

    public func penalty(_ run: TrainingRun) -> Variable<Float>? {
        if coefficient == 0 { return nil }
        let terms = watched.compactMap { query, key -> Variable<Float>? in
            guard let q = query.output, let k = key.output else { return nil }
            return Self.term(kind, Self.attention(q, k, tokens: shape.tokens, heads: shape.heads))
        }
        guard var sum = terms.first else { return nil }
        for term in terms.dropFirst() { sum = sum + term }
        return sum.affine(Float(coefficient) / Float(terms.count))
    }

    public func afterStep(_ run: TrainingRun) throws {
        for (query, key) in watched {
            query.forget()
            key.forget()
        }
    }

    public func end(_ run: TrainingRun) throws {
        for layer in layers { if let observed = layer.weight as? ObservedWeight { layer.weight = observed.base } }
        (layers, watched) = ([], [])
    }

    /// The weights of attention, [pictures · heads · tokens, tokens], for queries and keys [pictures · tokens, width].
    static func attention(
        _ queries: Variable<Float>, _ keys: Variable<Float>, tokens: Int, heads: Int
    ) -> Variable<Float> {
        let (pictures, size) = (queries.rows / tokens, queries.columns / heads)
        func split(_ x: Variable<Float>) -> Variable<Float> {
            x.reshaped([pictures, tokens, heads, size]).permuted([0, 2, 1, 3]).reshaped([
                pictures * heads, tokens, size,
            ])
        }
        return split(queries).batchMultiplied(by: split(keys), otherTransposed: true)
            .affine(1 / Float(size).squareRoot()).reshaped([pictures * heads * tokens, tokens]).softmax()
    }

    /// The term of rows of weights that sum to 1, a single number.
    public static func term(_ kind: Kind, _ weights: Variable<Float>) -> Variable<Float> {
        switch kind {
        case .logarithm: weights.map(.square).affine(1, 1).map(.logarithm).mean()
        case .entropy:
            // A weight of 0 adds 0.
            (weights * weights.clamped(to: 1e-12...1).map(.logarithm)).rowSums().mean().affine(-1)
        }
    }

    /// The mean entropy of the rows of attention of every block for some pictures, in nats.
    ///
    /// - Parameter images: [n, channels, side, side].
    public static func entropies(_ model: TrainableViT, _ images: Tensor<Float>) -> [Double] {
        let c = model.configuration
        let attentions = model.blocks.map(\.attention)
        let before = attentions.map { ($0.query.weight, $0.key.weight) }
        let watched = attentions.map { attention -> (ObservedWeight, ObservedWeight) in
            let pair = (ObservedWeight(attention.query.weight), ObservedWeight(attention.key.weight))
            (attention.query.weight, attention.key.weight) = pair
            return pair
        }
        defer {
            for (attention, weights) in zip(attentions, before) {
                (attention.query.weight, attention.key.weight) = weights
            }
        }
        let tape = Tape<Float>()
        return tape.evaluating {
            _ = model(tape.constant(images))
            return watched.map { query, key in
                Double(
                    term(
                        .entropy,
                        attention(
                            query.output!, key.output!, tokens: c.specialTokens + c.patchCount, heads: c.headCount)
                    ).item)
            }
        }
    }
}
