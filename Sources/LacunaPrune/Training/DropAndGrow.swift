import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Dynamic sparse training: every few steps the least important connections are dropped and as many grown elsewhere.
///
/// The number of stored weights of every layer is constant. With `growth` random this is SET (Decebal Constantin Mocanu
/// and others, "Scalable training of artificial neural networks with adaptive sparse connectivity inspired by network
/// science", arXiv 1707.04780), with gradient RigL (Utku Evci and others, "Rigging the Lottery: Making All Tickets
/// Winners", arXiv 1911.11134). An update at step t drops `⌊fraction(t) · nnz⌋` weights of the smallest magnitude and
/// grows as many, never those just dropped, at zero and with empty optimiser state. Counts are exact whatever the ties.
public final class DropAndGrow: TrainingMethod {
    /// Which connections go.
    public enum Drop: String, Sendable, Hashable, CaseIterable {
        /// The smallest magnitudes.
        case magnitude
        /// The positive weights nearest 0 and the negative ones nearest 0, the same fraction of each.
        case signed
    }

    /// Where connections come.
    public enum Growth: String, Sendable, Hashable, CaseIterable {
        /// Absent positions at random, all equally likely.
        case random
        /// The largest gradients of the present batch among absent weights.
        case gradient
        /// The largest `|mean| / √(mean of squares)` of the gradients so far, as Adam averages them. They are kept for every entry,
        /// so weights have to be masked.
        case momentum
        /// At random among positions never in use before; when there are no more, among the others.
        case unvisited
    }

    /// Which connections there are at the start.
    public enum Start: String, Sendable, Hashable, CaseIterable {
        /// Those of a random pattern.
        case random
        /// The largest of the first weights, of all layers together: the budget says how many.
        case largest
    }

    /// How many connections there are, and how they move.
    public struct Settings: Sendable {
        /// What shares connections out among layers at the start; every layer keeps its number.
        public var budget: any SparsityBudget
        /// The layers with sparse weights.
        public var layers = LayerChoice.all
        /// Masked, or CSR, which keeps nothing of absent weights but needs their gradients at updates by gradient.
        public var storage = StorageLayout.masked
        /// Which connections go.
        public var drop = Drop.magnitude
        /// Where connections come.
        public var growth = Growth.gradient
        /// Which connections there are at the start.
        public var start = Start.random
        /// Steps between updates.
        public var interval = 100
        /// Fraction of the weights exchanged at an update, falling by half a cosine to ``leastFraction`` if `isAnnealed`.
        public var fraction = 0.3
        /// What the fraction falls to.
        public var leastFraction = 0.0
        /// Whether ``fraction`` falls; otherwise it stays until ``end``.
        public var isAnnealed = true
        /// Share of the run after which the pattern is final.
        public var end = 0.75
        /// Deviation of the normal distribution that grown weights start from; 0 for zeros.
        public var growthDeviation = 0.0
        /// Whether the weights kept at the start are multiplied by `1/√density`, so that activations keep their size.
        public var rescalesWeights = true

        /// RigL's settings, or with random growth SET's, on all layers.
        public init(budget: any SparsityBudget, growth: Growth = .gradient) {
            self.budget = budget
            self.growth = growth
        }
    }

    /// How connections move.
    public let settings: Settings
    private var layers: [SparseLayerState] = []
    /// Every position that was ever in use, by layer.
    private var visited: [SparsePattern] = []
    /// Of the gradient of every entry, by layer, for growth by momentum.
    private var averages: [(mean: [Float], square: [Float])] = []

    /// - Throws: `LacunaError.invalidArgument` for settings out of range.
    public init(_ settings: Settings) throws {
        func require(_ holds: Bool, _ name: String, _ reason: String) throws {
            if !holds { throw LacunaError.invalidArgument(name, reason: reason) }
        }
        try require(settings.interval >= 1, "interval", "\(settings.interval) is not at least 1")
        try require((0...1).contains(settings.fraction), "fraction", "\(settings.fraction) is not in 0...1")
        try require(
            (0...settings.fraction).contains(settings.leastFraction), "least_fraction",
            "\(settings.leastFraction) is not in 0...\(settings.fraction)")
        try require(
            settings.growth != .momentum || settings.storage == .masked, "growth",
            "momentum is kept for every entry, which csr weights have not")
        try require(
            settings.start == .random || settings.budget.sparsity != nil, "start",
            "the largest of all layers need one sparsity")
        try require((0...1).contains(settings.end), "end", "\(settings.end) is not in 0...1")
        try require(settings.growthDeviation >= 0, "growth_deviation", "is negative")
        try require(
            settings.storage == .masked || settings.storage == .csr, "storage",
            "patterns move in masked and csr weights")
        self.settings = settings
    }

    public var card: MethodCard {
        let isRandom = settings.growth == .random || settings.growth == .unvisited
        return MethodCard(
            name: isRandom ? "set" : "rigl", family: .sparseTraining,
            paper: isRandom
                ? .init(
                    authors: "Decebal Constantin Mocanu and others",
                    title:
                        "Scalable training of artificial neural networks with adaptive sparse connectivity inspired by "
                        + "network science", arXiv: "1707.04780")
                : .init(
                    authors: "Utku Evci, Trevor Gale, Jacob Menick, Pablo Samuel Castro, Erich Elsen",
                    title: "Rigging the Lottery: Making All Tickets Winners", arXiv: "1911.11134"),
            composition: [
                "|w| drops, \(isRandom ? "chance" : "|\(settings.growth)|") grows", "exact exchange by layer",
                "every \(settings.interval) steps",
            ],
            implements: [
                "magnitude or sign-separated drops",
                "growth by chance, also among places never used",
                "stored sparse or masked",
            ])
    }

    public func begin(_ run: TrainingRun) throws {
        (visited, averages) = ([], [])
        if settings.start == .largest {
            let chosen = try OneShotPruning(
                budget: GlobalBudget(settings.budget.sparsity ?? 0), layers: settings.layers, storage: settings.storage)
            return try chosen.prune(run.model)
        }
        try StaticRandomSparsity.install(
            settings.budget, on: run.model, settings.layers, settings.storage,
            rescalesWeights: settings.rescalesWeights, using: &run.generator)
    }

    public func attach(_ run: TrainingRun) throws {
        layers = try settings.layers.layers(of: run.model).map { try SparseLayerState($0.name, $0.layer) }
        if visited.isEmpty { visited = layers.map(\.mask) }
        if settings.growth == .momentum && averages.isEmpty {
            averages = layers.map { state in
                let zeros = [Float](repeating: 0, count: state.layer.inputDimensions * state.layer.outputDimensions)
                return (zeros, zeros)
            }
        }
        try MaskCoding.requireFit(visited, layers.map { [$0.layer.outputDimensions, $0.layer.inputDimensions] })
    }

    private func isUpdate(_ run: TrainingRun) -> Bool {
        run.step > 0 && run.step % settings.interval == 0 && run.progress < settings.end
    }

    /// The fraction exchanged at the present step.
    private func fraction(_ run: TrainingRun) -> Double {
        let last = settings.end * Double(run.totalSteps)
        if !settings.isAnnealed || last <= 0 { return settings.fraction }
        let (high, low) = (settings.fraction, settings.leastFraction)
        return low + (high - low) / 2 * (1 + cosine(Double.pi * Double(run.step) / last))
    }

    public func beforeStep(_ run: TrainingRun) throws {
        guard settings.growth == .gradient, isUpdate(run) else { return }
        for state in layers { (state.layer.weight as? CSRWeight)?.wantsDenseGradient = true }
    }

    public func gradientsReady(_ run: TrainingRun) throws {
        if settings.growth == .momentum && run.progress < settings.end { averageGradients() }
        guard isUpdate(run) else { return }
        let fraction = fraction(run)
        for index in layers.indices {
            try exchange(index, fraction, &run.generator)
            visited[index] = visited[index].union(layers[index].mask)
            (layers[index].layer.weight as? CSRWeight)?.clearDenseGradient()
        }
    }

    public func end(_ run: TrainingRun) throws {
        run.metrics.append(("exploration", exploration))
    }

    /// The fraction of all positions that were ever in use: how much of the dense network was looked at.
    public var exploration: Double {
        let total = visited.reduce(0) { $0 + $1.rows * $1.columns }
        return total == 0 ? 0 : Double(visited.reduce(0) { $0 + $1.count }) / Double(total)
    }

    /// Moves the averages of every entry's gradient, as Adam does; the share that is missing at the start is the same for all.
    private func averageGradients() {
        for (index, state) in layers.enumerated() {
            guard let gradient = state.denseGradient else { continue }
            gradient.withPointer { g in
                for i in averages[index].mean.indices {
                    averages[index].mean[i] += 0.1 * (g[i] - averages[index].mean[i])
                    averages[index].square[i] += 0.001 * (g[i] * g[i] - averages[index].square[i])
                }
            }
        }
    }

    /// One update of one layer.
    private func exchange(_ index: Int, _ fraction: Double, _ generator: inout SeededGenerator) throws {
        let state = layers[index]
        let old = state.mask
        let absent = old.inverted()
        let remaining = try remaining(of: old, state.layer.weight.densified(), fraction, atMost: absent.count)
        let count = old.count - remaining.count
        let weight = Tensor<Float>(zeros: [old.rows, old.columns])
        var scores: Tensor<Float>
        switch settings.growth {
        case .random, .unvisited:
            scores = try RandomScore(seed: generator.next()).scores(weight: weight)
            if settings.growth == .unvisited {
                // Above everything that chance gives to the others.
                let top = (scores.scalars.max() ?? 0) + 1
                let seen = visited[index]
                scores = seen.inverted().applied(to: Tensor(repeating: top, shape: scores.shape)) + scores
            }
        case .gradient:
            guard let gradient = state.denseGradient else { return }
            scores = try GradientScore().scores(ScoreInputs(weight: weight, gradient: gradient))
        case .momentum:
            let (mean, square) = averages[index]
            scores = Tensor(zip(mean, square).map { abs($0) / ($1.squareRoot() + 1e-8) }, shape: weight.shape)
        }
        let grown = try Selection.mask(
            scores: scores, pattern: .unstructured(.layer), amount: .count(count), within: absent)
        let deviation = settings.growthDeviation
        state.move(to: remaining.union(grown), from: old) { _, _ in
            deviation == 0 ? 0 : Float(deviation * generator.normal())
        }
    }

    /// What stays of the connections in use when a fraction is dropped, at most so many.
    private func remaining(
        of old: SparsePattern, _ weight: Tensor<Float>, _ fraction: Double, atMost limit: Int
    ) throws -> SparsePattern {
        let magnitudes = try MagnitudeScore().scores(weight: weight)
        /// What stays of a part of them.
        func keep(_ part: SparsePattern, atMost limit: Int) throws -> SparsePattern {
            let count = part.count
            let dropped = min(Selection.removedCount(sparsity: fraction, of: count), limit)
            return try Selection.mask(
                scores: magnitudes, pattern: .unstructured(.layer), amount: .count(count - dropped), within: part)
        }
        switch settings.drop {
        case .magnitude: return try keep(old, atMost: limit)
        case .signed:
            var positive = SparsePattern(rows: old.rows, columns: old.columns)
            for r in 0..<old.rows { old.forEachKeptColumn(row: r) { if weight[r, $0] > 0 { positive[r, $0] = true } } }
            let above = try keep(positive, atMost: limit)
            let used = positive.count - above.count
            return try above.union(keep(old.subtracting(positive), atMost: limit - used))
        }
    }

    public var state: JSONValue {
        let masks: JSONValue = .array(visited.map { MaskCoding.json($0) })
        if settings.growth != .momentum { return masks }
        func numbers(_ values: [Float]) -> JSONValue { .array(values.map { .number(Double($0)) }) }
        return [
            "visited": masks, "means": .array(averages.map { numbers($0.mean) }),
            "squares": .array(averages.map { numbers($0.square) }),
        ]
    }

    public func restore(_ state: JSONValue) throws {
        guard settings.growth == .momentum else {
            visited = try MaskCoding.masks(state)
            return
        }
        func numbers(_ name: String) throws -> [[Float]] {
            guard let lists = state[name]?.arrayValue else {
                throw LacunaError.malformed(file: "checkpoint", location: name, reason: "is missing")
            }
            return lists.map { $0.arrayValue?.compactMap { $0.doubleValue.map { Float($0) } } ?? [] }
        }
        let (means, squares) = (try numbers("means"), try numbers("squares"))
        visited = try MaskCoding.masks(state["visited"] ?? .null)
        guard means.map(\.count) == squares.map(\.count), means.map(\.count) == visited.map({ $0.rows * $0.columns })
        else { throw LacunaError.malformed(file: "checkpoint", location: "means", reason: "are of another network") }
        averages = Array(zip(means, squares))
    }
}
