import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Classifies graphs: layers in which every node hears of its neighbours and, by attention, of all nodes of its graph; then the
/// sum over the nodes, or the first of them alone.
///
/// Ladislav Rampášek and others, "Recipe for a General, Powerful, Scalable Graph Transformer", arXiv 2205.12454, with layer norms
/// where theirs go over the batch, which here would see the rows that pad smaller graphs.
public final class GraphTransformer: Module {
    /// What a graph's class is read from.
    public enum Pooling: String, Sendable, Hashable, CaseIterable {
        /// The sum over its nodes.
        case sum
        /// Its first node, which then always takes part in attention: the class of a node in its surroundings.
        case first
    }

    /// What a graph's class is read from.
    public let pooling: Pooling
    /// [width, features + walks].
    public let embedding: Linear
    /// From the input on.
    public let layers: [GraphTransformerLayer]
    /// Of the sums over nodes.
    public let norm: LayerNorm
    /// On the normalised sums.
    public let classifier: Linear

    /// - Precondition: `heads` divides `width`.
    public init(
        inputDimensions: Int, width: Int, layers: Int, heads: Int, classes: Int, pooling: Pooling = .sum,
        attentionDropout: Double = 0,
        using generator: inout SeededGenerator
    ) {
        embedding = Linear(inputDimensions: inputDimensions, outputDimensions: width, using: &generator)
        var all: [GraphTransformerLayer] = []
        for _ in 0..<layers {
            all.append(
                GraphTransformerLayer(
                    width: width, heads: heads, keepsFirst: pooling == .first, dropout: attentionDropout,
                    using: &generator))
        }
        self.pooling = pooling
        self.layers = all
        norm = LayerNorm(dimensions: width)
        classifier = Linear(inputDimensions: width, outputDimensions: classes, using: &generator)
    }

    /// Logits [graphs, classes].
    public func callAsFunction(_ batch: GraphBatch, on tape: Tape<Float>) -> Variable<Float> {
        let x = layers.reduce(embedding(tape.constant(batch.inputs))) { $1($0, batch) }
        if pooling == .first {
            return classifier(norm(x.gathered(batch.counts.indices.map { Int32($0 * batch.length) })))
        }
        let nodes = batch.isNode.enumerated().filter(\.element).map { Int32($0.offset) }
        let sums = x.gathered(nodes).scattered(nodes.map { $0 / Int32(max(batch.length, 1)) }, into: batch.counts.count)
        return classifier(norm(sums))
    }

    /// Training by cross-entropy.
    ///
    /// - Throws: As ``Trainer``.
    @discardableResult
    public func train(
        on examples: GraphExamples, optimizer: any Optimizer, plan: TrainingPlan, batch: Int,
        hooks: [any TrainingHook] = []
    ) throws -> TrainingReport {
        try Trainer(
            model: self, optimizer: optimizer, source: GraphBatches(examples, batchSize: batch, seed: plan.seed),
            plan: plan, hooks: hooks, loss: { Loss.crossEntropy(self($0, on: $1), labels: $0.labels) }
        ).train()
    }

    /// The share of the examples whose class is recognised, 0...1.
    public func accuracy(on examples: GraphExamples) -> Double {
        let tape = Tape<Float>()
        var right = 0.0
        for start in stride(from: 0, to: examples.count, by: 100) {
            let batch = examples.batch(start..<min(start + 100, examples.count))
            right += tape.evaluating {
                LacunaLearn.accuracy(self(batch, on: tape), batch.labels) * Double(batch.labels.count)
            }
        }
        return right / Double(max(examples.count, 1))
    }
}

/// `a = norm(GIN(x) + x)`, `b = norm(attention(x) + x)`, and `norm(a + b + MLP(a + b))`.
///
/// GIN is an MLP of `(1 + ε) x` and the sum over the neighbours (Keyulu Xu and others, "How Powerful are Graph Neural Networks?",
/// arXiv 1810.00826). What ``GraphTransformerSparsification`` leaves out of attention is said here.
public final class GraphTransformerLayer: Module {
    /// Heads of attention.
    public let heads: Int
    /// Whether a graph's first node is always among those that take part in attention.
    public let keepsFirst: Bool
    /// ε, [1].
    public let epsilon: Parameter<Float>
    /// The two layers of the MLP on neighbours, and on nodes behind attention.
    public let neighbours, mixing: [Linear]
    /// [width, width] each.
    public let query, key, value, output: Linear
    /// Behind the three parts.
    public let neighbourNorm, attentionNorm, outputNorm: LayerNorm
    /// One score a node, [1, width], by which nodes are chosen for attention.
    public let tokenScore: Linear
    /// Share of what attention gives that is set to 0 while training.
    public let dropout: Double

    /// Which nodes take part in attention.
    public enum TokenChoice: Sendable, Hashable {
        /// Those of the largest scores: a learned choice.
        case learned
        /// Drawn anew for every batch: what a learned choice is compared with.
        case random
    }

    /// Share of each graph's nodes that take part in attention, rounded down but at least one; 1 for all.
    public var tokenRatio = 1.0
    /// How they are chosen.
    public var tokenChoice = TokenChoice.learned
    /// What scores are divided by when nodes are sampled; above 0.
    public var temperature: Float = 1
    /// The probability that a training step leaves attention out.
    public var attentionDrop = 0.0
    /// Whether there is attention at all.
    public var hasAttention = true
    /// Whether the next forward pass notes what heads contribute: see ``headImportance``.
    var notesHeads = false
    private var headFactors: Variable<Float>?
    /// The nodes that took part in attention in the last forward pass, by row; nil if all did.
    public private(set) var chosenTokens: [Bool]?

    init(width: Int, heads: Int, keepsFirst: Bool, dropout: Double, using generator: inout SeededGenerator) {
        require(heads > 0 && width % heads == 0, "\(width) entries do not divide into \(heads) heads")
        self.heads = heads
        self.keepsFirst = keepsFirst
        self.dropout = dropout
        func linear(_ inputs: Int, _ outputs: Int) -> Linear {
            Linear(inputDimensions: inputs, outputDimensions: outputs, using: &generator)
        }
        epsilon = Parameter(Tensor(zeros: [1]), decays: false)
        neighbours = [linear(width, width), linear(width, width)]
        (query, key, value, output) = (
            linear(width, width), linear(width, width), linear(width, width), linear(width, width)
        )
        mixing = [linear(width, 2 * width), linear(2 * width, width)]
        (neighbourNorm, attentionNorm, outputNorm) = (
            LayerNorm(dimensions: width), LayerNorm(dimensions: width), LayerNorm(dimensions: width)
        )
        tokenScore = linear(width, 1)
    }

    /// [graphs · length, width] for rows of the same shape.
    func callAsFunction(_ x: Variable<Float>, _ batch: GraphBatch) -> Variable<Float> {
        let sums = x.gathered(batch.from).scattered(batch.to, into: x.rows)
        let own = x + x * epsilon.on(x.tape).expanded(to: x.shape)
        let a = neighbourNorm(neighbours[1](neighbours[0](own + sums).relu()) + x)
        let drops =
            x.tape.isTraining && attentionDrop > 0
            && Double.random(in: 0..<1, using: &x.tape.generator) < attentionDrop
        let b = hasAttention && !drops ? attentionNorm(attended(x, batch).dropout(dropout) + x) : attentionNorm(x)
        let sum = a + b
        return outputNorm(sum + mixing[1](mixing[0](sum).relu()))
    }

    // MARK: Attention

    /// Attention among chosen nodes; the others get 0.
    private func attended(_ x: Variable<Float>, _ batch: GraphBatch) -> Variable<Float> {
        let (graphs, length) = (batch.counts.count, batch.length)
        guard tokenRatio < 1 else {
            chosenTokens = nil
            return heard(x, counts: batch.counts, length: length, padded: batch.isNode)
        }
        let factors = tokenFactors(x, batch)
        let chosen = chosenTokens!
        // Only chosen rows, beside each other: what is left out is neither multiplied nor seen.
        let rows = chosen.enumerated().filter(\.element).map { Int32($0.offset) }
        let counts = (0..<graphs).map { graph in chosen[graph * length..<(graph + 1) * length].count { $0 } }
        let longest = counts.max() ?? 0
        var places: [Int32] = []
        for (graph, count) in counts.enumerated() { places += (0..<count).map { Int32(graph * longest + $0) } }
        let packed = (x * factors.expanded(to: x.shape)).gathered(rows).scattered(places, into: graphs * longest)
        let isToken = counts.flatMap { count in (0..<longest).map { $0 < count } }
        return heard(packed, counts: counts, length: longest, padded: isToken).gathered(places)
            .scattered(rows, into: x.rows)
    }

    /// 1 for chosen nodes and 0 for others, [rows, 1], with the gradient of a relaxed sample.
    private func tokenFactors(_ x: Variable<Float>, _ batch: GraphBatch) -> Variable<Float> {
        let (graphs, length, tape) = (batch.counts.count, batch.length, x.tape)
        let isNode = batch.isNode
        let hidden = tape.constant(
            Tensor(isNode.map { $0 ? 0 : -1e9 }, shape: [graphs, length]))
        var scores: Variable<Float>
        switch tokenChoice {
        case .learned: scores = tokenScore(x).reshaped([graphs, length]) + hidden
        case .random:
            scores = tape.constant(Tensor(uniform: [graphs, length], in: 0..<1, using: &tape.generator)) + hidden
        }
        scores = scores.logSoftmax()
        let soft =
            tape.isTraining && tokenChoice == .learned
            ? scores.gumbelSoftmax(temperature: temperature) : scores.affine(1 / temperature).softmax()
        var (hard, chosen) = (Tensor<Float>(zeros: [graphs, length]), [Bool](repeating: false, count: isNode.count))
        let order = soft.topIndices(length)
        hard.withMutablePointer { hard in
            for (graph, count) in batch.counts.enumerated() {
                var left = max(1, Int(tokenRatio * Double(count) + 1e-9))
                func choose(_ place: Int) {
                    hard[graph * length + place] = 1
                    chosen[graph * length + place] = true
                    left -= 1
                }
                if keepsFirst { choose(0) }
                for place in order[graph * length..<(graph + 1) * length] where left > 0 {
                    if !chosen[graph * length + Int(place)] { choose(Int(place)) }
                }
            }
        }
        chosenTokens = chosen
        return soft.straightThrough(hard).reshaped([graphs * length, 1])
    }

    /// Attention of all heads within each graph.
    private func heard(_ x: Variable<Float>, counts: [Int], length: Int, padded: [Bool]) -> Variable<Float> {
        let (graphs, width) = (counts.count, x.columns)
        let products = graphs * width * length * length * 2
        x.tape.note(rows: 1, dense: products, active: products)
        var y = Variable.attention(
            queries: query(x), keys: key(x), values: value(x),
            shape: AttentionShape(batch: graphs, heads: heads, dimensions: width / heads, isCausal: false),
            mask: .keys(padded.map { $0 ? 1 : 0 }))
        if notesHeads {
            // What a head gives times its gradient, summed over a graph, is the gradient of a factor of 1.
            let factors = x.tape.variable(Tensor(repeating: 1, shape: [graphs * heads, 1]))
            headFactors = factors
            let places = (0..<graphs).flatMap { graph in
                [[Int32]](
                    repeating: (0..<width).map { Int32(graph * heads + $0 / (width / heads)) }, count: length
                ).flatMap(\.self)
            }
            y = y * factors.gathered(places).reshaped([graphs * length, width])
            notesHeads = false
        }
        return output(y)
    }

    /// How much the loss of the last batch with noted heads depends on each: the mean over the graphs of
    /// `|Σ gradient · output|`, in the first order the change of the loss if the head fell away. nil if nothing was noted.
    var headImportance: [Float]? {
        guard let factors = headFactors, let gradient = factors.gradient else { return nil }
        let graphs = gradient.count / heads
        return (0..<heads).map { head in
            (0..<graphs).reduce(0) { $0 + abs(gradient[$1 * heads + head, 0]) } / Float(max(graphs, 1))
        }
    }

    /// The same for all heads of the layer together.
    var attentionImportance: Float? {
        guard let gradient = headFactors?.gradient else { return nil }
        let graphs = gradient.count / heads
        return (0..<graphs).reduce(0) { sum, graph in
            sum + abs((0..<heads).reduce(0) { $0 + gradient[graph * heads + $1, 0] })
        } / Float(max(graphs, 1))
    }

    /// Forgets what was noted.
    func forgetHeads() { headFactors = nil }
}
