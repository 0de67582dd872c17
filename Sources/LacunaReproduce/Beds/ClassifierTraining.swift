import Lacuna

/// Trains classifiers for the reproductions of training methods: one recipe, any hooks.
///
/// The defaults are the recipe of the ``BlobTask`` checks: SGD with momentum, a rate falling linearly to 0.
struct ClassifierTraining {
    var epochs = 20
    var batch = 64
    var learningRate = 0.05
    var momentum = 0.9
    var weightDecay = 1e-4
    /// Adam instead of SGD, with the same schedule.
    var usesAdam = false
    /// Steps instead of epochs, if given.
    var steps: Int?
    /// Keeps the rate constant.
    var isConstant = false
    /// Share of the steps over which the rate rises from 0.
    var warmUp = 0.0

    /// Trains `model` in place and returns the hooks' run.
    @discardableResult
    func train(
        _ model: any UnaryLayer, _ examples: LabelledExamples, hooks: [any TrainingHook] = [], seed: UInt64
    ) throws -> TrainingReport {
        let source = ShuffledBatches(examples, batchSize: batch, seed: seed)
        let total = steps ?? epochs * source.batchesPerEpoch!
        let warm = Int(warmUp * Double(total))
        let rate: Schedule =
            isConstant ? .constant(learningRate) : .linear(from: learningRate, to: 0, steps: total - warm)
        var plan = TrainingPlan(steps: total, learningRate: warm > 0 ? .warmUp(steps: warm, then: rate) : rate)
        plan.seed = seed
        plan.logEvery = max(1, total)
        var optimizer: any Optimizer =
            usesAdam
            ? Adam(learningRate: learningRate)
            : SGD(learningRate: learningRate, momentum: momentum, weightDecay: weightDecay)
        for case let method as any TrainingMethod in hooks { optimizer = try method.optimizer(optimizer) }
        let trainer = try Trainer(
            model: model, optimizer: optimizer, source: source, plan: plan, hooks: hooks,
            loss: { batch, tape in Loss.crossEntropy(model(tape.constant(batch.inputs)), labels: batch.labels) })
        return try trainer.train()
    }

    /// Accuracy of a model, in batches.
    static func accuracy(_ model: any UnaryLayer, _ examples: LabelledExamples) -> Double {
        evaluate(model, examples).accuracy
    }

    /// Accuracy and mean cross-entropy of a model, in batches.
    static func evaluate(_ model: any UnaryLayer, _ examples: LabelledExamples) -> (accuracy: Double, loss: Double) {
        let tape = Tape<Float>()
        var (right, loss) = (0.0, 0.0)
        for start in stride(from: 0, to: examples.count, by: 500) {
            let batch = examples.selecting(start..<min(start + 500, examples.count))
            tape.evaluating {
                let logits = model(tape.constant(batch.inputs))
                right += LacunaLearn.accuracy(logits, batch.labels) * Double(batch.labels.count)
                loss += Double(Loss.crossEntropy(logits, labels: batch.labels).item) * Double(batch.labels.count)
            }
        }
        return (right / Double(examples.count), loss / Double(examples.count))
    }
}

extension BlobTask {
    var train: LabelledExamples {
        get throws {
            try LabelledExamples(inputs: trainInputs, labels: trainLabels.map { Int32($0) }, classes: Self.classes)
        }
    }
    var test: LabelledExamples {
        get throws {
            try LabelledExamples(inputs: testInputs, labels: testLabels.map { Int32($0) }, classes: Self.classes)
        }
    }
}

/// A 4-way problem of 200 inputs of which 12 matter: does a sparse network find its connections?
///
/// Inputs are N(0, I₂₀₀). The label is the largest output of a teacher 12-16-4 with Gaussian weights and a hyperbolic
/// tangent, on 12 inputs that are drawn at random.
struct TeacherTask {
    static let features = 200
    static let classes = 4
    let relevant: [Int]
    let train: LabelledExamples
    let test: LabelledExamples

    init(seed: UInt64, trainCount: Int = 2500, testCount: Int = 1500) throws {
        var generator = SeededGenerator(seed: seed, stream: 0x7EAC)
        let relevant = sampledPlaces(12, of: Self.features, using: &generator).map(Int.init)
        let first = Tensor<Float>(normal: [16, 12], standardDeviation: 1, using: &generator)
        let second = Tensor<Float>(normal: [4, 16], standardDeviation: 1, using: &generator)
        func sample(_ count: Int) throws -> LabelledExamples {
            let x = Tensor<Float>(normal: [count, Self.features], using: &generator)
            var seen = Tensor<Float>(uninitialized: [count, 12])
            x.withPointer { x in
                seen.withMutablePointer { s in
                    for i in 0..<count { for j in 0..<12 { s[i * 12 + j] = x[i * Self.features + relevant[j]] } }
                }
            }
            let tape = Tape<Float>()
            let logits = tape.withoutRecording {
                tape.constant(seen).linear(tape.constant(first)).tanh().linear(tape.constant(second)).value
            }
            let labels = (0..<count).map { i in
                Int32((0..<4).max { logits[i, $0] < logits[i, $1] }!)
            }
            return try LabelledExamples(inputs: x, labels: labels, classes: Self.classes)
        }
        self.relevant = relevant
        train = try sample(trainCount)
        test = try sample(testCount)
    }

    /// The share of a first layer's connections that are to inputs that matter.
    func relevantShare(_ layer: Linear) -> Double {
        let weight = layer.weight.densified()
        var (hits, all) = (0, 0)
        for r in 0..<weight.rows {
            for c in 0..<weight.columns where weight[r, c] != 0 {
                all += 1
                if relevant.contains(c) { hits += 1 }
            }
        }
        return Double(hits) / Double(max(all, 1))
    }
}
