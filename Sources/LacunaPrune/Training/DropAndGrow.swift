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
/// grows as many, never those just dropped, at zero and with empty optimiser state. Selection is by index, so counts
/// are exact whatever the ties.
public final class DropAndGrow: TrainingMethod {
    public enum Drop: String, Sendable, Hashable, CaseIterable {
        /// The smallest magnitudes.
        case magnitude
        /// The positive weights nearest 0 and the negative ones nearest 0, the same fraction of each.
        case signed
    }

    public enum Growth: String, Sendable, Hashable, CaseIterable {
        case random
        /// The largest gradients of the present batch among absent weights.
        case gradient
    }

    public struct Settings: Sendable, Hashable {
        public var budget: SparsityBudget
        public var layers = LayerChoice.all
        public var storage = SparseStorage.masked
        public var drop = Drop.magnitude
        public var growth = Growth.gradient
        /// Steps between updates.
        public var interval = 100
        /// Fraction of the weights exchanged at an update, falling by half a cosine to 0 if `isAnnealed`.
        public var fraction = 0.3
        public var isAnnealed = true
        /// Share of the run after which the pattern is final.
        public var end = 0.75
        /// Deviation of the normal distribution that grown weights start from; 0 for zeros.
        public var growthDeviation = 0.0
        public var rescalesWeights = true

        public init(budget: SparsityBudget, growth: Growth = .gradient) {
            self.budget = budget
            self.growth = growth
        }
    }

    public let settings: Settings
    private var layers: [SparseLayerState] = []
    /// Every position that was ever in use, by layer.
    private var visited: [Mask] = []

    /// - Throws: `LacunaError.invalidArgument` for settings out of range.
    public init(_ settings: Settings) throws {
        func require(_ holds: Bool, _ name: String, _ reason: String) throws {
            if !holds { throw LacunaError.invalidArgument(name, reason: reason) }
        }
        try require(settings.interval >= 1, "interval", "\(settings.interval) is not at least 1")
        try require((0...1).contains(settings.fraction), "fraction", "\(settings.fraction) is not in 0...1")
        try require((0...1).contains(settings.end), "end", "\(settings.end) is not in 0...1")
        try require(settings.growthDeviation >= 0, "growth_deviation", "is negative")
        try require(
            settings.storage == .masked || settings.storage == .csr, "storage",
            "patterns move in masked and csr weights")
        self.settings = settings
    }

    public var card: MethodCard {
        let isRandom = settings.growth == .random
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
                "|w| drops, \(isRandom ? "chance" : "|gradient|") grows", "exact exchange by layer",
                "every \(settings.interval) steps",
            ])
    }

    public func begin(_ run: TrainingRun) throws {
        try StaticRandomSparsity.install(
            settings.budget, settings.layers.layers(of: run.model), settings.storage,
            rescalesWeights: settings.rescalesWeights, using: &run.generator)
    }

    public func attach(_ run: TrainingRun) throws {
        layers = try settings.layers.layers(of: run.model).map { try SparseLayerState($0.name, $0.layer) }
        if visited.count != layers.count { visited = layers.map(\.mask) }
    }

    private func isUpdate(_ run: TrainingRun) -> Bool {
        run.step > 0 && run.step % settings.interval == 0 && run.progress < settings.end
    }

    /// The fraction exchanged at the present step.
    private func fraction(_ run: TrainingRun) -> Double {
        let last = settings.end * Double(run.totalSteps)
        if !settings.isAnnealed || last <= 0 { return settings.fraction }
        return settings.fraction / 2 * (1 + cosine(Double.pi * Double(run.step) / last))
    }

    public func beforeStep(_ run: TrainingRun) throws {
        guard settings.growth == .gradient, isUpdate(run) else { return }
        for state in layers { (state.layer.weight as? CSRWeight)?.wantsDenseGradient = true }
    }

    public func gradientsReady(_ run: TrainingRun) throws {
        guard isUpdate(run) else { return }
        let fraction = fraction(run)
        for index in layers.indices {
            exchange(layers[index], fraction, &run.generator)
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
        return total == 0 ? 0 : Double(visited.reduce(0) { $0 + $1.keptCount }) / Double(total)
    }

    /// One update of one layer.
    private func exchange(_ state: SparseLayerState, _ fraction: Double, _ generator: inout SeededGenerator) {
        let old = state.mask
        let places = old.keptPlaces
        let values = state.values(old)
        var dropped = droppedIndices(values, fraction).map { places[$0] }
        let absent = old.inverted().keptPlaces
        let count = min(dropped.count, absent.count)
        dropped = Array(dropped.prefix(count))
        let grown: [Int]
        switch settings.growth {
        case .random: grown = sampledPlaces(count, of: absent.count, using: &generator).map { absent[Int($0)] }
        case .gradient:
            guard let gradient = state.denseGradient else { return }
            let scores = gradient.withPointer { g in absent.map { -abs(g[$0]) } }
            grown = Self.smallest(count, of: scores).map { absent[$0] }
        }
        var mask = old
        mask.set(places: dropped, kept: false)
        mask.set(places: grown, kept: true)
        let deviation = settings.growthDeviation
        state.move(to: mask, from: old) { _, _ in deviation == 0 ? 0 : Float(deviation * generator.normal()) }
    }

    private func droppedIndices(_ values: [Float], _ fraction: Double) -> [Int] {
        switch settings.drop {
        case .magnitude:
            return Self.smallest(Selection.removedCount(sparsity: fraction, of: values.count), of: values.map(abs))
        case .signed:
            let positive = values.indices.filter { values[$0] > 0 }
            let negative = values.indices.filter { values[$0] <= 0 }
            return [positive, negative].flatMap { part in
                let count = Selection.removedCount(sparsity: fraction, of: part.count)
                return Self.smallest(count, of: part.map { abs(values[$0]) }).map { part[$0] }
            }
        }
    }

    /// Indices of the `count` smallest numbers; of equals the first. Ascending. NaN counts as largest.
    static func smallest(_ count: Int, of numbers: [Float]) -> [Int] {
        let numbers = numbers.contains(where: \.isNaN) ? numbers.map { $0.isNaN ? .infinity : $0 } : numbers
        guard count > 0,
            let line = numbers.withUnsafeBufferPointer({
                RankThreshold(smallest: count, of: $0.baseAddress!, count: $0.count)
            })
        else { return [] }
        var ties = line.ties
        return numbers.indices.filter {
            if numbers[$0] < line.value { return true }
            if numbers[$0] == line.value && ties > 0 {
                ties -= 1
                return true
            }
            return false
        }
    }

    public var state: JSONValue { .array(visited.map { MaskCoding.json($0) }) }

    public func restore(_ state: JSONValue) throws {
        visited = try (state.arrayValue ?? []).map { try MaskCoding.mask($0) }
    }
}
