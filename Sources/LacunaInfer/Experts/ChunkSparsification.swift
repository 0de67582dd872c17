import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaTensor

/// Makes neighbouring tokens choose the same experts while ``BlockFFN``s are trained: adds ``RoutingLoss/locality(_:length:sharpness:)``
/// and, with an ``AdaptiveWeight``, ``RoutingLoss/chunk(_:length:chunk:)``, each the mean over the layers. A chunk of tokens that are
/// decoded or verified together then reads few experts.
///
/// Chenyang Song and others, "BlockFFN: Towards End-Side Acceleration-Friendly Mixture-of-Experts with Chunk-Level Activation
/// Sparsity", arXiv 2507.08771. There is no term that balances experts, and none that makes scores small.
///
/// ```swift
/// import LacunaInfer
/// import LacunaLearn
/// import LacunaModels
///
/// let hook = try ChunkSparsification(length: 512)
/// let trainer = try Trainer(
///     model: student, optimizer: Adam(learningRate: 1e-3), source: examples, plan: plan, hooks: [hook],
///     loss: { batch, tape in student.loss(batch.ids, next: batch.next, batch: batch.count, on: tape) })
/// ```
public final class ChunkSparsification: TrainingHook {
    /// Rows of a sequence, in the order in which batches have them.
    public let length: Int
    /// Rows of a chunk.
    public let chunk: Int
    /// Of the term about neighbours; 0 leaves it out.
    public let localityWeight: Double
    /// α of that term.
    public let sharpness: Double
    /// Of the term about chunks; an initial one of 0 leaves it out.
    public private(set) var chunkWeight: AdaptiveWeight
    private var seen: [(scores: Variable<Float>, rectified: Variable<Float>)] = []
    private var terms: [Double] = []
    private var layers: [BlockFFN] = []

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for numbers out of range.
    public init(
        length: Int, chunk: Int = 64, localityWeight: Double = 2e-3, sharpness: Double = 100,
        chunkWeight: AdaptiveWeight? = nil
    ) throws {
        guard length >= 1, chunk >= 1, localityWeight >= 0, localityWeight.isFinite, sharpness > 0 else {
            throw LacunaError.invalidArgument(
                "chunk",
                reason: "\(chunk) rows of \(length), weight \(localityWeight), sharpness \(sharpness): out of range")
        }
        (self.length, self.chunk, self.localityWeight, self.sharpness) = (length, chunk, localityWeight, sharpness)
        self.chunkWeight = try chunkWeight ?? AdaptiveWeight()
    }

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a model without a ``BlockFFN``;
    ///   ``LacunaError/unsupported(file:what:)`` for one that computes its blocks again in the backward pass.
    public func attach(_ run: TrainingRun) throws {
        if let model = run.model as? TrainableTransformer, model.recomputesBlocks {
            throw LacunaError.unsupported(file: nil, what: "terms about experts in blocks that are computed again")
        }
        layers = []
        run.model.forEachModule { _, module in if let layer = module as? BlockFFN { layers.append(layer) } }
        if layers.isEmpty { throw LacunaError.invalidArgument("model", reason: "has no BlockFFN") }
        for layer in layers {
            layer.watch = { [weak self] scores, rectified in self?.seen.append((scores, rectified)) }
        }
    }

    public func beforeStep(_ run: TrainingRun) throws { (seen, terms) = ([], []) }

    public func penalty(_ run: TrainingRun) -> Variable<Float>? {
        defer { seen = [] }
        guard let first = seen.first else { return nil }
        var total = first.scores.tape.constant(Tensor<Float>([0], shape: []))
        var chunks = 0.0
        let share = 1 / Double(seen.count)
        for (scores, rectified) in seen {
            if localityWeight > 0 {
                total =
                    total
                    + RoutingLoss.locality(scores, length: length, sharpness: Float(sharpness)).affine(
                        Float(localityWeight * share))
            }
            if chunkWeight.initial > 0 {
                let term = RoutingLoss.chunk(RoutingLoss.shares(rectified), length: length, chunk: chunk)
                chunks += Double(term.item) * share
                total = total + term.affine(Float(chunkWeight.value * share))
            }
        }
        if chunkWeight.initial > 0 { terms.append(chunks) }
        return total
    }

    public func afterStep(_ run: TrainingRun) throws {
        if terms.isEmpty { return }
        chunkWeight.note(terms.reduce(0, +) / Double(terms.count))
    }

    public func end(_ run: TrainingRun) throws {
        for layer in layers { layer.watch = nil }
    }

    public var state: JSONValue { chunkWeight.state }
    public func restore(_ state: JSONValue) throws { try chunkWeight.restore(state) }
}
