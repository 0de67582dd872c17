import Lacuna

/// EfficientNet-Lite0 as trained on ImageNet, and pictures of single things, half of them to prune and tune with, half to judge by. There are
/// no labels: what counts is whether a pruned network says what the dense one does.
struct PrunedLite {
    let network: MobileNetwork
    /// [3, 224, 224] each.
    let seen: [Tensor<Float>]
    let heldOut: [Tensor<Float>]
    /// The dense network's logits of the pictures held out.
    private let answers: [[Float]]
    private let seed: UInt64

    /// Nil unless the network and the pictures are in the cache.
    ///
    /// - Parameter count: Pictures, at most.
    init?(seed: UInt64, count: Int) throws {
        guard let model = try RealData.cached("efficientnet-lite0"), let folder = try RealData.cached("pictures")
        else { return nil }
        network = try EfficientNetLite.load(model)
        var generator = SeededGenerator(seed: seed, stream: 0x9121)
        let names = try FileSystem.list(folder).sorted().shuffled(using: &generator).prefix(count)
        let pictures = try names.map {
            EfficientNetLite.input(try Picture(contentsOf: FileSystem.join(folder, $0), over: 1))
        }
        let half = pictures.count / 2
        (seen, heldOut) = (Array(pictures[..<half]), Array(pictures[half...]))
        let runner = try MobileNetRunner(network, engine: .dense)
        answers = heldOut.map { runner($0) }
        self.seed = seed
    }

    static let isMissing =
        "EfficientNet-Lite0 or the pictures are not in the cache, so nothing was measured on trained weights: "
        + "`lacuna data efficientnet-lite0 pictures` fetches them."

    /// A network's agreement with the dense one.
    struct Agreement {
        /// The share of pictures with the dense network's first answer, and its standard error.
        let first: Double
        let error: Double
        /// The same where the dense network gives its first answer a probability of one half or more.
        let sure: Double
        /// The mean divergence of predictions, in nats.
        let divergence: Double
    }

    func agreement(_ network: MobileNetwork, engine: MobileNetRunner.Engine) throws -> Agreement {
        let runner = try MobileNetRunner(network, engine: engine)
        var (same, sure, sureSame, divergence) = (0, 0, 0, 0.0)
        for (image, answer) in zip(heldOut, answers) {
            let (p, q) = (Self.logProbabilities(answer), Self.logProbabilities(runner(image)))
            let (a, b) = (p.indices.max { p[$0] < p[$1] }!, q.indices.max { q[$0] < q[$1] }!)
            let isSure = p[a] >= logarithm(0.5)
            same += a == b ? 1 : 0
            sure += isSure ? 1 : 0
            sureSame += isSure && a == b ? 1 : 0
            divergence += zip(p, q).reduce(0) { $0 + exponential($1.0) * ($1.0 - $1.1) }
        }
        let n = Double(heldOut.count)
        let first = Double(same) / n
        return Agreement(
            first: first, error: (first * (1 - first) / n).squareRoot(), sure: Double(sureSame) / Double(max(sure, 1)),
            divergence: divergence / n)
    }

    private static func logProbabilities(_ logits: [Float]) -> [Double] {
        let most = Double(logits.max() ?? 0)
        let total = most + logarithm(logits.reduce(0) { $0 + exponential(Double($1) - most) })
        return logits.map { Double($0) - total }
    }

    /// Trains what is left to make between blocks, and to say in the end, what the dense network does. Masks stay.
    ///
    /// - Parameter whole: What the network was before it was pruned, if its channels are in another order.
    func tuned(
        _ pruned: MobileNetwork, from whole: MobileNetwork? = nil, steps: Int, progress: (any ProgressReporter)?
    ) throws -> MobileNetwork {
        let (student, teacher) = (TrainableMobileNetwork(pruned), TrainableMobileNetwork(whole ?? network))
        // Every picture, and as a mirror shows it.
        let size = 3 * 224 * 224
        var inputs = Tensor<Float>(uninitialized: [2 * seen.count, 3, 224, 224])
        inputs.withMutablePointer { target in
            for (index, image) in seen.enumerated() {
                image.withPointer { source in
                    let (plain, mirrored) = (target + 2 * index * size, target + (2 * index + 1) * size)
                    plain.update(from: source, count: size)
                    for row in 0..<3 * 224 {
                        for x in 0..<224 { mirrored[row * 224 + x] = source[row * 224 + 223 - x] }
                    }
                }
            }
        }
        let examples = try LabelledExamples(
            inputs: inputs, labels: [Int32](repeating: 0, count: 2 * seen.count), classes: 1)
        var plan = TrainingPlan(steps: steps, learningRate: .cosine(from: 1e-3, to: 0, steps: steps))
        plan.seed = seed
        plan.clipNorm = 1
        let trainer = try Trainer(
            model: student, optimizer: Adam(learningRate: 1e-3),
            source: ShuffledBatches(examples, batchSize: 8, seed: seed), plan: plan
        ) { batch, tape in
            let x = tape.constant(batch.inputs)
            let own = student.states(x)
            let taught = tape.evaluating { teacher.states(x) }
            var loss = Loss.distillation(student: own.logits, teacher: taught.logits)
            for (a, b) in zip(own.narrow, taught.narrow) {
                loss = loss + Loss.featureDistance(student: a, teacher: b)
            }
            return loss
        }
        try trainer.train(progress: progress)
        return student.network
    }

    /// The largest difference that the sparse kernels make to a logit, by the largest logit.
    func difference(_ pruned: MobileNetwork, group: Int) throws -> Double {
        let dense = try MobileNetRunner(pruned, engine: .dense)
        let sparse = try MobileNetRunner(pruned, engine: .sparse(group: group))
        return heldOut.prefix(4).reduce(0.0) { most, image in
            let (a, b) = (dense(image), sparse(image))
            let scale = a.reduce(1e-3) { max($0, abs($1)) }
            return max(most, Double(zip(a, b).reduce(0) { max($0, abs($1.0 - $1.1)) } / scale))
        }
    }

    /// Seconds of the dense network and of a pruned one for an image, the fastest of some rounds in turn.
    func seconds(_ pruned: MobileNetwork, group: Int, rounds: Int) throws -> (dense: Double, sparse: Double) {
        let dense = try MobileNetRunner(network, engine: .dense)
        let sparse = try MobileNetRunner(pruned, engine: .sparse(group: group))
        return FastSparseConvNetsReproduction.pair(rounds) {
            _ = dense(heldOut[0])
        } with: {
            _ = sparse(heldOut[0])
        }
    }
}
