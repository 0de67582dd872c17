import LacunaLearn
import LacunaPrune
import LacunaSparse
import LacunaTensor
import Testing

/// The optimiser of CAST obeys the run's settings as any other does.
@Suite struct AdamSTests {
    private let mask = SparsePattern(rows: 3, columns: 4) { ($0 + $1) % 2 == 0 }

    private func parameter(_ seed: UInt64) -> Parameter<Float> {
        var generator = SeededGenerator(seed: seed)
        return Parameter(Tensor(normal: [3, 4], using: &generator))
    }

    private func setGradient(_ parameter: Parameter<Float>, _ gradient: Tensor<Float>) {
        let tape = Tape<Float>()
        parameter.clearGradient()
        tape.backward(from: (parameter.on(tape) * tape.constant(gradient)).sum())
    }

    /// Three steps of the formula with β, ε, decay of either kind and the pull at half of its strength.
    @Test(arguments: [false, true]) func stepsByHand(isDecoupled: Bool) throws {
        var generator = SeededGenerator(seed: 9)
        let weight = parameter(1)
        let base = Adam(
            learningRate: 0.02, beta1: 0.7, beta2: 0.95, epsilon: 1e-3, weightDecay: 0.3, isDecoupled: isDecoupled)
        let optimizer = AdamS(base)
        (optimizer.lambda, optimizer.alpha) = (0.4, 0.5)
        optimizer.keep(mask, of: weight)
        var w = weight.value.scalars.map(Double.init)
        var (m, v) = ([Double](repeating: 0, count: 12), [Double](repeating: 0, count: 12))
        for step in 1...3 {
            let gradient = Tensor<Float>(normal: [3, 4], using: &generator)
            setGradient(weight, gradient)
            optimizer.step([weight])
            for i in 0..<12 {
                let g = Double(gradient.scalars[i]) + (isDecoupled ? 0 : 0.3 * w[i])
                m[i] = 0.7 * m[i] + 0.3 * g
                let u = mask[i / 4, i % 4] ? m[i] : 0.5 * m[i] + 0.5 * 0.4 * (w[i] > 0 ? 1 : -1)
                v[i] = 0.95 * v[i] + 0.05 * u * u
                let (c1, c2) = (1 - power(0.7, Double(step)), 1 - power(0.95, Double(step)))
                if isDecoupled { w[i] -= 0.02 * 0.3 * w[i] }
                w[i] -= 0.02 * (u / c1) / ((v[i] / c2).squareRoot() + 1e-3)
                #expect(abs(Double(weight.value.scalars[i]) - w[i]) < 1e-5, "step \(step), entry \(i)")
            }
        }
        #expect(optimizer.steps == 3 && base.steps == 3)
    }

    /// A parameter without a mask takes Adam's steps.
    @Test func othersTakeAdamsSteps() {
        let (a, b) = (parameter(2), parameter(2))
        let (plain, selective) = (Adam(learningRate: 0.1), AdamS(Adam(learningRate: 0.1)))
        (selective.lambda, selective.alpha) = (3, 1)
        for seed: UInt64 in 3..<6 {
            var generator = SeededGenerator(seed: seed)
            let gradient = Tensor<Float>(normal: [3, 4], using: &generator)
            for (weight, optimizer) in [(a, plain as any Optimizer), (b, selective)] {
                setGradient(weight, gradient)
                optimizer.step([weight])
            }
        }
        #expect(a.value == b.value)
    }

    /// The clipped gradient is what the moving mean is made of.
    @Test func clippingReachesTheDecayedWeights() throws {
        var generator = SeededGenerator(seed: 4)
        let examples = try LabelledExamples(
            inputs: Tensor(normal: [20, 8], using: &generator), labels: (0..<20).map { $0 % 2 }, classes: 2)
        func meanSize(_ limit: Double?) throws -> Double {
            let model = network([8, 8, 2])
            var plan = TrainingPlan(steps: 1, learningRate: .constant(1e-3))
            plan.clipNorm = limit
            let trainer = try Trainer(
                model: model, optimizer: AdamS(), source: ShuffledBatches(examples, batchSize: 20, seed: 1), plan: plan,
                hooks: [CAST(pattern: .nm(n: 2, m: 4), layers: .all)],
                loss: { batch, tape in Loss.crossEntropy(model(tape.constant(batch.inputs)), labels: batch.labels) })
            try trainer.train()
            return model.parameters.reduce(0) { sum, parameter in
                // Masks have gone over the state at the end: what is left is a part of it.
                sum + parameter.slots["first"]!.array.reduce(0) { $0 + Double($1 * $1) }
            }.squareRoot()
        }
        let (free, clipped) = (try meanSize(nil), try meanSize(1e-3))
        #expect(free > 1e-3 && clipped <= 1.0001e-4 && clipped > 1e-5)
    }

    @Test func onlyAdamCanCarryTheDecay() throws {
        let cast = try CAST(pattern: .nm(n: 2, m: 4))
        #expect(throws: LacunaError.self) { try cast.optimizer(SGD(learningRate: 0.1)) }
        #expect(throws: LacunaError.self) { try train(network(), hooks: [cast], steps: 1) }
        let adam = Adam(beta1: 0.8)
        let made = try cast.optimizer(adam) as? AdamS
        #expect(made?.base === adam)
        #expect(try cast.optimizer(made!) as? AdamS === made)
        let other = try SRSTE(pattern: .nm(n: 2, m: 4))
        #expect(try other.optimizer(adam) as? Adam === adam)
    }
}
