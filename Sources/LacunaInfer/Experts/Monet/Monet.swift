import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor

/// So many experts that each can be about one thing, at the cost of the root of their number: expert (i, j) is made of part i of one table and
/// part j of another, and every head of a router weighs both tables: `y = Σ_h Σ_i Σ_j g1_hi g2_hj E_ij(x)`. No expert is ever formed, as the sum
/// factors; g is the softmax of the scores over the parts whose score, normalised over the batch, is above the quantile of a normal distribution
/// that leaves as many as wanted, and at least the largest. Nothing is sorted.
///
/// Jungwoo Park, Young Jin Ahn, Kee-Eung Kim, Jaewoo Kang, "Monet: Mixture of Monosemantic Experts for Transformers", arXiv 2412.04139. The
/// function is ReLU². ``RoutingLoss/uniformity(_:)`` and ``RoutingLoss/ambiguity(_:)`` of ``watch``'s gates are added to the loss
/// by ``MonetRegularization``. A layer has a router of its own; the authors' groups of four layers share one.
public final class Monet: TrainableRowMixer {
    /// Sizes.
    public let settings: MonetSettings
    /// Scores, [heads · side, width] each.
    public let router1, router2: Linear
    /// U, [side · neurons of a part, width], with biases b; `up2` of a vertical decomposition alone.
    public let up1: Linear
    /// As ``up1``.
    public let up2: Linear?
    /// V, [outputs, side · neurons]: horizontal one, ``down`` [width, side · size]; vertical four, of half the width each, V11, V12, V21
    /// and V22.
    public let down: [Linear]
    /// c, [side, outputs]: horizontal one, [side, width]; vertical two of half the width.
    public let biases: [Parameter<Float>]
    /// Mean and variance of the scores of each head, first side then second, [2 · heads]: what runs normalises by. Not trained.
    public let runningMean, runningVariance: Parameter<Float>
    /// How much a batch weighs in these.
    public var momentum: Float = 0.1
    /// Sees the gates of both sides, [n, heads, side], of what is being recorded; nil for no one.
    public var watch: ((_ first: Variable<Float>, _ second: Variable<Float>) -> Void)?

    static let epsilon: Float = 1e-5

    /// Random weights.
    ///
    /// - Throws: As ``MonetSettings/validate()``.
    public init(_ settings: MonetSettings, using generator: inout SeededGenerator) throws {
        try settings.validate()
        self.settings = settings
        let (width, side, part) = (settings.width, settings.side, settings.part)
        func linear(_ inputs: Int, _ outputs: Int, bias: Bool, fanIn: Int? = nil) -> Linear {
            let bound = 1 / Float(fanIn ?? inputs).squareRoot()
            return Linear(
                weight: DenseWeight(Tensor(uniform: [outputs, inputs], in: -bound..<bound, using: &generator)),
                bias: bias ? Tensor(zeros: [outputs]) : nil)
        }
        router1 = linear(width, settings.heads * side, bias: false)
        router2 = linear(width, settings.heads * side, bias: false)
        up1 = linear(width, side * part, bias: true)
        switch settings.decomposition {
        case .horizontal:
            up2 = nil
            down = [linear(side * part, width, bias: false, fanIn: part)]
            biases = [Parameter(Tensor(zeros: [side, width]))]
        case .vertical:
            up2 = linear(width, side * part, bias: true)
            down = (0..<4).map { _ in linear(side * part, width / 2, bias: false, fanIn: 2 * part) }
            biases = (0..<2).map { _ in Parameter(Tensor(zeros: [side, width / 2])) }
        }
        runningMean = Parameter(Tensor(zeros: [2 * settings.heads]), isTrainable: false)
        runningVariance = Parameter(Tensor(repeating: 1, shape: [2 * settings.heads]), isTrainable: false)
    }

    public var parts: [(name: String, part: Any)] {
        let u2: [(String, Any)] = up2.map { [("u2", $0)] } ?? []
        return [("router1", router1), ("router2", router2), ("u1", up1)] + u2
            + down.enumerated().map { ("v.\($0)", $1) } + biases.enumerated().map { ("c.\($0)", $1) }
            + [("running_mean", runningMean), ("running_variance", runningVariance)]
    }

    // MARK: Gates

    /// g, [n, heads, side], of one side: the softmax of the scores that are above the quantile, at least of the largest.
    ///
    /// While a tape is training heads are normalised by the batch's mean and variance over its rows and parts, which move the running ones;
    /// otherwise by these. Which parts are chosen has no gradient.
    private func gates(_ x: Variable<Float>, _ router: Linear, first: Bool) -> Variable<Float> {
        let (n, heads, side) = (x.rows, settings.heads, settings.side)
        let scores = router(x)
        let moments = x.tape.isTraining ? batchMoments(scores, first: first) : runningMoments(first: first)
        let limit = Float(MonetGates.quantile(settings))
        var mask = Tensor<Float>(zeros: [n * heads, side])
        scores.withPointer { scores in
            mask.withMutablePointer { mask in
                for row in 0..<n * heads {
                    let (mean, deviation) = moments[row % heads]
                    MonetGates.forEachLeftOut(
                        scores + row * side, side: side, mean: mean, deviation: deviation, limit: limit,
                        body: {
                            mask[row * side + $0] = -1e10
                        })
                }
            }
        }
        let masked = scores.reshaped([n * heads, side]) + x.tape.constant(mask)
        return masked.softmax().reshaped([n, heads, side])
    }

    private func batchMoments(_ scores: Variable<Float>, first: Bool) -> [(mean: Float, deviation: Float)] {
        let (heads, side, n) = (settings.heads, settings.side, scores.rows)
        let isRemembered = !scores.tape.isRecomputing && n > 0
        return scores.withPointer { scores in
            (0..<heads).map { head -> (mean: Float, deviation: Float) in
                var (sum, squares) = (0.0, 0.0)
                for row in 0..<n {
                    let values = scores + (row * heads + head) * side
                    for i in 0..<side { sum += Double(values[i]) }
                }
                let count = Double(max(n * side, 1))
                let mean = sum / count
                for row in 0..<n {
                    let values = scores + (row * heads + head) * side
                    for i in 0..<side { squares += (Double(values[i]) - mean) * (Double(values[i]) - mean) }
                }
                let variance = Float(squares / count)
                if isRemembered {
                    let place = (first ? 0 : heads) + head
                    let (means, variances) = (runningMean.buffer.pointer, runningVariance.buffer.pointer)
                    means[place] += momentum * (Float(mean) - means[place])
                    variances[place] += momentum * (variance - variances[place])
                }
                return (Float(mean), (variance + Self.epsilon).squareRoot())
            }
        }
    }

    private func runningMoments(first: Bool) -> [(mean: Float, deviation: Float)] {
        let start = first ? 0 : settings.heads
        return (start..<start + settings.heads).map { place -> (mean: Float, deviation: Float) in
            (runningMean.buffer.pointer[place], (runningVariance.buffer.pointer[place] + Self.epsilon).squareRoot())
        }
    }

    /// The gates of both sides, [n, heads, side].
    public func gates(_ x: Variable<Float>) -> (first: Variable<Float>, second: Variable<Float>) {
        (gates(x, router1, first: true), gates(x, router2, first: false))
    }

    // MARK: Output

    public func callAsFunction(_ x: Variable<Float>) -> Variable<Float> {
        let (g1, g2) = gates(x)
        if x.tape.isRecording && !x.tape.isRecomputing { watch?(g1, g2) }
        return output(x, g1, g2)
    }

    /// `y` for gates of one's own, [n, heads, side], those of a head adding up to 1 on each side; with gates of 0 for the experts that are to be
    /// left out they add up to less.
    public func output(_ x: Variable<Float>, _ g1: Variable<Float>, _ g2: Variable<Float>) -> Variable<Float> {
        let (n, side, part) = (x.rows, settings.side, settings.part)
        func hidden(_ up: Linear) -> Variable<Float> { up(x).relu().map(.square).reshaped([n, side, part]) }
        /// What heads gather of one side's hidden parts, [n, heads, part], times the other side's gates: [n, side · part].
        func crossed(_ gathered: Variable<Float>, _ gates: Variable<Float>) -> Variable<Float> {
            gates.permuted([0, 2, 1]).batchMultiplied(by: gathered).reshaped([n, side * part])
        }
        /// Sums over heads, [n, side], weighted by how much the other side gives each.
        func total(_ gates: Variable<Float>, _ other: Variable<Float>) -> Variable<Float> {
            let weights = other.rowSums().reshaped([n, 1, settings.heads])
            return weights.batchMultiplied(by: gates).reshaped([n, side])
        }
        let (t1, t2) = (total(g1, g2), total(g2, g1))
        func constant(_ weights: Variable<Float>, _ table: Parameter<Float>) -> Variable<Float> {
            weights.multiplied(by: table.on(x.tape))
        }
        let h1 = hidden(up1)
        switch settings.decomposition {
        case .horizontal:
            return down[0](crossed(g1.batchMultiplied(by: h1), g2)) + constant(t2, biases[0])
        case .vertical:
            guard let up2 else { return x.tape.constant(Tensor(zeros: x.shape)) }
            let h2 = hidden(up2)
            func own(_ hidden: Variable<Float>, _ weights: Variable<Float>) -> Variable<Float> {
                hidden.reshaped([n * side, part]).multipliedByColumn(weights.reshaped([n * side])).reshaped([
                    n, side * part,
                ])
            }
            let upper =
                down[0](own(h1, t1)) + down[1](crossed(g2.batchMultiplied(by: h2), g1)) + constant(t1, biases[0])
            let lower =
                down[2](crossed(g1.batchMultiplied(by: h1), g2)) + down[3](own(h2, t2)) + constant(t2, biases[1])
            return .concatenated(columns: [upper, lower])
        }
    }

    public func stored(_ values: ValueType) throws -> ChannelMixer {
        .custom(try MonetLayer(self, values))
    }
}

/// The choice of a router of Monet, in one place for what is learned and what is run.
enum MonetGates {
    /// Of the normal distribution, above which a share `chosen / side` lies.
    static func quantile(_ settings: MonetSettings) -> Double {
        NormalDistribution.quantile(1 - Double(settings.chosen) / Double(settings.side))
    }

    /// Tells which of a head's scores are not chosen: those whose normalised value is below the limit and is not the largest.
    static func forEachLeftOut(
        _ scores: UnsafePointer<Float>, side: Int, mean: Float, deviation: Float, limit: Float, body: (Int) -> Void
    ) {
        var largest = -Float.infinity
        for i in 0..<side { largest = max(largest, (scores[i] - mean) / deviation) }
        let line = min(limit, largest)
        for i in 0..<side where !((scores[i] - mean) / deviation >= line) { body(i) }
    }
}

/// Adds ``RoutingLoss/uniformity(_:)`` and ``RoutingLoss/ambiguity(_:)`` of all ``Monet`` layers to the loss, the mean over sides and
/// layers.
public final class MonetRegularization: TrainingHook {
    /// Of both terms.
    public let weight: Double
    private var layers: [Monet] = []
    private var terms: [Variable<Float>] = []

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a weight that is negative or not finite.
    public init(weight: Double = 1e-3) throws {
        guard weight >= 0, weight.isFinite else {
            throw LacunaError.invalidArgument("weight", reason: "\(weight) is negative or not finite")
        }
        self.weight = weight
    }

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a model without a ``Monet`` layer;
    ///   ``LacunaError/unsupported(file:what:)`` for one that computes its blocks again in the backward pass.
    public func attach(_ run: TrainingRun) throws {
        if let model = run.model as? TrainableTransformer, model.recomputesBlocks {
            throw LacunaError.unsupported(file: nil, what: "terms about experts in blocks that are computed again")
        }
        layers = []
        run.model.forEachModule { _, module in if let layer = module as? Monet { layers.append(layer) } }
        if layers.isEmpty { throw LacunaError.invalidArgument("model", reason: "has no Monet layer") }
        let factor = Float(weight) / Float(2 * layers.count)
        for layer in layers {
            layer.watch = { [weak self] first, second in
                for gates in [first, second] {
                    self?.terms.append(
                        (RoutingLoss.uniformity(gates) + RoutingLoss.ambiguity(gates)).affine(factor))
                }
            }
        }
    }

    public func beforeStep(_ run: TrainingRun) throws { terms = [] }

    public func penalty(_ run: TrainingRun) -> Variable<Float>? {
        defer { terms = [] }
        return terms.dropFirst().reduce(terms.first) { sum, term in sum.map { $0 + term } }
    }

    public func end(_ run: TrainingRun) throws {
        for layer in layers { layer.watch = nil }
    }
}
