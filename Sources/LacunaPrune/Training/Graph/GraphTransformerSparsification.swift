import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor

/// GTSP: leaves out nodes, heads, layers and weights of a ``GraphTransformer``, each by itself or together.
///
/// - Nodes: a learned score a node; while training, the `k = ⌊ratio · nodes⌋` largest of a Gumbel softmax sample take part in
///   attention, with the gradient of the relaxed sample; afterwards the k largest scores. The others are neither multiplied nor seen.
/// - Heads: a fixed number is alive in each layer. Every so often `⌈rate · alive⌉` of the least `|Σ gradient · output|` go, and as
///   many of those then dead, of the largest gradients of their weights, come. Dead heads' queries, keys and values are 0.
/// - Layers: training steps leave attention out at random; at three quarters of the run only the layers whose attention the loss
///   depends on most keep it.
/// - Weights: ``NeuroRegeneration``.
///
/// Chuang Liu, Yibing Zhan, Xueqi Ma, Liang Ding, Dapeng Tao, Jia Wu, Wenbin Hu, Bo Du, "Exploring Sparsity in Graph
/// Transformers", arXiv 2312.05479. In the authors' release nodes left out stay in the softmax as zeros, noise is also drawn in
/// tests, and k counts the rows that pad a graph; not here. Queries and keys of a head that comes back start at random, as at zero
/// they have no gradient, and its values at 0.
public final class GraphTransformerSparsification: TrainingMethod {
    /// What is left out. The defaults leave out nothing.
    public struct Settings: Sendable {
        /// Share of the nodes that take part in attention, above 0 and at most 1.
        public var tokenRatio = 1.0
        /// How they are chosen.
        public var tokenChoice = GraphTransformerLayer.TokenChoice.learned
        /// Of the relaxed sample; above 0.
        public var temperature: Float = 1
        /// Heads alive in each layer, 1 or more; nil for all.
        public var heads: Int?
        /// Steps between exchanges of heads.
        public var headInterval = 200
        /// The share of the heads alive that is exchanged, 0...1.
        public var headRate = 0.3
        /// Layers that have attention in the end; nil for all.
        public var attentionLayers: Int?
        /// The probability that a step leaves a layer's attention out, 0..<1.
        public var attentionDrop = 0.0
        /// Of the weights of linear layers but the classifier, 0..<1; 0 for dense ones. With a limited number of heads
        /// those of queries, keys and values stay, which heads are made of.
        public var sparsity = 0.0
        /// Share of weights exchanged at each update: see ``NeuroRegeneration``.
        public var regeneration = 0.5
        /// Steps between updates of the weights.
        public var weightInterval = 20

        /// Nothing is left out.
        public init() {}
    }

    /// What is left out.
    public let settings: Settings
    private let weights: NeuroRegeneration?
    private var layers: [GraphTransformerLayer] = []
    /// For each layer the heads alive.
    private var alive: [[Bool]] = []
    private var importance: [Double] = []

    /// - Throws: `LacunaError.invalidArgument` for settings out of range.
    public init(_ settings: Settings) throws {
        func require(_ holds: Bool, _ name: String, _ reason: String) throws {
            if !holds { throw LacunaError.invalidArgument(name, reason: reason) }
        }
        try require(
            settings.tokenRatio > 0 && settings.tokenRatio <= 1, "tokens",
            "\(settings.tokenRatio) is not above 0 and at most 1")
        try require(settings.temperature > 0, "temperature", "\(settings.temperature) is not positive")
        try require(settings.heads ?? 1 >= 1, "heads", "\(settings.heads ?? 0) are too few")
        try require(settings.headInterval >= 1 && settings.weightInterval >= 1, "interval", "is not at least 1")
        try require((0...1).contains(settings.headRate), "rate", "\(settings.headRate) is not in 0...1")
        try require(settings.attentionLayers ?? 0 >= 0, "layers", "\(settings.attentionLayers ?? 0) is negative")
        try require((0..<1).contains(settings.attentionDrop), "drop", "\(settings.attentionDrop) is not in 0..<1")
        try require((0..<1).contains(settings.sparsity), "sparsity", "\(settings.sparsity) is not in 0..<1")
        self.settings = settings
        let matrices =
            ["embedding", "*.neighbours.*", "*.mixing.*", "*.output"]
            + (settings.heads == nil ? ["*.query", "*.key", "*.value"] : [])
        weights =
            settings.sparsity == 0
            ? nil
            : try NeuroRegeneration(
                sparsity: settings.sparsity, regeneration: settings.regeneration, interval: settings.weightInterval,
                layers: .matching(matrices.map { NamePattern($0) }))
    }

    public var card: MethodCard {
        MethodCard(
            name: "gtsp", family: .sparseTraining,
            paper: .init(
                authors: "Chuang Liu, Yibing Zhan, Xueqi Ma, Liang Ding, Dapeng Tao, Jia Wu, Wenbin Hu, Bo Du",
                title: "Exploring Sparsity in Graph Transformers", arXiv: "2312.05479"),
            composition: [
                "learned node scores, |gradient · output| of heads and layers, |w|",
                "Gumbel top-k, exchange of heads, cubic ramp",
                "straight-through",
            ],
            implements: ["nodes, heads, layers and weights, each or together", "nodes left out are not multiplied"],
            leavesOut: ["GraphTrans and Graphormer as base layers"])
    }

    private var notes: Bool { settings.heads != nil || settings.attentionLayers != nil }

    public func begin(_ run: TrainingRun) throws {
        try find(run)
        alive = layers.map { [Bool](repeating: true, count: $0.heads) }
        importance = layers.map { _ in 0 }
        if let count = settings.heads {
            for index in layers.indices {
                guard count <= layers[index].heads else {
                    throw LacunaError.invalidArgument("heads", reason: "\(count) of \(layers[index].heads)")
                }
                let kept = Array(0..<layers[index].heads).shuffled(using: &run.generator).prefix(count)
                alive[index] = (0..<layers[index].heads).map { kept.contains($0) }
                mask(index)
            }
        }
        try weights?.begin(run)
    }

    /// - Throws: `LacunaError.invalidArgument` for a model that is no graph transformer.
    private func find(_ run: TrainingRun) throws {
        guard let model = run.model as? GraphTransformer else {
            throw LacunaError.invalidArgument("model", reason: "is no graph transformer")
        }
        layers = model.layers
        if let count = settings.attentionLayers, count > layers.count {
            throw LacunaError.invalidArgument("layers", reason: "\(count) of \(layers.count) with attention")
        }
    }

    public func attach(_ run: TrainingRun) throws {
        try find(run)
        for layer in layers {
            layer.tokenRatio = settings.tokenRatio
            layer.tokenChoice = settings.tokenChoice
            layer.temperature = settings.temperature
            layer.attentionDrop = settings.attentionDrop
        }
        try weights?.attach(run)
    }

    /// Makes queries, keys and values of dead heads 0, biases included.
    private func mask(_ index: Int) {
        let layer = layers[index]
        let size = layer.query.outputDimensions / layer.heads
        let isAlive = (0..<layer.query.outputDimensions).map { alive[index][$0 / size] }
        for part in [layer.query, layer.key, layer.value] {
            part.dense!.mask = SparsePattern(rows: part.outputDimensions, columns: part.inputDimensions) { row, _ in
                isAlive[row]
            }
            part.bias?.setMask(Tensor(isAlive.map { $0 ? 1 : 0 }, shape: [isAlive.count]))
        }
    }

    private func isExchange(_ run: TrainingRun) -> Bool {
        notes && run.step > 0 && run.step % settings.headInterval == 0 && run.progress < 0.75
    }

    private func isCut(_ run: TrainingRun) -> Bool { run.step == (3 * run.totalSteps + 3) / 4 }

    public func beforeStep(_ run: TrainingRun) throws {
        if let count = settings.attentionLayers, isCut(run) {
            let order = layers.indices.sorted { (importance[$0], $0) > (importance[$1], $1) }
            for (place, index) in order.enumerated() { layers[index].hasAttention = place < count }
        }
        for layer in layers { layer.notesHeads = isExchange(run) }
        try weights?.beforeStep(run)
    }

    public func gradientsReady(_ run: TrainingRun) throws {
        if isExchange(run) {
            for index in layers.indices {
                importance[index] += Double(layers[index].attentionImportance ?? 0)
                if settings.heads != nil, let heads = layers[index].headImportance {
                    exchange(index, heads, &run.generator)
                }
                layers[index].forgetHeads()
            }
        }
        try weights?.gradientsReady(run)
    }

    /// Exchanges heads of one layer.
    private func exchange(_ index: Int, _ importance: [Float], _ generator: inout SeededGenerator) {
        let layer = layers[index]
        let living = layer.query.outputDimensions / layer.heads
        let dying = alive[index].indices.filter { alive[index][$0] }.sorted {
            (importance[$0], $0) < (importance[$1], $1)
        }
        let count = Int((settings.headRate * Double(dying.count)).rounded(.up))
        let before = alive[index]
        for head in dying.prefix(count) { alive[index][head] = false }
        /// Of the queries, keys and values of a head.
        func gradient(_ head: Int) -> Float {
            [layer.query, layer.key, layer.value].reduce(0) { sum, part in
                guard let g = part.dense!.parameter.gradient else { return sum }
                return (head * living..<(head + 1) * living).reduce(sum) { sum, row in
                    (0..<g.columns).reduce(sum) { $0 + abs(g[row, $1]) }
                }
            }
        }
        let dead = alive[index].indices.filter { !alive[index][$0] }.map { (head: $0, gradient: gradient($0)) }
        for entry in dead.sorted(by: { ($0.gradient, $1.head) > ($1.gradient, $0.head) }).prefix(count) {
            alive[index][entry.head] = true
        }
        mask(index)
        for head in alive[index].indices where alive[index][head] && !before[head] {
            for part in [layer.query, layer.key] {
                let columns = part.inputDimensions
                let fresh = Initialization.uniform.tensor([living, columns], fanIn: columns, using: &generator).scalars
                let w = part.dense!.parameter.buffer.pointer
                for i in 0..<living * columns { w[head * living * columns + i] = fresh[i] }
                part.dense!.parameter.noteChange()
            }
        }
    }

    public func end(_ run: TrainingRun) throws {
        if settings.heads != nil {
            run.metrics.append(("heads", Double(alive.reduce(0) { $0 + $1.count { $0 } })))
        }
        if weights != nil {
            run.metrics.append(("density", Double(IterativePruning.density(run.model.linears.map(\.layer)))))
        }
    }

    /// For each layer the heads alive.
    public var liveHeads: [[Bool]] { alive }

    public var state: JSONValue {
        [
            "alive": .array(alive.map { .array($0.map { .bool($0) }) }),
            "importance": .array(importance.map { .number($0) }),
            "attention": .array(layers.map { .bool($0.hasAttention) }),
        ]
    }

    public func restore(_ state: JSONValue) throws {
        guard let alive = state["alive"]?.arrayValue, let importance = state["importance"]?.arrayValue,
            let attention = state["attention"]?.arrayValue, attention.count == layers.count,
            alive.count == layers.count, importance.count == layers.count
        else { throw LacunaError.malformed(file: "checkpoint", location: "gtsp", reason: "is of another network") }
        self.alive = try alive.enumerated().map { index, heads in
            let flags = heads.arrayValue?.compactMap(\.boolValue) ?? []
            guard flags.count == layers[index].heads else {
                throw LacunaError.malformed(file: "checkpoint", location: "gtsp", reason: "is of another network")
            }
            return flags
        }
        self.importance = importance.compactMap(\.doubleValue)
        for (layer, flag) in zip(layers, attention) { layer.hasAttention = flag.boolValue ?? true }
    }
}
