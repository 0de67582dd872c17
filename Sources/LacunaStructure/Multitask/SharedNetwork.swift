import LacunaLearn
import LacunaTensor

/// Tasks that share the hidden layers of a network, with a linear head each on the last of them: ``SharedRepresentation`` beyond linear tasks.
///
/// The network learns the squared errors of all tasks together, every sample through its own task's output. Then the layers stay, and
/// heads are fitted by least squares on what the last hidden layer says and a constant. It sees inputs without their means and in units of
/// their deviation (one unit for all, as pixels have), and targets likewise, so that neither units nor origins matter.
///
/// Yiping Wang, Yifang Chen, Kevin Jamieson, Simon Du, "Improved Active Multi-Task Representation Learning via Lasso", arXiv
/// 2306.02556, who use the last layer but one in the place of their linear directions.
public struct SharedNetwork: TaskRepresentation {
    /// How a network learns.
    public struct Settings: Sendable {
        /// Widths of the hidden layers; the last is what heads see.
        public var hidden: [Int]
        /// Passes over all samples.
        public var epochs: Int
        /// Samples of a step.
        public var batch: Int
        /// Of Adam; falls to a tenth over the epochs.
        public var learningRate: Double
        /// Of the network's start and of the batches.
        public var seed: UInt64

        /// Settings as their properties say, all above 0 and at least one layer.
        public init(
            hidden: [Int] = [32, 8], epochs: Int = 30, batch: Int = 64, learningRate: Double = 3e-3, seed: UInt64 = 0
        ) {
            require(!hidden.isEmpty && hidden.allSatisfy { $0 > 0 } && epochs > 0 && batch > 0 && learningRate > 0)
            (self.hidden, self.epochs, self.batch) = (hidden, epochs, batch)
            (self.learningRate, self.seed) = (learningRate, seed)
        }
    }

    /// What the first layer sees: inputs minus their means, over a unit.
    private struct Layers: Sendable {
        var means: [Double]
        var unit: Double
        /// Weights [outputs, inputs] and biases [outputs] of the hidden layers.
        var hidden: [(weights: Tensor<Double>, biases: [Double])] = []

        /// - Parameter inputs: Of all samples [n, inputs].
        init(_ inputs: Tensor<Double>) {
            let (n, d) = (inputs.rows, inputs.columns)
            // From the first row on, so that nothing is lost where all are far from 0.
            means = (0..<d).map { j in
                inputs[0, j] + (0..<n).reduce(0) { $0 + (inputs[$1, j] - inputs[0, j]) / Double(n) }
            }
            unit = 1
            let moved = seen(inputs)
            let square = moved.scalars.reduce(0) { $0 + $1 * $1 } / Double(max(n * d, 1))
            if square > 0 && square.isFinite { unit = square.squareRoot() }
        }

        func seen(_ inputs: Tensor<Double>) -> Tensor<Double> {
            require(inputs.columns == means.count, "\(inputs.columns) inputs for a layer of \(means.count)")
            return Tensor(
                inputs.scalars.enumerated().map { ($1 - means[$0 % means.count]) / unit }, shape: inputs.shape)
        }

        /// What the last hidden layer says of inputs [n, inputs], and a constant of 1.
        func features(_ inputs: Tensor<Double>) -> Tensor<Double> {
            var x = seen(inputs)
            for (weights, biases) in hidden {
                let product = x.multiplied(by: weights, otherTransposed: true)
                x = Tensor(
                    product.scalars.enumerated().map { max(0, $1 + biases[$0 % biases.count]) }, shape: product.shape)
            }
            var result = Tensor<Double>(repeating: 1, shape: [x.rows, x.columns + 1])
            for i in 0..<x.rows { for j in 0..<x.columns { result[i, j] = x[i, j] } }
            return result
        }
    }

    private let layers: Layers
    /// Heads on what the last layer says, a constant last, for targets without their means.
    private let last: SharedRepresentation
    /// The mean of each task's targets; 0 for tasks without samples.
    private let means: [Double]

    /// One for each task [width of the last hidden layer, and a constant].
    public var heads: [[Double]] { zip(last.heads, means).map(Self.raised) }
    /// Mean square of the residuals of each task; 0 for tasks without samples.
    public var residuals: [Double] { last.residuals }

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for no tasks, none with samples, and different numbers of inputs.
    public init(_ tasks: [SharedRepresentation.Task], _ settings: Settings = Settings()) throws {
        guard let inputs = tasks.first?.inputs.columns, tasks.allSatisfy({ $0.inputs.columns == inputs }),
            tasks.contains(where: { !$0.targets.isEmpty })
        else {
            throw LacunaError.invalidArgument(
                "tasks",
                reason: "\(tasks.count) of them, with \(tasks.map(\.inputs.columns)) inputs, or without samples")
        }
        var generator = SeededGenerator(seed: settings.seed, stream: 0x5A4E)
        let model = MLP(widths: [inputs] + settings.hidden + [tasks.count], using: &generator)
        let owners = tasks.enumerated().flatMap { t, task in task.targets.map { _ in t } }
        let means = tasks.map { Self.mean($0.targets) }
        let centred = zip(tasks, means).flatMap { task, mean in task.targets.map { $0 - mean } }
        let square = centred.reduce(0) { $0 + $1 * $1 } / Double(centred.count)
        let unit = square > 0 && square.isFinite ? square.squareRoot() : 1
        let targets = centred.map { Float($0 / unit) }
        let all = Tensor(tasks.flatMap(\.inputs.scalars), shape: [owners.count, inputs])
        var layers = Layers(all)
        let examples = try LabelledExamples(
            inputs: Tensor(layers.seen(all).scalars.map(Float.init), shape: all.shape),
            labels: owners.indices.map { Int32($0) }, classes: owners.count)
        let source = ShuffledBatches(examples, batchSize: min(settings.batch, owners.count), seed: settings.seed)
        let steps = settings.epochs * (source.batchesPerEpoch ?? 1)
        var plan = TrainingPlan(
            steps: steps,
            learningRate: .exponential(from: settings.learningRate, to: settings.learningRate / 10, steps: steps))
        (plan.seed, plan.logEvery) = (settings.seed, steps)
        _ = try Trainer(
            model: model, optimizer: Adam(learningRate: settings.learningRate), source: source, plan: plan,
            loss: { batch, tape in
                // Labels are places among the samples; a sample counts by the output of its task alone.
                var mask = Tensor<Float>(zeros: [batch.labels.count, tasks.count])
                var wanted = mask
                for (row, place) in batch.labels.enumerated() {
                    mask[row, owners[Int(place)]] = 1
                    wanted[row, owners[Int(place)]] = targets[Int(place)]
                }
                let own = model(tape.constant(batch.inputs)) * tape.constant(mask)
                return Float(tasks.count) * Loss.meanSquaredError(own, tape.constant(wanted))
            }
        ).train()
        layers.hidden = model.layers.dropLast().map { layer -> (weights: Tensor<Double>, biases: [Double]) in
            let weights = layer.weight.densified()
            return (
                Tensor(weights.scalars.map(Double.init), shape: weights.shape),
                (layer.bias?.value.scalars ?? [Float](repeating: 0, count: weights.rows)).map(Double.init)
            )
        }
        self.layers = layers
        self.means = means
        let seen = try zip(tasks, means).map { task, mean in
            try SharedRepresentation.Task(
                inputs: layers.features(task.inputs), targets: task.targets.map { $0 - mean })
        }
        let width = (settings.hidden.last ?? 0) + 1
        var basis = Tensor<Double>(zeros: [width, width])
        for i in 0..<width { basis[i, i] = 1 }
        last = try SharedRepresentation(seen, basis: basis)
    }

    /// What the last hidden layer says of inputs [n, inputs], and a constant of 1.
    ///
    /// - Returns: [n, width + 1].
    public func features(_ inputs: Tensor<Double>) -> Tensor<Double> { layers.features(inputs) }

    /// The mean; 0 of nothing.
    private static func mean(_ targets: [Double]) -> Double {
        guard let first = targets.first else { return 0 }
        return first + targets.reduce(0) { $0 + ($1 - first) / Double(targets.count) }
    }

    /// A head for targets that are larger by a mean.
    private static func raised(_ head: [Double], by mean: Double) -> [Double] {
        head.dropLast() + [(head.last ?? 0) + mean]
    }

    /// - Throws: ``LacunaError/numerical(operation:reason:)`` if the samples are not finite numbers.
    public func head(_ task: SharedRepresentation.Task) throws -> [Double] {
        let mean = Self.mean(task.targets)
        return Self.raised(
            try last.head(.init(inputs: features(task.inputs), targets: task.targets.map { $0 - mean })), by: mean)
    }

    public func shrunkHeads() throws -> (heads: [[Double]], variances: [Double]) {
        let (heads, variances) = try last.shrunkHeads()
        return (zip(heads, means).map(Self.raised), variances)
    }

    /// What a head says of inputs [n, inputs].
    public func predictions(_ inputs: Tensor<Double>, head: [Double]) -> [Double] {
        features(inputs).multiplied(by: Tensor(head, shape: [head.count, 1])).scalars
    }
}
