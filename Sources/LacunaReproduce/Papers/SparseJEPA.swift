import Lacuna

/// Checks that a group penalty finds which latents belong to which outputs, and does no harm to joint-embedding
/// learning.
struct SparseJEPAReproduction: Reproduction {
    let shortName = "SparseJEPA"
    let paper = 111
    let title = "SparseJEPA: Sparse Representation Learning of Joint Embedding Predictive Architectures"
    let arXiv: String? = "2504.16140"
    let claim =
        "A penalty that ties latents to groups of features makes joint-embedding representations interpretable, and transfers as "
        + "well as, or better than, the plain architecture."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = 5
        let steps = context.quick ? 2500 : 4000
        let strengths = [0.0, 0.3, 1.0]
        var live = [Sample](repeating: Sample(), count: strengths.count)
        var (each, error) = (live, live)
        var (plain, sparse, untrained, spread, groups) = (Sample(), Sample(), Sample(), Sample(), Sample())
        for index in 0..<seeds {
            try context.progress.report("heads", index, of: seeds)
            let seed = context.seed &* 1000 &+ UInt64(index)
            let bed = Grouped(seed: seed)
            for (i, strength) in strengths.enumerated() {
                let (head, left) = try bed.trained(strength: strength, steps: steps, seed: seed)
                live[i].values.append(Double(head.connections.live))
                each[i].values.append(head.connections.groupsEach)
                error[i].values.append(left)
            }
            let images = Images(seed: seed)
            let fresh = try JointEmbedding(patches: 16, patchSize: 4, groups: 0, seed: seed)
            untrained.values.append(try images.probe(fresh))
            for isSparse in [false, true] {
                let model = try JointEmbedding(patches: 16, patchSize: 4, groups: isSparse ? 8 : 0, seed: seed)
                let before = Images.variance(model.embeddings(images.train))
                try images.train(model, steps: steps / 2, seed: seed)
                let accuracy = try images.probe(model)
                if isSparse {
                    sparse.values.append(accuracy)
                    spread.values.append(Images.variance(model.embeddings(images.train)) / before)
                    groups.values.append(model.head!.connections.groupsEach)
                } else {
                    plain.values.append(accuracy)
                }
            }
        }
        return Outcome(
            setting:
                "(a) 12 Gaussian latents, each of which feeds one of 4 groups of 8 outputs, a head of 16 latents, \(steps) steps of "
                + "256; (b) 8 x 8 images of 10 classes in 16 patches, joint embedding of 64 dimensions, \(steps / 2) steps, linear "
                + "probe; \(seeds) seeds",
            measurements: strengths.indices.flatMap { i in
                [
                    live[i].measured("latents in use, λ = \(strengths[i])"),
                    each[i].measured("groups each feeds, λ = \(strengths[i])"),
                    error[i].measured("relative error, λ = \(strengths[i])"),
                ]
            } + [
                sparse.measured("accuracy of a probe, group-sparse", against: plain, "without"),
                untrained.measured("accuracy of a probe on the untrained encoder"),
                spread.measured("variance of embeddings relative to the untrained"),
                groups.measured("groups each latent of the embedding feeds"),
            ],
            checks: [
                Check("without a penalty every latent feeds every group", each[0].low, .greater, 3.5),
                Check("with λ = 1 each feeds one", abs(each[2].mean - 1), .less, 0.25),
                Check("and about as many are in use as there are", abs(live[2].mean - 12), .less, 1.5),
                Check("at an error below 5 %", error[2].high, .less, 0.05),
                Check("joint embedding beats the untrained encoder", (sparse - untrained).low, .greater, 0),
                Check("embeddings do not collapse", spread.low, .greater, 0.1),
                Check("the penalty costs at most 3 points of accuracy", (plain - sparse).high, .less, 0.03),
                Check("and cuts connections", groups.high, .less, 7),
            ],
            notes: [
                "The authors' transfer is from CIFAR-100 with a small vision transformer; here images are synthetic."
            ])
    }

    /// Outputs in groups, each made by latents of its own.
    private struct Grouped {
        let mixing: Tensor<Float>

        init(seed: UInt64) {
            var generator = SeededGenerator(seed: seed, stream: 0x111)
            var mixing = Tensor<Float>(zeros: [12, 32])
            for k in 0..<12 { for i in 0..<8 { mixing[k, k % 4 * 8 + i] = Float(generator.normal()) } }
            self.mixing = mixing
        }

        func trained(strength: Double, steps: Int, seed: UInt64) throws -> (head: GroupSparseHead, error: Double) {
            var generator = SeededGenerator(seed: seed, stream: 0x112)
            func draw(_ n: Int) -> Tensor<Float> {
                var x = Tensor<Float>(normal: [n, 12], using: &generator).multiplied(by: mixing)
                x.withMutablePointer { p in for i in 0..<n * 32 { p[i] += Float(0.1 * generator.normal()) } }
                return x
            }
            let (data, test) = (draw(4000), draw(1000))
            let model = Model(
                hidden: Linear(inputDimensions: 32, outputDimensions: 48, using: &generator),
                head: try GroupSparseHead(embedding: 48, latents: 16, outputs: 32, groups: 4, using: &generator))
            var plan = TrainingPlan(steps: steps, learningRate: .constant(3e-3))
            plan.logEvery = steps
            plan.seed = seed
            let trainer = try Trainer(
                model: model, optimizer: Adam(learningRate: 3e-3),
                source: ActivationRows(data, batchSize: 256, seed: seed),
                plan: plan, hooks: [GroupSparseHead.Pruning(model.head, weight: strength)],
                loss: { batch, tape in
                    let x = tape.constant(batch.inputs)
                    let noise = Tensor<Float>(normal: [batch.inputs.rows, 16], using: &tape.generator)
                    let out = model.head(model.hidden(x).map(.tanh), noise: noise)
                    let rest = out.features - x
                    return (rest * rest).sum().affine(1 / Float(batch.inputs.rows)) + out.divergence.affine(0.002)
                })
            try trainer.train()
            let tape = Tape<Float>()
            let y = tape.evaluating { model.head(model.hidden(tape.constant(test)).map(.tanh)).features.value }
            let (left, all) = zip(test.scalars, y.scalars).reduce((0.0, 0.0)) {
                ($0.0 + Double(($1.0 - $1.1) * ($1.0 - $1.1)), $0.1 + Double($1.0 * $1.0))
            }
            return (model.head, left / all)
        }

        private final class Model: Module {
            let hidden: Linear
            let head: GroupSparseHead
            init(hidden: Linear, head: GroupSparseHead) { (self.hidden, self.head) = (hidden, head) }
        }
    }

    /// Ten smooth prototypes, shifted in brightness, with noise; patch by patch.
    private struct Images {
        let train, test: Tensor<Float>
        let trainLabels, testLabels: [Int32]

        init(seed: UInt64) {
            var generator = SeededGenerator(seed: seed, stream: 0x113)
            let prototypes = (0..<10).map { _ -> [Float] in
                let waves = (0..<3).map { _ in
                    (generator.uniform() * 1.5, generator.uniform() * 1.5, generator.uniform() * 6.28)
                }
                return (0..<64).map { i in
                    let (r, c) = (Double(i / 8), Double(i % 8))
                    return Float(waves.reduce(0.0) { $0 + sine($1.0 * r + $1.1 * c + $1.2) })
                }
            }
            func draw(_ n: Int) -> (Tensor<Float>, [Int32]) {
                var x = Tensor<Float>(zeros: [n, 64])
                var labels: [Int32] = []
                for t in 0..<n {
                    let label = Int.random(in: 0..<10, using: &generator)
                    let contrast = Float(0.5 + generator.uniform())
                    labels.append(Int32(label))
                    for r in 0..<8 {
                        for c in 0..<8 {
                            let place = (r / 2 * 4 + c / 2) * 4 + r % 2 * 2 + c % 2
                            x[t, place] = contrast * prototypes[label][8 * r + c] + Float(1.5 * generator.normal())
                        }
                    }
                }
                return (x, labels)
            }
            (train, trainLabels) = draw(4000)
            (test, testLabels) = draw(1500)
        }

        func train(_ model: JointEmbedding, steps: Int, seed: UInt64) throws {
            var plan = TrainingPlan(steps: steps, learningRate: .warmUp(steps: 100, then: .constant(1e-3)))
            plan.logEvery = steps
            plan.seed = seed
            var hooks: [any TrainingHook] = [
                JointEmbedding.Following(model, momentum: .linear(from: 0.99, to: 1, steps: steps))
            ]
            if let head = model.head { hooks.append(GroupSparseHead.Pruning(head, weight: 0.1)) }
            try Trainer(
                model: model, optimizer: Adam(learningRate: 1e-3),
                source: ActivationRows(train, batchSize: 128, seed: seed),
                plan: plan, hooks: hooks, loss: { batch, tape in model.loss(batch.inputs, on: tape) }
            ).train()
        }

        /// Accuracy of a linear classifier of the embeddings.
        func probe(_ model: JointEmbedding) throws -> Double {
            func standardized(_ x: Tensor<Float>, like reference: Tensor<Float>) -> Tensor<Float> {
                var result = x
                for j in 0..<x.columns {
                    let mean = (0..<reference.rows).reduce(Float(0)) { $0 + reference[$1, j] } / Float(reference.rows)
                    let square = (0..<reference.rows).reduce(Float(0)) {
                        $0 + (reference[$1, j] - mean) * (reference[$1, j] - mean)
                    }
                    let scale = 1 / max((square / Float(reference.rows)).squareRoot(), 1e-6)
                    for t in 0..<x.rows { result[t, j] = (x[t, j] - mean) * scale }
                }
                return result
            }
            let reference = model.embeddings(train)
            let (x, y) = (
                standardized(reference, like: reference), standardized(model.embeddings(test), like: reference)
            )
            var generator = SeededGenerator(seed: 5)
            let classifier = MLP(widths: [x.columns, 10], using: &generator)
            var plan = TrainingPlan(steps: 300, learningRate: .constant(5e-3))
            plan.logEvery = 300
            let examples = try LabelledExamples(inputs: x, labels: trainLabels, classes: 10)
            try Trainer(
                model: classifier, optimizer: Adam(learningRate: 5e-3),
                source: ShuffledBatches(examples, batchSize: 256, seed: 1), plan: plan,
                loss: { batch, tape in Loss.crossEntropy(classifier(tape.constant(batch.inputs)), labels: batch.labels)
                }
            ).train()
            let tape = Tape<Float>()
            return tape.evaluating { Classification.accuracy(classifier(tape.constant(y)), testLabels) }
        }

        static func variance(_ x: Tensor<Float>) -> Double {
            var total = 0.0
            for j in 0..<x.columns {
                let mean = (0..<x.rows).reduce(0.0) { $0 + Double(x[$1, j]) } / Double(x.rows)
                total += (0..<x.rows).reduce(0.0) { $0 + (Double(x[$1, j]) - mean) * (Double(x[$1, j]) - mean) }
            }
            return total / Double(x.count)
        }
    }
}
