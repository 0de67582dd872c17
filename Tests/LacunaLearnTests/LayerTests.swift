import LacunaLearn
import LacunaSparse
import LacunaTensor
import Testing

@Suite struct LayerTests {
    @Test func parametersHaveTheirPaths() {
        var generator = SeededGenerator(seed: 1)
        let mlp = MLP(widths: [4, 3, 2], using: &generator)
        #expect(
            mlp.namedParameters.map(\.name) == [
                "layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias",
            ])
        #expect(mlp.parameterCount == 4 * 3 + 3 + 3 * 2 + 2)
    }

    /// The gradient of a whole network along a random direction, against a difference quotient.
    private func checkDirection(
        _ model: any Module, tolerance: Double = 2e-2, _ loss: (Tape<Float>) -> Variable<Float>
    ) {
        var generator = SeededGenerator(seed: 3)
        let tape = Tape<Float>()
        tape.backward(from: loss(tape))
        var slope = 0.0
        var directions: [Tensor<Float>] = []
        for parameter in model.parameters {
            let direction = Tensor<Float>(normal: parameter.shape, using: &generator)
            directions.append(direction)
            guard parameter.isTrainable, let gradient = parameter.gradient else { continue }
            slope += zip(direction.scalars, gradient.scalars).reduce(0) { $0 + Double($1.0) * Double($1.1) }
        }
        func at(_ step: Float) -> Double {
            for (parameter, direction) in zip(model.parameters, directions) where parameter.isTrainable {
                for (i, d) in direction.scalars.enumerated() { parameter.buffer.pointer[i] += step * d }
            }
            defer {
                for (parameter, direction) in zip(model.parameters, directions) where parameter.isTrainable {
                    for (i, d) in direction.scalars.enumerated() { parameter.buffer.pointer[i] -= step * d }
                }
            }
            let tape = Tape<Float>()
            return Double(tape.withoutRecording { loss(tape) }.item)
        }
        let numerical = (at(1e-3) - at(-1e-3)) / 2e-3
        #expect(abs(numerical - slope) < tolerance * max(abs(slope), 0.1), "\(slope), by differences \(numerical)")
    }

    @Test func networksDifferentiate() {
        var generator = SeededGenerator(seed: 5)
        let net = ConvNet(inputChannels: 2, channels: [4, 6], classes: 3, using: &generator)
        let images = Tensor<Float>(normal: [4, 2, 6, 6], using: &generator)
        checkDirection(net) { Loss.crossEntropy(net($0.constant(images)), labels: [0, 1, 2, 1]) }
    }

    @Test func recurrentCells() {
        var generator = SeededGenerator(seed: 6)
        let steps = (0..<3).map { _ in Tensor<Float>(normal: [2, 4], using: &generator) }
        let start = Tensor<Float>(normal: [2, 5], using: &generator)
        let rnn = RNNCell(inputDimensions: 4, hiddenDimensions: 5, using: &generator)
        checkDirection(rnn) { tape in
            Loss.crossEntropy(steps.reduce(tape.constant(start)) { rnn(tape.constant($1), $0) }, labels: [1, 4])
        }
        let gru = GRUCell(inputDimensions: 4, hiddenDimensions: 5, using: &generator)
        checkDirection(gru) { tape in
            Loss.crossEntropy(steps.reduce(tape.constant(start)) { gru(tape.constant($1), $0) }, labels: [1, 4])
        }
        let lstm = LSTMCell(inputDimensions: 4, hiddenDimensions: 5, using: &generator)
        checkDirection(lstm) { tape in
            var state = (hidden: tape.constant(start), cell: tape.constant(start))
            for x in steps { state = lstm(tape.constant(x), state) }
            return Loss.crossEntropy(state.hidden, labels: [1, 4])
        }
        // An update gate that is shut keeps the state; gates that are shut keep an LSTM's cell.
        for i in 5..<10 { gru.input.bias!.buffer.pointer[i] = 60 }
        let tape = Tape<Float>()
        #expect(close(gru(tape.constant(steps[0]), tape.constant(start)).value, start))
        for i in 0..<5 { lstm.input.bias!.buffer.pointer[i] = -60 }
        for i in 5..<10 { lstm.input.bias!.buffer.pointer[i] = 60 }
        let state = lstm(tape.constant(steps[0]), (tape.constant(start), tape.constant(start)))
        #expect(close(state.cell.value, start))
    }

    /// Cells by their equations, unit by unit.
    @Test func cellsByTheirEquations() {
        var generator = SeededGenerator(seed: 14)
        let x = Tensor<Float>(normal: [1, 3], using: &generator)
        let h = Tensor<Float>(normal: [1, 2], using: &generator)
        let c = Tensor<Float>(normal: [1, 2], using: &generator)
        let rnn = RNNCell(inputDimensions: 3, hiddenDimensions: 2, using: &generator)
        let gru = GRUCell(inputDimensions: 3, hiddenDimensions: 2, using: &generator)
        let lstm = LSTMCell(inputDimensions: 3, hiddenDimensions: 2, using: &generator)
        for layer in [rnn.input, gru.input, gru.hidden, lstm.input] {
            layer.bias!.value = Tensor(normal: [layer.outputDimensions], using: &generator)
        }
        func product(_ layer: Linear, _ v: Tensor<Float>, _ row: Int) -> Double {
            let weight = layer.weight.densified()
            var sum = layer.bias.map { Double($0.value[row]) } ?? 0
            for i in 0..<v.count { sum += Double(weight[row, i]) * Double(v[0, i]) }
            return sum
        }
        func sigmoid(_ x: Double) -> Double { 1 / (1 + exponential(-x)) }
        func tanh(_ x: Double) -> Double { 2 * sigmoid(2 * x) - 1 }
        let tape = Tape<Float>()
        let (input, state, cell) = (tape.constant(x), tape.constant(h), tape.constant(c))
        let (plain, gated, long) = (rnn(input, state).value, gru(input, state).value, lstm(input, (state, cell)))
        for j in 0..<2 {
            let simple = tanh(product(rnn.input, x, j) + product(rnn.hidden, h, j))
            #expect(abs(Double(plain[0, j]) - simple) < 1e-5)
            // Reset, update and new, one below the other.
            let reset = sigmoid(product(gru.input, x, j) + product(gru.hidden, h, j))
            let update = sigmoid(product(gru.input, x, 2 + j) + product(gru.hidden, h, 2 + j))
            let new = tanh(product(gru.input, x, 4 + j) + reset * product(gru.hidden, h, 4 + j))
            let next = (1 - update) * new + update * Double(h[0, j])
            #expect(abs(Double(gated[0, j]) - next) < 1e-5)
            // Input, forget, cell and output.
            let gates = (0..<4).map { product(lstm.input, x, 2 * $0 + j) + product(lstm.hidden, h, 2 * $0 + j) }
            let kept = sigmoid(gates[1]) * Double(c[0, j]) + sigmoid(gates[0]) * tanh(gates[2])
            #expect(abs(Double(long.cell.value[0, j]) - kept) < 1e-5)
            #expect(abs(Double(long.hidden.value[0, j]) - sigmoid(gates[3]) * tanh(kept)) < 1e-5)
        }
    }

    /// Uniform in ±1/√fan-in, or normal of variance 2 / fan-in: by the inputs of one output, of a kernel in all its places.
    @Test func firstWeightsHaveTheirSpread() {
        var generator = SeededGenerator(seed: 15)
        func check(_ weights: Tensor<Float>, variance: Double, bound: Double = .infinity) {
            let values = weights.scalars.map { Double($0) }
            let square = values.reduce(0) { $0 + $1 * $1 } / Double(values.count)
            #expect(abs(square / variance - 1) < 0.07, "\(square), not \(variance)")
            #expect(values.allSatisfy { abs($0) <= bound * 1.000001 })
        }
        let linear = Linear(inputDimensions: 100, outputDimensions: 100, using: &generator)
        check(linear.weight.densified(), variance: 0.01 / 3, bound: 0.1)
        #expect(linear.bias!.value.scalars.allSatisfy { $0 == 0 })
        let normal = Linear(inputDimensions: 100, outputDimensions: 100, initialization: .he, using: &generator)
        check(normal.weight.densified(), variance: 0.02)
        check(MLP(widths: [100, 100], using: &generator).layers[0].weight.densified(), variance: 0.02)
        let whole = Conv2d(inputChannels: 4, outputChannels: 100, kernelSize: 5, using: &generator)
        check(whole.weight.value, variance: 0.01 / 3, bound: 0.1)
        let grouped = Conv2d(inputChannels: 8, outputChannels: 100, kernelSize: 5, groups: 2, using: &generator)
        check(grouped.weight.value, variance: 0.01 / 3, bound: 0.1)
        let sparse = SparseConv2d(inputChannels: 4, outputChannels: 100, kernelSize: 5, using: &generator)
        check(sparse.product.weight.densified(), variance: 0.01 / 3, bound: 0.1)
        let depthwise = DepthwiseConv2d(channels: 400, kernelSize: 5, using: &generator)
        check(depthwise.product.weight.densified(), variance: 0.04 / 3, bound: 0.2)
        check(Embedding(count: 100, dimensions: 100, using: &generator).weight.value, variance: 1)
    }

    /// Rows of next to no spread show what is added to the variance: 1e-5, in RMS norms 1e-6.
    @Test func smallSpreadsAreNotBlownUp() {
        let tape = Tape<Float>()
        let values: [Float] = [1e-3, -1e-3]
        let row = tape.constant(Tensor(values, shape: [1, 2]))
        let column = tape.constant(Tensor(values, shape: [2, 1]))
        let usual: Float = 1e-3 / Float(1e-6 + 1e-5).squareRoot()
        #expect(close(LayerNorm(dimensions: 2)(row).value, Tensor([usual, -usual], shape: [1, 2])))
        #expect(close(BatchNorm(channels: 1)(column).value, Tensor([usual, -usual], shape: [2, 1])))
        #expect(close(GroupNorm(groups: 1, channels: 2)(row).value, Tensor([usual, -usual], shape: [1, 2])))
        let root: Float = Float(0.5).squareRoot()
        #expect(close(RMSNorm(dimensions: 2)(row).value, Tensor([root, -root], shape: [1, 2])))
        // In evaluation by the running statistics as they are at first: mean 0 and variance 1.
        let fresh = tape.evaluating { BatchNorm(channels: 1)(column) }.value
        #expect(close(fresh, Tensor([1e-3, -1e-3], shape: [2, 1]), 1e-7))
    }

    /// The answer itself is never dropped: a network without hidden layers has no dropout.
    @Test func outputsAreNotDropped() {
        var generator = SeededGenerator(seed: 16)
        let model = MLP(widths: [5, 40], dropout: 0.9, using: &generator)
        let x = Tensor<Float>(normal: [3, 5], using: &generator)
        let tape = Tape<Float>()
        let trained = model(tape.constant(x)).value
        #expect(trained == tape.evaluating { model(tape.constant(x)) }.value)
        #expect(trained.scalars.allSatisfy { $0 != 0 })
    }

    @Test func batchNormRemembersStatistics() {
        var generator = SeededGenerator(seed: 7)
        let norm = BatchNorm(channels: 3)
        let x = Tensor<Float>(normal: [64, 3, 4, 4], mean: 2, standardDeviation: 3, using: &generator)
        let tape = Tape<Float>()
        for _ in 0..<200 { _ = tape.withoutRecording { norm(tape.constant(x)) } }
        let y = tape.evaluating { norm(tape.constant(x)) }.value.scalars
        let mean = y.reduce(0, +) / Float(y.count)
        #expect(abs(mean) < 1e-3)
        #expect(abs(y.reduce(0) { $0 + $1 * $1 } / Float(y.count) - 1) < 1e-2)
        #expect(norm.trainableParameters.count == 2 && norm.parameters.count == 4)
    }

    /// Two batches by hand: the mean moves a tenth of the way, the variance a tenth of the way to the unbiased one.
    @Test func batchNormRunningStatisticsAreUnbiased() {
        let norm = BatchNorm(channels: 1)
        let tape = Tape<Float>()
        _ = norm(tape.constant(Tensor([1, 3, 5], shape: [3, 1])))
        #expect(abs(norm.runningMean.value[0] - 0.3) < 1e-6)
        // Σ (x - 3)² / 2 = 4
        #expect(abs(norm.runningVariance.value[0] - (0.9 + 0.4)) < 1e-6)
        _ = norm(tape.constant(Tensor([0, 2], shape: [2, 1])))
        #expect(abs(norm.runningMean.value[0] - (0.27 + 0.1)) < 1e-6)
        #expect(abs(norm.runningVariance.value[0] - (0.9 * 1.3 + 0.1 * 2)) < 1e-6)
        // What normalises is the biased variance: 1 here.
        let y = BatchNorm(channels: 1, epsilon: 0)(tape.constant(Tensor([0, 2], shape: [2, 1])))
        #expect(y.value.scalars == [-1, 1])
        let group = GroupNorm(groups: 1, channels: 2, epsilon: 0)
        #expect(group(tape.constant(Tensor([0, 2], shape: [1, 2]))).value.scalars == [-1, 1])
    }

    @Test func dropoutKeepsTheMeanAndIsOffInEvaluation() {
        let tape = Tape<Float>(seed: 3)
        let x = tape.constant(Tensor(repeating: 1, shape: [10_000]))
        let y = x.dropout(0.3).value.scalars
        let mean = y.reduce(0, +) / 10_000
        #expect(abs(mean - 1) < 0.03)
        #expect(abs(Double(y.count { $0 == 0 }) / 10_000 - 0.3) < 0.02)
        #expect(y != x.dropout(0.3).value.scalars)
        tape.isTraining = false
        #expect(x.dropout(0.3) === x)
    }

    @Test func costsAreCounted() throws {
        var generator = SeededGenerator(seed: 8)
        let mlp = MLP(widths: [20, 30, 10], using: &generator)
        let mask = SparsePattern(rows: 30, columns: 20) { ($0 + $1) % 4 == 0 }
        let tape = Tape<Float>()
        let x = Tensor<Float>(normal: [8, 20], using: &generator)
        func ledger() -> Ledger { Ledger(mlp, on: tape) { _ = mlp(tape.constant(x)) } }
        let dense = ledger()
        #expect(dense.denseMultiplyAdds == 8 * (600 + 300) && dense.activeMultiplyAdds == dense.denseMultiplyAdds)
        #expect(dense.parameters == 600 + 30 + 300 + 10 && dense.weightBytes == 4 * dense.parameters)
        for storage in [StorageLayout.masked, .csr, .bitmask] {
            try mlp.layers[0].sparsify(storage, mask: mask)
            let sparse = ledger()
            #expect(sparse.activeMultiplyAdds == 8 * (mask.count + 300))
            #expect(sparse.denseMultiplyAdds == 8 * (600 + 300))
            #expect(sparse.parameters == mask.count + 30 + 300 + 10)
            tape.multiplyAdds = 0
            tape.backward(from: mlp(tape.constant(x)).sum())
            // What was really computed: a mask saves nothing, storage does. The input's gradient is not needed.
            let first = storage == .masked ? 600 : mask.count
            #expect(tape.multiplyAdds == 8 * (2 * first + 3 * 300))
        }
        let net = ConvNet(inputChannels: 1, channels: [4, 6], classes: 3, using: &generator)
        let images = Tensor<Float>(normal: [2, 1, 6, 6], using: &generator)
        tape.multiplyAdds = 0
        let convolution = Ledger(net, on: tape) { _ = net(tape.constant(images)) }
        #expect(convolution.activeMultiplyAdds == tape.multiplyAdds)
        #expect(tape.multiplyAdds == 2 * (36 * 4 * 9 + 9 * 6 * 4 * 9 + 18))
    }

    /// Results do not depend on the number of threads.
    @Test func threadsChangeNothing() throws {
        func train(_ threads: Int) throws -> [Tensor<Float>] {
            let before = Parallel.threads
            Parallel.threads = threads
            defer { Parallel.threads = before }
            var generator = SeededGenerator(seed: 9)
            let mlp = MLP(widths: [200, 700, 300, 10], using: &generator)
            try mlp.layers[1].sparsify(
                .csr, mask: SparsePattern(rows: 300, columns: 700) { _, _ in generator.uniform() < 0.1 })
            let x = Tensor<Float>(normal: [64, 200], using: &generator)
            let projection = Linear(inputDimensions: 64, outputDimensions: 3 * 64, using: &generator)
            let shape = AttentionShape(batch: 8, heads: 4, dimensions: 16, isCausal: true)
            let states = Tensor<Float>(normal: [256, 64], using: &generator)
            let net = ConvNet(inputChannels: 3, channels: [8, 16], classes: 5, using: &generator)
            let images = Tensor<Float>(normal: [16, 3, 16, 16], using: &generator)
            let tape = Tape<Float>()
            let optimizer = Adam()
            let parameters = mlp.parameters + projection.parameters + net.parameters
            for _ in 0..<3 {
                for parameter in parameters { parameter.clearGradient() }
                tape.backward(from: Loss.crossEntropy(mlp(tape.constant(x)), labels: (0..<64).map { $0 % 10 }))
                let mixed = Variable.attention(packed: projection(tape.constant(states)), shape: shape)
                tape.backward(from: Loss.crossEntropy(mixed, labels: (0..<256).map { $0 % 64 }))
                tape.backward(from: Loss.crossEntropy(net(tape.constant(images)), labels: (0..<16).map { $0 % 5 }))
                Parameter.clipGradients(parameters, norm: 1)
                optimizer.step(parameters)
            }
            return parameters.map(\.value)
        }
        #expect(try train(1) == train(2))
    }

    /// Blocks that are computed again have seen their batch once.
    @Test func batchNormCountsABatchOnce() {
        var generator = SeededGenerator(seed: 11)
        let x = Tensor<Float>(normal: [6, 2], mean: 3, using: &generator)
        func moments(recomputing: Bool) -> [[Float]] {
            let (norm, tape) = (BatchNorm(channels: 2), Tape<Float>())
            let start = tape.variable(x)
            let y = recomputing ? tape.recomputing { norm(start) } : norm(start)
            tape.backward(from: (y * y).sum())
            return [norm.runningMean.value.scalars, norm.runningVariance.value.scalars]
        }
        let once = moments(recomputing: false)
        #expect(moments(recomputing: true) == once && once[0].allSatisfy { $0 != 0 })
    }
}
