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
    public var hidden = 1000
    /// ε: connections of a layer are about ε (rows + columns).
    public var density = 13.0
    /// ζ: fraction of the weights exchanged after every epoch.
    public var exchange = 0.2
    public var epochs = 10
    public var batch = 100
    public var learningRate = 0.01
    public var momentum = 0.9
    public var weightDecay = 1e-5
    /// Deviation of the noise added to the inputs, drawn once.
    public var noise = 0.2
    public var dropout = 0.2
    /// Deviation of weights at the start and when grown.
    public var deviation = 0.1
    public var seed: UInt64 = 0

    public init() {}

    /// The strength of every feature.
    public struct Result: Sendable {
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

    /// - Parameter x: [n, features], standardised.
    /// - Throws: `LacunaError.invalidArgument` for settings out of range, `.numerical` if training diverges.
    public func run(_ x: Tensor<Float>, progress: (any ProgressReporter)? = nil) throws -> Result {
        guard x.rank == 2, x.rows > 0, x.columns > 0 else {
            throw LacunaError.invalidArgument("x", reason: "shape \(x.shape) is no table")
        }
        guard hidden > 0, density > 0, (0..<1).contains(exchange), (0..<1).contains(dropout), epochs > 0, batch > 0
        else {
            throw LacunaError.invalidArgument("settings", reason: "out of range")
        }
        var generator = SeededGenerator(seed: seed, stream: 36)
        let (n, d) = (x.rows, x.columns)
        let model = try Autoencoder(inputs: d, settings: self, using: &generator)
        var noisy = x
        noisy.withMutablePointer { p in for i in 0..<n * d { p[i] += Float(noise * generator.normal()) } }
        var settings = DropAndGrow.Settings(budget: .uniform(0), growth: .random)
        settings.storage = .csr
        settings.drop = .signed
        let source = Rows(noisy: noisy, clean: x, batch: min(batch, n), seed: seed)
        settings.interval = source.batchesPerEpoch!
        settings.fraction = exchange
        settings.isAnnealed = false
        settings.end = 1
        settings.growthDeviation = deviation
        var plan = TrainingPlan(steps: epochs * settings.interval, learningRate: .constant(learningRate))
        plan.seed = seed
        plan.logEvery = settings.interval
        let trainer = try Trainer(
            model: model, optimizer: SGD(learningRate: learningRate, momentum: momentum, weightDecay: weightDecay),
            source: source, plan: plan, hooks: exchange > 0 ? [try Exchange(settings)] : [],
            loss: { batch, tape in
                let y = model(tape.constant(batch.noisy))
                // Summed over features, as the authors' update rule has it.
                return (y - tape.constant(batch.clean)).map(.square).sum().affine(0.5 / Float(batch.clean.rows))
            })
        let report = try trainer.train(progress: progress)
        return Result(
            strengths: model.strengths, loss: 2 * (report.metrics.last?["loss"] ?? .nan) / Double(d),
            connections: model.encoder.weight.activeCount + model.decoder.weight.activeCount)
    }

    /// Drop and grow on weights that are sparse already.
    private final class Exchange: TrainingHook {
        private let method: DropAndGrow
        init(_ settings: DropAndGrow.Settings) throws { method = try DropAndGrow(settings) }
        func attach(_ run: TrainingRun) throws { try method.attach(run) }
        func beforeStep(_ run: TrainingRun) throws { try method.beforeStep(run) }
        func gradientsReady(_ run: TrainingRun) throws { try method.gradientsReady(run) }
    }

    private struct Rows: BatchSource {
        let noisy: Tensor<Float>
        let clean: Tensor<Float>
        let batch: Int
        let seed: UInt64
        var batchesPerEpoch: Int? { (clean.rows + batch - 1) / batch }

        func batch(step: Int) -> (noisy: Tensor<Float>, clean: Tensor<Float>) {
            let (epoch, place) = step.quotientAndRemainder(dividingBy: batchesPerEpoch!)
            var generator = SeededGenerator(seed: seed, stream: 0x9051 &+ UInt64(epoch))
            let order = Array(0..<clean.rows).shuffled(using: &generator)
            let chosen = order[place * batch..<min((place + 1) * batch, order.count)]
            let width = clean.columns
            func rows(_ source: Tensor<Float>) -> Tensor<Float> {
                var result = Tensor<Float>(uninitialized: [chosen.count, width])
                source.withPointer { s in
                    result.withMutablePointer { r in
                        for (i, row) in chosen.enumerated() {
                            (r + i * width).update(from: s + row * width, count: width)
                        }
                    }
                }
                return result
            }
            return (rows(noisy), rows(clean))
        }
    }

    private final class Autoencoder: Module {
        let encoder: Linear
        let decoder: Linear
        let dropout: Double

        init(inputs: Int, settings: QuickSelection, using generator: inout SeededGenerator) throws {
            func layer(_ outputs: Int, _ inputs: Int) -> Linear {
                let total = outputs * inputs
                let count = min(total, Int(settings.density * Double(outputs + inputs)))
                let mask = Mask(rows: outputs, columns: inputs, keepingRandom: count, using: &generator)
                let weight = Tensor<Float>(
                    normal: [outputs, inputs], standardDeviation: Float(settings.deviation), using: &generator)
                return Linear(weight: CSRWeight(weight, mask: mask), bias: Tensor(zeros: [outputs]))
            }
            encoder = layer(settings.hidden, inputs)
            decoder = layer(inputs, settings.hidden)
            dropout = settings.dropout
        }

        func callAsFunction(_ x: Variable<Float>) -> Variable<Float> {
            decoder(encoder(x).sigmoid().dropout(dropout))
        }

        /// The L1 norm of each input's column.
        var strengths: [Double] {
            let matrix = (encoder.weight as! CSRWeight).matrix
            var sums = [Double](repeating: 0, count: matrix.columns)
            for (column, value) in zip(matrix.pattern.columnIndices.elements, matrix.values) {
                sums[Int(column)] += Double(abs(value))
            }
            return sums
        }
    }
}
