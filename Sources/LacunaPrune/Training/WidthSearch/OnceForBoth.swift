import LacunaLearn
import LacunaModels
import LacunaTensor

/// Once for both: one run finds how many units every layer keeps and which, and trains them.
///
/// The model of the run is an ``ElasticNetwork``. Beside its loss stand, for every place where units are searched, the terms that drive it to one
/// width (``BiMask/oneHotLoss(price:on:)``), and `5 ((F - F_target) / F_dense)²` with the multiply-adds `F` that its widths let expect. The
/// scores' part in the multipliers falls from 0.99 to 0.1 as the run warms up. At equal distances widths with a share of at most 0.2 / K are
/// dropped, and units that no width reaches are taken out of the network at once; what is undecided at the end is decided then.
///
/// Hancheng Ye, Chong Yu, Peng Ye, Renqiu Xia, Yansong Tang, Jiwen Lu, Tao Chen, Bo Zhang, "Once for Both: Single Stage of Importance and
/// Sparsity Search for Vision Transformer Compression", arXiv 2403.15835. Defaults are theirs: AdamW, 100 epochs of which 20 warm up, three
/// looks an epoch; afterwards they train the network that is left.
///
/// ```swift
/// let elastic = try ElasticNetwork(vit, reconstruction: PatchReconstruction(vit, using: &generator), using: &generator)
/// let trainer = try Trainer(
///     model: elastic, optimizer: Adam.decoupled(), source: batches, plan: plan,
///     hooks: [try OnceForBoth(target: 0.5, interval: 100)], loss: { elastic.loss($0, on: $1) })
/// try trainer.train()
/// try elastic.fuse()            // vit is smaller now; train it on
/// ```
public final class OnceForBoth: TrainingMethod {
    /// `F_target / F_dense`, above 0 and at most 1.
    public let target: Double
    /// Steps between looks at the shares, at least 1.
    public let interval: Int
    /// Share of the run in which the scores' part falls, 0...1.
    public let warmUp: Double
    /// The scores' part in the multipliers, at first and when warming up is over; 0...1.
    public var mix = (from: 0.99, to: 0.1)
    /// Times `1 / K`: what a share must exceed to stay.
    public var threshold = 0.2
    /// Of the terms of one width, and of the multiply-adds.
    public var widthFactor = 0.5, costFactor = 5.0
    /// What a unit's score costs: of neurons and the stream, and of heads.
    public var price = (units: 1e-4, heads: 4e-4)

    /// - Throws: `LacunaError.invalidArgument` for numbers out of range.
    public init(target: Double, interval: Int, warmUp: Double = 0.2) throws {
        guard target > 0, target <= 1 else {
            throw LacunaError.invalidArgument("target", reason: "\(target) is not above 0 and at most 1")
        }
        guard interval >= 1 else {
            throw LacunaError.invalidArgument("interval", reason: "\(interval) is not at least 1")
        }
        guard (0...1).contains(warmUp) else {
            throw LacunaError.invalidArgument("warmUp", reason: "\(warmUp) is not in 0...1")
        }
        (self.target, self.interval, self.warmUp) = (target, interval, warmUp)
    }

    public var card: MethodCard { Self.card }

    /// What the method is, for listings.
    public static let card = MethodCard(
        name: "ofb", family: .structured,
        paper: .init(
            authors:
                "Hancheng Ye, Chong Yu, Peng Ye, Renqiu Xia, Yansong Tang, Jiwen Lu, Tao Chen, Bo Zhang",
            title:
                "Once for Both: Single Stage of Importance and Sparsity Search for Vision Transformer Compression",
            arXiv: "2403.15835"),
        composition: ["learned scores of units", "learned widths under a cost", "shrinks while it trains"],
        implements: [
            "scores and widths of neurons, head entries and the stream",
            "cost and one-hot terms, shrinking while training",
            "hidden patches, distillation",
        ],
        leavesOut: ["files of networks of such sizes"])

    private func network(_ run: TrainingRun) throws -> ElasticNetwork {
        guard let network = run.model as? ElasticNetwork else {
            throw LacunaError.invalidArgument("model", reason: "is no elastic network")
        }
        return network
    }

    /// - Throws: `LacunaError.invalidArgument` for a model that is no ``ElasticNetwork``.
    public func attach(_ run: TrainingRun) throws { _ = try network(run) }

    public func beforeStep(_ run: TrainingRun) throws {
        let network = try network(run)
        let done = warmUp == 0 ? 1 : min(run.progress / warmUp, 1)
        for axis in network.axes { axis.mask.mix = mix.from + (mix.to - mix.from) * done }
        if let part = network.reconstruction {
            part.keptNow = part.kept.from + (part.kept.to - part.kept.from) * done
        }
    }

    public func penalty(_ run: TrainingRun) -> Variable<Float>? {
        guard let network = run.model as? ElasticNetwork, !network.isDecided else { return nil }
        let tape = run.tape
        var sum = (network.expectedCost(on: tape).affine(1, Float(-target))).map(.square).sum().affine(
            Float(costFactor))
        for axis in network.axes {
            let own = axis.kind == .heads ? price.heads : price.units
            if let term = axis.mask.oneHotLoss(price: own, on: tape) { sum = sum + term.affine(Float(widthFactor)) }
        }
        return sum
    }

    public func afterStep(_ run: TrainingRun) throws {
        guard (run.step + 1) % interval == 0 else { return }
        let network = try network(run)
        if network.isDecided { return }
        try network.shrink { $0.dropCandidates(threshold: threshold) }
        run.metrics.append(("expected_cost", network.expectedMultiplyAdds / network.denseMultiplyAdds))
    }

    public func end(_ run: TrainingRun) throws {
        let network = try network(run)
        try network.decideWidths()
        run.metrics.append(("cost", network.expectedMultiplyAdds / network.denseMultiplyAdds))
    }
}
