import Lacuna

/// Sequences of 32 of 8 symbols: somewhere in each quarter stands one of four orders of the same three symbols, and the class is which. It can be
/// told by who stands next to whom alone, wherever that is.
struct MotifTask {
    static let symbols = 8
    static let length = 32
    static let motifs: [[Int]] = [[0, 1, 2], [2, 1, 0], [1, 0, 2], [0, 2, 1]]

    let train: LabelledExamples
    let validation: LabelledExamples
    let test: LabelledExamples

    init(seed: UInt64, trainCount: Int = 1000, testCount: Int = 2000) throws {
        var generator = SeededGenerator(seed: seed, stream: 0x307F)
        func sample(_ count: Int) throws -> LabelledExamples {
            // One-hot, [count, symbols, length].
            var x = Tensor<Float>(zeros: [count, Self.symbols, Self.length])
            var labels: [Int32] = []
            for row in 0..<count {
                let label = Int.random(in: 0..<Self.motifs.count, using: &generator)
                var sequence = (0..<Self.length).map { _ in Int.random(in: 0..<Self.symbols, using: &generator) }
                for quarter in 0..<4 {
                    let place = quarter * 8 + Int.random(in: 0...5, using: &generator)
                    sequence.replaceSubrange(place..<place + 3, with: Self.motifs[label])
                }
                x.withMutablePointer { p in
                    for (t, symbol) in sequence.enumerated() { p[(row * Self.symbols + symbol) * Self.length + t] = 1 }
                }
                labels.append(Int32(label))
            }
            return try LabelledExamples(inputs: x, labels: labels, classes: Self.motifs.count)
        }
        train = try sample(trainCount)
        validation = try sample(trainCount)
        test = try sample(testCount)
    }
}

/// One place of a network for sequences, with three candidates for it: a pool, a separable convolution of three neighbours, and a dense layer of
/// the whole sequence. Each gives the channels of a sequence; a classifier follows.
final class MotifNetwork: SearchableNetwork {
    enum Candidate: Int, CaseIterable {
        case pool, convolution, dense
    }

    /// Symbols to channels, place by place.
    private let stem: Linear
    private let place: MixedOperation
    private let alpha: Parameter<Float>?
    private let classifier: Linear
    private let channels: Int

    /// - Parameter choice: The candidate that was decided for; nil for all.
    init(channels: Int, choice: Candidate?, using generator: inout SeededGenerator) {
        self.channels = channels
        stem = Linear(inputDimensions: MotifTask.symbols, outputDimensions: channels, using: &generator)
        let all = (choice.map { [$0] } ?? Candidate.allCases).map { candidate -> any UnaryLayer in
            switch candidate {
            case .pool: SequencePool()
            case .convolution: SequenceConvolution(channels: channels, using: &generator)
            case .dense: SequenceDense(channels: channels, using: &generator)
            }
        }
        place = MixedOperation(all)
        alpha =
            choice == nil
            ? Parameter(Tensor(normal: [1, 3], standardDeviation: 1e-3, using: &generator), isTrainable: false) : nil
        classifier = Linear(
            inputDimensions: channels, outputDimensions: MotifTask.motifs.count, using: &generator)
    }

    var parts: [(name: String, part: Any)] {
        [("stem", stem), ("place", place)] + (alpha.map { [("alpha", $0)] } ?? []) + [("classifier", classifier)]
    }
    var architecture: [Parameter<Float>] { alpha.map { [$0] } ?? [] }
    /// What is pruned: the candidates, not what stands around them.
    static let pruned = LayerChoice("place.")

    /// The weights of the candidates now.
    var weights: [Float] {
        let tape = Tape<Float>()
        return tape.evaluating { alpha?.on(tape).softmax().value.scalars ?? [1] }
    }

    func callAsFunction(_ x: Variable<Float>) -> Variable<Float> {
        let (n, c, length) = (x.shape[0], channels, MotifTask.length)
        let rows = stem(x.permuted([0, 2, 1]).reshaped([n * length, MotifTask.symbols])).relu()
        let sequence = rows.reshaped([n, length, c]).permuted([0, 2, 1])
        let weights = alpha?.on(x.tape).softmax() ?? x.tape.constant(Tensor([1], shape: [1, 1]))
        return classifier(place(sequence, weights: weights))
    }
}

/// The largest mean of three neighbours: [n, channels] of [n, channels, length].
private final class SequencePool: UnaryLayer {
    let parts: [(name: String, part: Any)] = []
    func callAsFunction(_ x: Variable<Float>) -> Variable<Float> {
        let (n, c, length) = (x.shape[0], x.shape[1], x.shape[2])
        let mean = x.tape.constant(Tensor<Float>(repeating: 1 / 3, shape: [1, 1, 3]))
        let means = x.reshaped([n * c, 1, length]).convolved1d(mean, sliding: Sliding(padding: 1))
        return means.reshaped([n * c, length]).rowMaxima().reshaped([n, c])
    }
}

/// Each channel by itself over three neighbours, the channels of each place together, the largest of all places.
private final class SequenceConvolution: UnaryLayer {
    let depthwise, pointwise: Linear

    init(channels: Int, using generator: inout SeededGenerator) {
        depthwise = Linear(inputDimensions: 3, outputDimensions: channels, bias: false, using: &generator)
        pointwise = Linear(inputDimensions: channels, outputDimensions: channels, using: &generator)
    }

    func callAsFunction(_ x: Variable<Float>) -> Variable<Float> {
        let (n, c, length) = (x.shape[0], x.shape[1], x.shape[2])
        let kernel = depthwise.weight.matrix(on: x.tape)!.reshaped([c, 1, 3])
        let seen = x.convolved1d(kernel, sliding: Sliding(padding: 1), groups: c)
        let mixed = pointwise(seen.permuted([0, 2, 1]).reshaped([n * length, c])).relu()
        return mixed.reshaped([n, length, c]).permuted([0, 2, 1]).reshaped([n * c, length]).rowMaxima().reshaped([n, c])
    }
}

/// One layer that reads the whole sequence.
private final class SequenceDense: UnaryLayer {
    let product: Linear

    init(channels: Int, using generator: inout SeededGenerator) {
        product = Linear(
            inputDimensions: channels * MotifTask.length, outputDimensions: channels, using: &generator)
    }

    func callAsFunction(_ x: Variable<Float>) -> Variable<Float> { product(x.flattened()).relu() }
}
