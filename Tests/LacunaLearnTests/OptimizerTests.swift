import LacunaLearn
import LacunaSparse
import LacunaTensor
import Testing

@Suite struct OptimizerTests {
    private func parameter(_ values: [Float], gradient: [Float], shape: [Int]? = nil) -> Parameter<Float> {
        let parameter = Parameter(Tensor(values, shape: shape ?? [values.count]), decays: true)
        let tape = Tape<Float>()
        let weights = tape.constant(Tensor(gradient, shape: shape ?? [gradient.count]))
        tape.backward(from: (parameter.on(tape) * weights).sum())
        return parameter
    }

    @Test func momentumAndDecay() {
        let p = parameter([1, -2], gradient: [0.5, 1])
        let sgd = SGD(learningRate: 0.1, momentum: 0.9, weightDecay: 0.01)
        sgd.step([p])
        // v = g + 0.01 w, w -= 0.1 v
        #expect(close(p.value, Tensor([0.949, -2.098])))
        sgd.step([p])
        let v0 = 0.9 * 0.51 + 0.5 + 0.01 * Float(0.949)
        #expect(abs(p.value[0] - (0.949 - 0.1 * v0)) < 1e-6)
        let nesterov = parameter([1, -2], gradient: [0.5, 1])
        SGD(learningRate: 0.1, momentum: 0.9, nesterov: true).step([nesterov])
        let expected: [Float] = [0.905, -2.19]
        #expect(close(nesterov.value, Tensor(expected)))
    }

    @Test func adamAndAdamW() {
        // The first step of Adam is the learning rate times the sign of the gradient, whatever its size.
        let p = parameter([1, -2, 3], gradient: [0.5, -1e-3, 40])
        Adam(learningRate: 0.1).step([p])
        #expect(close(p.value, Tensor([0.9, -1.9, 2.9]), 1e-4))
        let decoupled = parameter([1, -2, 3], gradient: [0.5, -1e-3, 40])
        Adam.decoupled(learningRate: 0.1, weightDecay: 0.5).step([decoupled])
        #expect(close(decoupled.value, Tensor([0.85, -1.8, 2.75]), 1e-4))
        // Decay in the gradient turns its sign here.
        let coupled = parameter([1, -2, 3], gradient: [-0.5, -1e-3, 40])
        Adam(learningRate: 0.1, weightDecay: 1).step([coupled])
        #expect(close(coupled.value, Tensor([0.9, -1.9, 2.9]), 1e-4))
        let bias = Parameter(Tensor<Float>([1]))
        #expect(!bias.decays && Parameter(Tensor<Float>(zeros: [2, 2])).decays)
        let ada = parameter([1, 1], gradient: [3, -4])
        Adagrad(learningRate: 0.5).step([ada])
        #expect(close(ada.value, Tensor([0.5, 1.5])))
        // Decay turns the gradient: -0.5 + 0.5 · 2 is above 0.
        let decaying = parameter([2], gradient: [-0.5])
        Adagrad(learningRate: 0.5, weightDecay: 0.5).step([decaying])
        #expect(close(decaying.value, Tensor([1.5])))
    }

    private func setGradient(_ parameter: Parameter<Float>, _ gradient: [Float]) {
        let tape = Tape<Float>()
        parameter.clearGradient()
        tape.backward(from: (parameter.on(tape) * tape.constant(Tensor(gradient))).sum())
    }

    /// Three steps by the formulas: both means are corrected by the steps done, and decay of either kind goes its own way.
    @Test(arguments: [false, true]) func adamByHand(isDecoupled: Bool) {
        let parameter = Parameter(Tensor<Float>([1, -2]), decays: true)
        let adam = Adam(
            learningRate: 0.1, beta1: 0.8, beta2: 0.95, epsilon: 1e-2, weightDecay: 0.3, isDecoupled: isDecoupled)
        var w: [Double] = [1, -2]
        var (m, v): ([Double], [Double]) = ([0, 0], [0, 0])
        let gradients: [[Float]] = [[0.5, -1], [-2, 0.25], [1, 3]]
        for (index, gradient) in gradients.enumerated() {
            setGradient(parameter, gradient)
            adam.step([parameter])
            let steps = Double(index + 1)
            let (first, second) = (1 - power(0.8, steps), 1 - power(0.95, steps))
            for i in 0..<2 {
                let g = Double(gradient[i]) + (isDecoupled ? 0 : 0.3 * w[i])
                m[i] = 0.8 * m[i] + 0.2 * g
                v[i] = 0.95 * v[i] + 0.05 * g * g
                let shrunk = isDecoupled ? w[i] * (1 - 0.1 * 0.3) : w[i]
                let root = (v[i] / second).squareRoot() + 1e-2
                w[i] = shrunk - 0.1 * (m[i] / first) / root
                #expect(abs(Double(parameter.value[i]) - w[i]) < 1e-5, "step \(index), entry \(i)")
            }
        }
    }

    /// What came before counts: squares add up, and a step of Nesterov's looks ahead by the velocity that there is.
    @Test func secondSteps() {
        let adapted = Parameter(Tensor<Float>([1]), decays: true)
        let adagrad = Adagrad(learningRate: 0.5)
        for gradient: Float in [3, 4] {
            setGradient(adapted, [gradient])
            adagrad.step([adapted])
        }
        // 1 - 0.5 · 3 / √9 - 0.5 · 4 / √(9 + 16)
        #expect(close(adapted.value, Tensor([0.1])))
        let ahead = Parameter(Tensor<Float>([1]), decays: true)
        let nesterov = SGD(learningRate: 0.1, momentum: 0.5, nesterov: true)
        for gradient: Float in [2, 1] {
            setGradient(ahead, [gradient])
            nesterov.step([ahead])
        }
        // Velocities 2 and 0.5 · 2 + 1: 1 - 0.1 (2 + 0.5 · 2) - 0.1 (1 + 0.5 · 2)
        #expect(close(ahead.value, Tensor([0.5])))
    }

    /// What is not said is as the authors have it.
    @Test func customarySettings() {
        let (adam, decoupled) = (Adam(), Adam.decoupled())
        #expect(adam.learningRate == 1e-3 && adam.beta1 == 0.9 && adam.beta2 == 0.999 && adam.epsilon == 1e-8)
        #expect(adam.weightDecay == 0 && !adam.isDecoupled && adam.name == "adam")
        #expect(decoupled.learningRate == 1e-3 && decoupled.beta1 == 0.9 && decoupled.beta2 == 0.999)
        #expect(decoupled.weightDecay == 0.01 && decoupled.isDecoupled && decoupled.name == "adamw")
        let (sgd, adagrad) = (SGD(learningRate: 1), Adagrad())
        #expect(sgd.momentum == 0 && sgd.dampening == 0 && sgd.weightDecay == 0 && !sgd.nesterov)
        #expect(adagrad.learningRate == 0.01 && adagrad.epsilon == 1e-10 && adagrad.weightDecay == 0)
        #expect(ParameterAverage().decay == 0.999)
    }

    @Test func maskedEntriesStayZeroWithTheirState() {
        let p = parameter([1, 2, 3, 4], gradient: [1, 1, 1, 1])
        p.setMask(Tensor([1, 0, 1, 0]))
        #expect(p.value.scalars == [1, 0, 3, 0] && p.activeCount == 2)
        let adam = Adam(learningRate: 0.1, weightDecay: 0.1, isDecoupled: true)
        for _ in 0..<5 { adam.step([p]) }
        #expect(p.value[1] == 0 && p.value[3] == 0 && p.value[0] < 0.6)
        #expect(p.slots["first"]!.pointer[1] == 0 && p.slots["second"]!.pointer[3] == 0)
        p.setMask(nil)
        #expect(p.value[1] == 0)
        adam.step([p])
        #expect(p.value[1] != 0)
    }

    /// Only rows that occur are updated; for SGD and Adagrad that is the dense update.
    @Test func rowSparseUpdates() {
        for optimizers in [
            [SGD(learningRate: 0.1) as any Optimizer, SGD(learningRate: 0.1)], [Adagrad(), Adagrad()],
        ] {
            var results: [Tensor<Float>] = []
            for (optimizer, rowSparse) in zip(optimizers, [true, false]) {
                var generator = SeededGenerator(seed: 3)
                let table = Embedding(count: 50, dimensions: 4, using: &generator)
                let tape = Tape<Float>()
                for step in 0..<4 {
                    table.clearGradients()
                    let y = table([3, Int32(10 + step), 3], on: tape)
                    tape.backward(from: (y * y).sum())
                    #expect(table.weight.touchedRows == [3, Int32(10 + step), 3])
                    optimizer.step(table.parameters, rowSparse: rowSparse)
                }
                results.append(table.weight.value)
            }
            #expect(results[0] == results[1])
        }
        var generator = SeededGenerator(seed: 3)
        let table = Embedding(count: 50, dimensions: 4, using: &generator)
        let before = table.weight.value
        let (tape, adam) = (Tape<Float>(), Adam())
        for row in [5, 6] as [Int32] {
            table.clearGradients()
            tape.backward(from: table([row], on: tape).sum())
            adam.step(table.parameters, rowSparse: true)
        }
        let after = table.weight.value
        #expect((0..<50).allSatisfy { (before[$0, 0] == after[$0, 0]) == ($0 != 5 && $0 != 6) })
        // A dense use of the same table makes the whole gradient count again.
        table.clearGradients()
        let mixed = table.weight.on(tape)
        tape.backward(from: (mixed.gathered([1]).sum() + mixed.sum()))
        #expect(
            table.weight.touchedRows == nil && table.weight.gradient![7, 2] == 1 && table.weight.gradient![1, 2] == 2)
    }

    @Test func clippingAndAverages() {
        let p = parameter([3, 4], gradient: [3, 4])
        #expect(abs(Parameter.clipGradients([p], norm: 1) - 5) < 1e-6)
        #expect(close(p.gradient!, Tensor([0.6, 0.8])))
        #expect(abs(Parameter.clipGradients([p], norm: 2) - 1) < 1e-6 && close(p.gradient!, Tensor([0.6, 0.8])))
        // Two parameters share one norm: sqrt(9 + 16 + 144) = 13, clipped to 6.5.
        let pair = [parameter([0, 0], gradient: [3, 4]), parameter([0], gradient: [12])]
        #expect(abs(Parameter.clipGradients(pair, norm: 6.5) - 13) < 1e-6)
        #expect(close(pair[0].gradient!, Tensor([1.5, 2])) && close(pair[1].gradient!, Tensor([6])))
        let average = ParameterAverage(decay: 0.5)
        average.update([p])
        p.value = Tensor([1, 0])
        average.update([p])
        average.evaluating([p]) { #expect(p.value.scalars == [2, 2]) }
        #expect(p.value.scalars == [1, 0])
    }

    @Test func schedules() {
        #expect(Schedule.constant(3)(9) == 3)
        let linear = Schedule.linear(from: 1, to: 0, steps: 4)
        #expect([0, 1, 4, 9].map { linear($0) } == [1, 0.75, 0, 0])
        let cosine = Schedule.cosine(from: 1, to: 0, steps: 4)
        #expect(abs(cosine(2) - 0.5) < 1e-12 && cosine(0) == 1 && abs(cosine(4)) < 1e-12)
        let exponential = Schedule.exponential(from: 1, to: 0.01, steps: 2)
        #expect(abs(exponential(1) - 0.1) < 1e-12)
        let cubic = Schedule.cubic(from: 0, to: 0.8, steps: 2)
        #expect(abs(cubic(1) - 0.7) < 1e-12 && cubic(5) == 0.8 && cubic(0) == 0)
        let warm = Schedule.warmUp(steps: 2, then: linear)
        #expect([0, 1, 2, 3].map { warm($0) } == [0.5, 1, 1, 0.75])
        let late = Schedule.delayed(by: 3, initial: 7, then: linear)
        #expect([0, 2, 3, 4].map { late($0) } == [7, 7, 1, 0.75])
        let steps = Schedule.steps([.init(from: 0, value: 1), .init(from: 5, value: 2)])
        #expect([0, 4, 5, 50].map { steps($0) } == [1, 1, 2, 2])
        func frames(_ schedule: PatternSchedule) -> [String] { schedule.frames.map { $0?.description ?? "dense" } }
        #expect(frames(.stepwise(n: 1, m: 8)) == ["7:8", "4:8", "2:8", "1:8"])
        #expect(frames(.stepwise(n: 2, m: 4)) == ["3:4", "2:4"])
        #expect(frames(.geometric(n: 1, m: 4)) == ["8:32", "4:16", "2:8", "1:4"])
        #expect(PatternSchedule.stepwise(n: 1, m: 8).pattern(at: 0.99)?.description == "1:8")
        #expect(PatternSchedule.stepwise(n: 1, m: 8).pattern(at: 0.25)?.description == "4:8")
        #expect(PatternSchedule.stepwise(n: 1, m: 8).pattern(at: 0.2499)?.description == "7:8")
        #expect(PatternSchedule.stepwise(n: 1, m: 8).pattern(at: 1)?.description == "1:8")
        #expect(PatternSchedule(frames: []).pattern(at: 0.5) == nil)
    }

    // MARK: Groups

    @Test func namesMatchPatterns() {
        for (pattern, name) in [
            ("*", ""), ("*", "a.b"), ("a*", "a"), ("*.bias", "layers.0.bias"), ("layers.?.weight", "layers.3.weight"),
            ("a*b*c", "axxbxbyc"), ("", ""), ("**x", "x"),
            ("model.layers.*.self_attn.*", "model.layers.10.self_attn.q"),
        ] { #expect(NamePattern(pattern).matches(name), "\(pattern) and \(name)") }
        for (pattern, name) in [
            ("", "a"), ("a", ""), ("a", "ab"), ("*.bias", "bias"), ("layers.?.weight", "layers.10.weight"),
            ("a*b", "abc"), ("?", ""), ("a*b*c", "axc"),
        ] { #expect(!NamePattern(pattern).matches(name), "\(pattern) and \(name)") }
    }

    @Test func groupsChangeRateDecayAndFreeze() throws {
        var generator = SeededGenerator(seed: 1)
        let model = MLP(widths: [2, 2, 2, 2], using: &generator)
        try model.apply([
            ParameterGroup("layers.0.*", isFrozen: true), ParameterGroup("layers.1.weight", rate: 0.5, decay: 0),
            ParameterGroup("*.bias", rate: 2),
        ])
        let before = model.parameters.map(\.value)
        for optimizer in [
            SGD(learningRate: 0.1, weightDecay: 0.1) as any Optimizer,
            Adam.decoupled(learningRate: 0.1, weightDecay: 0.1), Adagrad(learningRate: 0.1, weightDecay: 0.1),
        ] {
            for (parameter, value) in zip(model.parameters, before) {
                parameter.value = value
                parameter.clearGradient()
            }
            optimizer.restart(model.parameters)
            let tape = Tape<Float>()
            let x = tape.constant(Tensor([1, -1], shape: [1, 2]))
            // The gradient of every bias of the last two layers is 1 where its unit is active.
            tape.backward(from: model(x).sum())
            optimizer.step(model.parameters)
            #expect(optimizer.learningRate == 0.1)
            let after = model.parameters.map(\.value)
            #expect(after[0] == before[0] && after[1] == before[1])
            // The last bias has gradient 1 and twice the rate; all three optimisers move it by the rate.
            #expect(close(after[5], Tensor([before[5][0] - 0.2, before[5][1] - 0.2]), 1e-4), "\(optimizer.name)")
        }
        // Decay: of the parameter's own, of the optimiser's, none for what does not decay.
        func decayed(_ own: Double?, decays: Bool = true) -> Float {
            let p = Parameter(Tensor<Float>([1]), decays: decays)
            p.ownDecay = own
            let tape = Tape<Float>()
            tape.backward(from: (p.on(tape) * tape.constant(Tensor([0]))).sum())
            SGD(learningRate: 0.5, weightDecay: 0.4).step([p])
            return p.value[0]
        }
        #expect(decayed(nil) == 0.8 && decayed(0) == 1 && decayed(1) == 0.5 && decayed(1, decays: false) == 1)
        // Without a group the optimiser decides again; what is frozen stays frozen.
        try model.apply([])
        #expect(model.parameters[2].ownDecay == nil && model.parameters[3].rateFactor == 1)
        #expect(!model.parameters[0].isTrainable)
        #expect(throws: LacunaError.self) { try model.apply([ParameterGroup("layers.9.*")]) }
        #expect(throws: LacunaError.self) { try model.apply([ParameterGroup("*"), ParameterGroup("*.bias")]) }
        #expect(throws: LacunaError.self) { try model.apply([ParameterGroup("*", rate: -1)]) }
        #expect(throws: LacunaError.self) { try model.apply([ParameterGroup("*", decay: .nan)]) }
    }

    /// v = μ v + (1 - d) g from the first step on: with μ 0.5, d 0.25 and a gradient of 2 the velocities are 1.5 and 2.25.
    @Test func dampening() {
        let p = parameter([1], gradient: [2])
        let sgd = SGD(learningRate: 0.1, momentum: 0.5, dampening: 0.25)
        sgd.step([p])
        #expect(close(p.value, Tensor([0.85])))
        sgd.step([p])
        #expect(close(p.value, Tensor([0.625])))
    }

    /// A schedule that begins anew twice, and goes on after the second time.
    @Test func repeatedSchedules() {
        let turns = Schedule.repeating(.linear(from: 1, to: 0, steps: 4), every: 3, times: 2)
        #expect([0, 1, 2, 3, 4, 5, 6, 7, 90].map { turns($0) } == [1, 0.75, 0.5, 1, 0.75, 0.5, 0.25, 0, 0])
    }
}
