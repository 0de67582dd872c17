import Lacuna

/// Vectors of topics: around each topic's centre, with a linear map of its own from vector to target. In sequences a topic stays for some
/// vectors and then gives way to another; shuffled, every vector has one by chance.
///
/// Centres are N(0, 1.5²), vectors their centre plus N(0, 0.5²), maps have entries N(0, 1/width).
struct TopicTask: BatchSource {
    let topics: Int
    let width: Int
    let outputs: Int
    /// Vectors of a sequence.
    let length: Int
    /// Vectors for which a topic stays, on average; 1 for none of that.
    let dwell: Double
    /// Sequences of a batch.
    let batchSize: Int
    /// How many batches there are before they repeat; nil for new ones at every step.
    var distinct: Int?
    let seed: UInt64
    private let centres: Tensor<Float>
    private let maps: [Tensor<Float>]

    var batchesPerEpoch: Int? { distinct }

    init(
        topics: Int, width: Int, outputs: Int, length: Int, dwell: Double, batchSize: Int = 1, distinct: Int? = nil,
        seed: UInt64
    ) {
        (self.topics, self.width, self.outputs, self.length) = (topics, width, outputs, length)
        (self.dwell, self.batchSize, self.distinct, self.seed) = (dwell, batchSize, distinct, seed)
        var random = SeededGenerator(seed: seed, stream: 61)
        centres = Tensor(normal: [topics, width], standardDeviation: 1.5, using: &random)
        maps = (0..<topics).map { _ in
            Tensor(normal: [outputs, width], standardDeviation: 1 / Float(width).squareRoot(), using: &random)
        }
    }

    /// Vectors [batchSize · length, width], targets [.., outputs], and the topic of each.
    func batch(step: Int) -> (inputs: Tensor<Float>, targets: Tensor<Float>, topics: [Int]) {
        let step = distinct.map { step % max($0, 1) } ?? step
        var random = SeededGenerator(seed: seed, stream: 0x70F1C &+ UInt64(bitPattern: Int64(step)))
        var chosen: [Int] = []
        for _ in 0..<batchSize {
            var topic = Int.random(in: 0..<topics, using: &random)
            for _ in 0..<length {
                if random.uniform() < 1 / dwell { topic = Int.random(in: 0..<topics, using: &random) }
                chosen.append(topic)
            }
        }
        var x = Tensor<Float>(normal: [chosen.count, width], standardDeviation: 0.5, using: &random)
        var y = Tensor<Float>(zeros: [chosen.count, outputs])
        for (row, topic) in chosen.enumerated() {
            for i in 0..<width { x[row, i] += centres[topic, i] }
        }
        let (w, o) = (width, outputs)
        y.withMutablePointer { y in
            x.withPointer { x in
                for (row, topic) in chosen.enumerated() {
                    maps[topic].withPointer { map in
                        for r in 0..<o {
                            var sum: Float = 0
                            for i in 0..<w { sum += map[r * w + i] * x[row * w + i] }
                            y[row * o + r] = sum
                        }
                    }
                }
            }
        }
        return (x, y, chosen)
    }

    /// A batch that training never sees.
    var fresh: (inputs: Tensor<Float>, targets: Tensor<Float>, topics: [Int]) {
        var other = self
        other.distinct = nil
        return other.batch(step: -1)
    }

    /// Trains a layer to give the targets, by their mean square error over the targets' own mean square, and returns that of the last tenth
    /// of the steps.
    @discardableResult
    func train(
        _ model: any UnaryLayer, steps: Int, learningRate: Double = 1e-2, hooks: [any TrainingHook] = [],
        seed: UInt64
    ) throws -> Double {
        var plan = TrainingPlan(
            steps: steps, learningRate: .cosine(from: learningRate, to: learningRate / 20, steps: steps))
        plan.seed = seed
        plan.logEvery = max(1, steps / 10)
        let trainer = try Trainer(
            model: model, optimizer: Adam(learningRate: learningRate), source: self, plan: plan, hooks: hooks,
            loss: { batch, tape in
                Loss.meanSquaredError(model(tape.constant(batch.inputs)), tape.constant(batch.targets))
            })
        return try trainer.train().metrics.last?["loss"] ?? .nan
    }

    /// Mean square error over the mean square of the targets, on a fresh batch.
    func error(_ model: any UnaryLayer) -> Double {
        let (x, y, _) = fresh
        let tape = Tape<Float>()
        let found = tape.evaluating { model(tape.constant(x)).value }
        let squares = zip(found.scalars, y.scalars).reduce(0.0) { $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1)) }
        return squares / y.scalars.reduce(0.0) { $0 + Double($1 * $1) }
    }
}
