import LacunaLearn
import LacunaPrune
import LacunaSparse
import LacunaTensor
import Testing

/// Neurons that are silenced stay silent, and the network without them computes the same.
@Suite struct NeuronRemovalTests {
    private func output(_ model: any UnaryLayer, _ x: Tensor<Float>) -> Tensor<Float> {
        let tape = Tape<Float>()
        return tape.evaluating { model(tape.constant(x)).value }
    }

    private func agree(_ a: Tensor<Float>, _ b: Tensor<Float>) -> Bool {
        a.shape == b.shape && zip(a.scalars, b.scalars).allSatisfy { abs($0 - $1) < 1e-5 * max(1, abs($0)) }
    }

    /// The sigmoid of a silent neuron is a half, which the next layer's biases take over.
    @Test(arguments: [Activation.relu, .sigmoid, .softplus, .tanh]) func smallerNetworksComputeTheSame(
        activation: Activation
    ) throws {
        var generator = SeededGenerator(seed: 3)
        let model = MLP(widths: [5, 9, 7, 3], activation: activation, using: &generator)
        for layer in model.layers { layer.bias!.value = Tensor(normal: [layer.outputDimensions], using: &generator) }
        #expect(NeuronRemoval.shrunk(model) == nil)
        try NeuronRemoval.silence(allBut: [0, 2, 3, 8], of: model.layers[0], in: model)
        try NeuronRemoval.silence(allBut: [1, 4, 5, 6], of: model.layers[1], in: model)
        let x = Tensor<Float>(normal: [6, 5], using: &generator)
        let small = try #require(NeuronRemoval.shrunk(model) as? MLP)
        #expect(small.layers.map(\.outputDimensions) == [4, 4, 3] && small.layers.map(\.inputDimensions) == [5, 4, 4])
        #expect(agree(output(model, x), output(small, x)))
    }

    @Test func channelsGoWithTheirNorms() throws {
        var generator = SeededGenerator(seed: 4)
        let model = ConvNet(inputChannels: 2, channels: [6, 5], classes: 3, using: &generator)
        for norm in model.norms {
            for parameter in [norm.weight, norm.bias, norm.runningMean] {
                parameter.value = Tensor(normal: parameter.shape, using: &generator)
            }
        }
        try NeuronRemoval.silence(allBut: [1, 2, 5], of: model.convolutions[0].product, in: model)
        try NeuronRemoval.silence(allBut: [0, 4], of: model.convolutions[1].product, in: model)
        // A step of training does not wake them.
        var plan = TrainingPlan(steps: 3, learningRate: .constant(0.1))
        plan.seed = 1
        let examples = try LabelledExamples(
            inputs: Tensor(normal: [8, 2, 6, 6], using: &generator), labels: (0..<8).map { $0 % 3 }, classes: 3)
        try Trainer(
            model: model, optimizer: Adam(weightDecay: 0.1, isDecoupled: true),
            source: ShuffledBatches(examples, batchSize: 4, seed: 1), plan: plan,
            loss: { batch, tape in Loss.crossEntropy(model(tape.constant(batch.inputs)), labels: batch.labels) }
        ).train()
        let small = try #require(NeuronRemoval.shrunk(model) as? ConvNet)
        #expect(small.convolutions.map(\.product.outputDimensions) == [3, 2] && small.classifier.inputDimensions == 2)
        #expect(agree(output(model, examples.inputs), output(small, examples.inputs)))
    }

    /// Behind the cut weights are not shrunk: without gradients they stay as they are.
    @Test func survivorsAreNotShrunkAnyLonger() throws {
        final class Slow: TrainingHook {
            var cut: Tensor<Float>?
            func gradientsReady(_ run: TrainingRun) {
                guard run.step >= 30, let layer = run.model.linears.first?.layer else { return }
                if run.step == 30 { cut = layer.weight.densified() }
                for parameter in run.model.parameters { parameter.scaleGradient(by: 0) }
            }
        }
        let (model, slow) = (network(), Slow())
        try train(
            model, hooks: [EnvelopeRegularization(keep: 0.5, lambda: 5), slow], steps: 40,
            optimizer: SGD(learningRate: 0))
        #expect(model.layers[0].weight.densified() == slow.cut)
    }

    /// The strongest rows are all there is for the last part of the run.
    @Test(arguments: [0.25, 0]) func envelopesRemove(fineTune: Double) throws {
        let model = network()
        let method = try EnvelopeRegularization(keep: 0.5, lambda: 5, fineTune: fineTune)
        var alive: [Int: [Int]] = [:]
        try train(model, hooks: [method], steps: 40) { step in
            alive[step] = model.layers.dropLast().map { layer in
                let pattern = SparsePattern(nonzerosOf: layer.weight.densified())
                return (0..<pattern.rows).count { pattern.keptCount(row: $0) > 0 }
            }
        }
        let last = fineTune > 0 ? 30 : 40
        for step in last..<40 { #expect(alive[step] == [12, 8]) }
        #expect(alive[last - 1] != [12, 8])
        #expect(try method.strongestRows().map(\.count) == [12, 8])
        let small = try #require(NeuronRemoval.shrunk(model) as? MLP)
        #expect(small.layers.map(\.outputDimensions) == [12, 8, 2])
        #expect(throws: LacunaError.self) { try EnvelopeRegularization(keep: 0.5, lambda: 1, fineTune: 1.5) }
        // A run that is stopped before the last part ends with the removal all the same.
        let short = network()
        var generator = SeededGenerator(seed: 4)
        let examples = try LabelledExamples(
            inputs: Tensor(normal: [40, 20], using: &generator), labels: (0..<40).map { $0 % 2 }, classes: 2)
        var plan = TrainingPlan(steps: 40, learningRate: .constant(0.01))
        (plan.evaluateEvery, plan.patience) = (2, 1)
        let report = try Trainer(
            model: short, optimizer: SGD(learningRate: 0), source: ShuffledBatches(examples, batchSize: 20, seed: 1),
            plan: plan, hooks: [EnvelopeRegularization(keep: 0.5, lambda: 0.1)], evaluate: { _ in [("loss", 1)] },
            loss: { batch, tape in Loss.crossEntropy(short(tape.constant(batch.inputs)), labels: batch.labels) }
        ).train()
        #expect(report.stoppedEarly == 4)
        let mask = try #require(short.layers[0].dense?.mask)
        #expect((0..<24).count { mask.keptCount(row: $0) > 0 } == 12)
    }

    /// With costs the map still is that of the value: no step away from what it gives lowers the objective.
    @Test func envelopesWithCostsAreMinimal() throws {
        var generator = SeededGenerator(seed: 12)
        for _ in 0..<20 {
            let norms = (0..<5).map { _ in abs(generator.normal()) + 0.05 }
            let costs = (0..<5).map { _ in [0.5, 1, 2, 3][Int.random(in: 0..<4, using: &generator)] }
            let k = 0.5 + 0.7 * costs.reduce(0, +) * generator.uniform()
            let lambda = 0.05 + 2 * generator.uniform()
            let envelope = try GroupEnvelope(k: k)
            func objective(_ x: [Double]) -> Double {
                zip(x, norms).reduce(lambda * envelope.value(norms: x, costs: costs)) {
                    $0 + 0.5 * ($1.0 - $1.1) * ($1.0 - $1.1)
                }
            }
            let u = envelope.weights(norms: norms, costs: costs, lambda: lambda)
            let x = zip(norms, u).map { $0 * $1 / (lambda + $1) }
            let (best, spent) = (objective(x), zip(u, costs).reduce(0) { $0 + $1.0 * $1.1 })
            #expect(spent <= k + 1e-9)
            for _ in 0..<50 {
                #expect(objective(x.map { max(0, $0 + 0.05 * generator.normal()) }) > best - 1e-9)
            }
            // Costs of 1 are none, and a budget counts in their unit.
            let plain = envelope.weights(norms: norms, lambda: lambda)
            #expect(envelope.weights(norms: norms, costs: norms.map { _ in 1 }, lambda: lambda) == plain)
        }
    }

    /// One budget for all layers keeps the strongest of all, one of each layer at least; weights are dearer than neurons.
    @Test(arguments: EnvelopeRegularization.Scope.allCases, EnvelopeRegularization.Penalty.allCases) func oneBudget(
        scope: EnvelopeRegularization.Scope, penalty: EnvelopeRegularization.Penalty
    ) throws {
        // Rows of 2 and of 6 inputs; those of the second layer are three times as long.
        let model = network([2, 6, 4, 2])
        for (index, layer) in model.layers.prefix(2).enumerated() {
            let parameter = layer.dense!.parameter
            for r in 0..<layer.outputDimensions {
                for c in 0..<layer.inputDimensions {
                    let norm = Float(index == 0 ? 1 : 3) * (1 + 0.1 * Float(r))
                    parameter.buffer.pointer[r * layer.inputDimensions + c] =
                        norm / Float(layer.inputDimensions).squareRoot()
                }
            }
        }
        let method = try EnvelopeRegularization(keep: 0.5, lambda: 0.1, scope: scope, penalty: penalty)
        var kept: [[Int]] = []
        final class Look: TrainingHook {
            let body: () throws -> Void
            init(_ body: @escaping () throws -> Void) { self.body = body }
            func attach(_ run: TrainingRun) throws { try body() }
        }
        let look = Look { kept = try method.strongestRows() }
        try train(model, hooks: [method, look], steps: 8)
        switch scope {
        case .layer: #expect(kept == [[3, 4, 5], [2, 3]])
        // Five of ten: the four long ones, and the strongest of the short.
        case .neurons: #expect(kept == [[5], [0, 1, 2, 3]])
        // 18 of 36 weights: norms over √2 and √6 are 0.71…1.06 and 1.22…1.59, so three long rows would do, but for one short one.
        case .weights: #expect(kept == [[3, 4, 5], [2, 3]])
        }
        let (left, all) = (model.layers.prefix(2).map(\.weight.activeCount), 2 * 6 + 6 * 4)
        #expect(left.reduce(0, +) < all && left.allSatisfy { $0 > 0 })
        #expect(NeuronRemoval.shrunk(model) != nil)
    }
}
