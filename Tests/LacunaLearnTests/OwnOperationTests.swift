import LacunaLearn
import LacunaTensor
import Testing

/// What a user adds from outside the library: no `@testable`.
extension Variable {
    fileprivate func cubed() -> Variable {
        tape.operation(inputs: [self], shape: shape) { inputs, output in
            for i in output.indices { output[i] = inputs[0][i] * inputs[0][i] * inputs[0][i] }
        } backward: { pass in
            pass.accumulate(0) { dx in
                for i in dx.indices { dx[i] += 3 * pass.inputs[0][i] * pass.inputs[0][i] * pass.gradient[i] }
            }
        }
    }

    /// a / b, of which the derivative uses the result.
    fileprivate func ratio(_ other: Variable) -> Variable {
        tape.operation(inputs: [self, other], shape: shape) { inputs, output in
            for i in output.indices { output[i] = inputs[0][i] / inputs[1][i] }
        } backward: { pass in
            pass.accumulate(0) { da in for i in da.indices { da[i] += pass.gradient[i] / pass.inputs[1][i] } }
            pass.accumulate(1) { db in
                for i in db.indices { db[i] -= pass.gradient[i] * pass.output[i] / pass.inputs[1][i] }
            }
        }
    }
}

@Suite struct OwnOperationTests {
    @Test func differentiate() {
        let (a, b) = (randomTensor([3, 4], seed: 1), randomTensor([3, 4], seed: 2))
        checkGradients([a]) { $0[0].cubed() }
        checkGradients([a, b]) { $0[0].ratio($0[1]) }
        // One variable in both places, and one that an operation of the library uses as well.
        checkGradients([a]) { $0[0].ratio($0[0].cubed()) * $0[0] }
        checkGradients([a]) { $0[0].ratio($0[0]) }
    }

    @Test func nothingIsRecordedWithoutNeed() {
        let tape = Tape<Double>()
        let x = tape.constant(randomTensor([2], seed: 1))
        #expect(!x.cubed().needsGradient && tape.count == 0)
        let z = tape.variable(randomTensor([2], seed: 2))
        #expect(tape.withoutRecording { !z.cubed().needsGradient } && tape.count == 0)
        var asked: [Bool] = []
        let y = tape.operation(inputs: [x, z], shape: []) {
            $1[0] = $0[0][0] * $0[1][0]
        } backward: { pass in
            asked = [pass.needsGradient(0), pass.needsGradient(1)]
            pass.accumulate(0) { _ in Issue.record("a constant has no gradient") }
            pass.accumulate(1) { $0[0] += pass.gradient[0] * pass.inputs[0][0] }
        }
        tape.backward(from: y, seed: 2)
        #expect(asked == [false, true] && z.gradient!.scalars == [2 * x.value[0], 0])
    }

    @Test func errorsOfTheForwardPassRecordNothing() {
        struct Refused: Error {}
        let tape = Tape<Float>()
        let x = tape.variable(Tensor([1, 2]))
        #expect(throws: Refused.self) {
            try tape.operation(inputs: [x], shape: [2]) { _, _ in
                throw Refused()
            } backward: { _ in
            }
        }
        #expect(tape.count == 0)
    }

    // MARK: Recomputing

    @Test func recomputingChangesNothingButMemory() {
        var generator = SeededGenerator(seed: 3)
        let layers = (0..<6).map { _ in
            MLP(widths: [32, 128, 32], activation: .tanh, dropout: 0.2, using: &generator)
        }
        let x = Tensor<Float>(normal: [64, 32], using: &generator)
        func run(_ recomputes: Bool) -> (loss: Float, gradients: [Tensor<Float>], input: Tensor<Float>, peak: Int) {
            let tape = Tape<Float>(seed: 4)
            for layer in layers { layer.clearGradients() }
            let start = tape.variable(x)
            var y = start
            for layer in layers { y = recomputes ? tape.recomputing { [y] in y + layer(y) } : y + layer(y) }
            let loss = y.map(.square).mean()
            // Random numbers drawn later are the same too.
            let later = tape.generator.words
            tape.backward(from: loss)
            #expect(tape.generator.words == later && tape.count == 0 && !tape.isRecomputing)
            return (
                loss.item, layers.flatMap { $0.parameters.map { $0.gradient! } }, start.gradient!, tape.pool.peakBytes
            )
        }
        let (plain, again) = (run(false), run(true))
        #expect(plain.loss == again.loss && plain.gradients == again.gradients && plain.input == again.input)
        #expect(again.peak * 3 < plain.peak, "\(again.peak) of \(plain.peak) bytes")
    }

    @Test func recomputingInDoubleAndNested() {
        let (a, w) = (randomTensor([3, 4], seed: 1), randomTensor([4, 4], seed: 2))
        checkGradients([a, w]) { v in v[0].tape.recomputing { v[0].linear(v[1]).tanh() * v[0] } }
        checkGradients([a, w]) { v in
            v[0].tape.recomputing {
                let inner = v[0].tape.recomputing { v[0].linear(v[1]).tanh() }
                return inner.linear(v[1]) * v[0]
            }
        }
        let tape = Tape<Double>()
        let x = tape.variable(a)
        // A result that was there before, and one that needs no gradient.
        #expect(tape.recomputing { x } === x)
        #expect(!tape.recomputing { tape.constant(a).tanh() }.needsGradient && tape.count == 0)
    }

    // MARK: Reducing

    @Test func reducingKeepsTheGradientOfWhatItReads() {
        let (a, w) = (randomTensor([3, 4], seed: 1), randomTensor([4, 4], seed: 2))
        // The factor comes later, x is read elsewhere too, and a second number is made of the same x.
        checkGradients([a]) { v in
            let (tape, x) = (v[0].tape, v[0])
            let first = tape.reducing(x) { ($0.linear(tape.constant(w)).tanh() * $0).sum() }
            return first.affine(-3) + tape.reducing(x) { $0.map(.square).sum() } + x.sum()
        }
        // Nothing stays behind but the number itself.
        let tape = Tape<Double>()
        let x = tape.variable(a)
        let y = tape.reducing(x) { $0.linear(tape.constant(w)).tanh().sum() }
        #expect(tape.count == 1 && y.needsGradient)
        #expect(abs(y.item - x.linear(tape.constant(w)).tanh().sum().item) < 1e-15)
        tape.reset()
        // What does not depend on x needs no gradient; what needs none is computed and forgotten.
        #expect(!tape.reducing(x) { _ in tape.constant(a).sum() }.needsGradient && tape.count == 0)
        #expect(!tape.reducing(tape.constant(a)) { $0.sum() }.needsGradient && tape.count == 0)
        #expect(!tape.withoutRecording { tape.reducing(x) { $0.sum() } }.needsGradient && tape.count == 0)
    }

    @Test func reducingWaitsForTheFactorOfParameters() {
        let (a, w) = (randomTensor([3, 4], seed: 1), randomTensor([4, 4], seed: 2))
        func run(_ reduces: Bool, trains: Bool) -> (Tensor<Double>?, Tensor<Double>?) {
            let (tape, parameter) = (Tape<Double>(), Parameter(w, isTrainable: trains))
            let x = tape.variable(a)
            func body(_ x: Variable<Double>) -> Variable<Double> { x.linear(parameter.on(tape)).tanh().sum() }
            let y = reduces ? tape.reducing(x, body) : body(x)
            tape.backward(from: y.affine(0.25))
            return (x.gradient, parameter.gradient)
        }
        // Variables that were there before wait too.
        checkGradients([a, w]) { v in
            v[0].tape.reducing(v[0]) { $0.linear(v[1]).tanh().sum() * v[1].sum() }.affine(0.25)
        }
        for trains in [true, false] {
            #expect(run(true, trains: trains) == run(false, trains: trains))
            #expect((run(true, trains: trains).1 != nil) == trains)
        }
    }

    @Test func batchNormRemembersABatchOnce() {
        var generator = SeededGenerator(seed: 5)
        let x = Tensor<Float>(normal: [8, 3], mean: 1, using: &generator)
        let (plain, again) = (BatchNorm(channels: 3), BatchNorm(channels: 3))
        let tape = Tape<Float>()
        tape.backward(from: plain(tape.constant(x)).map(.square).sum())
        let input = tape.constant(x)
        tape.backward(from: tape.recomputing { again(input) }.map(.square).sum())
        #expect(plain.runningMean.value == again.runningMean.value)
        #expect(plain.runningVariance.value == again.runningVariance.value)
        #expect(plain.weight.gradient == again.weight.gradient)
    }

    // MARK: Changed parameters

    @Test func parametersThatChangeAreNoticed() async {
        await #expect(processExitsWith: .failure) {
            let parameter = Parameter(Tensor<Float>([1, 2]))
            let tape = Tape<Float>()
            let loss = parameter.on(tape).map(.square).sum()
            parameter.value = Tensor([3, 4])
            tape.backward(from: loss)
        }
        // A change before the next forward pass, or to what needs no gradient, is no fault.
        let (parameter, constant) = (
            Parameter(Tensor<Float>([1, 2])), Parameter(Tensor<Float>([1, 1]), isTrainable: false)
        )
        let tape = Tape<Float>()
        for _ in 0..<2 {
            tape.backward(from: (parameter.on(tape) * constant.on(tape)).sum())
            parameter.value = Tensor([3, 4])
        }
        let loss = (parameter.on(tape) * constant.on(tape)).sum()
        constant.value = Tensor([5, 5])
        tape.backward(from: loss)
        tape.reset()
        #expect(parameter.gradient != nil)
    }

    @Test func everythingThatChangesAParameterCounts() {
        let p = Parameter(Tensor<Float>([1, 2, 3]))
        var last = p.version
        func changed() -> Bool {
            defer { last = p.version }
            return p.version > last
        }
        p.value = Tensor([1, 1, 1])
        #expect(changed())
        p.setMask(Tensor([1, 0, 1]))
        #expect(changed())
        let tape = Tape<Float>()
        tape.backward(from: p.on(tape).sum())
        #expect(!changed())
        SGD(learningRate: 0.1).step([p])
        #expect(changed())
        let average = ParameterAverage(decay: 0.5)
        average.update([p])
        #expect(!changed())
        average.evaluating([p]) {}
        #expect(changed())
        p.rearrange(from: [0, -1]) { _ in 7 }
        #expect(changed() && p.slots["average"]!.pointer[1] == 7)
    }
}
