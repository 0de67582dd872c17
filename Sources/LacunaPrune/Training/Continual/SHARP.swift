import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Class-incremental learning by sparsity and replayed activations: units that matter for what was learned grow old, and what
/// flows into old units no longer changes.
///
/// The network is a stack of sparse layers with ReLU and without a classifier; the first ones are the early part, the others
/// the late part. Each task is an episode of several phases. In each phase the units that carry a share τ of a layer's
/// activation are picked among those that are not yet old; connections from units that were not picked to any that is in
/// use are dropped, and as many grown, at 0, into units that are free. The loss is supervised contrast of the embedding,
/// of the task's examples and of as many activations of the early part, kept from the last tasks in 8 bits and passed
/// through the late part. Then units in use become older: beyond age 1 (early part) or `memory + 1` (late part) their
/// incoming weights and biases are frozen. A class is known by some embeddings, compared on the units that were in
/// use when it was learned, by their nearest neighbours.
///
/// Burak Gurbuz, Jean Michael Moorman, Constantine Dovrolis, "SHARP: Sparsity and Hidden Activation RePlay for
/// Neuro-Inspired Continual Learning", arXiv 2305.18563. Fully connected layers; the optimiser is that of the run, where the
/// authors take Adadelta.
public final class SHARP: ContinualMethod {
    /// The numbers of the method.
    public struct Settings: Sendable, Hashable {
        /// Share of connections, above 0 and at most 1.
        public var density = 0.4
        /// Layers of the early part; at least one is left for the late part.
        public var earlyLayers = 1
        /// Rewirings in an episode.
        public var phases = 10
        /// The least τ, above 0 and at most 1, which falls to it as ½(1 + cos(π phase / 30)).
        public var leastShare = 0.75
        /// Of the contrast, above 0.
        public var temperature = 0.1
        /// Activations kept of each class for replay; 0 for none.
        public var replay = 50
        /// Tasks whose activations are kept, 1 or more.
        public var memory = 1
        /// Embeddings kept of each class, 1 or more.
        public var exemplars = 30
        /// Neighbours that vote, 1 or more.
        public var neighbours = 5

        /// Defaults for small problems, within the authors' ranges.
        public init() {}

        func validate() throws {
            func require(_ holds: Bool, _ name: String, _ reason: String) throws {
                if !holds { throw LacunaError.invalidArgument(name, reason: reason) }
            }
            try require(density > 0 && density <= 1, "density", "\(density) is not above 0 and at most 1")
            try require(earlyLayers >= 1, "early", "\(earlyLayers) is not at least 1")
            try require(phases >= 1, "phases", "\(phases) is not at least 1")
            try require(leastShare > 0 && leastShare <= 1, "share", "\(leastShare) is not above 0 and at most 1")
            try require(temperature > 0 && temperature.isFinite, "temperature", "\(temperature) is not positive")
            try require(replay >= 0, "replay", "\(replay) is negative")
            try require(memory >= 1, "memory", "\(memory) is not at least 1")
            try require(exemplars >= 1, "exemplars", "\(exemplars) is not at least 1")
            try require(neighbours >= 1, "neighbours", "\(neighbours) is not at least 1")
        }
    }

    /// The numbers of the method.
    public let settings: Settings
    public var task = 0
    private var body: AgeingNetwork!
    private var stream: TaskStream!
    private var layers: [SparseLayerState] = []
    /// The frozen units of each layer, with their weights, one after the other, and their biases: the same for a whole task.
    private var frozen: [(rows: [Int], weights: [Float], biases: [Float])] = []

    /// - Throws: `LacunaError.invalidArgument` for settings out of range.
    public init(_ settings: Settings = Settings()) throws {
        try settings.validate()
        self.settings = settings
    }

    public var card: MethodCard {
        MethodCard(
            name: "sharp", family: .sparseTraining,
            paper: .init(
                authors: "Mustafa Burak Gurbuz, Jean Michael Moorman, Constantine Dovrolis",
                title: "SHARP: Sparsity and Hidden Activation RePlay for Neuro-Inspired Continual Learning",
                arXiv: "2305.18563"),
            composition: [
                "summed activation", "units of a share of it; chance grows", "old units frozen, replay in 8 bits",
            ],
            implements: [
                "ages, freezing, rewiring, replay in 8 bits, contrast of embeddings",
                "nearest embeddings on the units of their class",
            ],
            leavesOut: ["convolutional layers", "Adadelta: the optimiser is that of the run"])
    }

    public var hasHead: Bool { false }
    public var network: any Module { body }
    /// Layers, ages and memories; nil before there is a network.
    public var ageing: AgeingNetwork? { body }

    /// - Throws: `LacunaError.unsupported` for a network other than an ``MLP`` of dense weights, `.invalidArgument` for one with
    ///   too few layers.
    public func prepare(_ network: any UnaryLayer, stream: TaskStream) throws {
        guard let mlp = network as? MLP, mlp.layers.allSatisfy({ $0.dense != nil && $0.bias != nil }) else {
            throw LacunaError.unsupported(file: nil, what: "sharp on a network that is not fully connected and dense")
        }
        guard settings.earlyLayers < mlp.layers.count else {
            throw LacunaError.invalidArgument(
                "early", reason: "\(settings.earlyLayers) of \(mlp.layers.count) layers leave none to replay through")
        }
        body = AgeingNetwork(mlp.layers, early: settings.earlyLayers)
        self.stream = stream
    }

    public func begin(_ run: TrainingRun) throws {
        guard task == 0 else { return }
        try StaticRandomSparsity.install(
            UniformBudget(1 - settings.density), on: body, .all, .masked, rescalesWeights: true,
            using: &run.generator)
    }

    /// - Throws: `LacunaError.invalidArgument` for a run of fewer steps than phases.
    public func attach(_ run: TrainingRun) throws {
        try PhasedRun(run, phases: settings.phases).requireSteps()
        layers = try body.layers.enumerated().map { try SparseLayerState("layers.\($0)", $1) }
        frozen = body.layers.enumerated().map { index, layer in
            let rows = body.frozenRows(index, memory: settings.memory)
            let (weight, columns) = (layer.dense!.parameter.buffer.pointer, layer.inputDimensions)
            return (
                rows, rows.flatMap { row in (0..<columns).map { weight[row * columns + $0] } },
                rows.map { layer.bias!.buffer.pointer[$0] }
            )
        }
    }

    public func beforeStep(_ run: TrainingRun) throws {
        let length = max(1, run.totalSteps / settings.phases)
        let (phase, place) = run.step.quotientAndRemainder(dividingBy: length)
        if place == 0 && phase < settings.phases { try rewire(phase + 1, &run.generator) }
    }

    /// The share of the activation that picked units carry in a phase, from 1 on.
    func share(phase: Int) -> Double {
        max(0.5 * (1 + cosine(Double.pi * min(Double(phase) / 30, 1))), settings.leastShare)
    }

    /// The examples, of so many, whose activations are looked at: 1024 at most, from everywhere, as they may lie in the order of classes.
    static func places(of count: Int) -> [Int] {
        let most = 1024
        return count <= most ? Array(0..<count) : (0..<most).map { $0 * count / most }
    }

    private func rewire(_ phase: Int, _ generator: inout SeededGenerator) throws {
        let examples = stream.train[task]
        let sums = body.activationSums(examples.selecting(Self.places(of: examples.count)).inputs)
        for (index, sums) in sums.enumerated() {
            let picked = try Selection.mask(
                scores: sums, pattern: .unstructured(.layer), amount: .mass(share(phase: phase)))
            body.pick(picked.keptColumns(row: 0), layer: index)
        }
        for index in layers.indices {
            let old = layers[index].mask
            let (sources, targets) = (body.ages(below: index), body.ages[index])
            let kept = SparsePattern(rows: old.rows, columns: old.columns) { row, column in
                old[row, column] && (targets[row] == 0 || sources[column] != 0)
            }
            let free = SparsePattern(rows: old.rows, columns: old.columns) { row, column in
                targets[row] == 0 && !old[row, column]
            }
            // Where too few places are free, the layer becomes sparser.
            let grown = try Selection.mask(
                scores: RandomScore(seed: generator.next()).scores(
                    weight: Tensor<Float>(zeros: [old.rows, old.columns])),
                pattern: .unstructured(.layer), amount: .count(min(old.count - kept.count, free.count)), within: free)
            layers[index].move(to: kept.union(grown), from: old) { _, _ in 0 }
        }
    }

    public func gradientsReady(_ run: TrainingRun) throws {
        for (layer, units) in zip(body.layers, frozen) {
            let (g, columns) = (layer.dense!.parameter.gradientPointer, layer.inputDimensions)
            for row in units.rows {
                (g + row * columns).update(repeating: 0, count: columns)
                layer.bias!.gradientPointer[row] = 0
            }
        }
    }

    /// Momentum and decay move what has no gradient, too: what is frozen gets its values back.
    public func afterStep(_ run: TrainingRun) throws {
        for (layer, units) in zip(body.layers, frozen) where !units.rows.isEmpty {
            let columns = layer.inputDimensions
            for (parameter, width, values) in [
                (layer.dense!.parameter, columns, units.weights), (layer.bias!, 1, units.biases),
            ] {
                let w = parameter.buffer.pointer
                values.withUnsafeBufferPointer { values in
                    for (place, row) in units.rows.enumerated() {
                        (w + row * width).update(from: values.baseAddress! + place * width, count: width)
                    }
                }
                for (name, slot) in parameter.slots {
                    for row in units.rows {
                        let state = slot.pointer + row * width
                        if name == "average" {
                            state.update(from: w + row * width, count: width)
                        } else {
                            state.update(repeating: 0, count: width)
                        }
                    }
                }
                parameter.noteChange()
            }
        }
    }

    public func loss(_ batch: (inputs: Tensor<Float>, labels: [Int32]), on tape: Tape<Float>) -> Variable<Float> {
        var (embeddings, labels) = (body.late(body.early(tape.constant(batch.inputs))), batch.labels)
        if let (codes, classes) = body.codes.sample(batch.labels.count, using: &tape.generator) {
            embeddings = .concatenated(rows: [embeddings, body.late(tape.constant(codes))])
            labels += classes
        }
        // Units that are free say nothing about the classes.
        let alive = Tensor<Float>(body.ages[body.ages.count - 1].map { $0 == 0 ? 0 : 1 })
        return Self.contrast(
            embeddings.multipliedByRow(tape.constant(alive)), labels, temperature: Float(settings.temperature))
    }

    /// The mean over embeddings of the mean over the others of the class of `-log softmax(cosines / temperature)`, the embedding
    /// itself being no candidate; 0 for embeddings of one class, or of which no two have one.
    static func contrast(_ embeddings: Variable<Float>, _ labels: [Int32], temperature: Float) -> Variable<Float> {
        var counts: [Int32: Int] = [:]
        for label in labels { counts[label, default: 0] += 1 }
        let chosen = labels.indices.filter { counts[labels[$0]]! > 1 }
        let found = chosen.map { labels[$0] }
        if Set(found).count < 2 { return embeddings.sum().affine(0) }
        let z = embeddings.gathered(chosen.map { Int32($0) }).rowNormalized()
        let n = chosen.count
        var itself = Tensor<Float>(zeros: [n, n])
        for i in 0..<n { itself[i, i] = -1e6 }
        let cosines = z.multiplied(by: z, otherTransposed: true) + z.tape.constant(itself)
        return Loss.multiPositiveContrast(
            cosines, positives: (0..<n * n).map { $0 / n != $0 % n && found[$0 / n] == found[$0 % n] },
            temperature: temperature)
    }

    public func end(_ run: TrainingRun) throws {
        body.promote()
        body.codes.grow()
        let examples = stream.train[task]
        for label in stream.classes[task] {
            let places = examples.labels.indices.filter { Int(examples.labels[$0]) == label }
            // A class may be there in tests alone: it stays unknown.
            if places.isEmpty { continue }
            let count = min(places.count, max(settings.replay, settings.exemplars))
            let early = body.earlyActivations(examples.selecting(places.prefix(count)).inputs)
            let rows = Array(0..<count)
            body.exemplars.set(
                Int32(label), body.lateActivations(early.selectingRows(rows.prefix(settings.exemplars))),
                units: body.units(olderThan: 1))
            body.codes.add(Int32(label), early.selectingRows(rows.prefix(settings.replay)))
        }
        // The late part has moved on for the classes before: their units are a task older now.
        for (label, age) in body.codes.ages where age > 0 {
            // Without activations there is nothing to compute them from again.
            guard let codes = body.codes[label] else { continue }
            body.exemplars.set(
                label, body.lateActivations(codes.selectingRows(0..<min(codes.rows, settings.exemplars))),
                units: body.units(olderThan: 1 + age))
        }
        body.codes.forget(olderThan: settings.memory - 1)
        try reinitialize(&run.generator)
        let units = body.ages.flatMap(\.self)
        run.metrics += [
            ("free_units", Double(units.count { $0 == 0 }) / Double(max(units.count, 1))),
            (
                "density",
                Double(body.layers.reduce(0) { $0 + $1.weight.activeCount })
                    / Double(body.layers.reduce(0) { $0 + $1.inputDimensions * $1.outputDimensions })
            ),
        ]
    }

    /// Free units begin anew, by He's deviation for as many connections as they have.
    private func reinitialize(_ generator: inout SeededGenerator) throws {
        for (index, layer) in body.layers.enumerated() {
            let mask = layers[index].mask
            let weight = layer.dense!.parameter
            for row in body.ages[index].indices where body.ages[index][row] == 0 {
                let columns = mask.keptColumns(row: row)
                let deviation = (2 / Double(max(columns.count, 1))).squareRoot()
                for column in columns {
                    weight.buffer.pointer[row * mask.columns + column] = Float(deviation * generator.normal())
                }
                layer.bias!.buffer.pointer[row] = 0
            }
            weight.noteChange()
            layer.bias!.noteChange()
        }
    }

    public func outputs(_ inputs: Variable<Float>, task: Int) -> Variable<Float> { body.late(body.early(inputs)) }

    /// The classes of the nearest exemplars, of all tasks so far.
    public func predictions(_ inputs: Tensor<Float>, task: Int) -> [Int32] {
        body.exemplars.predictions(
            body.lateActivations(body.earlyActivations(inputs)), neighbours: settings.neighbours)
    }
}
