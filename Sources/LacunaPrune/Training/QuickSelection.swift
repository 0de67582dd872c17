import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Unsupervised feature selection by a sparse autoencoder: the features whose input neurons keep the strongest
/// connections.
///
/// A denoising autoencoder `d - hidden - d` is trained truly sparse (CSR weights, gradients and momentum) with SET: after
/// every epoch the weights nearest 0 are dropped, positive and negative ones apart, and as many grown at random. The
/// strength of feature `i` is `Σ_j |W_ji|` over the connections that leave its neuron.
///
/// Zahra Atashgahi, Ghada Sokar, Tim van der Lee, Elena Mocanu, Decebal Constantin Mocanu, Raymond Veldhuis, Mykola
/// Pechenizkiy, "Quick and Robust Feature Selection: the Strength of Energy-efficient Sparse Training for Autoencoders",
/// arXiv 2012.00560. Defaults are the authors'. Training for too long reverses the ranking: features that are noise need
/// the largest direct weights to be reconstructed.
public struct QuickSelection: Sendable {
    /// Neurons of the hidden layer.
    public var hidden = 1000
    /// ε: connections of a layer are about ε (rows + columns).
    public var density = 13.0
    /// ζ: fraction of the weights exchanged after every epoch.
    public var exchange = 0.2
    /// Passes over the rows; 10 and 100 are the authors'.
    public var epochs = 10
    /// Rows of a batch.
    public var batch = 100
    /// Of gradient descent, constant.
    public var learningRate = 0.01
    /// Of gradient descent, kept for the connections that stay.
    public var momentum = 0.9
    /// Of all connections.
    public var weightDecay = 1e-5
    /// Deviation of the noise added to the inputs, drawn once.
    public var noise = 0.2
    /// Share of the hidden neurons left out in training, 0..<1.
    public var dropout = 0.2
    /// Deviation of weights at the start and when grown.
    public var deviation = 0.1
    /// Of noise, connections and the order of rows.
    public var seed: UInt64 = 0

    /// The authors' settings for a short training.
    public init() {}

    /// The strength of every feature.
    public struct Result: Sendable {
        /// `Σ_j |W_ji|` of every feature, [features].
        public var strengths: [Double]
        /// Mean squared error of the last epoch's reconstructions.
        public var loss: Double
        /// Connections of both layers, the same at every step.
        public var connections: Int

        /// The `count` strongest features, the strongest first; of equals the first.
        public func selected(_ count: Int) -> [Int] {
            Array(
                strengths.indices.sorted { strengths[$0] != strengths[$1] ? strengths[$0] > strengths[$1] : $0 < $1 }
                    .prefix(count))
        }
    }

    /// - Throws: `LacunaError.invalidArgument` for settings out of range.
    func validate() throws {
        func require(_ holds: Bool, _ name: String, _ reason: String) throws {
            if !holds { throw LacunaError.invalidArgument(name, reason: reason) }
        }
        try require((1...65_536).contains(hidden), "hidden", "\(hidden) is not in 1...65536")
        try require(density > 0 && density.isFinite, "density", "\(density) is not positive")
        try require((0..<1).contains(exchange), "exchange", "\(exchange) is not in 0..<1")
        try require((0..<1).contains(dropout), "dropout", "\(dropout) is not in 0..<1")
        try require(epochs >= 1, "epochs", "\(epochs) is not at least 1")
        try require(batch >= 1, "batch", "\(batch) is not at least 1")
        try require(noise >= 0 && noise.isFinite, "noise", "\(noise) is no deviation")
        try require(deviation >= 0 && deviation.isFinite, "deviation", "\(deviation) is no deviation")
    }

    /// - Parameter x: [n, features], standardised.
    /// - Throws: `LacunaError.invalidArgument` for settings out of range, `.numerical` if training diverges.
    public func run(_ x: Tensor<Float>, progress: (any ProgressReporter)? = nil) throws -> Result {
        guard x.rank == 2, x.rows > 0, x.columns > 0 else {
            throw LacunaError.invalidArgument("x", reason: "shape \(x.shape) is no table")
        }
        let method = try FeatureSelection(self)
        var generator = SeededGenerator(seed: seed, stream: 36)
        let model = try method.network(inputs: x.columns, using: &generator)
        let source = try method.source(x, batch: batch, seed: seed, using: &generator)
        var plan = TrainingPlan(
            steps: epochs * source.batchesPerEpoch!, learningRate: .constant(learningRate))
        plan.seed = seed
        plan.logEvery = source.batchesPerEpoch!
        let trainer = try Trainer(
            model: model, optimizer: SGD(learningRate: learningRate, momentum: momentum, weightDecay: weightDecay),
            source: source, plan: plan, hooks: [method], loss: model.loss)
        let report = try trainer.train(progress: progress)
        return Result(
            strengths: model.strengths, loss: 2 * (report.metrics.last?["loss"] ?? .nan) / Double(x.columns),
            connections: model.connections)
    }
}
