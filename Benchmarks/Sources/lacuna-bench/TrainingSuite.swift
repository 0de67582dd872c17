import BenchmarkHarness
import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor

/// Whole steps of training: forward, backward, Adam. `Scripts/peers_training.py` times the dense ones with PyTorch.
struct TrainingSuite {
    let settings: Settings
    /// What another program takes for the dense steps.
    let peer: PeerSteps?

    func sections() throws -> [Section] { [networks(), try storages()] }

    /// The networks that the peer trains, too.
    private func networks() -> Section {
        settings.announce("training: dense networks")
        let (mlp, wide, transformer) = (
            MLPStep(widths: [784, 512, 512, 10]), MLPStep(widths: [784, 2048, 2048, 10]), TransformerStep()
        )
        let candidates = [
            Candidate("MLP 784-512-512-10, batch 64", work: Work(operations: mlp.operations)) { _ in mlp.step() },
            Candidate("MLP 784-2048-2048-10, batch 64", work: Work(operations: wide.operations)) { _ in wide.step() },
            Candidate("transformer of 4 layers, d 128, 8 x 128 tokens", work: Work(operations: transformer.operations))
            { _ in
                transformer.step()
            },
        ]
        let peerText =
            peer.map {
                "*× peer* is the speed next to \($0.version), measured just before on the same machine by "
                    + "`Scripts/peers_training.py`: the same networks, batches, fused Adam and as many threads."
            } ?? "`Scripts/peers_training.py` times the same steps with PyTorch."
        return Section(
            "Training steps, dense",
            explanation: """
                One step of training with Adam. Operations are those of the layers' products, forward and backward. \
                \(peerText)
                """,
            columns: [.threads, .seconds, .spread, .operations] + (peer == nil ? [] : [.peerRatio]),
            rows: settings.forEachThreadCount { threads in
                settings.timer(rounds: 20).measure(candidates).map { measurement in
                    var row = Row(measurement, threads: threads)
                    if let rival = peer?.seconds(measurement.name, threads: threads) {
                        row[.peerRatio] = rival / measurement.median
                        row.bars = [.atLeast(.peerRatio, 1)]
                    }
                    return row
                }
            })
    }

    /// One network, its hidden layers stored in several ways.
    private func storages() throws -> Section {
        settings.announce("training: sparse weights")
        let widths = [784, 2048, 2048, 10]
        let dense = MLPStep(widths: widths)
        let rounded = MLPStep(widths: widths)
        rounded.tape.precision = .bf16
        let cases: [(name: String, density: Double, storage: StorageLayout, bar: Double?)] = [
            ("csr, 80 % removed", 0.2, .csr, nil), ("csr, 90 % removed", 0.1, .csr, 2),
            ("csr, 95 % removed", 0.05, .csr, 3), ("2:4", 0.5, .bitmask, 1),
            ("blocks of 32x16, 90 % removed", 0.1, .bsr(rows: 32, columns: 16), nil),
        ]
        let steps = try cases.map { try MLPStep(widths: widths, density: $0.density, storage: $0.storage) }
        let work = Work(operations: dense.operations)
        let candidates =
            [
                Candidate("dense", work: work) { _ in dense.step() },
                Candidate("dense, products in bf16", work: work) { _ in rounded.step() },
            ]
            + zip(cases, steps).map { entry, step in Candidate(entry.name, work: work) { _ in step.step() } }
        return Section(
            "Training steps, sparse weights",
            explanation: """
                MLP 784-2048-2048-10, batch 64, Adam, both hidden layers stored as named: values, gradients and optimiser \
                state exist for what is stored alone; in bf16 the dense products read rounded numbers. *GFLOP/s* counts the dense step's operations, done or skipped.
                """,
            columns: [.threads, .seconds, .spread, .operations, .measured],
            rows: settings.forEachThreadCount { threads in
                let measured = settings.timer(rounds: 12).measure(candidates)
                return [Row(measured[0], threads: threads)]
                    + zip([nil] + cases.map { $0.bar }, measured.dropFirst()).map { bar, measurement in
                        var row = Row(measurement, threads: threads)
                        row.compare(measurement, with: measured[0])
                        if let bar { row.bars = [.atLeast(.measured, bar)] }
                        return row
                    }
            })
    }
}

/// A step of training an MLP on one fixed batch.
private final class MLPStep {
    private let model: MLP
    private let optimizer = Adam(learningRate: 1e-4)
    let tape = Tape<Float>()
    private let inputs: Tensor<Float>
    private let labels: [Int32]
    private let parameters: [Parameter<Float>]
    let operations: Double

    init(widths: [Int], density: Double = 1, storage: StorageLayout? = nil) throws {
        var generator = SeededGenerator(seed: 1)
        model = MLP(widths: widths, using: &generator)
        if let storage {
            for layer in model.layers.dropLast() {
                let (rows, columns) = (layer.outputDimensions, layer.inputDimensions)
                let pattern = storage == .bitmask ? .nm(n: 2, m: 4) : storage.base.pattern ?? .unstructured(.layer)
                let scores = Tensor<Float>(uniform: [rows, columns], using: &generator)
                let sparsity = pattern.impliedSparsity == nil ? 1 - density : nil
                try layer.sparsify(storage, mask: Selection.mask(scores: scores, pattern: pattern, sparsity: sparsity))
            }
        }
        inputs = Tensor(normal: [64, widths[0]], using: &generator)
        labels = (0..<64).map { $0 % Int32(widths.last!) }
        parameters = model.parameters
        let forward = zip(widths, widths.dropFirst()).map { Double($0 * $1) }
        operations = 2 * 64 * (3 * forward.reduce(0, +) - forward[0])
    }

    convenience init(widths: [Int]) { try! self.init(widths: widths, density: 1, storage: nil) }

    func step() {
        for parameter in parameters { parameter.clearGradient() }
        tape.backward(from: Loss.crossEntropy(model(tape.constant(inputs)), labels: labels))
        optimizer.step(parameters)
    }
}

/// A step of training a small transformer on one fixed batch.
private final class TransformerStep {
    private let model: TrainableTransformer
    private let optimizer = Adam(learningRate: 1e-4)
    private let tape = Tape<Float>()
    private let ids: [Int32]
    private let parameters: [Parameter<Float>]
    let operations: Double

    init() {
        var generator = SeededGenerator(seed: 1)
        model = try! TrainableTransformer(
            TransformerConfiguration(
                vocabularySize: 512, hiddenSize: 128, intermediateSizes: Array(repeating: 344, count: 4), headCount: 4,
                keyValueHeadCount: 4, headSize: 32, maximumPositions: 128, tiedEmbeddings: true), using: &generator)
        ids = (0..<1024).map { Int32(($0 * 37) % 512) }
        parameters = model.parameters
        operations =
            6 * 1024 * Double(4 * (4 * 128 + 3 * 344) * 128 + 512 * 128) + 6 * Double(4 * 8 * 2 * 128 * 128 * 128)
    }

    func step() {
        for parameter in parameters { parameter.clearGradient() }
        tape.backward(from: model.loss(ids, next: ids, batch: 8, on: tape))
        optimizer.step(parameters)
    }
}
