import Lacuna

/// Two regressions on shared features, the second of few samples: to pre-train on one and fine-tune on the other.
///
/// `y = h tanh(2 x F)` of `x ~ N(0, I₂₀)` with features `F` of both tasks; the second's head is the first's plus 0.7 of another.
struct RelatedTasks {
    typealias Examples = (x: Tensor<Float>, y: Tensor<Float>)
    /// 8000, 2000, 300 and 2000 samples.
    let trainA, testA, trainB, testB: Examples
    private let seed: UInt64

    private struct Rows: BatchSource {
        let x: Tensor<Float>
        let y: Tensor<Float>
        let seed: UInt64
        var batchesPerEpoch: Int? { nil }
        func batch(step: Int) -> (x: Tensor<Float>, y: Tensor<Float>) {
            var generator = SeededGenerator(seed: seed, stream: UInt64(step) &+ 9)
            let rows = (0..<64).map { _ in Int32.random(in: 0..<Int32(x.rows), using: &generator) }
            let tape = Tape<Float>()
            return (tape.constant(x).gathered(rows).value, tape.constant(y).gathered(rows).value)
        }
    }

    init(seed: UInt64) {
        self.seed = seed
        var generator = SeededGenerator(seed: seed, stream: 98)
        let features = Tensor<Float>(
            normal: [20, 20], standardDeviation: 1 / Float(20).squareRoot(), using: &generator)
        let a = Tensor<Float>(normal: [4, 20], standardDeviation: 1 / Float(20).squareRoot(), using: &generator)
        var b = a
        for i in 0..<4 { for j in 0..<20 { b[i, j] += 0.7 / Float(20).squareRoot() * Float(generator.normal()) } }
        func data(_ count: Int, _ head: Tensor<Float>) -> Examples {
            let x = Tensor<Float>(normal: [count, 20], using: &generator)
            let tape = Tape<Float>()
            let y = tape.constant(x).multiplied(by: tape.constant(features)).affine(2).tanh().linear(
                tape.constant(head))
            return (x, y.value)
        }
        (trainA, testA, trainB, testB) = (data(8000, a), data(2000, a), data(300, b), data(2000, b))
    }

    /// 20-192-192-4, the same weights each time.
    func network() -> MLP {
        var generator = SeededGenerator(seed: seed, stream: 3)
        return MLP(widths: [20, 192, 192, 4], using: &generator)
    }

    /// Adam at a constant rate.
    func train(
        _ model: MLP, _ data: Examples, _ steps: Int, _ rate: Double, _ hooks: [any TrainingHook]
    ) throws {
        var plan = TrainingPlan(steps: steps, learningRate: .constant(rate))
        plan.logEvery = steps
        plan.seed = seed
        try Trainer(
            model: model, optimizer: Adam(), source: Rows(x: data.x, y: data.y, seed: seed), plan: plan, hooks: hooks,
            loss: { batch, tape in Loss.meanSquaredError(model(tape.constant(batch.x)), tape.constant(batch.y)) }
        ).train()
    }

    /// The mean squared error relative to the mean square of the targets.
    static func error(_ model: MLP, _ data: Examples) -> Double {
        let tape = Tape<Float>()
        let loss = tape.evaluating { Loss.meanSquaredError(model(tape.constant(data.x)), tape.constant(data.y)).item }
        let energy = data.y.scalars.reduce(0.0) { $0 + Double($1 * $1) } / Double(data.y.count)
        return Double(loss) / energy
    }
}
