import Lacuna

/// A classifier of one hidden layer of ReLUs, 32-256-10, as a feed-forward part whose activations methods can see.
enum RectifiedNetwork {
    static let width = 256

    /// Weights as they start for ReLUs.
    static func make(seed: UInt64, inputs: Int = 32, classes: Int = 10) throws -> TrainableFeedForward {
        var random = SeededGenerator(seed: seed, stream: 0x3EC7)
        func linear(_ rows: Int, _ columns: Int, _ deviation: Float) throws -> LinearLayer {
            LinearLayer(
                try WeightStore.make(
                    Tensor(normal: [rows, columns], standardDeviation: deviation, using: &random), layout: .dense,
                    values: .f32), bias: Tensor(zeros: [rows]))
        }
        return TrainableFeedForward(
            FeedForward(
                gate: nil, up: try linear(width, inputs, (2 / Float(inputs)).squareRoot()),
                down: try linear(classes, width, 1 / Float(width).squareRoot()), activation: .relu)
        ) { _, matrix in DenseWeight(matrix.densified()) }
    }

    /// Thirty normal clusters in 32 dimensions, three to a class.
    static func examples(
        seed: UInt64, count: Int, stream: UInt64 = 0, randomLabels: Bool = false
    ) throws -> LabelledExamples {
        var random = SeededGenerator(seed: seed, stream: 30)
        let centres = Tensor<Float>(normal: [30, 32], standardDeviation: 0.6, using: &random)
        random = SeededGenerator(seed: seed, stream: 31 &+ stream)
        var x = Tensor<Float>(normal: [count, 32], using: &random)
        var labels: [Int32] = []
        x.withMutablePointer { x in
            centres.withPointer { centres in
                for row in 0..<count {
                    let centre = Int.random(in: 0..<30, using: &random)
                    for i in 0..<32 { x[row * 32 + i] += centres[centre * 32 + i] }
                    labels.append(Int32(centre % 10))
                }
            }
        }
        if randomLabels { for i in labels.indices { labels[i] = Int32.random(in: 0..<10, using: &random) } }
        return try LabelledExamples(inputs: x, labels: labels, classes: 10)
    }

    /// Share of the hidden entries that are not 0, and of the neurons that are 0 on all examples.
    static func density(_ model: TrainableFeedForward, _ x: Tensor<Float>) -> (active: Double, never: Double) {
        let tape = Tape<Float>()
        let before = model.watch
        var hidden: Tensor<Float>?
        model.watch = { hidden = $0.value }
        _ = tape.evaluating { model(tape.constant(x)) }
        model.watch = before
        guard let hidden else { return (.nan, .nan) }
        var counts = [Int](repeating: 0, count: hidden.columns)
        hidden.withPointer { h in
            for i in 0..<hidden.count where h[i] != 0 { counts[i % counts.count] += 1 }
        }
        return (
            Double(counts.reduce(0, +)) / Double(hidden.count),
            Double(counts.count { $0 == 0 }) / Double(counts.count)
        )
    }
}
