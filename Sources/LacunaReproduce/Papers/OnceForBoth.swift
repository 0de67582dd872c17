import Lacuna

/// Checks that one run finds widths that a network needs, at the cost that is asked for.
struct OnceForBothReproduction: Reproduction {
    let shortName = "OnceForBoth"
    let paper = 73
    let title = "Once for Both: Single Stage of Importance and Sparsity Search for Vision Transformer Compression"
    let arXiv: String? = "2403.15835"
    let claim =
        "Which units matter and how many each layer needs are learned together in one run: DeiT-S at a quarter to four fifths of its multiply-adds "
        + "keeps 76 to 80 % accuracy, above two-stage searches."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let count = 5
        var (perceptrons, priced): ([Perceptron], [Perceptron]) = ([], [])
        for index in 0..<count {
            try context.progress.report("perceptrons", index, of: count)
            perceptrons.append(try Perceptron(seed: context.seed &* 1000 &+ UInt64(index), quick: context.quick))
            priced.append(
                try Perceptron(
                    seed: context.seed &* 1000 &+ UInt64(index), quick: context.quick, costFactor: 500))
        }
        func sample(_ path: KeyPath<Perceptron, Double>) -> Sample { Sample(perceptrons.map { $0[keyPath: path] }) }
        var measurements = [
            Measurement("width of the first hidden layer, of 64; its teacher's is 8", sample(\.first)),
            Measurement("width of the second hidden layer, of 64; its teacher's is 40", sample(\.second)),
            Measurement("multiply-adds in those of the target", sample(\.cost)),
            Measurement(
                "accuracy of the perceptron", sample(\.accuracy), baseline: sample(\.uniform),
                baselineName: "equal widths by magnitude"),
            Measurement("accuracy of the perceptron before", sample(\.dense)),
        ]
        /// The same with a cost that counts for a hundred times as much.
        func dear(_ path: KeyPath<Perceptron, Double>) -> Sample { Sample(priced.map { $0[keyPath: path] }) }
        measurements += [
            Measurement("width of the first hidden layer, cost a hundredfold", dear(\.first)),
            Measurement("width of the second hidden layer, cost a hundredfold", dear(\.second)),
            Measurement("multiply-adds in those of the target, cost a hundredfold", dear(\.cost)),
            Measurement(
                "accuracy of the perceptron, cost a hundredfold", dear(\.accuracy), baseline: dear(\.uniform),
                baselineName: "equal widths by magnitude"),
        ]
        var checks = [
            Check("the first layer becomes narrower than the second", sample(\.second) - sample(\.first), exceeds: 0),
            Check(
                "multiply-adds end within 5 % of the target", Sample(perceptrons.map { abs($0.cost - 1) }),
                staysBelow: 0.05),
            Check(
                "they do when the cost counts for a hundred times as much",
                Sample(priced.map { abs($0.cost - 1) }), staysBelow: 0.05),
            Check(
                "the network is more accurate than one of equal widths and cost",
                sample(\.accuracy) - sample(\.uniform),
                exceeds: 0),
        ]
        var missing: [String] = []
        var vision: [Vision] = []
        for index in 0..<count {
            try context.progress.report("vision transformers", index, of: count)
            guard let found = try Vision(seed: context.seed &* 1000 &+ UInt64(index), quick: context.quick) else {
                missing = [SmallViT.missing]
                break
            }
            vision.append(found)
        }
        if missing.isEmpty {
            func sample(_ path: KeyPath<Vision, Double>) -> Sample { Sample(vision.map { $0[keyPath: path] }) }
            measurements += [
                Measurement(
                    "accuracy of the vision transformer", sample(\.accuracy), baseline: sample(\.uniform),
                    baselineName: "equal shares by magnitude"),
                Measurement(
                    "accuracy of the vision transformer, no patches hidden", sample(\.plain),
                    baseline: sample(\.accuracy), baselineName: "hidden"),
                Measurement("accuracy of the vision transformer before", sample(\.dense)),
                Measurement(
                    "share of the multiply-adds of the vision transformer", sample(\.cost),
                    baseline: sample(\.uniformCost), baselineName: "equal shares"),
            ]
            checks += [
                Check(
                    "a vision transformer's multiply-adds end within 5 % of the target",
                    Sample(vision.map { abs($0.cost / Vision.target - 1) }), staysBelow: 0.05),
                Check(
                    "and it is more accurate than one of equal shares that costs no less",
                    sample(\.accuracy) - sample(\.uniform), exceeds: 0),
                Check("hiding patches helps", sample(\.accuracy) - sample(\.plain), exceeds: 0),
            ]
        }
        return Outcome(
            setting:
                "mean of \(count) perceptrons 32-64-64-4 that learn what one of 32-8-40-4 says, at its multiply-adds; and of \(count) vision "
                + "transformers of 2 blocks, width 32 and 17 tokens on 1797 digits, at a half of theirs; each searched, then trained on",
            measurements: measurements, checks: checks,
            notes: [
                "Of \(2 * count) searched layers of perceptrons \(Self.followers(perceptrons)) end at the width whose logit was the largest before "
                    + "the first step (by chance 1 in \(perceptrons[0].candidates)), and \(Self.followers(priced)) with the cost a hundredfold. The "
                    + "widths a layer can have are \(perceptrons[0].spacing) apart: half of that of the second layer is "
                    + "\(Self.percent(perceptrons[0].stride)) % of the target.",
                "Widths of the perceptron are searched from an eighth on, not a quarter: its teacher's first layer is an eighth.",
                "Networks of equal widths are trained as long, cut to the neurons of largest norm (a vision transformer's heads and stream as well, by "
                    + "the norms of their rows), and trained on as long.",
            ], missing: missing)
    }

    /// Layers that end at the width that was ahead before the first step.
    private static func followers(_ found: [Perceptron]) -> Int { found.reduce(0) { $0 + $1.followers } }
    private static func percent(_ share: Double) -> Int { Int((100 * share).rounded()) }

    /// One perceptron, searched and cut.
    private struct Perceptron {
        var (first, second, cost, accuracy, uniform, dense) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        /// Layers whose width is the one that was ahead before the first step; how many widths there are, and how far apart.
        var (followers, candidates, spacing) = (0, 0, 0)
        /// What half a spacing of the second layer costs, in the target.
        var stride = 0.0

        init(seed: UInt64, quick: Bool, costFactor: Double = 5) throws {
            var generator = SeededGenerator(seed: seed, stream: 73)
            let teacher = MLP(widths: [32, 8, 40, 4], using: &generator)
            func sample(_ count: Int) throws -> LabelledExamples {
                let x = Tensor<Float>(normal: [count, 32], using: &generator)
                let tape = Tape<Float>()
                let logits = tape.evaluating { teacher(tape.constant(x)).value }
                return try LabelledExamples(
                    inputs: x, labels: logits.argmax(axis: 1).map { Int32($0) }, classes: 4)
            }
            let (train, test) = (try sample(4000), try sample(4000))
            let (steps, after) = quick ? (1000, 400) : (4000, 1500)
            let source = ShuffledBatches(train, batchSize: 64, seed: seed)
            func fit(
                _ model: any UnaryLayer, _ steps: Int, hooks: [any TrainingHook] = [],
                _ loss: @escaping (_ batch: ShuffledBatches.Batch, _ tape: Tape<Float>) -> Variable<Float>
            ) throws {
                var plan = TrainingPlan(steps: steps, learningRate: .cosine(from: 3e-3, to: 0, steps: steps))
                (plan.seed, plan.logEvery) = (seed, steps)
                try Trainer(
                    model: model, optimizer: Adam(), source: source, plan: plan, hooks: hooks, loss: loss
                ).train()
            }
            func plain(_ model: any UnaryLayer, _ steps: Int) throws {
                try fit(model, steps) { Loss.crossEntropy(model($1.constant($0.inputs)), labels: $0.labels) }
            }
            func fresh() -> MLP {
                var generator = SeededGenerator(seed: seed, stream: 74)
                return MLP(widths: [32, 64, 64, 4], using: &generator)
            }
            let model = fresh()
            let elastic = try ElasticNetwork(model, least: 0.125, using: &generator)
            let target = Double(32 * 8 + 8 * 40 + 40 * 4)
            let ahead = elastic.axes.map { axis -> Int in
                let logits = axis.mask.logits.value.scalars
                return axis.mask.candidates[logits.indices.max { logits[$0] < logits[$1] }!].count
            }
            candidates = elastic.axes[0].mask.candidates.count
            let counts = elastic.axes[0].mask.candidates.map(\.count).sorted()
            spacing = counts[1] - counts[0]
            // Inputs that the teacher's first layer gives, and outputs.
            stride = Double(spacing) / 2 * Double(8 + 4) / target
            let search = try OnceForBoth(target: target / elastic.denseMultiplyAdds, interval: steps / 50)
            search.costFactor = costFactor
            try fit(elastic, steps, hooks: [search]) { elastic.loss($0, on: $1) }
            let found = elastic.expectedMultiplyAdds
            cost = found / target
            try elastic.fuse()
            try plain(model, after)
            (first, second) = (Double(model.layers[0].outputDimensions), Double(model.layers[1].outputDimensions))
            followers = zip(ahead, model.layers).count { $0 == $1.outputDimensions }
            accuracy = ClassifierTraining.accuracy(model, test)

            let whole = fresh()
            try plain(whole, steps)
            dense = ClassifierTraining.accuracy(whole, test)
            // The narrowest of equal widths that costs no less.
            let width = (1...64).first { Double(36 * $0 + $0 * $0) >= found } ?? 64
            let choice = whole.layers.dropLast().map { layer -> [Int] in
                let weight = layer.weight.densified()
                let norms = (0..<weight.rows).map { row in weight.row(row).reduce(Float(0)) { $0 + $1 * $1 } }
                return norms.indices.sorted { norms[$0] > norms[$1] }.prefix(width).sorted()
            }
            let cut = NodeSearch.sliced(whole, Array(choice))
            try plain(cut, after)
            uniform = ClassifierTraining.accuracy(cut, test)
        }
    }

    /// One vision transformer, searched and cut.
    private struct Vision {
        static let target = 0.5
        var (cost, accuracy, plain, uniform, uniformCost, dense) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)

        init?(seed: UInt64, quick: Bool) throws {
            guard let (train, test) = try SmallViT.digits(seed: seed) else { return nil }
            let (epochs, after) = quick ? (8, 4) : (40, 20)
            func searched(hides: Bool) throws -> (accuracy: Double, cost: Double) {
                var generator = SeededGenerator(seed: seed, stream: 75)
                let vit = try SmallViT.fresh(train, seed: seed)
                let part = hides ? try PatchReconstruction(vit, using: &generator) : nil
                let elastic = try ElasticNetwork(vit, reconstruction: part, using: &generator)
                let plan = SmallViT.plan(train, epochs: epochs, rate: 2e-3, seed: seed)
                try Trainer(
                    model: elastic, optimizer: Adam(weightDecay: 0.01, isDecoupled: true),
                    source: ShuffledBatches(train, batchSize: 64, seed: seed), plan: plan,
                    hooks: [try OnceForBoth(target: Self.target, interval: max(1, plan.steps / epochs / 3))],
                    loss: { elastic.loss($0, on: $1) }
                ).train()
                let share = elastic.expectedMultiplyAdds / elastic.denseMultiplyAdds
                try elastic.fuse()
                try SmallViT.train(vit, train, epochs: after, rate: 1e-3, seed: seed)
                return (ClassifierTraining.accuracy(vit, test), share)
            }
            (accuracy, cost) = try searched(hides: true)
            plain = try searched(hides: false).accuracy

            let whole = try SmallViT.fresh(train, seed: seed)
            try SmallViT.train(whole, train, epochs: epochs, seed: seed)
            dense = ClassifierTraining.accuracy(whole, test)
            // Every place keeps the same share of its units, by the norms of their rows: the least share that costs no less.
            for step in 1...16 {
                var generator = SeededGenerator(seed: seed)
                let copy = try SmallViT.copy(whole, train)
                let norms = Self.norms(copy)
                let elastic = try ElasticNetwork(copy, using: &generator)
                for (axis, scores) in zip(elastic.axes, norms) {
                    axis.mask.score.value = Tensor(scores)
                    axis.mask.mix = 0
                    let wanted = Double(step) / 16 * Double(axis.mask.present.count)
                    let distances = axis.mask.candidates.map { width -> Double in
                        // Of equal counts the one with all heads.
                        abs(Double(width.count) - wanted) - 1e-3 * Double(width.groups)
                    }
                    let best = distances.indices.min { distances[$0] < distances[$1] }!
                    axis.mask.logits.value = Tensor(distances.indices.map { $0 == best ? 60 : 0 })
                }
                guard elastic.expectedMultiplyAdds >= cost * elastic.denseMultiplyAdds || step == 16 else { continue }
                try elastic.decideWidths()
                uniformCost = elastic.expectedMultiplyAdds / elastic.denseMultiplyAdds
                try elastic.fuse()
                try SmallViT.train(copy, train, epochs: after, rate: 1e-3, seed: seed)
                uniform = ClassifierTraining.accuracy(copy, test)
                break
            }
        }

        /// The norms of the rows that make each unit, place by place, as ``ElasticNetwork`` lists them; as scores, around 0.
        private static func norms(_ model: TrainableViT) -> [[Float]] {
            func rows(_ matrices: [Tensor<Float>]) -> [Float] {
                let sums = (0..<matrices[0].rows).map { row in
                    matrices.reduce(Float(0)) { $0 + $1.row(row).reduce(0) { $0 + $1 * $1 } }.squareRoot()
                }
                let mean = sums.reduce(0, +) / Float(sums.count)
                return sums.map { $0 - mean }
            }
            var result = [
                rows([model.kernel.value.reshaped([model.kernel.shape[0], model.kernel.count / model.kernel.shape[0]])])
            ]
            for block in model.blocks {
                let attention = block.attention
                result.append(
                    rows([attention.query, attention.key, attention.value].map { $0.weight.densified() }))
                if case .dense(let part) = block.mixer { result.append(rows([part.up.weight.densified()])) }
            }
            return result
        }
    }
}
