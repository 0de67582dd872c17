import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaInfer

struct ProSparseTests {
    /// Flat at both ends of a stage, half way at its middle; the first stage is constant, the last weight stays.
    @Test func stagesRiseBySines() throws {
        let weight = try StagedWeight([
            .init(weight: 0.1, end: 10), .init(weight: 0.5, end: 30), .init(weight: 0.5, end: 40),
            .init(weight: 2, end: 44),
        ])
        #expect((0..<10).allSatisfy { weight($0) == 0.1 } && abs(weight(10) - 0.1) < 1e-12)
        #expect(abs(weight(20) - 0.3) < 1e-12 && abs(weight(35) - 0.5) < 1e-12)
        // (sin(-π/2 + π/4) + 1)/2 at a quarter.
        #expect(abs(weight(15) - (0.1 + 0.4 * (sine(-Double.pi / 4) + 1) / 2)) < 1e-12)
        #expect(abs(weight(42) - 1.25) < 1e-12 && weight(44) == 2 && weight(1000) == 2)
        #expect(weight(11) - weight(10) < 0.1 * (weight(21) - weight(20)))
        #expect(throws: LacunaError.self) { try StagedWeight([]) }
        #expect(throws: LacunaError.self) { try StagedWeight([.init(weight: 1, end: 5), .init(weight: 1, end: 5)]) }
        #expect(throws: LacunaError.self) { try StagedWeight([.init(weight: -1, end: 5)]) }
        let authors = try ProSparse.stages(steps: 33_000, scale: 2)
        #expect(authors.stages.map(\.end) == [10_000, 12_000, 20_000, 24_000, 32_000, 33_000])
        #expect(authors(40_000) == 0.4)
    }

    /// What stays keeps its value, and its gradient; the threshold itself does not stay.
    @Test func theReLUIsShifted() {
        let tape = Tape<Double>()
        let x = tape.variable(Tensor([-1, 0.5, 1, 2]))
        let y = x.shifted(above: 0.5)
        #expect(y.value.scalars == [0, 0, 1, 2])
        tape.backward(from: (y * tape.constant(Tensor([1, 2, 3, 4]))).sum())
        #expect(x.gradient?.scalars == [0, 0, 3, 4])
    }

    /// With ReLU in all parts nothing is lost by leaving out what is 0, and much is left out; nothing else of the model changes.
    @Test func rectifiedModelsSkipExactly() throws {
        let decoder = try Skip.decoder()
        let rectified = try decoder.rectified()
        #expect(rectified.configuration.activation == .relu && rectified.blocks[1].feedForward.activation == .relu)
        #expect(rectified.blocks[0][.up].weight.densified() == decoder.blocks[0][.up].weight.densified())
        let tokens = Skip.tokens(32, seed: 5)
        let turned = try rectified.sparsified { name, matrix in
            name.contains("down_proj") ? try GatedStores.turned(matrix, name: name) : matrix
        }
        let meter = SkippingMeter()
        let whole = try Perplexity.measure(rectified, tokens: tokens, window: 32).loss
        let skipped = try Perplexity.measure(
            turned, tokens: tokens, window: 32, gate: ActivationGate(rectified: turned), meter: meter
        ).loss
        #expect(abs(whole - skipped) < 1e-5 && meter.total(.down).sparsity > 0.3)
        // Token by token, where rows of up and columns of down are really not read.
        let engine = Skipping(gate: try ActivationGate(rectified: turned), meter: meter).engine(turned)
        meter.reset()
        let written = try Perplexity.measureWriting(engine, tokens: tokens, window: 32, prompt: 2)
        let plain = try Perplexity.measureWriting(Skipping().engine(rectified), tokens: tokens, window: 32, prompt: 2)
        #expect(
            abs(written.loss - plain.loss) < 1e-5 && meter.total(.up).byteShare < 0.7
                && meter.total(.down).byteShare < 0.7)
        // A threshold leaves out more, the largest few of each token as many as they are.
        let fewer = SkippingMeter()
        _ = try Perplexity.measure(
            turned, tokens: tokens, window: 32, gate: ActivationGate(rectified: turned, above: 0.5), meter: fewer)
        #expect(fewer.total(.down).sparsity > meter.total(.down).sparsity)
        let few = SkippingMeter()
        _ = try Perplexity.measure(
            turned, tokens: tokens, window: 32, gate: ActivationGate(rectified: turned, largest: 16), meter: few)
        #expect(few.total(.up).sparsity == 0.75)
        #expect(throws: LacunaError.self) { try ActivationGate(rectified: decoder) }
        #expect(throws: LacunaError.self) { try ActivationGate(rectified: rectified, above: -1) }
        #expect(throws: LacunaError.self) { try ActivationGate(rectified: rectified, largest: 0) }
    }

    private static func network(seed: UInt64) throws -> TrainableFeedForward {
        var random = SeededGenerator(seed: seed)
        func linear(_ rows: Int, _ columns: Int) throws -> LinearLayer {
            LinearLayer(
                try WeightStore.make(
                    Tensor(normal: [rows, columns], standardDeviation: 0.4, using: &random), layout: .dense,
                    values: .f32))
        }
        return TrainableFeedForward(
            FeedForward(gate: nil, up: try linear(40, 6), down: try linear(3, 40), activation: .relu)
        ) { _, matrix in DenseWeight(matrix.densified()) }
    }

    private static func train(_ model: TrainableFeedForward, _ hook: any TrainingHook, steps: Int) throws -> Double? {
        let x = Skip.gaussian([200, 6], seed: 3)
        let labels = (0..<200).map { Int32(x[$0, 0] > 0 ? (x[$0, 1] > 0 ? 0 : 1) : 2) }
        var plan = TrainingPlan(steps: steps, learningRate: .constant(1e-2))
        plan.logEvery = steps
        return try Trainer(
            model: model, optimizer: Adam(learningRate: 1e-2),
            source: ShuffledBatches(LabelledExamples(inputs: x, labels: labels, classes: 3), batchSize: 50, seed: 1),
            plan: plan, hooks: [hook],
            loss: { batch, tape in Loss.crossEntropy(model(tape.constant(batch.inputs)), labels: batch.labels) }
        ).train().metrics.last?["density"]
    }

    /// The penalty is the mean magnitude of what is read, times the weight of the step; strong ones leave few activations, and the hook
    /// lets go of the network.
    @Test func activationsBecomeFew() throws {
        func hook(_ weight: Double, shift: Int? = nil) throws -> ProSparse {
            try ProSparse(
                weight: StagedWeight([.init(weight: 0, end: 20), .init(weight: weight, end: 100)]), threshold: 0.05,
                shiftStep: shift)
        }
        let model = try Self.network(seed: 1)
        let (plain, sparse) = (
            try #require(try Self.train(Self.network(seed: 1), hook(0), steps: 150)),
            try #require(try Self.train(model, hook(4, shift: 120), steps: 150))
        )
        #expect(plain > 0.35 && sparse < 0.6 * plain, "\(plain) \(sparse)")
        #expect(model.watch == nil && model.sparsifier == nil)
        let one = try ProSparse(weight: StagedWeight([.init(weight: 3, end: 1)]))
        let network = try Self.network(seed: 2)
        let run = TrainingRun(model: network, optimizer: SGD(learningRate: 1), tape: Tape(), totalSteps: 1, seed: 0)
        try one.attach(run)
        try one.beforeStep(run)
        let x = run.tape.constant(Skip.gaussian([5, 6], seed: 4))
        _ = network(x)
        let hidden = run.tape.withoutRecording { network.up(x).relu().value.scalars }
        let expected = 3 * hidden.reduce(0, +) / Float(hidden.count)
        #expect(abs((one.penalty(run)?.item ?? 0) - expected) < 1e-5 * expected)
        #expect(one.penalty(run) == nil)
        let silu = try TrainableTransformer(Skip.decoder())
        #expect(throws: LacunaError.self) {
            try one.attach(
                TrainingRun(model: silu, optimizer: SGD(learningRate: 1), tape: Tape(), totalSteps: 1, seed: 0))
        }
        #expect(try TrainableTransformer(Skip.decoder().rectified()).feedForwards.count == 2)
        #expect(throws: LacunaError.self) { try ProSparse(weight: one.weight, threshold: -1) }
    }

    /// No token has more than k activations, gradients go through these alone, and k of all is the network without the hook.
    @Test func theLargestFew() throws {
        let network = try Self.network(seed: 6)
        let x = Skip.gaussian([9, 6], seed: 7)
        let tape = Tape<Float>()
        let whole = tape.withoutRecording { network(tape.constant(x)).value }
        func attach(_ k: Int) throws {
            try TopKActivation(k: k).attach(
                TrainingRun(model: network, optimizer: SGD(learningRate: 1), tape: tape, totalSteps: 1, seed: 0))
        }
        try attach(40)
        #expect(tape.withoutRecording { network(tape.constant(x)).value } == whole)
        try attach(4)
        var read: Variable<Float>?
        network.watch = { read = $0 }
        let y = network(tape.constant(x))
        let hidden = read!.value
        for t in 0..<9 { #expect((0..<40).count { hidden[t, $0] != 0 } <= 4) }
        tape.backward(from: y.sum())
        let used = Set((0..<40).filter { i in (0..<9).contains { hidden[$0, i] != 0 } })
        let gradient = network.up.dense!.parameter.gradient!
        for i in 0..<40 where !used.contains(i) { #expect((0..<6).allSatisfy { gradient[i, $0] == 0 }) }
        #expect(throws: LacunaError.self) { try attach(41) }
        #expect(throws: LacunaError.self) { try TopKActivation(k: 0) }
        let hook = try TopKActivation(k: 4, remains: false)
        _ = try Self.train(network, hook, steps: 3)
        #expect(network.sparsifier == nil)
    }

    /// With outputs of mean 0, descent makes active neurons smaller: the mean gradient of an active one is positive.
    @Test func descentMakesActivationsSmaller() throws {
        var means: [Double] = []
        for seed in 0..<60 {
            let network = try Self.network(seed: UInt64(100 + seed))
            let tape = Tape<Float>()
            var hidden: Variable<Float>?
            let x = Skip.gaussian([64, 6], seed: UInt64(seed))
            network.sparsifier = { h in
                let leaf = tape.variable(h.value)
                hidden = leaf
                return leaf
            }
            let labels = (0..<64).map { Int32($0 % 3) }
            tape.backward(from: Loss.crossEntropy(network(tape.constant(x)), labels: labels))
            let (values, gradient) = (hidden!.value.scalars, hidden!.gradient!.scalars)
            let active = values.indices.filter { values[$0] > 0 }
            means.append(active.reduce(0.0) { $0 + Double(gradient[$1]) } / Double(active.count))
        }
        let mean = means.reduce(0, +) / 60
        let deviation = (means.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 59).squareRoot()
        #expect(mean / (deviation / 60.0.squareRoot()) > 3)
    }

    /// The ReLU is shifted from the step that was named on.
    @Test func theShiftHasItsStep() throws {
        final class Probe: TrainingHook {
            let hook: ProSparse
            let model: TrainableFeedForward
            var isShifted: [Bool] = []
            init(_ hook: ProSparse, _ model: TrainableFeedForward) { (self.hook, self.model) = (hook, model) }
            func attach(_ run: TrainingRun) throws { try hook.attach(run) }
            func beforeStep(_ run: TrainingRun) throws {
                try hook.beforeStep(run)
                isShifted.append(model.sparsifier != nil)
            }
            func end(_ run: TrainingRun) throws { try hook.end(run) }
        }
        let model = try Self.network(seed: 1)
        let hook = try ProSparse(
            weight: StagedWeight([.init(weight: 0, end: 20)]), threshold: 0.05, shiftStep: 2)
        let probe = Probe(hook, model)
        _ = try Self.train(model, probe, steps: 4)
        #expect(probe.isShifted == [false, false, true, true])
    }
}
